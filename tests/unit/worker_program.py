"""A worker in a process of its own: ``python -m tests.unit.worker_program FOLDER LEASE_SECONDS MODE``.

``hold`` works until it is stopped, telling ``working`` first; ``die`` kills its process in the middle; ``plain`` drains.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from duplexforge.records import ProcessTask
from duplexforge.worker import Progress, Worker
from tests.unit.steps import CopyStep, open_queue, queue_settings


def before(mode: str, task: ProcessTask, progress: Progress) -> None:
    """What happens in the middle of a task."""
    if mode == "die" and task.id == "poison":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdout.write("working\n")
    sys.stdout.flush()
    while mode == "hold":
        progress.beat("holding", 0.5)
        time.sleep(0.01)


def main() -> None:
    """Run until stopped or drained."""
    folder, lease, mode = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    queue = open_queue(folder, lease_seconds=lease)
    settings = queue_settings(lease_seconds=lease, drain_seconds=0.5)
    step = CopyStep(queue.store, lambda task, progress: before(mode, task, progress))
    worker = Worker(queue, step, settings, drain=mode != "hold")
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    worker.run()


if __name__ == "__main__":
    main()
