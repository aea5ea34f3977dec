"""Which split a conversation belongs to: no speaker and no recording session is heard in two of them.

Conversations that share a speaker or a group hang together, and what hangs together goes to one split. The largest such
piece goes first, each to the split that still wants the most; so the shares asked for are met up to the size of a piece.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from duplexforge.errors import UsageError
from duplexforge.loading.schema import SPLITS


@dataclass(frozen=True)
class Member:
    """A conversation as the division sees it. ``size`` is its length in whatever whole unit; "" is no group."""

    conversation_id: str
    speakers: tuple[str, ...]
    group: str
    size: int


@dataclass(frozen=True)
class Division:
    """``split_of`` each conversation id; ``notes`` are sentences on splits that were asked for and stay empty."""

    split_of: dict[str, str]
    notes: tuple[str, ...] = ()


def assign(members: Sequence[Member], ratios: tuple[float, float, float]) -> Division:
    """Divide ``members`` in the ``ratios`` of train, validation and test, which need not add up to one.

    The answer depends on nothing but the members, in whatever order. UsageError when the ratios make no sense.
    """
    if len(ratios) != len(SPLITS) or not all(math.isfinite(one) and one >= 0 for one in ratios) or not any(ratios):
        raise UsageError(
            "--splits: the shares of train, validation and test must be three numbers from 0 on, not all 0"
        )
    pieces = _pieces(members)
    # An empty conversation is a row too: everything counts one more than its length, so that shares of nothing exist.
    sizes = [sum(member.size + 1 for member in piece) for piece in pieces]
    whole = sum(sizes)
    wants = {split: whole * share / math.fsum(ratios) for split, share in zip(SPLITS, ratios, strict=True) if share}
    got: Counter[str] = Counter()
    split_of: dict[str, str] = {}
    for piece, size in sorted(zip(pieces, sizes, strict=True), key=lambda one: (-one[1], one[0][0].conversation_id)):
        split = max(wants, key=lambda name: wants[name] - got[name])
        got[split] += size
        split_of |= {member.conversation_id: split for member in piece}
    return Division(dict(sorted(split_of.items())), _notes(wants, got, sizes, len(members)))


def _notes(wants: dict[str, float], got: Counter[str], sizes: list[int], members: int) -> tuple[str, ...]:
    if not sizes:
        return ()
    whole = sum(sizes)
    if members == 1:
        why = "there is only one conversation"
    elif len(sizes) == 1:
        why = "all conversations hang together by their speakers and groups"
    else:
        why = f"the smallest of {len(sizes)} pieces that hang together holds {min(sizes) / whole:.0%} of everything"
    return tuple(
        f"{split} stays empty though {want / whole:.0%} was asked for: {why}"
        for split, want in wants.items()
        if not got[split]
    )


def _pieces(members: Sequence[Member]) -> list[list[Member]]:
    """Members that hang together, each piece in the order of its ids."""
    roots: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := roots.setdefault(name, name)) != name:
            # Halve the way for those who come later, so that a long chain of speakers stays cheap.
            roots[name] = roots.setdefault(above, above)
            name = roots[name]
        return name

    for member in members:
        # A speaker may be called like a group or a conversation.
        ties = [f"speaker {name}" for name in member.speakers] + ([f"group {member.group}"] if member.group else [])
        for tie in ties:
            roots[root(tie)] = root(f"conversation {member.conversation_id}")
    pieces: dict[str, list[Member]] = {}
    for member in sorted(members, key=lambda one: one.conversation_id):
        pieces.setdefault(root(f"conversation {member.conversation_id}"), []).append(member)
    return list(pieces.values())
