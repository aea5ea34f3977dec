"""Two processes on one run, as torchrun starts them (gloo)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from duplexforge.config import child_environment
from tests.unit.training import made

pytestmark = pytest.mark.heavy


def train(folder: Path, speech: Path, processes: int) -> dict[str, Any]:
    """A run of that many processes; the weights it ends with."""
    from duplexforge.training import checkpoints

    folder.mkdir()
    recipe = folder / "recipe.toml"
    recipe.write_text(
        made.recipe_text(speech, folder / "out", epochs=1, losses="spectrum = 0.0\nmel = 0.0", model="dropout = 0.0")
    )
    starter = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *starter, "-m", "duplexforge", "train", "codec", "--recipe", str(recipe), "--json"]
    done = subprocess.run(
        command, env=child_environment(OMP_NUM_THREADS="1"), capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count('"reason"') == 1
    found = checkpoints.newest(folder / "out" / "checkpoints", "cpu")
    assert found
    weights: dict[str, Any] = found[1]["parts"]["codec"]
    return weights


def test_two_processes_make_the_step_of_one(tmp_path: Path) -> None:
    import torch

    speech = made.training_folder(tmp_path)
    alone, both = train(tmp_path / "one", speech, 1), train(tmp_path / "two", speech, 2)
    for name, tensor in alone.items():
        if not name.endswith("used"):
            # The same batch, shared: sums in another order, so equal but for rounding.
            assert torch.allclose(tensor, both[name], atol=2e-4), name
