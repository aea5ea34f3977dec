"""Cepstra against a plain restatement with loops."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from Emilia.models.mfcc import COEFFICIENTS, HOP, mfcc, mfcc_between
from Emilia.recording import Waveform
from tests.unit.emilia import synth
from tests.unit.emilia.conftest import Samples


def plain(samples: Samples) -> list[list[float]]:
    """The definition, one sum at a time."""
    signal = [float(s) for s in samples]
    signal = [signal[0]] + [signal[i] - 0.97 * signal[i - 1] for i in range(1, len(signal))]
    window = [0.54 - 0.46 * math.cos(2 * math.pi * i / 399) for i in range(400)]
    mel = [2595 * math.log10(1 + f / 700) for f in (60, 7600)]
    edges = [700 * (10 ** ((mel[0] + (mel[1] - mel[0]) * i / 31) / 2595) - 1) for i in range(32)]
    rows = []
    for start in range(0, len(signal) - 399, 160):
        frame = np.zeros(512)
        frame[:400] = [signal[start + i] * window[i] for i in range(400)]
        spectrum = np.fft.fft(frame)
        power = [abs(spectrum[k]) ** 2 / 512 for k in range(257)]
        logs = []
        for band in range(30):
            low, centre, high = edges[band : band + 3]
            total = 0.0
            for k in range(257):
                f = k * 16000 / 512
                if low < f <= centre:
                    total += power[k] * (f - low) / (centre - low)
                elif centre < f < high:
                    total += power[k] * (high - f) / (high - centre)
            logs.append(math.log(total + 1e-7))
        row = []
        for c in range(20):
            scale = math.sqrt((1 if c == 0 else 2) / 30)
            row.append(scale * sum(logs[b] * math.cos(math.pi * c * (2 * b + 1) / 60) for b in range(30)))
        rows.append(row)
    return rows


def test_equals_the_plain_definition() -> None:
    samples = synth.speech(0.12, synth.WOMAN)
    assert np.allclose(mfcc(samples), plain(samples), atol=2e-4)


def test_too_short_gives_no_frame() -> None:
    assert mfcc(np.zeros(399, np.float32)).shape == (0, COEFFICIENTS)
    assert mfcc(np.zeros(400, np.float32)).shape == (1, COEFFICIENTS)


def test_frames_do_not_depend_on_the_range(wave: Callable[[Samples], Waveform]) -> None:
    made = wave(synth.speech(1.0))
    whole = mfcc_between(made, 0, 100)
    assert whole.shape == (100, COEFFICIENTS)
    part = mfcc_between(made, 40, 70)
    # The first sample of a range has no predecessor for the pre-emphasis.
    assert np.allclose(part[1:], whole[41:70], atol=1e-5)
    assert mfcc_between(made, 90, 120).shape == (30, COEFFICIENTS)
    assert HOP == 160
