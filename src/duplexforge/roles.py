"""Puts a role together: store, keys, queues, step and worker, from the settings.

Commands, ``run`` and ``demo`` start roles only through here, so a pod and a laptop run the same objects.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duplexforge import config, log
from duplexforge.config import (
    DownloadSettings,
    ProcessSettings,
    QueueSettings,
    Settings,
    SqsSettings,
    StoreSettings,
    UploadSettings,
)
from duplexforge.layout import Layout
from duplexforge.queues.base import TaskQueue
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.records import DownloadTask, Manifest, ProcessTask, Task, UploadTask
from duplexforge.storage import Store, open_store
from duplexforge.supervisor import gpus
from duplexforge.worker import Step, Worker

if TYPE_CHECKING:
    from duplexforge.uploading.plan import UploadPlan
    from duplexforge.uploading.target import Target

# stage of the queue → its kind of task; the roles are named by the command, the queues by their stage.
TASKS: dict[str, type[Task]] = {"download": DownloadTask, "processing": ProcessTask, "upload": UploadTask}
STAGE_OF = {"download": "download", "process": "processing", "upload": "upload"}


@dataclass(frozen=True)
class Site:
    """Everything that belongs to one deployment: settings, store, keys."""

    settings: Settings
    store: Store
    layout: Layout

    def queue(self, stage: str) -> TaskQueue[Any]:
        """The queue of a stage: on SQS where the settings name a queue for it, else in the store alone."""
        wanted = self.settings[SqsSettings]
        url = {"download": wanted.aws_queue_download, "upload": wanted.sqs_queue_url}.get(stage)
        if not url:
            return PrefixQueue(self.store, self.layout, stage, TASKS[stage], self.settings[QueueSettings])
        from duplexforge.queues.sqs import SqsQueue
        from duplexforge.queues.sqs_client import Channel

        return SqsQueue(
            self.store,
            self.layout,
            stage,
            TASKS[stage],
            self.settings[QueueSettings],
            channel=Channel(url, wanted, region=self.settings[StoreSettings].aws_region),
            name=lambda task: _name_by_hand(self.layout, task),
            reconcile_seconds=wanted.sqs_reconcile_seconds,
            hold_seconds=wanted.sqs_hold_seconds,
        )

    def queues(self) -> dict[str, TaskQueue[Any]]:
        """All queues by stage."""
        return {stage: self.queue(stage) for stage in TASKS}


def _name_by_hand(layout: Layout, task: Task) -> str:
    """The id that seeding would give to a task which somebody sent without one, so that it is the same task."""
    if isinstance(task, UploadTask):
        from duplexforge.uploading.ledger import batch_id

        return str(batch_id(layout, task.batch_key))
    from duplexforge.downloading.identity import url_id

    return url_id(task.url) if isinstance(task, DownloadTask) else task.id


def open_site(settings: Settings, *, probe: bool = True) -> Site:
    """Open the store that the settings name; with ``probe`` make it ready and refuse one that cannot carry the claim."""
    where = settings[StoreSettings]
    for secret in (where.access_key_id, where.secret_access_key):
        log.hide(secret.get_secret_value() if secret else None)
    store = open_store(where, create=probe)
    if probe:
        store.probe()
    return Site(settings, store, Layout(where.raw_audio_prefix, where.processed_prefix, where.tasks_base_prefix))


def download_step(site: Site) -> Step[DownloadTask]:
    """The step of the download role."""
    from duplexforge.downloading.fetch import Ways
    from duplexforge.downloading.resume import Partials
    from duplexforge.downloading.role import DownloadStep

    wanted = site.settings[DownloadSettings]
    folder = (scratch_folder(site.settings) or Path(tempfile.gettempdir())) / f"duplexforge-partials-{os.getuid()}"
    partials = Partials(folder, wanted.keep_partials)
    ways = Ways.of(wanted, partials=partials, store=site.settings[StoreSettings])
    return DownloadStep(site.store, site.layout, ways)


def process_step(site: Site) -> Step[ProcessTask]:
    """The step of the processing role, models loaded onto the first GPU that this process may use, else the CPU."""
    config.quiet_libraries()
    from duplexforge.processing.role import ProcessStep

    wanted = site.settings[ProcessSettings]
    device = "cuda:0" if wants_gpu(wanted) and gpus(config.visible_gpus()) else "cpu"
    return ProcessStep(site.store, site.layout, wanted, device=device)


def wants_gpu(settings: ProcessSettings) -> bool:
    """Whether the preset has networks that are worth a GPU."""
    return settings.emilia_preset != "lite"


def upload_step(site: Site) -> Step[UploadTask]:
    """The step of the upload role."""
    from duplexforge.uploading.role import UploadStep
    from duplexforge.uploading.turns import LENGTH

    wanted = site.settings[UploadSettings]
    return UploadStep(
        site.store,
        site.layout,
        target(site),
        lanes=wanted.uploads_at_once,
        most=wanted.shards_per_commit,
        # A folder has no commits to save.
        wait_seconds=wanted.commit_seconds if wanted.hf_repo_id else 0.0,
        turn_seconds=min(LENGTH, site.settings[QueueSettings].lease_seconds),
    )


def target(site: Site, *, replace: bool = False) -> Target:
    """Where data sets go: the Hub when HF_REPO_ID is set, else the local folder. ``replace`` overwrites damaged shards."""
    config.quiet_libraries()
    from duplexforge.uploading.hub import HubTarget
    from duplexforge.uploading.targets import LocalTarget

    wanted = site.settings[UploadSettings]
    if not wanted.hf_repo_id:
        return LocalTarget(Path(wanted.publish_dir).expanduser(), replace=replace)
    token = wanted.hf_token.get_secret_value() if wanted.hf_token else None
    return HubTarget(wanted.hf_repo_id, token=token, endpoint=wanted.hf_endpoint, replace=replace)


def seed_uploads(site: Site, *, flush: bool = True, dry_run: bool = False) -> UploadPlan:
    """Plan batches of what was processed and queue them, without those who opted out meanwhile."""
    from duplexforge.uploading import plan

    size = site.settings[UploadSettings].shard_bytes
    return plan.seed_uploads(
        site.store, site.layout, site.queue("upload"), shard_bytes=size, flush=flush, dry_run=dry_run,
        refuses=opted_out(site),
    )  # fmt: skip


def opted_out(site: Site) -> Callable[[Manifest], str | None]:
    """Why a processed episode may not be published, by the opt-out list as it is now; None: it may."""
    from duplexforge.downloading.optout import OptOut

    everybody = OptOut.read(site.store, site.layout)

    def refuses(manifest: Manifest) -> str | None:
        name = manifest.episode_id
        item = DownloadTask(id=name, episode_id=name, url=manifest.url or "", origins=manifest.origins)
        return everybody.refuses(item)

    return refuses


STEPS: dict[str, Callable[[Site], Step[Any]]] = {
    "download": download_step,
    "process": process_step,
    "upload": upload_step,
}


def worker(role: str, site: Site, *, drain: bool) -> Worker[Any]:
    """A worker of ``role``; with ``drain`` it ends when no task is open."""
    step: Step[Any] = STEPS[role](site)
    queue = site.queue(STAGE_OF[role])
    queue.sweep(step.done)
    worker = Worker(
        queue,
        step,
        site.settings[QueueSettings],
        scratch=scratch_folder(site.settings),
        drain=drain,
        lanes=getattr(step, "lanes", 1),
    )
    if role == "download":
        # A long download runs in the prefetch thread, where no checkpoint of the worker can interrupt it.
        step.stop_when(worker.stopping.is_set)  # type: ignore[attr-defined]
        step.expand_into(queue)  # type: ignore[attr-defined]
    return worker


def scratch_folder(settings: Settings) -> Path | None:
    """Where workers keep temporary files: SCRATCH_DIR, else the system's place (None)."""
    try:
        named = settings[ProcessSettings].scratch_dir
    except KeyError:  # a role without processing settings
        return None
    if named:
        Path(named).mkdir(parents=True, exist_ok=True)
        return Path(named)
    return Path(tempfile.gettempdir())
