"""Silero's network as a stream, on real speech."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.errors import ModelError
from duplexforge.serving import vad
from tests.unit.serving.conversation_made import hush, speech


def _windows(samples: np.ndarray) -> np.ndarray:
    return samples[: len(samples) // vad.WINDOW * vad.WINDOW].reshape(-1, vad.WINDOW)


def _listened(windows: np.ndarray) -> list[float]:
    return vad.Listener(vad.silero()).listen(windows)


def test_speech_is_speech_and_silence_is_none():
    sound = np.concatenate([hush(1.0), speech(), hush(1.0)])
    found = np.array(_listened(_windows(sound)))
    first, last = round(1.0 / vad.SECONDS), round((1.0 + len(speech()) / vad.RATE) / vad.SECONDS)
    assert found[: first - 2].max() < 0.3
    assert (found[first + 3 : last - 3] > 0.5).mean() > 0.95
    assert found[last + 5 :].max() < 0.35


@pytest.mark.parametrize(
    "sound", [np.zeros(16_000), np.full(16_000, 1.0), np.random.default_rng(3).choice([-1.0, 1.0], 16_000)]
)
def test_what_is_no_speech_is_none_however_loud(sound: np.ndarray):
    found = _listened(_windows(sound.astype(np.float32)))
    assert np.isfinite(found).all()
    assert np.median(found) < 0.5


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_pieces_make_no_difference(sizes: list[int]):
    windows = _windows(speech())[: sum(sizes)]
    whole = _listened(windows)
    listener, found = vad.Listener(vad.silero()), []
    start = 0
    for size in sizes:
        found += listener.listen(windows[start : start + size])
        start += size
    assert found == pytest.approx(whole, abs=1e-5)


def test_the_same_sound_gives_the_same_numbers():
    windows = _windows(speech())[:40]
    assert _listened(windows) == _listened(windows)


def test_two_voices_do_not_hear_each_other():
    windows = _windows(speech())[:30]
    one, other = vad.Listener(vad.silero()), vad.Listener(vad.silero())
    found = []
    for window in windows:
        found += one.listen(window[None])
        other.listen(np.zeros((1, vad.WINDOW), np.float32))
    assert found == pytest.approx(_listened(windows), abs=1e-5)


def test_nothing_in_nothing_out():
    assert _listened(np.zeros((0, vad.WINDOW), np.float32)) == []


def test_one_network_serves_everybody():
    assert vad.silero() is vad.silero()


@pytest.mark.parametrize("package", ["faster_whisper", "onnxruntime"])
def test_a_missing_package_is_told_with_its_cure(monkeypatch: pytest.MonkeyPatch, package: str):
    if package == "faster_whisper":
        # An empty path is what Python sees where nothing is installed.
        monkeypatch.setattr(sys, "path", [])
        monkeypatch.setattr(sys, "path_importer_cache", {})
        monkeypatch.delitem(sys.modules, package, raising=False)
    else:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelError, match="install duplexforge's extra `serve`"):
        vad.Silero()


def test_the_thread_that_runs_it_counts_as_before():
    # onnxruntime can be told to take very small numbers for zero, and then the whole thread does.
    _listened(np.zeros((3, vad.WINDOW), np.float32))
    assert float(np.float32(1e-40) * np.ones(1, np.float32)[0]) > 0
