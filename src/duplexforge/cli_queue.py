"""``duplexforge queue``: look into the queues and put failed tasks back."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from duplexforge.cli_options import DryRun, Json, Store, open_site, show
from duplexforge.errors import UsageError

queue_app = typer.Typer(help="Look into the queues and put failed tasks back.", no_args_is_help=True)


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
def queue_dead(stage: str, store: Store = None, json: Json = False) -> None:
    """List the failed tasks of STAGE (download, processing, upload) with their reasons."""
    records = [record.model_dump(exclude_none=True) for record in _queue(stage, store).dead()]
    lines = [f"{r['id']}  {r['reason']}  after {r['failures']}: {r['message']}" for r in records]
    show(json, records, "\n".join(lines) or f"no failed task in {stage}")


@queue_app.command("revive")
def queue_revive(
    stage: str,
    ids: Annotated[list[str] | None, typer.Argument(help="Task ids; none: all failed tasks of --reason.")] = None,
    reason: Annotated[str | None, typer.Option(help="Revive every failed task of this reason.")] = None,
    store: Store = None,
    dry_run: DryRun = False,
) -> None:
    """Put failed tasks of STAGE back with a clean count."""
    queue = _queue(stage, store)
    if not ids and not reason:
        raise UsageError("name task ids, or --reason WORD for all failed tasks of that reason")
    chosen = ids or [record.id for record in queue.dead() if record.reason == reason]
    done = [task_id for task_id in chosen if dry_run or queue.revive(task_id)]
    print(f"{'would revive' if dry_run else 'revived'} {len(done)} of {len(chosen)}")


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


def _queue(stage: str, store: str | None) -> Any:
    from duplexforge.layout import STAGES

    if stage not in STAGES:
        raise UsageError(f"there is no queue {stage!r}: {', '.join(STAGES)}")
    return open_site("status", store, probe=False).queue(stage)
