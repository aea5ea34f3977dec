"""Shuffling: all of it, in an order that a seed brings back, without holding it."""

from __future__ import annotations

import tracemalloc

from duplexforge.downloading.entries import Said
from duplexforge.downloading.shuffling import shuffled
from duplexforge.records import DownloadTask, Selection


def tasks(count: int) -> list[DownloadTask]:
    """Different tasks."""
    return [Said().item(f"https://a.example/{number}.mp3") for number in range(count)]


def test_the_same_seed_gives_the_same_order() -> None:
    all_of_them = tasks(200)
    first, again, other = (list(shuffled(all_of_them, seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert sorted(task.id for task in first) == sorted(task.id for task in all_of_them)
    assert first != all_of_them


def test_without_a_seed_the_order_is_another_each_time() -> None:
    assert list(shuffled(tasks(50), None)) != list(shuffled(tasks(50), None))


def test_nothing_of_a_task_is_lost() -> None:
    task = tasks(1)[0].model_copy(update={"title": "T\u2028", "selection": Selection(max_items=3), "only_audio": False})
    assert list(shuffled([task], 1)) == [task]
    assert list(shuffled([], 1)) == []


def test_the_items_wait_outside_of_memory() -> None:
    stream = (Said().item(f"https://a.example/{number}.mp3") for number in range(5_000))
    tracemalloc.start()
    count = sum(1 for _ in shuffled(stream, 1))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 5_000
    assert peak < 1_000_000
