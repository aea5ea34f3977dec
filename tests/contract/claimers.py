"""One process of the claim race: ``python -m tests.contract.claimers``, told what to do by JSON on standard input.

Each thread is a worker with a queue object of its own; they start together and go on until no task is open. Every claim
is told on standard output as ``[task, attempt, worker]``.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from typing import Any

from duplexforge.config import QueueSettings, StoreSettings
from duplexforge.layout import Layout
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.records import ProcessTask
from duplexforge.storage import Store, open_store

LEASE_SECONDS = 600.0
Claim = tuple[str, int, str]


def open_queue(store: Store, seed: int = 0) -> PrefixQueue[ProcessTask]:
    """The raced queue; leases are so long that no claim can be a take-over."""
    settings = QueueSettings(_env_file=None, lease_seconds=LEASE_SECONDS)
    return PrefixQueue(store, Layout(), "processing", ProcessTask, settings, rng=random.Random(seed))


def work(queue: PrefixQueue[ProcessTask], worker: str, start: threading.Barrier, claims: list[Claim]) -> None:
    """Claim and complete until nothing is open."""
    start.wait()
    while True:
        while lease := queue.claim():
            claims.append((lease.task_id, lease.attempt, worker))
            lease.complete({"worker": worker})
        if queue.stats().open == 0:
            queue.close()
            return


def main() -> None:
    """Race with ``threads`` workers; the seeds of process ``number`` are its own."""
    wanted: dict[str, Any] = json.loads(sys.stdin.readline())
    store = open_store(StoreSettings(_env_file=None, **wanted["store"]))
    claims: list[Claim] = []
    start = threading.Barrier(wanted["threads"] + 1)
    threads = [
        threading.Thread(target=work, args=(open_queue(store, seed), str(seed), start, claims))
        for seed in range(wanted["number"] * 100, wanted["number"] * 100 + wanted["threads"])
    ]
    for thread in threads:
        thread.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    start.wait()
    for thread in threads:
        thread.join()
    sys.stdout.write(json.dumps(claims) + "\n")


if __name__ == "__main__":
    main()
