"""Two processes on one run (gloo), with the frozen weights whole in each and spread over both."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from duplexforge.config import child_environment
from tests.unit.training import lora_made

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> lora_made.Ground:
    return lora_made.ground(tmp_path_factory.mktemp("lora"))


def train(ground: lora_made.Ground, folder: Path, processes: int, *, model: str = "", loop: str = "") -> dict[str, Any]:
    """A run of that many processes: what it said, and the adapter's numbers."""
    from safetensors.torch import load_file

    folder.mkdir()
    recipe = folder / "recipe.toml"
    # AdamW's first step goes by the sign of the gradient alone, and rounding may turn that where it is next to nothing.
    recipe.write_text(
        lora_made.recipe_text(
            ground, folder / "out", epochs=1, model=model, optimizer="learning_rate = 1e-3", loop=loop
        ).replace("learning_rate = 2e-2\n", "")
    )
    starter = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *starter, "-m", "duplexforge", "train", "lora", "--recipe", str(recipe), "--json"]
    done = subprocess.run(
        command, env=child_environment(OMP_NUM_THREADS="1"), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said: dict[str, Any] = json.loads(done.stdout)
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith('{"')]
    facts = next(line for line in lines if line["event"] == "adapters on a frozen model")
    return said | {"facts": facts, "weights": load_file(folder / "out" / "adapter" / "adapter_model.safetensors")}


def test_two_processes_make_the_step_of_one(ground: lora_made.Ground, tmp_path: Path) -> None:
    import torch

    rows = "silence_rows = true"
    alone = train(ground, tmp_path / "one", 1, model=rows)
    both = train(ground, tmp_path / "two", 2, model=rows)
    spread = train(ground, tmp_path / "spread", 2, model=f"{rows}\nshard = true", loop="gradient_checkpointing = true")
    learnt, frozen = alone["facts"]["learnt"], alone["facts"]["frozen"]
    assert alone["facts"]["held"] == both["facts"]["held"] == learnt + frozen
    # Half of the frozen weights, but for what cannot be halved, and all that learns.
    assert spread["facts"]["held"] == pytest.approx(learnt + frozen / 2, rel=0.01)
    for run in (both, spread):
        assert run["figures"] == pytest.approx(alone["figures"], abs=1e-3)
        assert run["weights"].keys() == alone["weights"].keys()
        for name, tensor in alone["weights"].items():
            torch.testing.assert_close(run["weights"][name], tensor, rtol=0, atol=5e-4, msg=name)
