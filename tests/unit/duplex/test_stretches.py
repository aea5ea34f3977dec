"""Which stretches of an episode are conversations: every rule, every reason, and that nothing is lost between them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.duplex.segments import Segment, Stretch
from duplexforge.duplex.stretches import Picked, StretchRules, pick
from duplexforge.errors import UsageError
from tests.duplex import processed as made

Turns = list[tuple[float, float, str]]


def segments(turns: Turns, **changes: Any) -> list[Segment]:
    return [Segment.model_validate(one) for one in made.rows_of("ep", turns, **changes)]


def picked(turns: Turns, rules: StretchRules | None = None, **changes: Any) -> Picked:
    return pick(segments(turns, **changes), rules or StretchRules())


def reasons(found: Picked) -> list[str]:
    return [one.reason for one in found.refused]


def test_two_who_take_turns_are_a_conversation() -> None:
    found = picked(made.chat(20))
    assert found.refused == []
    (one,) = found.stretches
    assert len(one.segments) == 20
    assert one.speakers == ("ep/S00", "ep/S01")
    assert (one.turns, one.overlap, one.others, one.dnsmos, one.language) == (20, 0.0, 0.0, pytest.approx(3.0), "en")
    assert (one.start, one.end) == (0.25, 50.25)


def test_the_order_of_the_segments_makes_no_difference() -> None:
    rows = segments(made.chat(20))
    assert pick(rows[::-1], StretchRules()) == pick(rows, StretchRules())


@pytest.mark.parametrize(
    ("turns", "rules", "changes", "reason"),
    [
        ([(0.0, 30.0, "S00")], {}, {}, "one_speaker"),
        (made.chat(6), {}, {}, "too_short"),
        (made.chat(2, length=29.0, pause=2.0), {"min_turns": 4.0}, {}, "few_turns"),
        (made.chat(20), {"languages": ("de", "fr")}, {}, "language"),
        (made.chat(20), {}, {"dnsmos": 2.4}, "low_mos"),
        (made.chat(20), {}, {"dnsmos": None}, "unscored"),
        ([*made.chat(20), (0.5, 50.0, "S01")], {}, {}, "much_overlap"),
    ],
)
def test_what_is_no_conversation_says_why_and_where(
    turns: Turns, rules: dict[str, Any], changes: dict[str, Any], reason: str
) -> None:
    found = picked(turns, StretchRules(**rules), **changes)
    assert found.stretches == []
    assert reasons(found) == [reason]
    assert found.refused[0].start == min(start for start, _, _ in turns)
    assert found.refused[0].end == max(end for _, end, _ in turns)
    assert found.refused[0].message


def test_each_bound_is_itself_allowed() -> None:
    (one,) = picked(made.chat(20)).stretches
    rules = StretchRules(min_seconds=one.seconds, min_turns=one.turns * 60 / one.seconds, min_dnsmos=3.0)
    assert len(picked(made.chat(20), rules).stretches) == 1


def test_unscored_segments_are_taken_when_allowed_and_do_not_count_in_the_mean() -> None:
    rows = segments(made.chat(20))
    rows[3] = rows[3].model_copy(update={"dnsmos": None})
    assert reasons(pick(rows, StretchRules())) == ["unscored"]
    (one,) = pick(rows, StretchRules(allow_unscored=True)).stretches
    assert one.dnsmos == pytest.approx(3.0)
    (none,) = picked(made.chat(20), StretchRules(allow_unscored=True), dnsmos=None).stretches
    assert none.dnsmos is None


def test_the_mean_score_is_weighed_by_length() -> None:
    rows = [*segments([(0.0, 30.0, "S00")], dnsmos=4.0), *segments([(30.0, 40.0, "S01")], dnsmos=2.0)]
    assert Stretch(tuple(rows), 0.0, 40.0).dnsmos == pytest.approx(3.5)


def test_a_stretch_ends_where_a_third_has_something_to_say() -> None:
    first, second = made.chat(12), [(start + 33.0, end + 33.0, who) for start, end, who in made.chat(12)]
    found = picked([*first, (30.6, 33.0, "S02"), *second], StretchRules(min_seconds=25.0))
    assert [(one.start, one.reason) for one in found.refused] == [(30.6, "one_speaker")]
    one, two = found.stretches
    assert one.speakers == two.speakers == ("ep/S00", "ep/S01")
    assert (len(one.segments), len(two.segments)) == (12, 12)


def test_a_third_who_hardly_speaks_is_left_out_and_marked_when_allowed() -> None:
    turns = [*made.chat(20), (20.6, 20.9, "S02")]
    strict = picked(turns, StretchRules(min_seconds=15.0))
    assert all("ep/S02" not in one.speakers or one.others == 0 for one in strict.stretches)
    assert all(len(one.segments) < 21 for one in strict.stretches)
    (one,) = picked(turns, StretchRules(max_others=0.02)).stretches
    assert one.speakers == ("ep/S00", "ep/S01")
    assert one.others == pytest.approx(0.3)
    assert len(one.theirs) == 20
    assert picked(turns, StretchRules(max_others=0.005)) == picked(turns)


def test_a_long_pause_ends_a_stretch_also_with_a_third_allowed() -> None:
    later = [(start + 60.0, end + 60.0, who) for start, end, who in made.chat(20)]
    for rules in (StretchRules(), StretchRules(max_others=1.0)):
        one, two = picked(made.chat(20) + later, rules).stretches
        assert (one.end, two.start) == (50.25, 60.25)
    (whole,) = picked(made.chat(20) + later, StretchRules(max_pause=10.5)).stretches
    assert whole.seconds == pytest.approx(110.0)


def test_what_has_no_text_makes_no_speaker_and_keeps_up_no_conversation() -> None:
    rows = segments(made.chat(20))
    laughter = segments([(20.6, 20.9, "S02"), (53.0, 55.0, "S02"), (58.0, 59.0, "S01")], text=" ")
    (one,) = pick([*rows, *laughter], StretchRules()).stretches
    assert one.speakers == ("ep/S00", "ep/S01")
    assert (one.others, one.turns) == (0.0, 20)
    assert one.segments[-1].start == 53.0
    assert pick(laughter, StretchRules()) == ([], [])


def test_a_stretch_that_is_too_long_is_cut_at_its_widest_pause() -> None:
    turns = [(start + (1.5 if start > 80 else 0.0), end + (1.5 if start > 80 else 0.0), who)
             for start, end, who in made.chat(50)]  # fmt: skip
    found = picked(turns, StretchRules(max_seconds=100.0))
    assert reasons(found) == []
    assert [len(one.segments) for one in found.stretches] == [32, 18]


def test_among_pauses_of_one_length_the_last_that_fits_is_cut_at() -> None:
    first, second = picked(made.chat(50), StretchRules(max_seconds=60.0, min_seconds=5.0)).stretches[:2]
    assert 57.0 < first.seconds <= 60.5
    assert first.end == second.start


def test_without_a_pause_a_long_stretch_stays_whole() -> None:
    turns = [*made.chat(20), (0.6, 49.0, "S01")]
    found = picked(turns, StretchRules(max_seconds=30.0, max_overlap=1.0))
    assert [len(one.segments) for one in found.stretches] == [21]


def test_a_stretch_keeps_away_from_what_lies_around_it() -> None:
    rows = segments([(0.0, 1.0, "S02"), (1.1, 15.0, "S00"), (15.1, 30.0, "S01"), (30.3, 31.0, "S02")])
    found = pick(rows, StretchRules(min_turns=1.0))
    (one,) = found.stretches
    assert (one.start, one.end) == (pytest.approx(1.05), pytest.approx(30.15))
    assert reasons(found) == ["one_speaker", "one_speaker"]


def test_who_reaches_into_a_stretch_without_being_part_of_it_is_known() -> None:
    found = picked([*made.chat(20), (49.0, 60.0, "S02")])
    (one,) = found.stretches
    assert [(row.start, row.speaker) for row in one.around] == [(49.0, "ep/S02")]
    assert one.others == pytest.approx(1.0)
    assert one.end == 50.0


def test_a_segment_without_length_is_counted() -> None:
    found = picked([*made.chat(20), (51.0, 51.0, "S00")])
    assert reasons(found) == ["no_length"]
    assert "ep_000020" in found.refused[0].message


@pytest.mark.parametrize(
    "bounds",
    [
        {"min_seconds": -1.0}, {"max_pause": float("nan")}, {"max_overlap": 1.5}, {"max_others": 2.0},
        {"min_seconds": 30.0, "max_seconds": 20.0}, {"min_dnsmos": float("inf")},
    ],
)  # fmt: skip
def test_bounds_that_make_no_sense_are_refused_by_their_option(bounds: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(bounds)).replace('_', '-')}"):
        StretchRules(**bounds)


def test_languages_are_taken_as_people_write_them() -> None:
    assert StretchRules(languages=("en-US", "DEU", "unknown")).languages == ("en", "de", "unknown")
    assert len(picked(made.chat(20), StretchRules(languages=("eng",))).stretches) == 1
    with pytest.raises(UsageError, match="--languages: 'klingonese' is no language"):
        StretchRules(languages=("en", "klingonese"))


TURN = st.tuples(st.integers(0, 400), st.integers(0, 40), st.sampled_from(["S00", "S01", "S02"]), st.booleans())


@settings(max_examples=300, deadline=None)
@given(st.lists(TURN, max_size=30), st.sampled_from([0.0, 0.1, 1.0]), st.sampled_from([8.0, 900.0]))
def test_every_segment_with_a_text_is_in_one_place(turns: list[Any], others: float, longest: float) -> None:
    rows = [
        Segment.model_validate(made.row("ep", n, at / 4, (at + length) / 4, who, text="x" if says else ""))
        for n, (at, length, who, says) in enumerate(turns)
    ]
    found = pick(rows, StretchRules(min_seconds=2.0, max_seconds=longest, max_others=others))
    taken = [row.segment_id for one in found.stretches for row in one.segments]
    assert len(taken) == len(set(taken))
    refused = [(one.start, one.end) for one in found.refused]
    for row in rows:
        within = any(start <= row.start and row.end <= end for start, end in refused)
        assert row.segment_id in taken or within or not row.says
    for one in found.stretches:
        assert len(one.speakers) == 2
        assert one.start <= min(row.start for row in one.segments)
        assert one.end >= max(row.end for row in one.segments)
        assert others > 0 or {row.speaker for row in one.segments if row.says} == set(one.speakers)
        assert 0 <= one.overlap <= one.speech
