"""Mending what crashes left behind in a prefix queue: one pass over all states, flat in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from duplexforge.errors import InputError
from duplexforge.queues.base import K
from duplexforge.queues.view import LeaseView
from duplexforge.records import Ended, parse

if TYPE_CHECKING:
    from duplexforge.queues.prefix import PrefixQueue


def sweep(
    queue: PrefixQueue[K],
    view: LeaseView,
    states: Iterator[tuple[str, set[str]]],
    done: Callable[[K], bool] | None,
) -> int:
    """Finish what was left half done, see ``TaskQueue.sweep``; ``view`` was just refreshed. How much was mended."""
    alone, mended = view.ids(), 0
    for task_id, seen in states:
        if {"completed", "failed"} <= seen:
            queue.store.delete(queue.layout.failed(queue.stage, task_id))
        elif "failed" in seen and done:
            mended += _complete_zombie(queue, task_id, done)
        if seen != {"todo"} and ("todo" in seen or task_id in alone):
            queue.finish(task_id, view.attempts(task_id))
            mended += 1
        alone.discard(task_id)
    # Leases without a todo: a claimant died between losing the race and tidying up.
    for task_id in alone:
        key = queue.layout.todo(queue.stage, task_id)
        if view.free(task_id, queue.store.now()) and not queue.store.head(key):
            queue.clean(task_id, view.attempts(task_id))
            mended += 1
    return mended


def _complete_zombie(queue: PrefixQueue[K], task_id: str, done: Callable[[K], bool]) -> int:
    """A failed task whose output is committed after all becomes completed."""
    key = queue.layout.failed(queue.stage, task_id)
    body = queue.store.find(key)
    if body is None:
        return 0
    record = parse(Ended, body, key)
    try:
        task = queue.model.model_validate(record.task)
        if not done(task):
            return 0
    except (ValueError, InputError):  # the body was never a task: nothing can have been committed for it
        return 0
    ended = Ended.of(task, "completed", record.attempt, failures=record.failures)
    queue.store.put_if_absent(queue.layout.completed(queue.stage, task_id), ended.to_bytes())
    queue.store.delete(key)
    return 1
