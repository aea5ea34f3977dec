"""A role as a long-running process: signals, health pages, drain; for processing, a supervisor and its children."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from duplexforge import config, health, log, metrics, roles
from duplexforge.config import AutokickSettings, ProcessSettings, QueueSettings, Settings, StoreSettings
from duplexforge.limits import RECYCLED, Limits
from duplexforge.roles import STAGE_OF, Site
from duplexforge.supervisor import Slot, Supervisor, child_command, slots, stop_on_signals, stop_when_orphaned
from duplexforge.worker import Worker

if TYPE_CHECKING:
    from duplexforge.autokicker.role import Autokicker


def work(role: str, site: Site, *, drain: bool, health_port: int | None) -> None:
    """Run one worker of ``role`` in this process until SIGTERM (or, with ``drain``, until nothing is open)."""
    worker = roles.worker(role, site, drain=drain)
    stop_on_signals(worker.stop)
    _run(role, site, worker, health_port)


def _run(role: str, site: Site, worker: Worker[Any], health_port: int | None) -> None:
    stall = site.settings[QueueSettings].stall_seconds
    ready = metrics.READY.labels(STAGE_OF[role])
    with ExitStack() as stack:
        if health_port is not None:
            server = health.serve(
                health_port,
                alive=lambda: time.monotonic() - worker.moved_at < stall,
                ready=lambda: not worker.stopping.is_set(),
            )
            stack.callback(server.shutdown)
        ready.set(1)
        tally = worker.run()
        ready.set(0)
    log.get("service", role=role).info("ended", **vars(tally))


def child(role: str, site: Site, *, drain: bool, slot: int, health_port: int | None) -> None:
    """One supervised worker; it stops when the supervisor's pipe closes, as when the supervisor was killed.

    Its own pages are at the supervisor's port + 1 + slot.
    """
    worker = roles.worker(role, site, drain=drain)
    wanted = site.settings[ProcessSettings]
    worker.limits = Limits(wanted.recycle_tasks, round(wanted.recycle_gib * 2**30))
    stop_on_signals(worker.stop)
    stop_when_orphaned(lambda: worker.stop(grace=0))
    _run(role, site, worker, None if health_port is None else _child_port(health_port, slot))
    if worker.recycled:
        raise SystemExit(RECYCLED)


def _child_port(port: int, slot: int) -> int:
    return port + 1 + slot


def _says(port: int, page: str) -> bool | None:
    """What a worker's page says; None while it does not answer, as one that is still loading."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=1) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return None


def supervise(role: str, site: Site, *, drain: bool, health_port: int | None) -> int:
    """Keep one child per GPU slot running; returns the exit code."""
    wanted, queue = site.settings[ProcessSettings], site.settings[QueueSettings]
    places = slots(wanted.workers_per_gpu, wanted.max_gpus, use_gpus=roles.wants_gpu(wanted))
    variables = config.environment_of(site.settings)
    pinned = [Slot(place.number, {**variables, **place.environment}) for place in places]
    command = child_command(role, "--child", *(["--drain"] if drain else []))
    if health_port is not None:
        command += ["--health-port", str(health_port)]
    supervisor = Supervisor(command, pinned, grace=queue.drain_seconds + 30)
    stop_on_signals(supervisor.stop)
    with ExitStack() as stack:
        if health_port is not None:
            server = health.serve(
                health_port,
                alive=lambda: _alive(supervisor, health_port),
                ready=lambda: _ready(supervisor, health_port),
            )
            stack.callback(server.shutdown)
        return supervisor.run()


def _ready(supervisor: Supervisor, port: int) -> bool:
    """A pod is ready when one of its workers is: the others may still be loading."""
    return any(_says(_child_port(port, slot), "readyz") for slot in supervisor.running())


def _alive(supervisor: Supervisor, port: int) -> bool:
    """A pod lives until one of its workers hangs: its slot is lost until the pod is started again."""
    return not any(_says(_child_port(port, slot), "livez") is False for slot in supervisor.running())


def autokicker(settings: Settings, *, dry_run: bool = False) -> Autokicker:
    """The autokicker. It reads the processing queue where a store is named: the default, a folder, is none of a cluster's."""
    from duplexforge.autokicker.cluster import Cluster
    from duplexforge.autokicker.eyes import Workload
    from duplexforge.autokicker.role import Autokicker
    from duplexforge.autokicker.work import Work

    wanted, where = settings[AutokickSettings], settings[StoreSettings]
    stage, workload = STAGE_OF["process"], None
    if where.store_url or where.bucket:
        site = roles.open_site(settings, probe=False)
        queue, work = site.queue(stage), Work(site.store, site.layout, stage)
        workload = Workload(lambda: queue.stats().open, work.by_pod)
    cluster = Cluster(wanted.cluster_timeout, wanted.kubeconfig)
    return Autokicker(cluster, wanted, workload=workload, dry_run=dry_run)


def keep_autokicking(kicker: Autokicker, wanted: AutokickSettings, *, health_port: int | None) -> None:
    """Run the autokicker until SIGTERM. livez: its loop turns; readyz: it sees the cluster, leading or standing by."""
    stop_on_signals(kicker.stop)
    with ExitStack() as stack:
        if health_port is not None:
            patience = 4 * wanted.interval + wanted.cluster_timeout + 60
            server = health.serve(
                health_port,
                alive=lambda: time.monotonic() - kicker.moved_at < patience,
                ready=lambda: kicker.seeing,
            )
            stack.callback(server.shutdown)
        kicker.run()
