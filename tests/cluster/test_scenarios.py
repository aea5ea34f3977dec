"""The scenarios on a real control plane: ``make test-cluster`` with KUBECONFIG or KUBEBUILDER_ASSETS."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster import process
from tests.cluster.scenario import Scenario
from tests.cluster.scenarios import BY_NAME, SCENARIOS

pytestmark = pytest.mark.cluster
# Slower than against the stand-in: a real scheduler waits between two tries.
_PACE, _SLACK = 1.0, 3.0


# The constraint of this one is the model's own: nothing of a real pod says it.
_OURS_ALONE = ("hidden-volume",)


@pytest.mark.parametrize(
    "scenario", [one for one in SCENARIOS if one.name not in _OURS_ALONE], ids=lambda one: one.name
)
def test_a_scenario(scenario: Scenario, kubeconfig: Path, tmp_path: Path) -> None:
    """All but the model's own, with the same assertions over the same timeline."""
    timeline, words = process.run_remote(scenario, tmp_path, kubeconfig, pace=_PACE)
    assert scenario.paced(_PACE).problems(timeline, slack=_SLACK) == [], (scenario.story, words)


def test_two_autokickers_at_once(kubeconfig: Path, tmp_path: Path) -> None:
    """Fault 44: one leads, and what the scenario wants happens once."""
    scenario = BY_NAME["4-gpus"]
    timeline, words = process.run_remote(scenario, tmp_path, kubeconfig, pace=_PACE, kickers=2)
    assert scenario.paced(_PACE).problems(timeline, slack=_SLACK) == [], words
