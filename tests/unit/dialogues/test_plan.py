"""What a corpus will hold: nothing of validation is in training, and a choice changes only what it is about."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.dialogues.domain import NOT_UNDERSTOOD, bare, domain
from duplexforge.dialogues.plan import Choice, planned
from duplexforge.dialogues.report import Report, counted
from duplexforge.dialogues.styles import HELD_OUT_USERS, USERS
from duplexforge.voices import EMOTIONS, VOICES

ALL = domain()
SOME = domain(most=12)
USUAL = planned(ALL, Choice())


def test_validation_holds_out_wordings_and_voices() -> None:
    asked = USUAL
    train = [one for one in asked if one.split == "train"]
    validation = [one for one in asked if one.split == "validation"]
    sentences = {(one.answer.intent.language, one.question) for one in train}
    voices = {one.user.variant for one in train}
    assert {one.held_out for one in train} == {""}
    assert {one.held_out for one in validation} == {"wording", "voice", "both"}
    for one in validation:
        new_wording = (one.answer.intent.language, one.question) not in sentences
        assert new_wording == (one.held_out in ("wording", "both")), one
        assert (one.user.variant not in voices) == (one.held_out in ("voice", "both")), one
    intents = {(one.answer.intent.language, one.answer.intent.id) for one in train}
    assert intents == {(one.answer.intent.language, one.answer.intent.id) for one in validation}


def test_unseen_questions_are_answered_with_not_understood() -> None:
    unseen = [one for one in USUAL if one.split == "unseen"]
    assert len(unseen) >= 20
    assert {one.answer.intent.id for one in unseen} == {NOT_UNDERSTOOD}
    others = {one.question for one in USUAL if one.split != "unseen"}
    assert not others & {one.question for one in unseen}


def test_users_of_training_and_of_validation_are_others() -> None:
    for language in ("en", "te"):
        assert USERS[language]
        assert not set(USERS[language]) & set(HELD_OUT_USERS[language])


def test_no_two_pairs_share_a_question_file() -> None:
    asked = USUAL
    assert len({one.path for one in asked}) == len(asked)
    assert len({one.answer.path for one in asked}) == len({one.answer for one in asked})
    assert not any(part.startswith(".") or " " in part for one in asked for part in one.path.split("/"))


def test_voices_and_emotions_are_spread() -> None:
    report = counted(USUAL)
    total = report.pairs["train"]
    assert total == sum(len(intent.ask) for intent in ALL) * (Choice().variants + Choice().framed) >= 4_000
    assert all(abs(count / total - 1 / len(VOICES)) < 0.03 for count in report.speakers.values())
    shares = {name: count / total for name, count in report.emotions.items()}
    assert abs(shares["neutral"] - (0.4 + 0.6 / 9)) < 0.03
    assert all(abs(shares[name] - 0.6 / 9) < 0.02 for name in EMOTIONS[1:])


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    variants=st.integers(1, 3),
    framed=st.integers(0, 2),
    more=st.integers(0, 2),
    noise=st.floats(0, 1),
    neutral=st.floats(0, 1),
)
def test_more_variants_change_no_pair_that_is_there(
    seed: int, variants: int, framed: int, more: int, noise: float, neutral: float
) -> None:
    less = Choice(seed=seed, variants=variants, framed=framed, noise=noise, neutral=neutral)
    few = planned(SOME[:3], less)
    many = planned(SOME[:5], replace(less, variants=variants + more, framed=framed + more))
    assert set(few) <= set(many)
    assert few == planned(SOME[:3], less)


def test_framed_questions_are_none_that_validation_has() -> None:
    plain = {(intent.language, sentence) for intent in ALL for sentence in intent.ask}
    framed = [one for one in USUAL if "framed" in one.number]
    assert len(framed) == sum(len(intent.ask) for intent in ALL) * Choice().framed
    held = {bare(sentence) for intent in ALL for sentence in (*intent.held_out, *intent.unseen)}
    for one in framed:
        language = one.answer.intent.language
        assert (language, one.question) not in plain
        assert bare(one.question) not in held
        assert any(bare(sentence) in bare(one.question) for sentence in one.answer.intent.ask), one.question
    # Some frame makes a held-out sentence of a trained one: that is what is left out.
    hobby = next(intent for intent in ALL if intent.id == "hobby" and intent.language == "en")
    assert "Tell me, what is your hobby?" in hobby.held_out
    assert len(hobby.framed[0]) == len(hobby.framed[1]) - 1


@settings(deadline=None, max_examples=20)
@given(speakers=st.sets(st.sampled_from(range(4)), min_size=1), emotions=st.sets(st.sampled_from(range(9)), min_size=1))
def test_only_the_voices_and_emotions_asked_for_answer(speakers: set[int], emotions: set[int]) -> None:
    choice = Choice(variants=1, speakers=tuple(sorted(speakers)), emotions=tuple(sorted(emotions)))
    asked = planned(SOME, choice)
    assert {one.answer.speaker for one in asked} <= speakers
    assert {one.answer.emotion for one in asked} <= emotions


def test_shares_at_their_ends() -> None:
    clean = planned(SOME, Choice(noise=0.0, neutral=1.0))
    assert all(one.user.noise is None and one.answer.emotion == 0 for one in clean)
    noisy = planned(SOME, Choice(noise=1.0, neutral=0.0))
    assert all(one.user.noise is not None for one in noisy)
    assert Counter(one.answer.emotion for one in noisy).keys() == set(range(9))
    # Another share of neutral answers leaves the users as they are.
    half = planned(SOME, Choice(noise=1.0, neutral=0.5))
    assert [one.user for one in half] == [one.user for one in noisy]


def test_a_report_survives_its_file() -> None:
    asked = planned(SOME, Choice(variants=1))
    heard = [(one.answer, 100.0 + one.answer.speaker) for one in asked] + [(asked[0].answer, float("nan"))]
    report = counted(asked, heard, {"train": 7200.0}, 1800.0)
    assert report.hours == {"train": 2.0, "answers": 0.5}
    assert report.pitch["male_mature"]["neutral"] == 101.0
    assert Report.from_json(report.to_json()) == report
    assert "Ravi: 101 Hz (wanted 100)" in report.to_text()
    assert "hours" not in counted(asked).to_text()
