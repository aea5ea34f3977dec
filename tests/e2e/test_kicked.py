"""A worker that is told to go in the middle of an episode: another one finishes it from where it was, and nothing is lost."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest

from duplexforge.config import StoreSettings
from duplexforge.layout import Layout
from duplexforge.records import Ended, Lease, Manifest, parse
from duplexforge.storage import Store, open_store
from tests.e2e.corpus import DEMO
from tests.e2e.pods import Deployment, wait_until

LAYOUT = Layout()
EPISODE = "harbour"


class Place:
    """A store of its own with one episode that waits, and pods on it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        url = f"file://{folder}/store"
        self.store: Store = open_store(StoreSettings(_env_file=None, store_url=url))
        variables = {
            "STORE_URL": url,
            "CHECKPOINT_SECONDS": "0",
            # A pod whose grace is far shorter than the episode.
            "DRAIN_SECONDS": "0.2",
            "LEASE_SECONDS": "600",
        }
        self.pods = Deployment(variables, folder, random.Random(0))
        self.store.put(f"raw_audio/en/demo/{EPISODE}.mp3", (DEMO / f"{EPISODE}.mp3").read_bytes())
        self.pods.command("seed", "process")

    def manifest(self) -> Manifest:
        """The commit of the episode."""
        key = LAYOUT.manifest("en", EPISODE)
        return parse(Manifest, self.store.get(key), key)

    def outputs(self) -> dict[str, str]:
        """Name and checksum of every committed file, read back from the store."""
        manifest = self.manifest()
        found = {}
        for entry in manifest.files:
            digest = hashlib.sha256(self.store.get(manifest.folder + entry.name)).hexdigest()
            assert digest == entry.sha256
            found[entry.name] = digest
        return found

    def checkpoints(self) -> list[dict[str, Any]]:
        """What interrupted attempts have left."""
        keys = [meta.key for meta in self.store.list(LAYOUT.queue_prefix("processing", "checkpoints"))]
        return [json.loads(self.store.get(key)) for key in keys]


@pytest.fixture
def undisturbed(tmp_path: Path) -> dict[str, str]:
    """The outputs of a worker that nobody kicked."""
    place = Place(tmp_path / "undisturbed")
    place.pods.command("process", "--drain")
    return place.outputs()


@pytest.mark.slow
def test_a_kicked_worker_loses_nothing(undisturbed: dict[str, str], tmp_path: Path) -> None:
    place = Place(tmp_path / "kicked")
    try:
        place.pods.start("process")
        wait_until(place.checkpoints, "a checkpoint of the first attempt", pause=0.01)
        place.pods.stop("process")  # SIGTERM; the pod must end with 0

        first = LAYOUT.lease("processing", EPISODE, 1)
        lease = parse(Lease, place.store.get(first), first)
        assert (lease.outcome, lease.failures) == ("released", 0), "handed back, not left to expire"
        assert place.store.head(LAYOUT.manifest("en", EPISODE)) is None
        assert len(place.checkpoints()) == 1

        place.pods.start("process")
        wait_until(lambda: place.store.head(LAYOUT.completed("processing", EPISODE)), "the episode is done")
        place.pods.stop("process")
    finally:
        place.pods.close()

    manifest, key = place.manifest(), LAYOUT.completed("processing", EPISODE)
    assert manifest.attempt.startswith("a2-")
    assert manifest.facts["resumed_after"], "the second worker went on behind the checkpoint"
    assert parse(Ended, place.store.get(key), key).failures == 0
    assert place.checkpoints() == []
    assert place.outputs() == undisturbed
