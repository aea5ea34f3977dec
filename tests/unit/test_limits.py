"""When a worker has run long enough."""

from __future__ import annotations

import numpy as np

from duplexforge.limits import Limits, resident


def test_no_limit_is_never_reached() -> None:
    limits = Limits()
    assert [limits.reached(count) for count in (1, 10**6)] == ["", ""]


def test_tasks_are_counted() -> None:
    limits = Limits(tasks=3)
    assert [limits.reached(count) for count in (1, 2, 3)] == ["", "", "3 tasks"]


def test_memory_is_measured_from_the_first_task_on() -> None:
    assert (resident() or 0) > 10 * 2**20
    limits = Limits(growth=32 * 2**20)
    kept = [np.ones(8 * 2**20)]  # what the first task needed is no growth
    assert limits.reached(1) == ""
    kept.append(np.ones(8 * 2**20))
    assert "MiB more memory" in limits.reached(2)
