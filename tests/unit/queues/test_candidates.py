"""Where workers begin, what is listed when, and what a worker tries while a listing is on its way."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore

from duplexforge.errors import StoreError
from duplexforge.layout import Layout, hashed_id
from duplexforge.queues.candidates import Candidates, Places, _from_a_gap
from duplexforge.queues.view import LeaseView
from duplexforge.storage import Page, Store

NAMES = [f"t{number:03d}" for number in range(100)]


@given(held=st.sets(st.sampled_from(NAMES)), count=st.integers(0, 100), seed=st.integers(0, 1000))
def test_everything_free_is_tried_once_in_a_walk(held: set[str], count: int, seed: int) -> None:
    page = NAMES[:count]
    walk = _from_a_gap(page, held, random.Random(seed))[::-1]
    free = [name for name in page if name not in held]
    assert sorted(walk) == free
    cut = walk.index(free[0]) if free else 0
    assert walk[cut:] + walk[:cut] == free


def test_between_two_workers_it_begins_in_the_second_half() -> None:
    held = {NAMES[0], NAMES[80]}
    starts = {_from_a_gap(NAMES, held, random.Random(seed))[-1] for seed in range(400)}
    assert starts <= {*NAMES[40:80], *NAMES[90:]}
    assert len(starts) > 35


def test_nobody_in_sight_any_place_is_as_good() -> None:
    starts = {_from_a_gap(NAMES, set(), random.Random(seed))[-1] for seed in range(200)}
    assert len(starts) > 50


def pages(ids: list[str], places: Places) -> tuple[str, list[str]]:
    """A page of a hundred from where ``places`` says, as ``Candidates`` lists."""
    start = places.guess()
    page = [one for one in ids if one > start][:100]
    if start:
        places.learn(start, page)
    else:
        places.whole(page)
    return start, page


@pytest.mark.parametrize(
    "ids",
    [
        sorted(hashed_id("pod", str(number)) for number in range(5_000)),
        sorted(f"yt-{random.Random(number).randrange(64**6):08d}" for number in range(5_000)),
        [f"{number:08d}" for number in range(5_000)],
        [f"batch-en-{number:06d}" for number in range(5_000)],
    ],
)
def test_places_are_found_where_ids_are(ids: list[str]) -> None:
    places = Places(random.Random(3))
    tried = [pages(ids, places) for _ in range(300)]
    late = tried[150:]
    # Mostly a full page is found, and pages of many different places.
    assert sum(len(page) == 100 for _, page in late) > 100
    assert len({page[0] for _, page in late if page}) > 20


def test_all_kinds_are_found() -> None:
    ids = sorted([hashed_id(kind, str(number)) for kind in ("file", "pod", "yt") for number in range(2_000)])
    places = Places(random.Random(4))
    seen = {one.partition("-")[0] for _ in range(300) for one in pages(ids, places)[1]}
    assert seen == {"file", "pod", "yt"}


def test_a_queue_of_one_page_is_listed_from_its_beginning() -> None:
    places = Places(random.Random(5))
    assert places.guess() == ""
    places.whole([])
    assert places.guess() == ""


KEYS = Layout()
TASKS, LEASES = KEYS.queue_prefix("processing", "todo"), KEYS.queue_prefix("processing", "in_progress")
# Seconds: a lost claim that is worth a listing, and one that is not.
LONG, SHORT = 60.0, 1e-9


class GatedStore(Store):
    """A memory store that keeps book of its listings, and holds them up or refuses them when the test says so."""

    def __init__(self, names: list[str]) -> None:
        super().__init__("memory://", MemoryStore())
        self.listed: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.refuses = False
        for name in names:
            self.put(KEYS.todo("processing", name), b"{}")

    def pages(self, prefix: str, *, after: str | None = None) -> Iterator[Page]:
        self.listed.append(prefix)
        found = list(super().pages(prefix, after=after))
        assert self.gate.wait(10)
        if self.refuses:
            raise StoreError("no listing today")
        yield from found

    def hold(self, name: str) -> None:
        """Somebody takes a task."""
        self.put(KEYS.lease("processing", name, 1), b"{}")


class Walk:
    """A worker's way through a queue of NAMES."""

    def __init__(self, names: list[str] = NAMES) -> None:
        self.store = GatedStore(names)
        self.view = LeaseView(self.store, KEYS, "processing", 600.0)
        self.candidates = Candidates(self.store, KEYS, "processing", self.view, random.Random(6))
        self.ids = self.candidates.ids()

    def take(self) -> str:
        """The next one is ours."""
        task_id = next(self.ids)
        self.store.hold(task_id)
        self.view.taken(task_id, 1, self.store.now())
        return task_id


def test_the_first_listing_is_of_tasks_alone_and_later_ones_of_leases_too() -> None:
    walk = Walk()
    walk.take()
    assert walk.store.listed == [TASKS]
    assert len({walk.take() for _ in range(99)}) == 99
    assert walk.store.listed == [TASKS]
    # Nothing waits: what is ours comes last, as it may have been given back.
    assert set(walk.candidates.ids()) < set(NAMES)
    assert sorted(walk.store.listed) == [LEASES, TASKS, TASKS]


def test_an_empty_queue_is_one_listing() -> None:
    walk = Walk([])
    assert list(walk.ids) == []
    assert walk.store.listed == [TASKS]


def test_after_a_loss_it_goes_on_while_a_listing_comes() -> None:
    walk = Walk()
    walk.take()
    walk.store.gate.clear()
    walk.candidates.lost(LONG)
    walk.take()
    # The second loss waits for the listing that the first one began: a third try in the dark would not pay.
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(walk.candidates.lost, LONG)
        assert not waiting.done()
        walk.store.gate.set()
        waiting.result(10)
    assert walk.store.listed.count(TASKS) == 2


def test_after_a_listing_it_goes_by_that() -> None:
    walk = Walk()
    walk.take()
    for name in NAMES[:99]:
        walk.store.hold(name)
    for _ in range(2):
        walk.candidates.lost(LONG)
    assert next(walk.ids) == NAMES[99]


def test_losses_that_cost_nothing_are_not_worth_a_listing() -> None:
    walk = Walk()
    walk.take()
    for _ in range(50):
        walk.candidates.lost(SHORT)
        walk.take()
    assert walk.store.listed == [TASKS]


def test_many_cheap_losses_are_worth_one_and_nobody_waits_for_it() -> None:
    walk = Walk()
    walk.take()
    walk.store.gate.clear()
    walk.candidates.lost(LONG)
    for _ in range(50):
        walk.take()
        walk.candidates.lost(SHORT)
    walk.store.gate.set()
    assert len(list(walk.ids)) >= 49
    # The third is the walk's end: what was lost after the second had begun may be free for all that this one shows.
    assert walk.store.listed.count(TASKS) == 3


def test_what_is_ours_does_not_come_again_with_a_listing_that_was_begun_before() -> None:
    walk = Walk()
    ours = {walk.take()}
    walk.store.gate.clear()
    walk.candidates.lost(LONG)
    ours |= {walk.take() for _ in range(5)}
    walk.store.gate.set()
    # The listing shows no lease of ours; a claimant that met its own would take itself for a stranger.
    rest = [walk.take() for _ in range(94)]
    assert ours | set(rest) == set(NAMES)
    assert ours.isdisjoint(rest)


def test_it_ends_only_after_a_listing_of_its_own() -> None:
    walk = Walk(NAMES[:1])
    walk.take()
    walk.store.put(KEYS.todo("processing", "late"), b"{}")
    assert next(walk.candidates.ids()) == "late"


def test_after_a_loss_it_ends_only_after_a_listing_of_leases() -> None:
    walk = Walk(NAMES[:1])
    walk.store.hold(NAMES[0])
    walk.view.taken(next(walk.ids), 1, walk.store.now())
    walk.candidates.lost(SHORT)
    assert list(walk.ids) == [NAMES[0]], "held: its record may still say that it was given back"
    assert walk.store.listed.count(LEASES) == 1


def test_a_listing_that_failed_unseen_is_made_again() -> None:
    walk = Walk(NAMES[:2])
    walk.take()
    walk.store.refuses = True
    walk.candidates.lost(LONG)
    walk.take()
    with pytest.raises(StoreError, match="no listing today"):
        next(walk.candidates.ids())
    walk.store.refuses = False
    walk.store.put(KEYS.todo("processing", "late"), b"{}")
    assert next(walk.candidates.ids()) == "late"
