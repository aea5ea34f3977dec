"""The training Job's own pods, two of them on this machine: kicked, killed and started again as a Job does it."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from duplexforge import config
from duplexforge.config import Settings, StoreSettings
from duplexforge.layout import Layout
from duplexforge.loading import sending
from duplexforge.records import FolderRecord, parse
from duplexforge.storage import Store, open_store
from duplexforge.training.remote import Remote
from tests.manifests.kustomize import Object
from tests.manifests.pods import Pod, verdict
from tests.manifests.tree import K8S, rendered
from tests.servers.s3_client import S3Server
from tests.unit.training import made

pytestmark = pytest.mark.heavy

TRAIN = K8S / "examples" / "train"
LAYOUT = Layout()
STEPS = 60
LOOP = "save_every = 1\nevaluate_every = 20"
_PATIENCE = 240.0


class Job:
    """The Job with a small recipe, on a store of its own."""

    def __init__(self, server: S3Server, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        settings = server.settings(server.fresh_bucket())
        self.store: Store = open_store(settings)
        self.given = config.environment_of(Settings({StoreSettings: settings})) | {"OMP_NUM_THREADS": "1"}
        self.objects = rendered(TRAIN)
        (self.job,) = [one for one in self.objects if one["kind"] == "Job"]
        self.name = self._map("train")["TRAIN_RUN"]
        text = made.recipe_text(Path("/scratch/data"), Path("/scratch/run"), epochs=20, loop=LOOP)
        self._map("train-recipe")["recipe.toml"] = text
        self.remote = Remote(self.store, LAYOUT, self.name)
        self.pods: list[Pod] = []

    def _map(self, name: str) -> dict[str, str]:
        (found,) = [one for one in self.objects if one["kind"] == "ConfigMap" and one["metadata"]["name"] == name]
        data: dict[str, str] = found["data"]
        return data

    def start(self) -> None:
        """Start every pod, on disks that have nothing of earlier ones."""
        self.pods = [
            Pod(self.objects, self.job, index, self.folder / str(index), self.port, self.given)
            for index in range(self.job["spec"]["completions"])
        ]
        shutil.rmtree(self.folder, ignore_errors=True)
        for pod in self.pods:
            pod.start()

    def until(self, condition: Callable[[], object]) -> None:
        """Until it holds, while all pods run."""
        late = time.monotonic() + _PATIENCE
        while not condition():
            for pod in self.pods:
                assert pod.process
                assert pod.process.poll() is None, pod.log[-3000:]
            assert time.monotonic() < late
            time.sleep(0.05)

    def ends(self) -> list[str]:
        """What the Job makes of each pod's end."""
        found = []
        for pod in self.pods:
            code = pod.end(_PATIENCE)
            found.append(verdict(self.job, code) if code >= 0 else "Count")
        return found

    def result(self) -> bytes:
        """The weights that the run has left in the store."""
        record = parse(FolderRecord, self.store.get(LAYOUT.run_record(self.name, "exports", STEPS)), "the record")
        return self.store.get(f"{record.folder}token.safetensors")


@pytest.fixture
def job(s3_server: S3Server, tmp_path: Path) -> Iterator[Callable[[str, int], Job]]:
    """Makes Jobs whose data are in their store; whatever is left of their pods is killed in the end."""
    speech = made.training_folder(tmp_path)
    jobs: list[Job] = []

    def make(name: str, port: int) -> Job:
        one = Job(s3_server, tmp_path / name, port)
        sending.send_training(one.store, LAYOUT, speech, "speech")
        jobs.append(one)
        return one

    yield make
    for one in jobs:
        for pod in one.pods:
            pod.kill()
            assert pod.process
            pod.process.wait()
        shutil.rmtree(one.folder)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def started(objects: list[Object]) -> int:
    """How many machines the Job says that it has."""
    (found,) = [one for one in objects if one["kind"] == "Job"]
    return int(found["spec"]["completions"])


def test_a_gang_that_is_kicked_and_killed_ends_as_if_it_never_was(
    job: Callable[[str, int], Job], free_port: int
) -> None:
    unbroken = job("whole", free_port)
    assert started(unbroken.objects) == 2
    unbroken.start()
    assert unbroken.ends() == ["Complete", "Complete"], unbroken.pods[0].log[-3000:]

    broken = job("broken", free_port)
    broken.start()
    broken.until(lambda: len(broken.remote.steps()) >= 2)
    broken.pods[1].kick()
    # The other one stops with it, and neither end is a failure or a success.
    assert broken.ends() == ["Ignore", "Ignore"], broken.pods[0].log[-3000:]
    reached = broken.remote.steps()[-1]
    assert 0 < reached < STEPS

    broken.start()
    broken.until(lambda: broken.remote.steps()[-1] > reached + 1)
    assert f'"step": {reached}' in broken.pods[0].log
    # A node goes away: what is left of the gang must not wait for it for ever.
    broken.pods[1].kill()
    assert broken.ends()[0] == "Ignore", broken.pods[0].log[-3000:]

    broken.start()
    assert broken.ends() == ["Complete", "Complete"], broken.pods[0].log[-3000:]
    assert broken.result() == unbroken.result()


def test_what_cannot_be_cured_ends_the_job(job: Callable[[str, int], Job], free_port: int) -> None:
    broken = job("wrong", free_port)
    recipe = broken._map("train-recipe")
    recipe["recipe.toml"] = recipe["recipe.toml"].replace("warmup_steps", "warmup_step")
    broken.start()
    ends = broken.ends()
    # Whoever comes first tells; the other one may find the meeting place gone by then. One is enough for the Job.
    assert "FailJob" in ends
    assert set(ends) <= {"FailJob", "Ignore"}
    told = "\n".join(pod.log for pod in broken.pods)
    assert "nothing is called optimizer.warmup_step" in told


def test_alone_it_waits_and_can_be_stopped(job: Callable[[str, int], Job], free_port: int) -> None:
    alone = job("alone", free_port)
    alone.start()
    alone.pods[1].kill()
    alone.pods[1].end(10)
    # Until it keeps the meeting place.
    late = time.monotonic() + _PATIENCE
    while not _listens(alone.port):
        assert time.monotonic() < late
        time.sleep(0.1)
    alone.pods[0].kick()
    assert verdict(alone.job, alone.pods[0].end(_PATIENCE)) == "Ignore", alone.pods[0].log[-2000:]
