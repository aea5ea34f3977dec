"""Workers of the claim benchmark, a process of threads: ``python benchmarks/claim_workers.py``, told what to do by JSON.

Each thread is a worker with a queue object of its own, as a pod would be. All start together at a word on standard
input; a worker stops after ``quota`` tasks or when no task is to be had. Told back: every claim as
``[task, seconds, ended]`` (how long the claim took, when its task was done).
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from duplexforge.config import QueueSettings, StoreSettings
from duplexforge.layout import Layout, name_of
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.records import ProcessTask
from duplexforge.storage import Store, open_store

STAGE = "processing"
Claim = tuple[str, float, float]


class Worker(Protocol):
    """One side's worker: take a task, end it, tidy up."""

    def claim(self) -> str | None:
        """The id of a task that is now ours, or None."""

    def complete(self) -> None:
        """The claimed task is done."""

    def close(self) -> None:
        """No more tasks."""


class Ours:
    """The product's own prefix queue."""

    def __init__(self, store: Store, seed: int) -> None:
        settings = QueueSettings(_env_file=None, lease_seconds=600.0)
        self._queue = PrefixQueue(store, Layout(), STAGE, ProcessTask, settings, rng=random.Random(seed))

    def claim(self) -> str | None:
        """See ``PrefixQueue.claim``."""
        self._lease = self._queue.claim()
        return self._lease.task_id if self._lease else None

    def complete(self) -> None:
        """See ``PrefixLease.complete``."""
        assert self._lease
        self._lease.complete()

    def close(self) -> None:
        """Remove the leases that were kept back."""
        self._queue.close()


class FolderProtocol:
    """The common folder protocol, written for this comparison: a task is moved by copy and delete.

    List the todo folder, choose one at random (so that workers meet as rarely as they can), read it, write it to
    in_progress, delete it from todo; when it is done, write it to completed and delete it from in_progress. Nothing in
    it is conditional, so two workers that chose the same task both run it.
    """

    def __init__(self, store: Store, seed: int) -> None:
        self._store, self._layout, self._rng = store, Layout(), random.Random(seed)

    def claim(self) -> str | None:
        """Take a task; one that has gone meanwhile is left and another chosen from a new listing."""
        while page := next(self._store.pages(self._layout.queue_prefix(STAGE, "todo")), []):
            key = self._rng.choice(page).key
            if (body := self._store.find(key)) is None:
                continue
            self._task, self._body = name_of(key), body
            self._store.put(f"{self._layout.queue_prefix(STAGE, 'in_progress')}{self._task}.task", body)
            self._store.delete(key)
            return self._task
        return None

    def complete(self) -> None:
        """Write the task where completed ones lie, and take it out of in_progress."""
        self._store.put(self._layout.completed(STAGE, self._task), self._body)
        self._store.delete(f"{self._layout.queue_prefix(STAGE, 'in_progress')}{self._task}.task")

    def close(self) -> None:
        """Nothing is kept back."""


SIDES: dict[str, Callable[[Store, int], Worker]] = {"ours": Ours, "folder": FolderProtocol}


def work(worker: Worker, quota: int, start: threading.Barrier, claims: list[Claim]) -> None:
    """Claim and complete."""
    start.wait()
    for _ in range(quota):
        began = time.perf_counter()
        task = worker.claim()
        if task is None:
            break
        seconds = time.perf_counter() - began
        worker.complete()
        claims.append((task, seconds, time.time()))
    worker.close()


def main() -> None:
    """Run the workers that standard input asks for."""
    wanted: dict[str, Any] = json.loads(sys.stdin.readline())
    store = open_store(StoreSettings(_env_file=None, **wanted["store"]))
    store.now()
    claims: list[Claim] = []
    start = threading.Barrier(wanted["threads"])
    threads = [
        threading.Thread(target=work, args=(SIDES[wanted["side"]](store, seed), wanted["quota"], start, claims))
        for seed in range(wanted["seed"], wanted["seed"] + wanted["threads"])
    ]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.write(json.dumps(claims) + "\n")


if __name__ == "__main__":
    main()
