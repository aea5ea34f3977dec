"""The states of all tasks of a queue in one pass over sorted listings: memory holds a page of each, whatever the queue's size."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator, Mapping

# Keys are in order with their ending: `a-b.task` comes before `a.task`, though `a` comes before `a-b`.
_ENDING = ".task"


def by_task(listings: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, set[str]]]:
    """Each task id once with the states under which it is listed; every listing comes in key order."""
    streams = [_named(state, ids) for state, ids in listings.items()]
    for name, group in itertools.groupby(heapq.merge(*streams), key=lambda pair: pair[0]):
        yield name.removesuffix(_ENDING), {state for _, state in group}


def _named(state: str, ids: Iterable[str]) -> Iterator[tuple[str, str]]:
    return ((f"{task_id}{_ENDING}", state) for task_id in ids)
