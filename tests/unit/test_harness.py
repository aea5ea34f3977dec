"""The arithmetic of `benchmarks/harness.py`, with a clock that only the measured work moves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from benchmarks.harness import Comparison, Cost, Figure, Spread, _now, compare, report, timed


class Clock:
    """Reads what the work has spent; ``work`` makes a function that spends the next of its costs each time."""

    def __init__(self) -> None:
        self.at = Cost(100.0, 7.0)
        self.order: list[str] = []

    def __call__(self) -> Cost:
        return self.at

    def work(self, name: str, costs: list[tuple[float, float]]) -> Callable[[], str]:
        left = iter(costs)

        def spend() -> str:
            wall, cpu = next(left)
            self.at = Cost(self.at.wall + wall, self.at.cpu + cpu)
            self.order.append(name)
            return name

        return spend


def agree(_ours: str, _peer: str) -> str:
    return "nothing"


def test_a_run_costs_the_difference_of_the_clock() -> None:
    clock = Clock()
    assert timed(clock.work("a", [(2.5, 0.5)]), clock) == ("a", Cost(2.5, 0.5))


def measured(**more: object) -> tuple[Comparison, list[str]]:
    clock = Clock()
    # The first of each is the one to warm up and must not count.
    ours = clock.work("A", [(99.0, 99.0), (1.0, 0.5), (2.0, 1.0), (3.0, 2.0), (4.0, 1.0), (9.0, 1.5)])
    peer = clock.work("B", [(99.0, 99.0), (10.0, 5.0), (12.0, 6.0), (11.0, 4.0), (30.0, 8.0), (9.0, 3.0)])
    done = compare("n", ours, peer, check=agree, peer_name="p 1.0", now=clock, **more)  # type: ignore[arg-type]
    return done, clock.order


def test_sides_take_turns_in_the_order_abba() -> None:
    assert "".join(measured()[1]) == "AB" + "AB" + "BA" + "AB" + "BA" + "AB"


def test_medians_ranges_and_the_ratio_of_processor_time() -> None:
    done, _ = measured()
    assert done.ours_cpu == Spread(1.0, 0.5, 2.0)
    assert done.peer_cpu == Spread(5.0, 3.0, 8.0)
    assert done.ours_wall == Spread(3.0, 1.0, 9.0)
    assert done.ratio == Spread(5.0, 2.0, 10.0)


def test_the_clock_may_be_the_one_on_the_wall() -> None:
    done, _ = measured(clock="wall")
    assert done.ratio.median == pytest.approx(11.0 / 3.0)
    assert (done.ratio.least, done.ratio.most) == (1.0, 10.0)


@pytest.mark.parametrize(("goal", "met"), [(0.0, None), (5.0, True), (5.1, False)])
def test_a_goal_is_met_by_the_median(goal: float, met: bool | None) -> None:
    assert measured(goal=goal)[0].met is met


def test_fewer_than_five_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="5 at least"):
        measured(repetitions=4)


def test_outputs_that_differ_end_the_run() -> None:
    def differ(_ours: str, _peer: str) -> str:
        raise AssertionError("not the same")

    clock = Clock()
    with pytest.raises(AssertionError, match="not the same"):
        compare("n", clock.work("A", [(1, 1)]), clock.work("B", [(1, 1)]), check=differ, peer_name="p", now=clock)


def test_processor_time_of_children_counts() -> None:
    before = _now()
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    assert _now().cpu > before.cpu


def test_report_as_json_and_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    done, _ = measured(goal=6.0)
    figure = Figure("fill", 0.96, "share", ">= 0.95", True)
    report("Title", [done], [figure], as_json=True, packages=["numpy"], seed=3, notes=["both at 64 kbit/s"])
    said = json.loads(capsys.readouterr().out)
    assert said["comparisons"][0]["ratio"]["median"] == 5.0
    assert said["comparisons"][0]["met"] is False
    assert said["figures"][0]["value"] == 0.96
    assert (said["seed"], said["notes"]) == (3, ["both at 64 kbit/s"])
    assert set(said["versions"]) == {"numpy"}
    assert said["machine"]["cores_used"] == len(os.sched_getaffinity(0))
    report("Title", [done], [figure], as_json=False)
    table = capsys.readouterr().out
    assert "5.00 x  (pairs 2.00 to 10.00)  goal 6 x: NOT met" in table
    assert "p 1.0" in table
    assert ">= 0.95: met" in table
