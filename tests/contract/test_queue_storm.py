"""The queue through a network that fails: whatever is lost, late or refused, every task ends exactly once."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from duplexforge.config import QueueSettings
from duplexforge.errors import LeaseLost, StoreError
from duplexforge.layout import Layout, hashed_id
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.records import ProcessTask
from duplexforge.storage import open_store
from tests.servers.proxy_client import Proxy
from tests.servers.s3_client import S3Server

TASKS, WORKERS, SEED = 60, 6, 11
HANG = 120.0
SLOW = {"action": "error", "status": 503, "code": "SlowDown"}
CONFLICT = {"action": "error", "method": "PUT", "status": 409, "code": "ConditionalRequestConflict"}
STORMS: dict[str, list[dict[str, Any]]] = {
    "errors": [{"p": 0.3, "times": 40, **SLOW}, {"action": "error", "p": 0.3, "times": 200, "status": 500}],
    "lost answers": [{"action": "lost", "p": 0.1, "times": 60}],
    "late writes": [{"action": "late", "method": "PUT", "p": 0.1, "times": 40, "delay": 0.5}],
    "conflicts": [{"p": 0.2, "times": 80, **CONFLICT}],
    "resets": [{"action": "reset", "p": 0.1, "times": 60}],
    "half answers": [{"action": "cut", "method": "GET", "p": 0.2, "times": 60}],
}


@pytest.fixture(scope="module")
def proxy(s3_server: S3Server) -> Iterator[Proxy]:
    with Proxy(s3_server.url) as running:
        yield running


class Storm:
    """A queue behind the proxy, its workers, and what they committed."""

    def __init__(self, server: S3Server, proxy: Proxy) -> None:
        self.bucket = server.fresh_bucket()
        self._settings = server.settings(self.bucket, endpoint=proxy.url, store_timeout=5.0)
        self.calm = open_store(server.settings(self.bucket))
        self.commits: Counter[str] = Counter()
        self._lock = threading.Lock()

    def queue(self, seed: int, *, calm: bool = False) -> PrefixQueue[ProcessTask]:
        store = self.calm if calm else open_store(self._settings, attempts=10)
        fields = QueueSettings(_env_file=None, lease_seconds=60.0, retry_seconds=0.0)
        return PrefixQueue(store, Layout(), "processing", ProcessTask, fields, rng=random.Random(seed))

    def work(self, seed: int) -> None:
        """Claim, commit by create-if-absent, complete; what the network breaks is tried again, as the worker does."""
        queue, deadline = self.queue(seed), time.monotonic() + HANG
        while time.monotonic() < deadline:
            try:
                lease = queue.claim()
                if lease is None:
                    if queue.stats().open == 0:
                        queue.close()
                        return
                    continue
                lease.renew()
                if queue.store.put_if_absent(f"processed/{lease.task_id}", lease.nonce.encode()):
                    with self._lock:
                        self.commits[lease.task_id] += 1
                lease.complete()
            except (StoreError, LeaseLost):
                continue
        raise AssertionError("the queue was not drained")


@pytest.mark.parametrize("name", STORMS)
def test_every_task_ends_once(s3_server: S3Server, proxy: Proxy, name: str) -> None:
    storm = Storm(s3_server, proxy)
    ids = [hashed_id("pod", str(number)) for number in range(TASKS)]
    storm.queue(0, calm=True).put_many(ProcessTask(id=one, episode_id=one, audio_key="k") for one in ids)
    proxy.control(seed=SEED)
    before = proxy.control()["fired"]
    for fault in STORMS[name]:
        proxy.arm(**{"match": storm.bucket, **fault})
    try:
        threads = [threading.Thread(target=storm.work, args=(seed,)) for seed in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(HANG + 30)
    finally:
        proxy.disarm()
    while proxy.control()["late"]:
        time.sleep(0.02)
    fired = Counter(proxy.control()["fired"]) - Counter(before)
    assert fired, "the storm never came"
    assert storm.commits == Counter(ids)
    queue = storm.queue(99, calm=True)
    queue.sweep()
    stats = queue.stats()
    assert (stats.open, stats.completed, stats.failed) == (0, TASKS, 0)
    left = [
        meta.key for state in ("todo", "failed") for meta in storm.calm.list(Layout().queue_prefix("processing", state))
    ]
    assert left == []
