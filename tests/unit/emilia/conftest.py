"""Recordings made of synthetic speech, and the two configurations of the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile as sf
from threadpoolctl import threadpool_limits

from Emilia.config import Config, load_config
from Emilia.recording import Recording, Waveform, WaveformWriter
from tests.unit.emilia import synth

Samples = npt.NDArray[np.float32]
Quiet = Callable[[float], None]


def hush(_share: float) -> None:
    """A progress that nobody watches."""


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """As the pipeline runs its stages: threads that wait for each other cost more than they give on small matrices."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="session")
def config() -> Config:
    return load_config(None)


@pytest.fixture(scope="session")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A man and a woman, four turns, 12 seconds, 16 kHz."""
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    sf.write(path, synth.talk(), synth.RATE)
    return path


@pytest.fixture
def wave(tmp_path: Path) -> Callable[..., Waveform]:
    """Makes a waveform of samples."""

    def make(samples: Samples, rate: int = synth.RATE) -> Waveform:
        count = len(list(tmp_path.glob("*.f32")))
        with WaveformWriter(tmp_path / f"made-{count}.f32", rate) as writer:
            writer.write(samples)
            return writer.done()

    return make


@pytest.fixture
def recording(tmp_path: Path) -> Callable[[Path], Recording]:
    """Makes a recording of a source with its own folders."""

    def make(source: Path) -> Recording:
        for name in ("out", "scratch"):
            (tmp_path / name).mkdir(exist_ok=True)
        return Recording(source, "ep", tmp_path / "out", tmp_path / "scratch", "en")

    return make
