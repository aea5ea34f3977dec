"""Random guests in their hundreds on the model: nobody starves, nobody dies for nothing, and idle GPUs are used."""

from __future__ import annotations

import random

import pytest

from tests.servers.kube import objects
from tests.servers.kube.timeline import Timeline
from tests.unit.autokicker.virtual import REACTION, factory

STOP = 3.0
SEED = 20260103
# Fewer kills than all-or-nothing by this factor, at the least.
FACTOR = 3.0


def simulated(count: int, *, policy: str = "just-enough", seed: int = SEED) -> Timeline:
    """Half of the GPUs wanted by others on average; a fifth of the pods last less than a minute, the rest for long."""
    rng = random.Random(seed)
    driver = factory(policy=policy, quiet_seconds=60.0, stop=STOP)
    at = 60.0
    for number in range(count):
        at += rng.expovariate(1 / 270)
        seconds = rng.uniform(5, 60) if rng.random() < 0.2 else rng.lognormvariate(6.4, 0.8)
        gpus = rng.choice([1, 1, 1, 2, 2, 4, 8])
        driver.cluster.plan(at, objects.guest(f"guest-{number}", gpus=gpus, sim={"run": seconds}))
    driver.run(at + 4000)
    return driver.cluster.timeline


def holds(timeline: Timeline, count: int) -> None:
    assert [number for number in range(count) if timeline.ran(f"guest-{number}") is None] == []
    # Twice the victims' time: while they stop, a younger guest may take a GPU that was free for an older one.
    assert timeline.breaches(yields_in=2 * (STOP + 2 * REACTION), settles_in=2 * REACTION) == []
    assert timeline.needless(allowed=2 * REACTION) == []
    assert used(timeline) >= 0.95


def used(timeline: Timeline) -> float:
    """The share that ours used of all GPU time in which nobody else held the GPUs."""
    seconds = timeline.gpu_seconds()
    return float(seconds["ours"] / (seconds["ours"] + seconds["idle"]))


def test_guests_at_random() -> None:
    ours = simulated(25)
    holds(ours, 25)
    assert len(simulated(25, policy="all").kills()) >= FACTOR * len(ours.kills())


@pytest.mark.slow
def test_a_thousand_guests_at_random() -> None:
    holds(simulated(1000), 1000)


@pytest.mark.slow
def test_fewer_kills_than_all_or_nothing() -> None:
    assert len(simulated(250, policy="all").kills()) >= FACTOR * len(simulated(250).kills())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_other_guests_at_random(seed: int) -> None:
    holds(simulated(100, seed=seed), 100)
