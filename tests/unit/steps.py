"""Small real steps for the worker's tests, and the queue they run on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from duplexforge.config import QueueSettings
from duplexforge.layout import Layout
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.records import ProcessTask
from duplexforge.storage import Store, open_store
from duplexforge.worker import Progress
from tests.contract.backends import folder_settings

HANG = 30.0


def queue_settings(**changes: float) -> QueueSettings:
    """Settings of a test's queue: quick, whatever the environment says."""
    fields = {"lease_seconds": 30.0, "retry_seconds": 0.0, "drain_seconds": HANG, **changes}
    return QueueSettings(_env_file=None, **fields)


def open_queue(folder: Path, **changes: float) -> PrefixQueue[ProcessTask]:
    """The queue in ``folder``, as one more worker sees it."""
    store = open_store(folder_settings(folder), attempts=2)
    return PrefixQueue(store, Layout(), "processing", ProcessTask, queue_settings(**changes))


def task(name: str, **fields: Any) -> ProcessTask:
    """A task."""
    return ProcessTask(id=name, episode_id=name, audio_key=f"raw_audio/en/s/{name}.mp3", **fields)


def out_key(name: str) -> str:
    """Where a step commits a task."""
    return f"out/{name}/manifest.json"


class CopyStep:
    """Fetches a file, writes it under the attempt's name, and commits by create-if-absent."""

    def __init__(self, store: Store, before: Callable[[ProcessTask, Progress], None] | None = None) -> None:
        self.store, self._before = store, before
        self.worked: list[str] = []
        self.fetched: list[str] = []
        self.folders: list[Path] = []
        self.fetching = threading.Event()

    def done(self, task: ProcessTask) -> bool:
        """Whether it was committed."""
        return self.store.head(out_key(task.id)) is not None

    def fetch(self, task: ProcessTask, folder: Path) -> Path:
        """Write the input to the folder."""
        self.fetched.append(task.id)
        self.folders.append(folder)
        self.fetching.set()
        file = folder / "input"
        file.write_text(task.id)
        return file

    def work(self, task: ProcessTask, fetched: Path, attempt: str, progress: Progress) -> dict[str, Any]:
        """Copy and commit."""
        self.worked.append(task.id)
        progress.beat("start")
        if self._before:
            self._before(task, progress)
        text = fetched.read_text()
        self.store.put(f"out/{task.id}/{attempt}/copy", text.encode())
        progress.check_lease()
        self.store.put_if_absent(out_key(task.id), attempt.encode())
        return {"attempt": attempt}
