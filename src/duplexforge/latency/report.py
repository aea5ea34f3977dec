"""What came out, as JSON and as text: figures, when their clocks started, and on what they were measured."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from duplexforge import __version__
from duplexforge.latency import chunks
from duplexforge.latency.figures import MEASURES, Measure, Spread, Times
from duplexforge.latency.turn import Turn
from duplexforge.models.s2s.plain_arrays import sizes
from duplexforge.models.s2s.shape import Shape

__all__ = ["RANDOM", "Machine", "Model", "Report", "known", "machine", "parameters"]

RANDOM = "RANDOM WEIGHTS"
_CLOCKS = {
    "wall": "by time.perf_counter, as fast as the machine can: other work on it is in every figure",
    "cpu": "PROCESSOR TIME by time.process_time: other work on the machine is left out, and so is waiting for it",
}


@dataclass(frozen=True)
class Model:
    """What was measured."""

    name: str
    random: bool
    """Whether the weights are drawn: its words mean nothing, its times do."""
    engine: str
    device: str
    shape: Shape

    @property
    def title(self) -> str:
        """One line; random weights are said first and loudly."""
        shape = self.shape
        size = f"{parameters(shape) / 1e6:.1f} M parameters, {shape.width} wide"
        layers = f"{shape.encoder_layers} + {shape.decoder_layers} layers"
        return (
            f"{RANDOM + ', ' if self.random else ''}{self.name}: {size}, {layers}; engine {self.engine}, {self.device}"
        )


@dataclass(frozen=True)
class Machine:
    """On what it was measured. ``threads`` is None where nothing could limit them."""

    processor: str
    cores: int
    cores_allowed: int
    threads: int | None
    load: float
    """Processes that wanted a core, over the last minute, when the measurement ended; its own is one of them."""
    python: str
    share: float = 1.0
    """Processor seconds of this process for each second that the measurement took: far below 1, others had the core."""

    @property
    def title(self) -> str:
        """One line."""
        threads = (
            "threads as the libraries choose"
            if self.threads is None
            else f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        )
        cores = f"{self.cores_allowed} of {self.cores} cores"
        had = f"load {self.load:.1f}, {self.share:.0%} of a core had"
        return f"{self.processor}, {cores}, {threads}, {had}, python {self.python}"


@dataclass(frozen=True)
class Report:
    """Everything that was measured at once."""

    model: Model
    machine: Machine
    clock: str
    """``wall`` or ``cpu``: by ``time.perf_counter`` or by ``time.process_time``."""
    question: str
    question_seconds: float
    turns: list[Turn]
    codec: Times

    def spreads(self) -> dict[str, Spread]:
        """The figures by name; what no turn had (a model that said no text) is not among them."""
        times: Times = {}
        for turn in self.turns:
            for name, values in turn.times.items():
                times.setdefault(name, []).extend(values)
        times |= self.codec
        return {name: Spread.of(times[name]) for name in known() if times.get(name)}

    @property
    def notes(self) -> list[str]:
        """What a reader must know beside the figures."""
        chunk, rounds = 40 * self.model.shape.chunk, len(self.turns)
        silent = sum("first_text" not in turn.times for turn in self.turns)
        cut = sum(not turn.ended for turn in self.turns)
        found = [
            "no endpointing in it: the decision to answer falls with the user's last chunk",
            f"the model hears chunks of {chunk} ms; {rounds} answers, after one that is left out as warm-up",
            _CLOCKS[self.clock],
        ]
        found += [f"{silent} of {rounds} answers held no text"] if silent else []
        return found + ([f"{cut} of {rounds} answers ran into the model's limit"] if cut else [])

    def to_json(self) -> dict[str, Any]:
        """The file ``latency.json``."""
        measures = known()
        return {
            "duplexforge": __version__,
            "title": self.model.title,
            "model": asdict(self.model) | {"parameters": parameters(self.model.shape)},
            "machine": asdict(self.machine),
            "clock": self.clock,
            "question": {"name": self.question, "seconds": round(self.question_seconds, 3)},
            "rounds": len(self.turns),
            "warmup": 1,
            "notes": self.notes,
            "measures": {name: _row(measures[name], spread) for name, spread in self.spreads().items()},
            "answers": [
                {"text": turn.text, "seconds": round(turn.seconds, 3), "ended": turn.ended} for turn in self.turns
            ],
        }

    def to_text(self) -> str:
        """A table for people."""
        measures = known()
        head = f"{'':<28}{'n':>6}{'p50':>10}{'p95':>10}{'p99':>10}{'max':>10}"
        lines = [self.model.title, f"question: {self.question}, {self.question_seconds:.1f} s", "", head]
        lines += [_line(measures[name], spread) for name, spread in self.spreads().items()]
        lines += ["", *(f"{one.title}: {one.start}" for one in MEASURES.values()), "", *self.notes]
        return "\n".join([*lines, self.machine.title])


def known() -> dict[str, Measure]:
    """Everything that can be measured, by name."""
    return MEASURES | chunks.measures()


def parameters(shape: Shape) -> int:
    """Numbers in the weights of a model of ``shape``."""
    return sum(math.prod(size) for size in sizes(shape).values())


def machine(threads: int | None, share: float = 1.0) -> Machine:
    """This machine, now."""
    model, info = "", Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    cores = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    found = Machine(model or platform.machine(), cores, allowed, threads, round(load, 2), platform.python_version())
    return replace(found, share=round(share, 3))


def _met(measure: Measure, spread: Spread) -> bool | None:
    return None if measure.goal is None else spread.p95 < measure.goal


def _row(measure: Measure, spread: Spread) -> Mapping[str, Any]:
    facts = {"title": measure.title, "unit": measure.unit, "clock": measure.start}
    return facts | spread.to_json() | {"goal_p95": measure.goal, "met": _met(measure, spread)}


def _line(measure: Measure, spread: Spread) -> str:
    figures = "".join(f"{value:10.2f}" for value in (spread.p50, spread.p95, spread.p99, spread.most))
    met = _met(measure, spread)
    verdict = "" if met is None else f"  p95 below {measure.goal:g} {measure.unit}: {'yes' if met else 'NO'}"
    return f"{measure.title:<28}{spread.n:>6}{figures} {measure.unit}{verdict}"
