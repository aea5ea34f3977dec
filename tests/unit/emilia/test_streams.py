"""Streams: the mix read by ranges at another rate, pieces added up, and what is found subtracted in time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

from Emilia.models.streams import Mix, Overlap, Track
from Emilia.recording import Waveform
from tests.unit.emilia.conftest import Samples

Make = Callable[..., Waveform]
SEED = 7


def noise(frames: int, seed: int = SEED) -> Samples:
    return (0.1 * np.random.default_rng(seed).standard_normal(frames)).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.001, 0.1, 9.99, 10.0, 31.7])
def test_the_mix_is_the_resampled_whole(wave: Make, seconds: float) -> None:
    samples = noise(round(seconds * 24000))
    mix = Mix(wave(samples, 24000), 44100, back=500)
    resampled = soxr.resample(samples, 24000, 44100, quality="VHQ")
    assert abs(mix.frames - len(resampled)) <= 1
    whole = np.zeros(mix.frames + 200000, np.float32)
    whole[1000 : 1000 + len(resampled)] = resampled
    rng, start = np.random.default_rng(SEED), -1000
    while start < mix.frames:
        stop = start + int(rng.integers(1, 100000))
        assert np.abs(mix.read(start, stop) - whole[start + 1000 : stop + 1000]).max() < 1e-6
        start += int(rng.integers(-500, 60000))
        start = max(start, -1000)


class Heard(Track):
    """A track that only remembers."""

    def __init__(self) -> None:
        self.pieces: list[Samples] = []
        self.ended = False

    def add(self, samples: Samples, last: bool = False) -> None:
        assert not self.ended
        self.pieces.append(samples.copy())
        self.ended = last


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 60)), max_size=8), st.integers(1, 50))
def test_pieces_are_added_up(places: list[tuple[int, int]], block: int) -> None:
    total, heard, at = 1000, Heard(), 0
    expected = np.zeros(total, np.float32)
    overlap = Overlap([heard], block)
    for step, length in places:
        at += step
        piece = np.full(length, 1.0 + at, np.float32)
        expected[at : at + length] += piece
        overlap.add(at, piece)
    overlap.finish(total)
    assert np.array_equal(np.concatenate(heard.pieces), expected)
    assert heard.ended
    # Gaps of hours must not be one block of zeros.
    assert max(map(len, heard.pieces)) <= max(block, 60 * len(places))


@pytest.mark.parametrize("rate", [24000, 16000])
def test_what_is_taken_away_is_in_time(wave: Make, tmp_path: Path, rate: int) -> None:
    """A band-limited sound resampled to 44.1 kHz and taken away from itself leaves nothing; alone it stays."""
    from scipy.signal import firwin, lfilter

    samples = lfilter(firwin(255, 0.7), 1, noise(rate * 3)).astype(np.float32)
    samples *= np.hanning(len(samples)).astype(np.float32) ** 2
    made = wave(samples, rate)
    found = soxr.resample(samples, rate, 44100, quality="VHQ")
    for alone, expected in ((False, np.zeros_like(samples)), (True, samples)):
        track = Track(made, tmp_path / "out.f32", 44100, alone=alone)
        for first in range(0, len(found), 5000):
            track.add(found[first : first + 5000])
        track.add(np.zeros(0, np.float32), last=True)
        done = track.done()
        assert (done.rate, done.frames) == (rate, len(samples))
        assert np.abs(done.read(0, done.frames) - expected).max() < 1e-4


@pytest.mark.parametrize("frames", [1, 23, 24000, 24001, 240007])
def test_nothing_taken_away_changes_no_bit(wave: Make, tmp_path: Path, frames: int) -> None:
    made = wave(noise(frames), 24000)
    track = Track(made, tmp_path / "out.f32", 44100, alone=False)
    overlap = Overlap([track], 44100)
    overlap.finish(Mix(made, 44100, 0).frames)
    done = track.done()
    assert np.array_equal(done.read(0, frames), made.read(0, frames))
    assert done.frames == frames
