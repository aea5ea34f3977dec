"""The scores of `benchmarks/dialogue.py` on cases whose answer is known by hand."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks import dialogue

DURATION = 20.0


def turn(speaker: str, start: float, end: float, text: str = "") -> dict[str, Any]:
    """One turn, as in the truth file and in `all_segments.json`."""
    return {"speaker": speaker, "start": start, "end": end, "text": text}


# Ten seconds of each speaker, back to back, so that shares are easy: 1 s is 5 % of the 20 s of speech.
REFERENCE = [turn("a", 0.0, 5.0), turn("b", 5.0, 10.0), turn("a", 10.0, 15.0), turn("b", 15.0, 20.0)]


def parts(hypothesis: list[dict[str, Any]], **options: float) -> tuple[float, float, float, float]:
    """DER, confusion, missed and false alarm against `REFERENCE`."""
    score = dialogue.score_der(REFERENCE, hypothesis, DURATION, **({"collar": 0.0} | options))
    return score["der"], score["confusion"], score["missed"], score["false_alarm"]


def test_perfect_is_zero() -> None:
    assert parts(REFERENCE) == (0.0, 0.0, 0.0, 0.0)
    score = dialogue.score_der(REFERENCE, REFERENCE, DURATION, collar=0.0)
    assert score["total"] == score["correct"] == pytest.approx(20.0)


def test_names_of_speakers_do_not_matter() -> None:
    names = {"a": "episode/S01", "b": "episode/S00"}
    assert parts([one | {"speaker": names[one["speaker"]]} for one in REFERENCE])[0] == 0.0


def test_one_turn_under_the_wrong_speaker_is_confusion() -> None:
    hypothesis = [*REFERENCE[:3], turn("a", 15.0, 20.0)]
    assert parts(hypothesis) == pytest.approx((0.25, 5.0, 0.0, 0.0))


def test_one_speaker_for_all_confuses_half() -> None:
    assert parts([turn("x", 0.0, 20.0)]) == pytest.approx((0.5, 10.0, 0.0, 0.0))


def test_a_speaker_cut_in_two_is_confusion_of_the_smaller_part() -> None:
    hypothesis = [*REFERENCE[:2], turn("c", 10.0, 12.0), turn("a", 12.0, 15.0), REFERENCE[3]]
    assert parts(hypothesis) == pytest.approx((0.1, 2.0, 0.0, 0.0))


def test_a_tenth_missed() -> None:
    hypothesis = [turn("a", 0.0, 4.0), REFERENCE[1], turn("a", 11.0, 15.0), REFERENCE[3]]
    assert parts(hypothesis) == pytest.approx((0.1, 0.0, 2.0, 0.0))


def test_nothing_found_is_all_missed() -> None:
    assert parts([]) == pytest.approx((1.0, 0.0, 20.0, 0.0))


def test_speech_in_silence_is_false_alarm() -> None:
    reference = [turn("a", 0.0, 10.0)]
    score = dialogue.score_der(reference, [turn("x", 0.0, 12.0)], DURATION, collar=0.0)
    assert (score["der"], score["false_alarm"]) == pytest.approx((0.2, 2.0))


def test_a_second_voice_where_one_speaks_is_false_alarm() -> None:
    hypothesis = [*REFERENCE, turn("b", 1.0, 2.0)]
    assert parts(hypothesis) == pytest.approx((0.05, 0.0, 0.0, 1.0))


def test_overlap_in_the_reference_counts_twice() -> None:
    reference = [turn("a", 0.0, 10.0), turn("b", 8.0, 18.0)]
    score = dialogue.score_der(reference, [turn("x", 0.0, 8.0), turn("y", 8.0, 18.0)], DURATION, collar=0.0)
    assert score["total"] == pytest.approx(20.0)
    assert (score["der"], score["missed"]) == pytest.approx((0.1, 2.0))


def test_one_speaker_is_not_counted_twice_where_segments_overlap() -> None:
    hypothesis = [turn("a", 0.0, 3.0), turn("a", 2.5, 5.0), *REFERENCE[1:]]
    assert parts(hypothesis)[0] == 0.0


def test_what_lies_outside_the_file_does_not_count() -> None:
    assert parts([*REFERENCE, turn("a", 20.0, 25.0)])[0] == 0.0


def test_collar_forgives_half_of_itself_on_either_side() -> None:
    reference = [turn("a", 5.0, 10.0)]
    for late, wrong in ((0.12, 0.0), (0.2, 0.075), (0.5, 0.375)):
        score = dialogue.score_der(reference, [turn("a", 5.0 + late, 10.0)], DURATION)
        assert score["missed"] == pytest.approx(wrong), late
        assert score["total"] == pytest.approx(4.75)


def test_nothing_said_and_nothing_found_is_right_and_anything_else_wrong() -> None:
    assert dialogue.score_der([], [], DURATION)["der"] == 0.0
    assert dialogue.score_der([], [turn("a", 1.0, 2.0)], DURATION)["der"] == 1.0


@pytest.mark.parametrize(
    ("heard", "substitutions", "deletions", "insertions"),
    [
        ("one two three four five", 0, 0, 0),
        ("One, two: THREE - four; five!", 0, 0, 0),
        ("1 2 3 4 5", 0, 0, 0),
        ("one two tree four five", 1, 0, 0),
        ("one two four five", 0, 1, 0),
        ("one two three four and five", 0, 0, 1),
        ("", 0, 5, 0),
    ],
)
def test_word_errors(heard: str, substitutions: int, deletions: int, insertions: int) -> None:
    score = dialogue.score_wer([turn("a", 0.0, 1.0, "One two three, four five.")], [turn("x", 0.0, 1.0, heard)])
    wrong = substitutions + deletions + insertions
    assert score == {
        "wer": pytest.approx(wrong / 5), "words": 5,
        "substitutions": substitutions, "deletions": deletions, "insertions": insertions,
    }  # fmt: skip


def test_words_are_taken_in_time_order_whoever_says_them() -> None:
    reference = [turn("a", 0.0, 1.0, "good morning"), turn("b", 1.0, 2.0, "how are you")]
    hypothesis = [turn("x", 1.1, 2.0, "are you"), turn("x", 0.0, 1.1, "good morning how")]
    assert dialogue.score_wer(reference, hypothesis)["wer"] == 0.0


def test_words_where_nothing_was_said_are_all_wrong() -> None:
    assert dialogue.score_wer([], [])["wer"] == 0.0
    assert dialogue.score_wer([], [turn("x", 0.0, 1.0, "hello")])["wer"] == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don’t -- don't!", "dont dont"),
        ("ill-disposed", "ill disposed"),
        ("Mr. Dashwood", "mister dashwood"),
        ("0 13 20 47", "zero thirteen twenty forty seven"),
        ("105 and 1,200", "one hundred five and one thousand two hundred"),
        ("999999", "nine hundred ninety nine thousand nine hundred ninety nine"),
        ("1000000", "1000000"),
        ("Zwölf Äpfel", "zwölf äpfel"),
    ],
)
def test_words_become_comparable(text: str, expected: str) -> None:
    assert dialogue.words(text) == expected.split()


def test_overall_adds_up_instead_of_averaging() -> None:
    short = {"duration": 2.0, "turns": [turn("a", 0.0, 2.0, "yes indeed")]}
    long = {"duration": 20.0, "turns": [one | {"text": "two words"} for one in REFERENCE]}
    missed = dialogue.score(short, [])
    right = dialogue.score(long, long["turns"])  # type: ignore[arg-type]
    both = dialogue.overall([missed, right])
    assert both.der_without_collar["der"] == pytest.approx(2.0 / 22.0)
    assert both.wer["wer"] == pytest.approx(2.0 / 10.0)
    assert (both.speakers_found, both.speakers_true, both.segments) == (2, 3, 4)


def test_segments_of_an_earlier_run_are_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo, out = tmp_path / "demo", tmp_path / "out"
    (out / "talk").mkdir(parents=True)
    demo.mkdir()
    facts = {"language": "en", "duration": DURATION, "turns": REFERENCE}
    silent = {"language": "en", "duration": 8.0, "turns": []}
    (demo / "truth.json").write_text(json.dumps({"files": {"talk.mp3": facts, "tone.wav": silent}}))
    (out / "talk" / "all_segments.json").write_text(json.dumps(REFERENCE))
    monkeypatch.setattr(dialogue, "DEMO", demo)
    scores = dialogue.measure(out, (), run=False)
    assert list(scores) == ["talk.mp3"]
    assert scores["talk.mp3"].der["der"] == 0.0
    assert "2/2" in dialogue.table(scores)
    assert json.loads(json.dumps(asdict(scores["talk.mp3"])))["wer"]["words"] == 0
