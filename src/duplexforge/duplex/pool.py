"""Work on many things in several processes, answers in the order of the things; one process does it without a pool.

What the work needs (a tokenizer, a network) each process loads for itself, once. Few answers wait at a time, however many
things there are. Child processes leave Ctrl-C to their parent and end when it is gone, even when it was killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from duplexforge import log
from duplexforge.errors import RetryLater

T = TypeVar("T")
R = TypeVar("R")

# Tasks that wait or are being done, for each process: enough that none is idle, few enough that little piles up.
_AHEAD = 2

_work: Callable[[Any], Any] | None = None


def ordered(work: Callable[[T], R], things: Iterable[T], workers: int) -> Iterator[R]:
    """``work`` of each of ``things``, in their order; the first error ends it. ``work`` and things must pickle.

    RetryLater when a process was killed, which is what happens when memory runs out.
    """
    if workers == 1:
        yield from map(work, things)
        return
    others = multiprocessing.active_children()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(work,)) as pool:
        try:
            yield from _answers(pool, things, _AHEAD * workers)
        except BrokenProcessPool as error:
            raise RetryLater(
                "a worker process was killed, maybe for want of memory: run it again with fewer --workers",
                reason="worker_killed",
            ) from error
        except BaseException:
            # Whoever stops does not want to wait for what is half done.
            for child in multiprocessing.active_children():
                if child not in others:
                    child.terminate()
            pool.shutdown(cancel_futures=True)
            raise


def _answers(pool: ProcessPoolExecutor, things: Iterable[Any], ahead: int) -> Iterator[Any]:
    waiting: deque[Future[Any]] = deque()
    for thing in things:
        waiting.append(pool.submit(_do, thing))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _begin(work: Callable[[Any], Any]) -> None:
    global _work
    _work = work
    log.setup()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        # At once: nobody waits for the answer, and the folder may soon be another build's.
        os._exit(1)


def _do(thing: Any) -> Any:
    assert _work is not None
    return _work(thing)
