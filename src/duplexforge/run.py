"""The whole chain on one machine: sources → download → process → upload, a folder being the store and the queues.

Each phase runs the same workers as a pod would, until its queue has no open task; then the next phase is seeded from
what was committed. So a second run finds nothing to do, and a run that was killed goes on where its commits end.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duplexforge import config, roles
from duplexforge.config import ProcessSettings, QueueSettings, Settings
from duplexforge.errors import ConfigError, DuplexforgeError, ModelError, RetryLater, UsageError
from duplexforge.progress import Phases
from duplexforge.roles import STAGE_OF, Site
from duplexforge.supervisor import Slot, Supervisor, child_command, slots, stop_on_signals
from duplexforge.worker import Worker

_DOWNLOADERS = 4
# A laptop run is its own only neighbour: short leases and short back-offs, unless the user set others.
_DEFAULTS: dict[str, Any] = {"lease_seconds": 30.0, "retry_seconds": 2.0, "drain_seconds": 5.0}


@dataclass(frozen=True)
class Plan:
    """What to run: sources, the folder that takes everything, and how."""

    sources: Sequence[str]
    out: Path
    language: str | None = None
    licence: str | None = None
    workers: int = 1


def settings_for(plan: Plan, **flags: Any) -> Settings:
    """Settings of a run into ``plan.out``: store, data set and queues in that folder, local files allowed."""
    return config.load(
        "run",
        _defaults={**_DEFAULTS, "publish_dir": str(plan.out / "dataset")},
        store_url=f"file://{plan.out.absolute()}",
        allow_file_urls=True,
        # What stands in the environment for the cluster is not for this machine.
        aws_queue_download="",
        sqs_queue_url="",
        workers_per_gpu=plan.workers,
        **flags,
    )


class Chain:
    """The phases of one run over one site."""

    def __init__(self, plan: Plan, site: Site, phases: Phases) -> None:
        self.plan, self.site, self._phases = plan, site, phases
        self._stop = threading.Event()
        self._running: list[Worker[Any] | Supervisor] = []

    def stop(self) -> None:
        """Ask all workers to hand back what they hold. Safe in a signal handler."""
        self._stop.set()
        for one in list(self._running):
            one.stop()

    def run(self) -> None:
        """Seed and run every phase. RetryLater when it was stopped before the end."""
        stop_on_signals(self.stop)
        self._phase("download", self._download)
        self._seed_processing()
        self._phase("process", self._process)
        roles.seed_uploads(self.site)
        self._phase("upload", self._upload)

    def _phase(self, role: str, work: Any) -> None:
        queue = self.site.queue(STAGE_OF[role])
        if queue.stats().open:
            work(queue)
        if self._stop.is_set():
            raise RetryLater("stopped before the end; run the same command again to go on", reason="stopped")
        self._phases.finish(role, queue.stats())

    def _seed_processing(self) -> None:
        from duplexforge.processing.plan import seed_processing

        seed_processing(self.site.store, self.site.layout, self.site.queue("processing"))

    def _download(self, queue: Any) -> None:
        count = min(_DOWNLOADERS, queue.stats().open)
        self._in_threads("download", [roles.worker("download", self.site, drain=True) for _ in range(count)])

    def _upload(self, _: Any) -> None:
        self._in_threads("upload", [roles.worker("upload", self.site, drain=True)])

    def _in_threads(self, role: str, workers: Sequence[Worker[Any]]) -> None:
        errors: list[BaseException] = []

        def target(worker: Worker[Any]) -> None:
            try:
                worker.run()
            except DuplexforgeError as error:
                errors.append(error)
                self.stop()

        self._running = list(workers)
        threads = [threading.Thread(target=target, args=(worker,), name=role) for worker in workers]
        queue = self.site.queue(STAGE_OF[role])
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            self._phases.update(role, queue.stats())
            threads[0].join(0.3) if threads[0].is_alive() else self._stop.wait(0.3)
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def _process(self, queue: Any) -> None:
        wanted = self.site.settings[ProcessSettings]
        variables = config.environment_of(self.site.settings)
        places = slots(
            min(wanted.workers_per_gpu, queue.stats().open), wanted.max_gpus, use_gpus=roles.wants_gpu(wanted)
        )
        pinned = [Slot(place.number, {**variables, **place.environment}) for place in places]
        supervisor = Supervisor(
            child_command("process", "--drain", "--child"),
            pinned,
            grace=self.site.settings[QueueSettings].drain_seconds + 30,
            logs=self.plan.out / "logs",
        )
        self._running = [supervisor]
        code = supervisor.run(lambda: self._phases.update("process", queue.stats()))
        if code:
            kind = next(
                (one for one in (UsageError, ConfigError, ModelError) if one.exit_code == code), DuplexforgeError
            )
            raise kind(f"the processing workers gave up: {_last_words(self.plan.out / 'logs') or f'exit code {code}'}")


def _last_words(logs: Path) -> str:
    """The sentence with which a worker ended: the last line of a log that is not a JSON event."""
    for path in sorted(logs.glob("worker-*.jsonl"), key=lambda path: -path.stat().st_mtime):
        lines = [line for line in path.read_text("utf-8", "replace").splitlines() if line and not line.startswith("{")]
        if lines:
            return lines[-1].removeprefix("duplexforge: ")
    return ""
