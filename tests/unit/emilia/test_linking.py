"""Linking of speakers over blocks: pure rules, with the rules of the clustering stated again where they can be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cosine

from Emilia.models.linking import Heard, blocks, joined, link, voice
from Emilia.recording import Turn

LIMIT = 0.5


@st.composite
def casts(draw: st.DrawFn) -> list[Heard]:
    """Up to six blocks with up to four speakers, some near each other, some without an embedding."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    people = rng.normal(size=(4, 6))
    found: list[Heard] = []
    for block in range(draw(st.integers(0, 6))):
        for person in draw(st.lists(st.integers(0, 3), max_size=4)):
            embedding = people[person] + rng.normal(scale=draw(st.sampled_from([0.1, 1.0])), size=6)
            silent = draw(st.integers(0, 9)) == 0
            found.append(Heard(block, float(rng.uniform(0.1, 100.0)), None if silent else embedding))
    return found


def members(heard: Sequence[Heard], people: Sequence[int]) -> list[list[Heard]]:
    return [[one for one, who in zip(heard, people, strict=True) if who == n] for n in sorted(set(people))]


@given(casts())
def test_two_of_one_block_are_two_people(heard: list[Heard]) -> None:
    people = link(heard, LIMIT)
    assert len(people) == len(heard)
    for one, other in combinations(range(len(heard)), 2):
        if heard[one].block == heard[other].block:
            assert people[one] != people[other]


@given(casts())
def test_joining_ends_when_nothing_near_may_be_joined(heard: list[Heard]) -> None:
    for one, other in combinations(members(heard, link(heard, LIMIT)), 2):
        left, right = voice(one), voice(other)
        if left is not None and right is not None and not {h.block for h in one} & {h.block for h in other}:
            assert cosine(left, right) > LIMIT - 1e-9


@given(casts())
def test_who_gave_no_embedding_stays_alone(heard: list[Heard]) -> None:
    for group in members(heard, link(heard, 2.0)):
        if any(one.embedding is None for one in group):
            assert len(group) == 1
            assert voice(group) is None


@given(casts(), st.randoms(use_true_random=False))
def test_order_of_the_speakers_changes_only_names(heard: list[Heard], random: Random) -> None:
    order = list(range(len(heard)))
    random.shuffle(order)
    people, shuffled = link(heard, LIMIT), link([heard[n] for n in order], LIMIT)
    there = dict(zip(order, shuffled, strict=True))
    names = {(people[n], there[n]) for n in order}
    assert len(names) == len(set(people)) == len(set(shuffled))
    groups = {n: voice([heard[m] for m in order if there[m] == n]) for n in set(shuffled)}
    for mine, theirs in names:
        expected = voice([one for one, who in zip(heard, people, strict=True) if who == mine])
        assert np.array_equal(groups[theirs], expected) if expected is not None else groups[theirs] is None


@given(casts())
def test_one_block_is_left_as_it_is(heard: list[Heard]) -> None:
    assert link([one._replace(block=0) for one in heard], 2.0) == list(range(len(heard)))


@settings(max_examples=30, deadline=None)
@given(casts(), st.floats(0.1, 1.5))
def test_equal_to_the_slow_statement_of_the_rule(heard: list[Heard], limit: float) -> None:
    groups = [[one] for one in heard if one.embedding is not None]
    while True:
        pairs = [
            (float(cosine(voice(a), voice(b))), m, n)
            for (m, a), (n, b) in combinations(enumerate(groups), 2)
            if not {one.block for one in a} & {one.block for one in b}
        ]
        if not pairs or min(pairs)[0] > limit:
            break
        _, m, n = min(pairs)
        groups[m] += groups.pop(n)
    ours = [group for group in members(heard, link(heard, limit)) if group[0].embedding is not None]
    assert {frozenset(map(id, group)) for group in ours} == {frozenset(map(id, group)) for group in groups}


def test_voices_weigh_as_much_as_they_spoke() -> None:
    found = voice([Heard(0, 30.0, np.array([1.0, 0.0])), Heard(1, 10.0, np.array([0.0, 1.0])), Heard(2, 5.0, None)])
    assert found == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize("odd", [[np.nan, 0.0], [0.0, 0.0], [np.inf, 1.0]])
def test_an_embedding_that_says_nothing_is_none(odd: list[float]) -> None:
    people = link([Heard(0, 1.0, np.array(odd)), Heard(1, 1.0, np.array([1.0, 0.0]))], 2.0)
    assert people == [0, 1]
    assert voice([Heard(0, 1.0, np.array(odd))]) is None


@given(st.integers(0, 5000), st.integers(1, 700))
def test_blocks_cover_everything_once(frames: int, size: int) -> None:
    bounds = blocks(frames, size)
    edges = [0, *(last for _, last in bounds)]
    assert edges[-1] == frames
    assert [first for first, _ in bounds] == edges[:-1]
    assert all(last - first == size for first, last in bounds[:-1])
    if len(bounds) > 1:
        assert (bounds[-1][1] - bounds[-1][0]) * 10 >= size
    if bounds:
        assert bounds[-1][1] - bounds[-1][0] < size * 1.1 + 1


def test_a_short_rest_joins_the_block_before() -> None:
    assert blocks(1259, 600) == [(0, 600), (600, 1259)]
    assert blocks(1260, 600) == [(0, 600), (600, 1200), (1200, 1260)]
    assert blocks(30, 600) == [(0, 30)]
    assert blocks(0, 0) == []


def test_a_turn_over_a_border_is_one() -> None:
    found = [
        [Turn(1.0, 9.95, "a"), Turn(5.0, 9.0, "b")],
        [Turn(10.0, 19.97, "a"), Turn(10.05, 12.0, "b")],
        [Turn(20.02, 21.0, "a"), Turn(20.5, 22.0, "a")],
    ]
    assert joined(found, [0.0, 10.0, 20.0], 0.1) == [
        Turn(1.0, 21.0, "a"),
        Turn(5.0, 9.0, "b"),
        Turn(10.05, 12.0, "b"),
        Turn(20.5, 22.0, "a"),
    ]
