"""No speaker and no group in two splits, the same answer in any order, and shares as near as the pieces allow."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.duplex.splits import Division, Member, assign
from duplexforge.errors import UsageError

SPLITS = ("train", "validation", "test")
RATIOS = (0.9, 0.05, 0.05)


@st.composite
def corpora(draw: st.DrawFn) -> list[Member]:
    """Conversations of a few speakers who meet in all ways; some share a group, some a name with one."""
    names = st.sampled_from([f"p{number}" for number in range(30)])
    groups = st.sampled_from(["", "", "", "g1", "g2", "p1"])
    # Many of one length, so that ties are common.
    sizes = st.just(600) | st.integers(0, 10_000)
    rows = draw(st.lists(st.tuples(names, names, groups, sizes), max_size=25))
    return [Member(f"c{number:02d}", (a, b), group, size) for number, (a, b, group, size) in enumerate(rows)]


shares = st.tuples(*[st.integers(0, 100)] * 3).filter(any)


def plain_pieces(members: list[Member]) -> list[set[str]]:
    """What hangs together, found by joining sets until nothing changes any more."""
    pieces = [{member.conversation_id} for member in members]
    ties = {
        member.conversation_id: {("s", name) for name in member.speakers}
        | ({("g", member.group)} if member.group else set())
        for member in members
    }
    changed = True
    while changed:
        changed = False
        for first in range(len(pieces)):
            for second in range(len(pieces) - 1, first, -1):
                of_first, of_second = (set().union(*(ties[one] for one in pieces[at])) for at in (first, second))
                if of_first & of_second:
                    pieces[first] |= pieces.pop(second)
                    changed = True
    return pieces


@given(members=corpora(), ratios=shares)
def test_no_speaker_and_no_group_is_in_two_splits(members: list[Member], ratios: tuple[int, int, int]) -> None:
    split_of = assign(members, ratios).split_of
    assert sorted(split_of) == [member.conversation_id for member in members]
    for names in ([one.speakers[0] for one in members], [one.speakers[1] for one in members]):
        where = dict(zip(names, (split_of[one.conversation_id] for one in members), strict=True))
        for member in members:
            for name in member.speakers:
                assert where.get(name, split_of[member.conversation_id]) == split_of[member.conversation_id]
    for group in {one.group for one in members} - {""}:
        assert len({split_of[one.conversation_id] for one in members if one.group == group}) == 1


@given(members=corpora(), ratios=shares, order=st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(members: list[Member], ratios: tuple[int, int, int], order) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(members)
    order.shuffle(shuffled)
    assert assign(shuffled, ratios) == assign(members, ratios)


@given(members=corpora(), ratios=shares)
def test_shares_are_met_up_to_the_largest_piece(members: list[Member], ratios: tuple[int, int, int]) -> None:
    division = assign(members, ratios)
    sizes = {one.conversation_id: one.size + 1 for one in members}
    largest = max((sum(sizes[name] for name in piece) for piece in plain_pieces(members)), default=0)
    for split, share in zip(SPLITS, ratios, strict=True):
        got = sum(sizes[name] for name, where in division.split_of.items() if where == split)
        want = sum(sizes.values()) * share / sum(ratios)
        assert want - 2 * largest - 1e-6 <= got <= want + largest + 1e-6
        if not share:
            assert got == 0


@given(members=corpora())
def test_pieces_are_not_larger_than_they_must_be(members: list[Member]) -> None:
    """With a share for everybody, what the plain search finds apart may come apart: all of a piece in one split."""
    split_of = assign(members, (1, 1, 1)).split_of
    pieces = plain_pieces(members)
    for piece in pieces:
        assert len({split_of[name] for name in piece}) == 1
    if len(pieces) >= 3:
        assert set(split_of.values()) == set(SPLITS)


def strangers(count: int, size: int = 100) -> list[Member]:
    return [Member(f"c{number:03d}", (f"a{number}", f"b{number}"), "", size) for number in range(count)]


def counts(division: Division) -> list[int]:
    return [list(division.split_of.values()).count(split) for split in SPLITS]


def test_strangers_are_divided_as_asked() -> None:
    division = assign(strangers(100), RATIOS)
    assert counts(division) == [90, 5, 5]
    assert division.notes == ()


def test_the_largest_go_first() -> None:
    members = [Member(f"c{size}", (f"a{size}", f"b{size}"), "", size) for size in (9, 10, 29, 49)]
    division = assign(members, (0.5, 0.3, 0.2))
    assert division.split_of == {"c49": "train", "c29": "validation", "c10": "test", "c9": "test"}


def test_of_equals_the_first_by_name_goes_first() -> None:
    pair = [Member("d", ("x", "y"), "", 10), Member("a", ("y", "z"), "", 10)]
    alone = [Member("b", ("u", "v"), "", 10), Member("c", ("v", "w"), "", 10)]
    # The piece of "a" and "d" is told by "a", however the two were read.
    wanted = {"a": "train", "b": "validation", "c": "validation", "d": "train"}
    for members in (pair + alone, alone + pair, alone + pair[::-1], pair[::-1] + alone[::-1]):
        assert assign(members, (1, 1, 0)).split_of == wanted


def test_shares_need_not_add_up_to_one() -> None:
    assert assign(strangers(100), (90, 5, 5)) == assign(strangers(100), RATIOS)


def test_a_chain_of_acquaintances_stays_together() -> None:
    members = [Member(f"c{number:05d}", (f"p{number}", f"p{number + 1}"), "", 7) for number in range(20_000)]
    division = assign(members, RATIOS)
    assert counts(division) == [20_000, 0, 0]
    assert division.notes == (
        "validation stays empty though 5% was asked for: all conversations hang together by their speakers and groups",
        "test stays empty though 5% was asked for: all conversations hang together by their speakers and groups",
    )


def test_pieces_too_large_for_a_small_share_are_told() -> None:
    division = assign(strangers(3), RATIOS)
    assert counts(division) == [3, 0, 0]
    assert division.notes[0] == (
        "validation stays empty though 5% was asked for: the smallest of 3 pieces that hang together holds 33% of everything"
    )


def test_one_conversation_is_told_as_such() -> None:
    assert assign(strangers(1), RATIOS).notes[0].endswith(": there is only one conversation")
    related = [Member(name, ("ann", f"with {name}"), "", 5) for name in "ab"]
    assert assign(related, RATIOS).notes[0].endswith("hang together by their speakers and groups")


def test_no_group_ties_nobody_and_a_group_is_not_a_speaker() -> None:
    members = [Member("a", ("x", "y"), "", 1), Member("b", ("v", "w"), "x", 1), Member("c", ("t", "u"), "", 1)]
    assert counts(assign(members, (1, 1, 1))) == [1, 1, 1]


def test_a_split_nobody_asked_for_stays_empty_without_a_word() -> None:
    assert assign(strangers(4), (1, 0, 0)) == Division({f"c{number:03d}": "train" for number in range(4)})


def test_nothing_is_divided_into_nothing() -> None:
    assert assign([], RATIOS) == Division({})


@pytest.mark.parametrize("ratios", [(0, 0, 0), (-0.1, 1, 0.1), (math.nan, 1, 1), (math.inf, 1, 1), (1, 1)])
def test_shares_without_sense_are_refused(ratios: tuple[float, float, float]) -> None:
    with pytest.raises(UsageError, match="three numbers from 0 on"):
        assign(strangers(1), ratios)
