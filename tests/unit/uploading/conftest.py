"""Stores of both kinds, a queue on them, and the Hub stand-in in its own process."""

from __future__ import annotations

import json
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from duplexforge import config
from duplexforge.config import QueueSettings, StoreSettings
from duplexforge.layout import Layout
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.records import UploadTask
from duplexforge.storage import Store, open_store
from duplexforge.uploading.role import UploadStep
from duplexforge.uploading.target import Target
from duplexforge.worker import Worker
from tests.servers.s3_client import Process

# The client of the Hub reads its switches when it is imported, as in production.
config.quiet_libraries()

TOKEN = "hf_testtokenthatmustnotleak"


@dataclass
class Site:
    """A store with its keys and its upload queue."""

    store: Store
    layout: Layout
    settings: QueueSettings

    def queue(self) -> PrefixQueue[UploadTask]:
        """The upload queue as a fresh process sees it."""
        return PrefixQueue(self.store, self.layout, "upload", UploadTask, self.settings)

    def worker(self, target: Target, *, lanes: int = 1, wait_seconds: float = 0.0) -> Worker[UploadTask]:
        """An upload worker that ends when nothing is open."""
        step = UploadStep(self.store, self.layout, target, lanes=lanes, wait_seconds=wait_seconds)
        return Worker(self.queue(), step, self.settings, drain=True, lanes=lanes)

    def everything(self) -> bytes:
        """All bytes of all objects below the tasks: where secrets must not be."""
        return b"".join(self.store.get(meta.key) for meta in self.store.list(self.layout.tasks))


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A folder or memory."""
    url = f"file://{tmp_path}/store" if request.param == "file" else "memory://"
    return open_store(StoreSettings(_env_file=None, store_url=url))


def make_site(store: Store) -> Site:
    """A site with fast retries."""
    return Site(store, Layout(), QueueSettings(_env_file=None, retry_seconds=0.0, lease_seconds=60.0))


@pytest.fixture
def site(store: Store) -> Site:
    """A site on each kind of store."""
    return make_site(store)


@pytest.fixture
def memory() -> Site:
    """A site in memory, where the kind of store does not matter."""
    return make_site(open_store(StoreSettings(_env_file=None, store_url="memory://")))


@dataclass
class HubProcess:
    """The stand-in, and one repository of its own for every test."""

    url: str
    repo: str

    def arm(self, fault: str, where: str, **more: Any) -> None:
        """Make the next request of a kind fail."""
        self.control({"fault": fault, "where": where, **more})

    def control(self, order: dict[str, Any]) -> None:
        """Tell the stand-in something."""
        body = json.dumps(order).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/control", data=body)).close()

    def state(self) -> dict[str, Any]:
        """Commits, visibility and requests so far."""
        with urllib.request.urlopen(f"{self.url}/control") as answer:
            told: dict[str, Any] = json.load(answer)
        return told

    def commits(self) -> list[dict[str, Any]]:
        """Commits of this test's repository after the first one, which is the Hub's own."""
        return list(self.state()["commits"].get(self.repo, [])[1:])

    def files(self) -> dict[str, bytes]:
        """Every published file of this test's repository."""
        names = [name for name in self.commits()[-1]["files"] if name != ".gitattributes"]
        found = {}
        for name in names:
            request = urllib.request.Request(
                f"{self.url}/datasets/{self.repo}/resolve/main/{name}", headers={"Authorization": f"Bearer {TOKEN}"}
            )
            with urllib.request.urlopen(request) as answer:
                found[name] = answer.read()
        return found


@pytest.fixture(scope="session")
def _hub_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    root = tmp_path_factory.mktemp("hub")
    with Process("tests.servers.hub", ["--root", str(root), "--token", TOKEN]) as process:
        yield process
    import huggingface_hub

    huggingface_hub.close_session()


@pytest.fixture
def hub(_hub_process: Process) -> HubProcess:
    """The Hub stand-in with a fresh repository name and no fault armed."""
    found = HubProcess(_hub_process.url, f"someone/speech-{uuid.uuid4().hex[:8]}")
    found.control({"clear": True})
    return found
