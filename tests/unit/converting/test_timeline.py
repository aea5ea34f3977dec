"""The rules of a timeline: nothing said is lost without a count, nothing is merged that should not be."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.converting.episode import Episode, Sound, Speech
from duplexforge.converting.timeline import LONG, Rules, Timeline, keep, merge, spoken
from duplexforge.errors import UsageError
from tests.unit.converting.made import episode, sound, speech


def kept(*entries: Speech | Sound, **rules: float | bool | None) -> Timeline:
    return keep(episode(*entries), Rules(**rules))  # type: ignore[arg-type]


def times(timeline: Timeline) -> list[tuple[float, float]]:
    return [(one.start, one.end) for one in timeline.speech]


# -- merging -----------------------------------------------------------------------------------------------------------


def test_neighbours_of_one_speaker_become_one() -> None:
    found = kept(speech(0, 1, text="so "), speech(1.5, 2, text=" it"), speech(2.1, 3, text="goes"), merge_threshold=0.5)
    [one] = found.speech
    assert (one.start, one.end, one.text) == (0, 3, "so it goes")
    assert one.segments == ("S00@0-1", "S00@1.5-2", "S00@2.1-3")
    assert not found.left_out


def test_the_pause_counts_to_the_millisecond() -> None:
    # 0.3 - 0.1 is a little more than 0.2 in binary.
    assert times(kept(speech(0, 0.1), speech(0.3, 1), merge_threshold=0.2)) == [(0, 1)]
    assert times(kept(speech(0, 0.1), speech(0.301, 1), merge_threshold=0.2)) == [(0, 0.1), (0.301, 1)]
    assert times(kept(speech(0, 1), speech(1, 2), merge_threshold=0.0)) == [(0, 2)]
    assert times(kept(speech(0, 1), speech(1, 2))) == [(0, 1), (1, 2)]


@pytest.mark.parametrize("between", [speech(1.1, 1.3, "S01"), sound(1.2, 1.3), speech(0.5, 1.2, "S01"), sound(0, 9)])
def test_what_is_heard_in_the_pause_keeps_them_apart(between: Speech | Sound) -> None:
    found = kept(speech(0, 1), between, speech(1.4, 2), merge_threshold=0.5)
    assert (0, 1) in times(found)
    assert (1.4, 2) in times(found)


def test_what_is_heard_beside_them_does_not() -> None:
    # A listener's "yes" inside a turn, and laughter before and behind.
    entries = (sound(0, 0.4), speech(0, 1), speech(0.3, 0.6, "S01"), speech(1.4, 2), sound(1.9, 3))
    assert times(kept(*entries, merge_threshold=0.5)) == [(0, 2), (0.3, 0.6)]


def test_nothing_is_merged_over_speech_that_is_left_out() -> None:
    entries = (speech(0, 1), speech(1.1, 1.3, "S01", flags=("low_mos",)), speech(1.4, 2))
    assert times(kept(*entries, merge_threshold=0.5, clean=True)) == [(0, 1), (1.4, 2)]
    own = (speech(0, 1), speech(1.1, 1.3, flags=("low_mos",)), speech(1.4, 2))
    assert times(kept(*own, merge_threshold=0.5, clean=True)) == [(0, 1), (1.4, 2)]


def test_nothing_is_merged_beyond_the_longest() -> None:
    entries = [speech(n, n + 0.9) for n in range(6)]
    found = kept(*entries, merge_threshold=0.5, max_duration=2.9)
    assert times(found) == [(0, 2.9), (3, 5.9)]
    assert not any(one.flags for one in found.speech)


def test_a_long_one_is_kept_and_flagged() -> None:
    found = kept(speech(0, 10, flags=("low_mos",)), speech(20, 21), max_duration=5, merge_threshold=1)
    assert [one.flags for one in found.speech] == [("low_mos", LONG), ()]


def test_two_languages_are_not_one_entry_and_some_have_no_spaces() -> None:
    mixed = (speech(0, 1), speech(1, 2, language="de"))
    assert len(kept(*mixed, merge_threshold=1).speech) == 2
    unspaced = (speech(0, 1, text="夜の", language="ja"), speech(1, 2, text="海", language="ja"))
    assert kept(*unspaced, merge_threshold=1).speech[0].text == "夜の海"


# -- cutting and leaving out -------------------------------------------------------------------------------------------


def test_beginning_and_end_are_cut_off_and_counted() -> None:
    entries = [speech(n * 10, n * 10 + 8) for n in range(6)] + [sound(0, 30), sound(55, 60), sound(40, 58)]
    found = kept(*entries, cut_start=12, cut_end=5)
    assert times(found) == [(20, 28), (30, 38), (40, 48)]
    assert [(one.start, one.end) for one in found.sounds] == [(12, 30), (40, 55)]
    assert found.left_out == {"cut_off": 1, "cut_through": 2, "event_cut_off": 1}


def test_the_end_of_a_recording_of_unknown_length_cannot_be_cut() -> None:
    one = episode(speech(0, 5), duration=None)
    assert keep(one, Rules(cut_end=1)).refused == "unknown_duration"
    assert keep(one, Rules(cut_start=0.0)).refused is None


def test_short_entries_go_after_merging() -> None:
    found = kept(speech(0, 0.5), speech(0.6, 1.2), speech(5, 5.4), merge_threshold=0.5, min_duration=1)
    assert times(found) == [(0, 1.2)]
    assert found.left_out == {"too_short": 1}


def test_flagged_ones_go_when_asked() -> None:
    entries = (speech(0, 1, flags=("overlap",)), speech(2, 3))
    assert len(kept(*entries).speech) == 2
    assert kept(*entries, clean=True).left_out == {"flagged": 1}


def test_a_segment_without_length_is_counted() -> None:
    assert kept(speech(1, 1), speech(3, 2), speech(4, 5)).left_out == {"no_length": 2}


@pytest.mark.parametrize(
    ("one", "rules", "reason"),
    [
        (episode(speech(0, 5), outcome="unsupported_language"), Rules(), "unsupported_language"),
        (episode(), Rules(), "no_speech"),
        (episode(sound(0, 5)), Rules(), "no_speech"),
        (episode(speech(0, 5)), Rules(min_speech_duration=5.1), "little_speech"),
        (episode(speech(0, 5)), Rules(min_duration=6), "nothing_left"),
        (episode(speech(0, 5)), Rules(min_speech_duration=5), None),
    ],
)
def test_recordings_that_go_have_a_reason(one: Episode, rules: Rules, reason: str | None) -> None:
    assert keep(one, rules).refused == reason


def test_two_who_talk_at_once_are_counted_once() -> None:
    assert spoken([speech(0, 5), speech(3, 6, "S01"), speech(4, 5, "S02"), speech(8, 9)]) == 7.0


@pytest.mark.parametrize(
    "rules",
    [
        {"merge_threshold": -0.1},
        {"min_duration": float("nan")},
        {"cut_end": float("inf")},
        {"min_duration": 5.0, "max_duration": 4.0},
    ],
)
def test_senseless_rules_are_refused(rules: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="--"):
        Rules(**rules)  # type: ignore[arg-type]


# -- whatever the episode ----------------------------------------------------------------------------------------------

halves = st.integers(0, 80).map(lambda n: n / 4)
lengths = st.integers(1, 24).map(lambda n: n / 4)
talkers = st.builds(
    lambda start, length, who, bad: speech(start, start + length, f"S0{who}", flags=("low_mos",) if bad else ()),
    halves,
    lengths,
    st.integers(0, 2),
    st.integers(0, 5).map(lambda n: n == 0),
)
sounds = st.builds(lambda start, length: sound(start, start + length), halves, lengths)
episodes = st.builds(
    lambda said, heard: episode(*said, *heard, duration=30.0),
    st.lists(talkers, max_size=14, unique_by=lambda one: one.segments),
    st.lists(sounds, max_size=3),
)
limits = st.none() | st.integers(0, 30).map(lambda n: n / 4)
rules = st.builds(
    Rules, merge_threshold=limits, max_duration=limits, cut_start=halves, cut_end=halves, clean=st.booleans()
)


@settings(deadline=None)
@given(one=episodes, rule=rules)
def test_every_segment_is_in_one_entry_or_counted(one: Episode, rule: Rules) -> None:
    found = keep(one, rule)
    inside = [name for entry in found.speech for name in entry.segments]
    assert len(inside) == len(set(inside))
    gone = sum(n for reason, n in found.left_out.items() if reason != "event_cut_off")
    assert len(inside) + gone == len(one.speech)
    assert len(found.sounds) + found.left_out["event_cut_off"] == len(one.sounds)
    by_name = {entry.segments[0]: entry for entry in one.speech}
    for entry in found.speech:
        parts = [by_name[name] for name in entry.segments]
        assert (entry.start, entry.end) == (min(p.start for p in parts), max(p.end for p in parts))
        assert {p.speaker for p in parts} == {entry.speaker}
        assert entry.text.split() == [word for p in parts for word in p.text.split()]
        assert set(entry.flags) - {LONG} == {flag for p in parts for flag in p.flags}


@settings(deadline=None)
@given(one=episodes, rule=rules)
def test_limits_are_kept_and_time_goes_forward(one: Episode, rule: Rules) -> None:
    found = keep(one, rule)
    assert found.speech == sorted(found.speech, key=lambda e: (e.start, e.end, e.segments))
    for entry in [*found.speech, *found.sounds]:
        assert rule.cut_start <= entry.start < entry.end
        assert entry.end <= (30.0 - rule.cut_end if rule.cut_end else 50.0)
    for entry in found.speech:
        too_long = rule.max_duration is not None and entry.end - entry.start > rule.max_duration
        assert (LONG in entry.flags) == too_long
        if len(entry.segments) > 1:
            assert not too_long
            assert rule.merge_threshold is not None
        if rule.clean:
            assert "low_mos" not in entry.flags


@settings(deadline=None)
@given(one=episodes, rule=rules)
def test_pauses_inside_an_entry_are_short_and_silent(one: Episode, rule: Rules) -> None:
    by_name = {entry.segments[0]: entry for entry in one.speech}
    for entry in keep(one, rule).speech:
        reached = by_name[entry.segments[0]].end
        for name in entry.segments[1:]:
            part = by_name[name]
            assert rule.merge_threshold is not None
            assert part.start - reached <= rule.merge_threshold
            for other in [*one.speech, *one.sounds]:
                if part.start > reached and not (isinstance(other, Speech) and other.segments[0] in entry.segments):
                    assert other.end <= reached or other.start >= part.start
            reached = max(reached, part.end)


@settings(deadline=None)
@given(one=episodes, rule=rules)
def test_merging_again_changes_nothing(one: Episode, rule: Rules) -> None:
    said = sorted(one.speech, key=lambda e: (e.start, e.end, e.segments))
    once = merge(said, [*said, *one.sounds], rule)
    assert merge(once, [*once, *one.sounds], rule) == once


@settings(deadline=None)
@given(one=episodes, rule=rules, data=st.data())
def test_the_order_of_the_input_does_not_matter(one: Episode, rule: Rules, data: st.DataObject) -> None:
    shuffled = episode(*data.draw(st.permutations(one.speech)), *data.draw(st.permutations(one.sounds)), duration=30.0)
    assert keep(shuffled, rule) == keep(one, rule)
