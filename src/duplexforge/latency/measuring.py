"""The whole measurement: opens a model, runs the turns and the codec, hands back the report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from duplexforge.errors import UsageError
from duplexforge.latency.chunks import streams
from duplexforge.latency.report import Model, Report, machine
from duplexforge.latency.turn import Clock, Wave, rounds
from duplexforge.models import audio_file, base
from duplexforge.models.s2s import weights as files
from duplexforge.models.s2s.features import RATE
from duplexforge.models.s2s.opening import Opened, open_s2s, shipped
from duplexforge.models.s2s.plain_arrays import drawn
from duplexforge.models.s2s.shape import Shape

__all__ = ["CLOCKS", "Asked", "limited", "measure", "shape_of", "tone"]

CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
"""What a person waits, or what of it is this process's own work: about what an idle machine would show."""
_SECONDS = 2.0
# Each gives a figure for every chunk of the question: a few are plenty.
_CODEC_ROUNDS = 5


@dataclass(frozen=True)
class Asked:
    """What to measure. ``random`` is the shape of a model whose weights are drawn, instead of a file's."""

    weights: Path | None = None
    random: Shape | None = None
    engine: str = "plain"
    device: str = "cpu"
    question: Path | None = None
    repeat: int = 20
    threads: int = 1
    clock: str = "wall"

    def __post_init__(self) -> None:
        if self.random is not None and self.weights is not None:
            raise UsageError("random weights and a weights file: one of the two")
        if self.random is not None and self.engine == "onnx":
            raise UsageError("the engine onnx runs exported graphs, and random weights are none: take plain or torch")
        if self.repeat < 1 or self.threads < 1:
            raise UsageError("a measurement wants at least one answer and one thread")
        if self.engine == "onnx" and self.threads > 1:
            raise UsageError("the engine onnx runs on one thread: leave out --threads")
        if self.clock not in CLOCKS:
            raise UsageError(f"there is no clock {self.clock}; there are {', '.join(CLOCKS)}")
        if self.clock == "cpu" and (self.threads > 1 or self.device != "cpu"):
            raise UsageError(
                "processor time is what a person waits on one thread of the CPU alone: take the clock wall"
            )


def measure(asked: Asked) -> Report:
    """Run everything that ``asked`` names; UsageError, InputError or ModelError when it cannot be run."""
    wave = tone() if asked.question is None else audio_file.read(asked.question, RATE)
    question = "synthetic, harmonics in syllables" if asked.question is None else asked.question.name
    model = _open(asked)
    # The libraries are limited after the model is open: only those already loaded can be.
    with limited(asked.threads) as threads:
        worked, passed = time.process_time(), time.perf_counter()
        clock = CLOCKS[asked.clock]
        turns = rounds(model, wave, asked.repeat, clock)
        codec = streams(wave, min(asked.repeat, _CODEC_ROUNDS), clock)
        share = (time.process_time() - worked) / (time.perf_counter() - passed)
    name = "a drawn model" if asked.random else (asked.weights or shipped()).resolve().name
    facts = Model(name, asked.random is not None, asked.engine, asked.device, model.steps.shape)
    return Report(facts, machine(threads, share), asked.clock, question, len(wave) / RATE, turns, codec)


def shape_of(width: int, layers: int) -> Shape:
    """The shape of a drawn model: ``layers`` in encoder and decoder each, heads of 64, inner widths as the recipes have."""
    codec = base.open_mode("base")
    inner = (4 if width > 256 else 2) * width
    return Shape(
        width=width,
        heads=max(width // 64, 1),
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_inner=inner,
        decoder_inner=round(2.75 * width),
        vocabulary=1000,
        books=codec.books,
        entries=codec.entries,
    )


def tone(seconds: float = _SECONDS) -> Wave:
    """Something to hear when no question is given: harmonics of a gliding pitch, in syllables. Never random."""
    at = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 20 * np.sin(4 * at)) / RATE
    sung = sum(np.sin(number * phase) / number for number in range(1, 25)) * np.clip(np.sin(13 * at), 0, None)
    wave: Wave = (0.3 * sung / np.abs(sung).max()).astype(np.float32)
    return wave


@contextmanager
def limited(threads: int) -> Iterator[int | None]:
    """At most ``threads`` in the libraries that are loaded; None, and no limit, without threadpoolctl."""
    if find_spec("threadpoolctl") is None:
        yield None
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads):
        yield threads


def _open(asked: Asked) -> Opened:
    if asked.random is None:
        return open_s2s(1, engine=asked.engine, weights=asked.weights, device=asked.device)
    with TemporaryDirectory() as folder:
        path = Path(folder) / files.NAME
        files.write(path, drawn(asked.random))
        return open_s2s(1, engine=asked.engine, weights=path, device=asked.device)
