"""Parts read at the same time come out in order, no faster than they are used."""

from __future__ import annotations

import random
import threading
import time
from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.downloading.gather import in_order


@settings(deadline=None, max_examples=50)
@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5), st.randoms(use_true_random=False))
def test_order_is_kept(parts: list[bool], threads: int, chance: random.Random) -> None:
    waits = [chance.random() / 2000 for _ in parts]

    def read(part: tuple[int, bool]) -> int:
        time.sleep(waits[part[0]])
        return part[0]

    numbered = list(enumerate(parts))
    found = list(in_order(iter(numbered), read, threads=threads, slow=lambda part: part[1]))
    assert found == [((number, slow), number if slow else None) for number, slow in numbered]


def test_no_more_than_a_window_is_under_way() -> None:
    begun: list[int] = []
    together = most = 0
    lock = threading.Lock()

    def read(part: int) -> int:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
            begun.append(part)
        time.sleep(0.002)
        with lock:
            together -= 1
        return part

    stream = in_order(iter(range(10**9)), read, threads=3, slow=lambda _: True)
    assert [part for part, _ in islice(stream, 20)] == list(range(20))
    stream.close()  # type: ignore[attr-defined]
    assert len(begun) <= 20 + 2 * 3
    assert 1 < most <= 3


def test_quick_parts_do_not_wait_behind_the_end_of_the_source() -> None:
    handed: list[int] = []

    def parts() -> object:
        for number in range(5):
            handed.append(number)
            yield number

    stream = in_order(parts(), str, threads=2, slow=lambda _: False)  # type: ignore[arg-type]
    assert next(stream) == (0, None)
    assert handed == [0]
