"""Feeds of a list read at the same time, their items handed on in the list's order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    parts: Iterable[T], read: Callable[[T], R], *, threads: int, slow: Callable[[T], bool]
) -> Iterator[tuple[T, R | None]]:
    """Each of ``parts`` with what ``read`` made of it in a thread, or with None when it is not ``slow``.

    A bounded number is under way, so that a list of millions is read no faster than it is used. ``read`` may not raise.
    """
    ahead = 2 * threads
    waiting: deque[tuple[T, Future[R] | None]] = deque()
    running = 0
    stop = threading.Event()

    def unless_stopped(part: T) -> R:
        # A caller that breaks off (enough items, Ctrl-C) should not wait for feeds that have not begun.
        if stop.is_set():
            raise RuntimeError("stopped")
        return read(part)

    pool = ThreadPoolExecutor(max_workers=threads)
    try:
        for part in parts:
            future = pool.submit(unless_stopped, part) if slow(part) else None
            waiting.append((part, future))
            running += future is not None
            while waiting and (running >= ahead or waiting[0][1] is None or len(waiting) > 1000):
                first, done = waiting.popleft()
                running -= done is not None
                yield first, done.result() if done else None
        while waiting:
            first, done = waiting.popleft()
            yield first, done.result() if done else None
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
