"""What every benchmark here shares: two sides measured in turn on the same input, and the table that says what came out.

    from harness import arguments, compare, report      # before numpy, so that its threads can be pinned

``compare`` runs ours and a peer A-B-B-A, at least five times each after one run to warm up, checks their outputs against
each other in the same run, and keeps wall time and processor time of this process and of its children, since a side may
start programs. The ratio is the peer's median over ours: above 1 ours is faster. "Per core" means processor time on one
core: ``arguments`` pins the process to one, and importing this module limits the libraries to one thread.

Published are the ratios; the seconds only show how large the measured work was.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple, TypeVar

__all__ = ["ROOT", "Comparison", "Cost", "Figure", "Spread", "arguments", "compare", "report", "timed"]

ROOT = Path(__file__).resolve().parents[1]
LEAST_REPETITIONS = 5

# BLAS and OpenMP read these once, when they are loaded.
for _name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB"):
    os.environ[f"{_name}_NUM_THREADS" if _name != "VECLIB" else "VECLIB_MAXIMUM_THREADS"] = "1"
# Run as a program, only this folder is on the path; the packages under test are one above.
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

Ours = TypeVar("Ours")
Peer = TypeVar("Peer")
Clock = Literal["cpu", "wall"]


class Cost(NamedTuple):
    """Seconds of one run: on the wall, and of processor time, children included."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Spread:
    """Median and range of several runs, in the unit of what was measured."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of ``values``, of which there is at least one."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True)
class Comparison:
    """Ours against a peer: seconds of both, and how many times faster ours is by the ``clock`` that counts.

    ``ratio`` is the peer's median over ours; its range is that of the single pairs. ``checked`` says in words what was
    found equal, ``goal`` is the least ratio wanted (0: none).
    """

    name: str
    peer: str
    clock: Clock
    ours_cpu: Spread
    peer_cpu: Spread
    ours_wall: Spread
    peer_wall: Spread
    ratio: Spread
    checked: str
    goal: float = 0.0

    @property
    def met(self) -> bool | None:
        """Whether the median ratio reaches the goal; None without one."""
        return self.ratio.median >= self.goal if self.goal else None


@dataclass(frozen=True)
class Figure:
    """A number that is no ratio of two sides, such as a share or core-seconds; ``goal`` in words, ``met`` or not."""

    name: str
    value: float
    unit: str = ""
    goal: str = ""
    met: bool | None = None


@dataclass
class _Side:
    """The runs of one side so far."""

    costs: list[Cost] = field(default_factory=list)

    def spread(self, clock: Clock) -> Spread:
        return Spread.of([getattr(cost, clock) for cost in self.costs])


def _now() -> Cost:
    used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return Cost(time.perf_counter(), sum(one.ru_utime + one.ru_stime for one in used))


def timed(work: Callable[[], Ours], clock: Callable[[], Cost] = _now) -> tuple[Ours, Cost]:
    """The result of ``work`` and what it cost. Children count once they have been waited for."""
    before = clock()
    result = work()
    after = clock()
    return result, Cost(after.wall - before.wall, after.cpu - before.cpu)


def compare(
    name: str,
    ours: Callable[[], Ours],
    peer: Callable[[], Peer],
    *,
    check: Callable[[Ours, Peer], str],
    peer_name: str,
    clock: Clock = "cpu",
    repetitions: int = LEAST_REPETITIONS,
    goal: float = 0.0,
    now: Callable[[], Cost] = _now,
) -> Comparison:
    """Measure ``ours`` and ``peer``, functions without arguments that do the same work, A-B-B-A.

    ``check`` gets both outputs of each pair, the one to warm up included, outside the measured time; it says what it
    found equal or raises ``AssertionError``. ``peer_name`` tells what the peer is and in which version.
    """
    if repetitions < LEAST_REPETITIONS:
        raise ValueError(f"{repetitions} repetitions: a median needs {LEAST_REPETITIONS} at least")
    checked = check(ours(), peer())
    mine, theirs = _Side(), _Side()
    for repetition in range(repetitions):
        if repetition % 2:
            right, right_cost = timed(peer, now)
            left, left_cost = timed(ours, now)
        else:
            left, left_cost = timed(ours, now)
            right, right_cost = timed(peer, now)
        mine.costs.append(left_cost)
        theirs.costs.append(right_cost)
        checked = check(left, right)
    ours_spread, peer_spread = mine.spread(clock), theirs.spread(clock)
    pairs = [getattr(b, clock) / getattr(a, clock) for a, b in zip(mine.costs, theirs.costs, strict=True)]
    return Comparison(
        name=name,
        peer=peer_name,
        clock=clock,
        ours_cpu=mine.spread("cpu"),
        peer_cpu=theirs.spread("cpu"),
        ours_wall=mine.spread("wall"),
        peer_wall=theirs.spread("wall"),
        ratio=Spread(peer_spread.median / ours_spread.median, min(pairs), max(pairs)),
        checked=checked,
        goal=goal,
    )


def arguments(doc: str | None, *, one_core: bool = True) -> argparse.ArgumentParser:
    """A parser with ``--quick``, ``--json`` and ``--repetitions``; ``one_core`` pins the process to one core."""
    if one_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    parser = argparse.ArgumentParser(description=(doc or "").strip().splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller inputs, under a minute")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--repetitions", type=int, default=LEAST_REPETITIONS, help="runs of each side (default 5)")
    return parser


def report(
    title: str,
    comparisons: Sequence[Comparison],
    figures: Sequence[Figure] = (),
    *,
    as_json: bool,
    packages: Sequence[str] = (),
    seed: int | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Print everything: as a table for people, or as JSON. ``packages`` are those whose versions matter; ``notes`` say
    what else a reader must know, such as the settings of both sides.
    """
    facts = {
        "title": title,
        "machine": _machine(),
        "versions": {package: version(package) for package in packages},
        "seed": seed,
        "notes": list(notes),
    }
    if as_json:
        rows = [asdict(one) | {"met": one.met} for one in comparisons]
        print(json.dumps(facts | {"comparisons": rows, "figures": [asdict(one) for one in figures]}, indent=1))
        return
    print("\n".join(_table(facts, comparisons, figures)))


def _machine() -> dict[str, Any]:
    model = ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "processor": model or platform.machine(),
        "cores": os.cpu_count(),
        "cores_used": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
    }


def _table(facts: dict[str, Any], comparisons: Sequence[Comparison], figures: Sequence[Figure]) -> list[str]:
    lines = [facts["title"], ""]
    for one in comparisons:
        ours, theirs = (one.ours_cpu, one.peer_cpu) if one.clock == "cpu" else (one.ours_wall, one.peer_wall)
        lines += [
            f"{one.name:<28} {one.ratio.median:8.2f} x  (pairs {one.ratio.least:.2f} to {one.ratio.most:.2f})"
            + _verdict(f"goal {one.goal:g} x", one.met),
            f"  peer: {one.peer}",
            f"  {one.clock} seconds: ours {_seconds(ours)}, peer {_seconds(theirs)}",
            f"  checked: {one.checked}",
        ]
    if figures:
        lines.append("")
    for figure in figures:
        lines.append(f"{figure.name:<40} {figure.value:10.3f} {figure.unit:<12}" + _verdict(figure.goal, figure.met))
    machine = facts["machine"]
    lines += ["", *facts["notes"]]
    lines.append(
        f"{machine['processor']}, {machine['cores_used']} of {machine['cores']} cores, python {machine['python']}"
        + "".join(f", {name} {number}" for name, number in facts["versions"].items())
        + (f", seed {facts['seed']}" if facts["seed"] is not None else "")
    )
    return lines


def _verdict(goal: str, met: bool | None) -> str:
    if met is None:
        return f"  {goal}" if goal and not goal.startswith("goal 0 ") else ""
    return f"  {goal}: {'met' if met else 'NOT met'}"


def _seconds(spread: Spread) -> str:
    return f"{spread.median:.4f} ({spread.least:.4f} to {spread.most:.4f})"
