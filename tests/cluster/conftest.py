"""What the cluster tests need: they run only when asked for, and then fail where there is no control plane."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import plane


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of this folder unless ``-m`` names their marker: they would change somebody's cluster."""
    if "cluster" in str(config.getoption("-m")):
        return
    mine = [item for item in items if item.get_closest_marker("cluster")]
    if mine:
        config.hook.pytest_deselected(items=mine)
        items[:] = [item for item in items if item not in mine]


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A kubeconfig that leads to a real control plane; who asks for these tests without one is told so by a failure."""
    if not plane.available():
        pytest.fail(plane.NEITHER)
    with plane.opened(tmp_path_factory.mktemp("plane")) as path:
        yield path
