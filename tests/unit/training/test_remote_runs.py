"""Whole runs whose disk is lost: what the store has is enough to go on as if nothing had been."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duplexforge import config
from duplexforge.config import Settings, StoreSettings
from duplexforge.layout import Layout
from duplexforge.records import FolderRecord, parse
from duplexforge.storage import Store, open_store
from duplexforge.training.remote import Remote
from tests.servers.s3_client import S3Server
from tests.unit.training import made

pytestmark = pytest.mark.heavy

STEPS = 60
LOOP = "save_every = 1\nevaluate_every = 20"
_PATIENCE = 120.0


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.training_folder(tmp_path_factory.mktemp("speech"))


def recipe(folder: Path, speech: Path) -> Path:
    """A recipe whose run lies in ``folder/out``."""
    folder.mkdir(exist_ok=True)
    path = folder / "recipe.toml"
    path.write_text(made.recipe_text(speech, folder / "out", epochs=20, loop=LOOP))
    return path


def environment(wanted: StoreSettings, run: str) -> dict[str, str]:
    """Where a run's checkpoints go."""
    return config.child_environment(
        **config.environment_of(Settings({StoreSettings: wanted})), TRAIN_RUN=run, OMP_NUM_THREADS="1"
    )


def command(path: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "duplexforge", "train", "codec", "--recipe", str(path), "--json", *more]


def weights(folder: Path) -> int:
    """A sum over the weights and optimisers that a run has ended with."""
    from duplexforge.training import checkpoints

    found = checkpoints.newest(folder / "out" / "checkpoints", "cpu")
    assert found
    assert found[1]["progress"]["step"] == STEPS
    return checkpoints.digest({name: found[1][name] for name in ("parts", "optimizers")})


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, speech: Path) -> int:
    folder = tmp_path_factory.mktemp("unbroken")
    path = recipe(folder, speech)
    plain = config.child_environment(OMP_NUM_THREADS="1")
    done = subprocess.run(command(path), env=plain, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return weights(folder)


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Until it holds; the process must still be there then."""
    late = time.monotonic() + _PATIENCE
    while not condition():
        assert process.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < late
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_without_its_disk_it_goes_on(
    s3_server: S3Server, speech: Path, unbroken: int, tmp_path: Path, number: signal.Signals
) -> None:
    wanted = s3_server.settings(s3_server.fresh_bucket())
    store = open_store(wanted)
    remote, path = Remote(store, Layout(), "r"), recipe(tmp_path, speech)
    start = command(path, "--resume", "auto")
    process = subprocess.Popen(start, env=environment(wanted, "r"), stdout=subprocess.PIPE, text=True)
    until(lambda: len(remote.steps()) >= 2, process)
    process.send_signal(number)
    said, _ = process.communicate(timeout=_PATIENCE)
    reached = remote.steps()[-1]
    assert 0 < reached < STEPS
    if number == signal.SIGTERM:
        assert process.returncode == 0
        # What it says it reached is what the store has when it is gone.
        assert json.loads(said)["step"] == reached
    shutil.rmtree(tmp_path / "out")
    done = subprocess.run(start, env=environment(wanted, "r"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f'"step": {reached}' in done.stderr
    assert weights(tmp_path) == unbroken
    assert _exported(store, "r", tmp_path / "got") == (tmp_path / "out" / "token.safetensors").read_bytes()
    fetching = [sys.executable, "-m", "duplexforge", "train", "results", "r", "--out", str(tmp_path / "results")]
    told = subprocess.run(fetching, env=environment(wanted, ""), capture_output=True, text=True, check=False)
    assert told.stdout == f"{tmp_path}/results/token.safetensors  after {STEPS} steps\n", told.stderr
    assert "test-secret-key" not in done.stderr + done.stdout


def _exported(store: Store, run: str, folder: Path) -> bytes:
    record = parse(FolderRecord, store.get(f"models/{run}/exports/step-{STEPS:09d}.json"), "the record")
    folder.mkdir()
    store.download(f"{record.folder}token.safetensors", folder / "weights")
    assert record.facts["figures"]["score"]
    return (folder / "weights").read_bytes()


def test_the_newest_of_disk_and_store_is_taken(speech: Path, tmp_path: Path) -> None:
    from duplexforge.training import checkpoints

    store = open_store(StoreSettings(_env_file=None, store_url=f"file://{tmp_path}/store"))
    remote, here = Remote(store, Layout(), "r"), tmp_path / "here"
    for step in (1, 2, 3):
        remote.take(step, checkpoints.save(tmp_path / "sent", step, {"step": step, "from": "far"}, keep=9), keep=9)
    remote.settle()

    def found() -> tuple[int, str]:
        newest = checkpoints.newest(here, "cpu", remote)
        assert newest
        return newest[1]["step"], newest[1]["from"]

    checkpoints.save(here, 2, {"step": 2, "from": "disk"}, keep=9)
    assert found() == (3, "far")
    checkpoints.save(here, 4, {"step": 4, "from": "disk"}, keep=9)
    assert found() == (4, "disk")
    # Its own damaged one is made good by the store's of the same step.
    checkpoints.path_of(here, 4).unlink()
    checkpoints.path_of(here, 3).write_bytes(b"damaged")
    assert found() == (3, "far")
    assert checkpoints.load(checkpoints.path_of(here, 3), "cpu")["from"] == "far"
    # And the store's by the one before it, on the disk.
    shutil.rmtree(here)
    record = parse(FolderRecord, store.get("models/r/checkpoints/step-000000003.json"), "the record")
    store.put(f"{record.folder}step-000000003.pt", b"damaged")
    checkpoints.save(here, 2, {"step": 2, "from": "disk"}, keep=9)
    assert found() == (2, "disk")


def test_a_run_of_that_name_is_not_taken_over_unasked(speech: Path, tmp_path: Path) -> None:
    wanted = StoreSettings(_env_file=None, store_url=f"file://{tmp_path}/store")
    path = recipe(tmp_path, speech)
    path.write_text(path.read_text().replace("epochs = 20", "epochs = 1"))

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        return subprocess.run(
            command(path, *more), env=environment(wanted, "r"), capture_output=True, text=True, check=False
        )

    assert run().returncode == 0
    refused = run()
    assert refused.returncode == 78
    assert f"file://{tmp_path}/store/models/r/checkpoints/ holds checkpoints of an earlier run" in refused.stderr
    assert Remote(open_store(wanted), Layout(), "r").steps() == [1, 2, 3]
    path.write_text(path.read_text().replace("seed = 3", "seed = 4"))
    assert "made with another seed" in run("--resume", "auto").stderr
    assert run("--resume", "none").returncode == 0


def test_a_store_that_is_away_at_the_start_is_no_reason_to_start_over(speech: Path, tmp_path: Path) -> None:
    from duplexforge.errors import StoreError
    from duplexforge.training import checkpoints

    class Away:
        def steps(self) -> list[int]:
            return [9]

        def fetch(self, step: int, path: Path) -> None:
            raise StoreError("away")

    checkpoints.save(tmp_path, 2, {"step": 2}, keep=9)
    far: Any = Away()
    with pytest.raises(StoreError):
        checkpoints.newest(tmp_path, "cpu", far)
