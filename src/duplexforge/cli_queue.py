"""``duplexforge queue``: look into the queues and put tasks back. No command touches a lease that a worker holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from duplexforge.cli_options import DryRun, Json, Store, open_site, show
from duplexforge.errors import InputError, RetryLater, UsageError

if TYPE_CHECKING:
    from duplexforge.queues.base import TaskQueue
    from duplexforge.queues.inspecting import Inspection
    from duplexforge.roles import Site

_Id = Annotated[str, typer.Argument(metavar="ID", help="Task id.")]
_Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Task ids.")]
_LEFT = {
    "held": "left alone: a worker holds it",
    "ended": "left alone: it has ended (queue revive puts failed tasks back)",
    "unknown": "there is no such task",
}

queue_app = typer.Typer(help="Look into the queues and put tasks back.", no_args_is_help=True)


@queue_app.command("stats")
def queue_stats(store: Store = None, json: Json = False) -> None:
    """Count the tasks of every queue by state."""
    from dataclasses import asdict

    counts = {stage: asdict(queue.stats()) for stage, queue in open_site("status", store, probe=False).queues().items()}
    lines = [
        f"{stage}: " + ", ".join(f"{n} {state}" for state, n in states.items()) for stage, states in counts.items()
    ]
    show(json, counts, "\n".join(lines))


@queue_app.command("dead")
def queue_dead(
    stage: str,
    reason: Annotated[str | None, typer.Option(help="Only those that failed for this reason.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="List at most so many.")] = None,
    store: Store = None,
    json: Json = False,
) -> None:
    """List the failed tasks of STAGE (download, processing, upload) with their reasons."""
    from itertools import islice

    found = (one for one in _queue(stage, store).dead() if reason is None or one.reason == reason)
    records = [record.model_dump(exclude_none=True) for record in islice(found, limit)]
    lines = [
        f"{r['id']}  {r.get('reason', 'unknown')}  after {r['failures']}: {_line(r.get('message', ''))}"
        for r in records
    ]
    show(json, records, "\n".join(lines) or f"no failed task in {stage}{f' for {reason}' if reason else ''}")


@queue_app.command("inspect")
def queue_inspect(stage: str, task_id: _Id, store: Store = None, json: Json = False) -> None:
    """Show all that is known of one task of STAGE: its body, its attempts with owner and age, how it ended."""
    found = _look(_site(stage, store), stage, *_names([task_id]))
    show(json, found.to_json(), "\n".join(_inspected(found)))
    if found.state == "unknown":
        raise typer.Exit(InputError.exit_code)


@queue_app.command("requeue")
def queue_requeue(stage: str, ids: _Ids, store: Store = None, dry_run: DryRun = False) -> None:
    """Let open tasks of STAGE be claimed now: ones that wait for their time, or whose worker or SQS message is gone.

    A task that a worker holds is left to it. Failed tasks are for `queue revive`.
    """
    site = _site(stage, store)
    queue = site.queue(stage)
    told = {name: _look(site, stage, name).prospect if dry_run else queue.requeue(name) for name in _names(ids)}
    words = {"claimable": "would be claimable" if dry_run else "claimable now", **_LEFT}
    print("\n".join(f"{name}  {words[done]}" for name, done in told.items()))
    if {"ended", "unknown"} & set(told.values()):
        raise typer.Exit(InputError.exit_code)
    if "held" in told.values():
        raise typer.Exit(RetryLater.exit_code)


@queue_app.command("revive")
def queue_revive(
    stage: str,
    ids: Annotated[list[str] | None, typer.Argument(help="Task ids; none: all failed tasks of --reason.")] = None,
    reason: Annotated[str | None, typer.Option(help="Revive failed tasks of this reason only.")] = None,
    store: Store = None,
    dry_run: DryRun = False,
) -> None:
    """Put failed tasks of STAGE back with a clean count. One that a worker still holds is left alone."""
    queue = _queue(stage, store)
    if not ids and not reason:
        raise UsageError("name task ids, or --reason WORD for all failed tasks of that reason")
    # Read to the end first: reviving changes what is listed.
    failed = {record.id for record in queue.dead() if reason is None or record.reason == reason} if reason else set()
    chosen = [name for name in _names(ids) if not reason or name in failed] if ids else sorted(failed)
    done = [task_id for task_id in chosen if dry_run or queue.revive(task_id)]
    print(f"{'would revive' if dry_run else 'revived'} {len(done)} of {len(ids) if ids else len(chosen)}")


@queue_app.command("sweep")
def queue_sweep(stage: str, store: Store = None) -> None:
    """Finish what crashed workers left half done in STAGE's queue."""
    print(f"mended {_queue(stage, store).sweep()}")


@queue_app.command("resend")
def queue_resend(stage: str, store: Store = None, dry_run: DryRun = False) -> None:
    """Send an SQS message for tasks of STAGE that seem to have none (lost, or older than the queue keeps messages).

    Workers do so by themselves every SQS_RECONCILE_SECONDS. A second message for a task does no harm.
    """
    from duplexforge.queues.sqs import SqsQueue

    queue = _queue(stage, store)
    if not isinstance(queue, SqsQueue):
        raise UsageError(f"the {stage} queue is not on SQS: nothing can be missing")
    count = max(0, queue.reconciler.missing()) if dry_run else queue.reconciler.run(forced=True)
    print(f"{'would send' if dry_run else 'sent'} {count}")


def _site(stage: str, store: str | None) -> Site:
    from duplexforge.layout import STAGES

    if stage not in STAGES:
        raise UsageError(f"there is no queue {stage!r}: {', '.join(STAGES)}")
    return open_site("status", store, probe=False)


def _queue(stage: str, store: str | None) -> TaskQueue[Any]:
    return _site(stage, store).queue(stage)


def _look(site: Site, stage: str, name: str) -> Inspection:
    from duplexforge.config import QueueSettings
    from duplexforge.queues.inspecting import inspect

    return inspect(site.store, site.layout, stage, name, length=site.settings[QueueSettings].lease_seconds)


def _names(ids: list[str]) -> list[str]:
    """Ids once each. UsageError for a word that can be nobody's."""
    from duplexforge.layout import safe_name

    try:
        return [safe_name(name) for name in dict.fromkeys(ids)]
    except ValueError as error:
        raise UsageError(f"{error}, so it is no task's id") from error


def _line(text: str) -> str:
    """``text`` on one line, without what could move the cursor."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _inspected(found: Inspection) -> list[str]:
    import json as jsonlib

    lines = [f"{found.id}  {found.state} in {found.stage}"]
    for one in found.attempts:
        line = f"attempt {one.attempt}  {one.state}  {_line(one.owner)}  granted {one.age:.0f} s ago, "
        line += f"written {one.written:.0f} s ago, {one.failures} failed before"
        if one.free_in > 0:
            line += f", {'held' if one.state == 'live' else 'waits'} for {one.free_in:.0f} s"
        lines.append(line + (f": {one.reason}: {_line(one.error or '')}" if one.reason else ""))
    for name, body in (("todo", found.todo), ("completed", found.completed), ("failed", found.failed)):
        if body is not None:
            lines.append(f"{name}  {jsonlib.dumps(body, ensure_ascii=False)}")
    return lines
