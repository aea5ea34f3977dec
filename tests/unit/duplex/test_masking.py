"""The mask of one speaker: where turns begin and end, where two change over, and what the gain is to the sample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.duplex.masking import Masking, Said, heard, levels, mask, pauses, spans_of
from duplexforge.errors import UsageError
from tests.duplex import processed as made

RATE = 16000
RULES = Masking()
Samples = made.Samples


class Room:
    """A recording to look for pauses in: white noise of one level where somebody speaks, quiet noise elsewhere."""

    def __init__(self, speech: made.Spans, *, seconds: float = 20.0, floor: float = 1e-3, seed: int = 7) -> None:
        noise = np.random.default_rng(seed).standard_normal(round(seconds * RATE)).astype(np.float32)
        gain = np.full(len(noise), floor, np.float32)
        for start, end in speech:
            gain[round(start * RATE) : round(end * RATE)] = 0.1
        self.samples = noise * gain

    def __call__(self, start: float, end: float) -> tuple[Samples, int]:
        first, last = round(start * RATE), round(end * RATE)
        padded = np.concatenate([np.zeros(RATE * 5, np.float32), self.samples, np.zeros(RATE * 5, np.float32)])
        return padded[first + RATE * 5 : last + RATE * 5], RATE


def turns(*said: tuple[float, float, str]) -> list[Said]:
    return [Said(*one) for one in said]


def test_what_one_says_over_short_pauses_is_one_turn() -> None:
    said = turns((0.0, 1.0, "a"), (1.3, 2.0, "a"), (3.0, 4.0, "a"), (1.9, 3.5, "b"))
    assert heard(said, 0.5) == turns((0.0, 2.0, "a"), (1.9, 3.5, "b"), (3.0, 4.0, "a"))
    assert heard(said, 0.2)[:2] == turns((0.0, 1.0, "a"), (1.3, 2.0, "a"))


def test_a_pause_in_which_somebody_else_speaks_is_not_bridged() -> None:
    said = turns((0.0, 1.0, "a"), (1.0, 1.2, "b"), (1.3, 2.0, "a"))
    assert heard(said, 0.5) == said


def test_segments_of_one_speaker_that_overlap_are_one_turn() -> None:
    assert heard(turns((0.0, 2.0, "a"), (1.0, 1.5, "a"), (1.9, 3.0, "a")), 0.0) == turns((0.0, 3.0, "a"))


@pytest.mark.parametrize("late", [-0.25, -0.1, 0.0, 0.1, 0.25])
def test_a_border_that_is_off_moves_to_the_pause_between_the_speakers(late: float) -> None:
    room = Room([(1.0, 5.0), (5.3, 9.0)])
    border = 5.15 + late
    said = turns((1.0, border, "a"), (border, 9.0, "b"))
    (one,), (other,) = (spans_of(who, said, room, RULES) for who in "ab")
    assert 4.99 <= one[1] <= other[0] <= 5.31
    assert one[0] == pytest.approx(0.85)
    assert other[1] == pytest.approx(9.15)


def test_a_turn_that_begins_late_gets_its_beginning_back_from_the_pause() -> None:
    room = Room([(1.0, 5.0), (5.6, 9.0)])
    (span,) = spans_of("b", turns((1.0, 5.0, "a"), (5.7, 9.0, "b")), room, RULES)
    assert span[0] == pytest.approx(5.6 - RULES.widen, abs=0.02)


def test_a_pause_inside_a_turn_is_left_alone_when_the_speakers_have_their_own() -> None:
    room = Room([(1.0, 4.7), (4.85, 5.0), (5.1, 9.0)])
    said = turns((1.0, 5.02, "a"), (5.05, 9.0, "b"))
    (one,), (other,) = (spans_of(who, said, room, RULES) for who in "ab")
    assert 5.0 <= one[1] <= other[0] <= 5.1


def test_under_music_the_borders_stay_where_they_are() -> None:
    room = Room([(1.0, 5.0), (5.3, 9.0)], floor=0.05)
    assert pauses(room, 4.0, 6.0) == []
    said = turns((1.0, 5.4, "a"), (5.5, 9.0, "b"))
    (one,), (other,) = (spans_of(who, said, room, RULES) for who in "ab")
    assert one[1] == other[0] == pytest.approx(5.45)


def test_digital_silence_does_not_make_a_room_loud() -> None:
    room = Room([(1.0, 5.0), (5.3, 9.0)], floor=1e-3)
    room.samples[round(9.0 * RATE) :] = 0.0
    room.samples[: round(1.0 * RATE)] = 0.0
    ((start, end),) = pauses(room, 4.7, 5.6)
    assert (start, end) == (pytest.approx(5.0, abs=0.011), pytest.approx(5.3, abs=0.011))


def test_where_both_speak_both_keep_it() -> None:
    room = Room([(1.0, 9.0)])
    said = turns((1.0, 6.0, "a"), (5.0, 9.0, "b"), (2.0, 2.5, "b"))
    assert spans_of("a", said, room, RULES) == [(pytest.approx(0.85), 6.0)]
    assert spans_of("b", sorted(said), room, RULES) == [(2.0, 2.5), (5.0, pytest.approx(9.15))]


def test_a_gap_is_shared_and_a_wide_one_is_left_to_silence() -> None:
    room = Room([(1.0, 5.0), (5.1, 9.0)], floor=0.08)
    said = turns((1.0, 5.0, "a"), (5.1, 9.0, "b"), (12.0, 13.0, "a"))
    assert spans_of("a", said, room, RULES) == [
        (pytest.approx(0.85), pytest.approx(5.05)), (pytest.approx(11.85), pytest.approx(13.15)),
    ]  # fmt: skip


def test_the_first_turn_does_not_begin_before_the_recording() -> None:
    assert spans_of("a", turns((0.05, 1.0, "a")), Room([(0.0, 1.0)]), RULES)[0][0] == 0.0


def test_the_gain_is_a_raised_cosine_around_each_edge() -> None:
    gain = mask([(0.5, 1.0)], 0, RATE * 2, RATE, 0.02)
    at = np.arange(RATE * 2) / RATE
    assert np.all(gain[(at < 0.49 - 1e-9) | (at > 1.01 + 1e-9)] == 0.0)
    assert np.all(gain[(at >= 0.51) & (at <= 0.99)] == 1.0)
    assert gain[round(0.5 * RATE)] == pytest.approx(0.5)
    assert gain[round(0.495 * RATE)] == pytest.approx((1 - np.cos(np.pi / 4)) / 2)
    assert np.all(np.diff(gain[: RATE * 3 // 4]) >= 0)


def test_without_a_fade_the_mask_is_a_switch() -> None:
    gain = mask([(0.25, 0.5)], 0, 1000, 1000, 0.0)
    assert np.flatnonzero(gain).tolist() == list(range(250, 501))
    assert set(gain) == {np.float32(0), np.float32(1)}


def test_neighbouring_spans_closer_than_a_fade_do_not_dip() -> None:
    assert np.all(mask([(0.1, 0.5), (0.505, 0.9)], 200, 800, 1000, 0.015) == 1.0)


SPANS = st.lists(st.tuples(st.floats(0, 4), st.floats(0, 1)), max_size=6)


@settings(max_examples=150, deadline=None)
@given(SPANS, st.integers(1, 4999), st.sampled_from([0.0, 0.015, 0.1]))
def test_a_mask_is_the_same_in_whatever_blocks_it_is_made(
    parts: list[tuple[float, float]], seam: int, fade: float
) -> None:
    spans = [(start, start + length) for start, length in parts]
    whole = mask(spans, 0, 5000, 1000, fade)
    assert np.array_equal(
        whole, np.concatenate([mask(spans, 0, seam, 1000, fade), mask(spans, seam, 5000, 1000, fade)])
    )
    assert whole.dtype == np.float32
    assert np.all((whole >= 0) & (whole <= 1))
    inside = np.zeros(5000, bool)
    for start, end in spans:
        at = np.arange(5000) / 1000
        inside |= (at >= start - fade / 2 - 1e-9) & (at <= end + fade / 2 + 1e-9)
    assert np.all(whole[~inside] == 0.0) or fade > 0.0
    assert np.all(whole[~inside & ~_between(spans, fade)] == 0.0)


def _between(spans: list[tuple[float, float]], fade: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Where a gap of at most a fade between spans was bridged."""
    found, at, reached = np.zeros(5000, bool), np.arange(5000) / 1000, -1.0
    for start, end in sorted(spans):
        if 0 <= start - reached <= fade:
            found |= (at >= reached) & (at <= start)
        reached = max(reached, end)
    return found


@given(st.floats(0.5, 4.5), st.sampled_from([0.0101, 0.015, 0.1]))
def test_two_who_change_over_at_one_moment_add_up_to_the_recording(border: float, fade: float) -> None:
    both = mask([(0.0, border)], 200, 4800, 1000, fade) + mask([(border, 5.0)], 200, 4800, 1000, fade)
    np.testing.assert_allclose(both, 1.0, atol=1e-6)


def test_levels_are_of_every_ten_milliseconds() -> None:
    found = levels(np.concatenate([np.full(160, 0.1), np.zeros(160), np.ones(80)]).astype(np.float32), RATE)
    np.testing.assert_allclose(found, [-20.0, -100.0], atol=1e-3)
    assert len(levels(np.zeros(0, np.float32), RATE)) == 0


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="--fade"):
        Masking(fade=-0.1)
    with pytest.raises(UsageError, match="--widen"):
        Masking(widen=float("nan"))
