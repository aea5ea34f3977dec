"""Where workers begin: in the middle of what lies between two others, and at random places where ids are."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.layout import hashed_id
from duplexforge.queues.candidates import Places, _from_a_gap

NAMES = [f"t{number:03d}" for number in range(100)]


@given(held=st.sets(st.sampled_from(NAMES)), count=st.integers(0, 100), seed=st.integers(0, 1000))
def test_everything_free_is_tried_once_in_a_walk(held: set[str], count: int, seed: int) -> None:
    page = NAMES[:count]
    walk = _from_a_gap(page, held, random.Random(seed))[::-1]
    free = [name for name in page if name not in held]
    assert sorted(walk) == free
    cut = walk.index(free[0]) if free else 0
    assert walk[cut:] + walk[:cut] == free


def test_between_two_workers_it_begins_in_the_middle() -> None:
    held = {NAMES[0], NAMES[80]}
    starts = {_from_a_gap(NAMES, held, random.Random(seed))[-1] for seed in range(50)}
    assert starts == {NAMES[40], NAMES[90]}


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
