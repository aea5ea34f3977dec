"""The autokicker on the scenarios: its decision in virtual time (all of them), the process in real time (slow)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cluster import process, virtual
from tests.cluster.scenario import Scenario
from tests.cluster.scenarios import BY_NAME, SCENARIOS
from tests.servers.kube.client import KubeServer

# How much faster than their story the processes go, and what a loaded machine of two cores may take to notice.
_PACE, _SLACK = 0.25, 1.5
_AT_ONCE = 4


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_the_decision_in_virtual_time(scenario: Scenario) -> None:
    """Every row of the design's table, every trap."""
    timeline, kicker = virtual.run(scenario)
    reasons = [f"{at:.1f} {action.word} {action.replicas}: {action.reason}" for at, action in kicker.actions]
    assert scenario.problems(timeline) == [], (scenario.story, reasons)


def test_the_process_yields_and_grows_again(tmp_path: Path) -> None:
    """One scenario in real time, for every run of the tests: four GPUs of one node, and back."""
    scenario = BY_NAME["4-gpus"]
    timeline, words = process.run(scenario, tmp_path, pace=0.1)
    assert scenario.paced(0.1).problems(timeline, slack=_SLACK) == [], words


@pytest.fixture(scope="module")
def in_real_time(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[str], str]]:
    """What went wrong in each scenario, and its log: a server and an autokicker each, four at a time."""

    def one(scenario: Scenario) -> tuple[list[str], str]:
        timeline, words = process.run(scenario, tmp_path_factory.mktemp(scenario.name), pace=_PACE)
        return scenario.paced(_PACE).problems(timeline, slack=_SLACK), words

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip((one.name for one in SCENARIOS), pool.map(one, SCENARIOS), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BY_NAME))
def test_the_process_in_real_time(name: str, in_real_time: dict[str, tuple[list[str], str]]) -> None:
    """The same scenarios through HTTP, watches and the official client."""
    problems, words = in_real_time[name]
    assert problems == [], (BY_NAME[name].story, words)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["4-gpus", "gang-that-fits", "least-lost-work"])
def test_on_a_control_plane_with_nobody_behind_it(name: str, tmp_path: Path) -> None:
    """What ``make test-cluster`` does, on the stand-in as envtest would start it; two autokickers, of which one leads."""
    with KubeServer(bare=True) as server:
        kubeconfig = server.kubeconfig(tmp_path / "kubeconfig")
        timeline, words = process.run_remote(BY_NAME[name], tmp_path, kubeconfig, pace=_PACE, kickers=2)
    assert BY_NAME[name].paced(_PACE).problems(timeline, slack=_SLACK) == [], words
