"""The range coder: what is written is read back, in as few bytes as the tables promise, and damage raises nothing."""

from __future__ import annotations

from itertools import accumulate
from math import log2

from hypothesis import given
from hypothesis import strategies as st

from duplexforge.models.range_coder import TOTAL, RangeDecoder, RangeEncoder


def table_of(weights: list[int]) -> list[int]:
    """Cumulated counts near the proportions of ``weights``, each at least 1."""
    counts = [max(1, weight * (TOTAL - len(weights)) // sum(weights)) for weight in weights]
    counts[counts.index(max(counts))] += TOTAL - sum(counts)
    return [0, *accumulate(counts)]


tables = st.lists(st.integers(1, 10_000), min_size=2, max_size=30).map(table_of)


@st.composite
def messages(draw: st.DrawFn) -> list[tuple[list[int] | int, int]]:
    """Symbols with their tables, and plain numbers with their bits, in any order."""
    found: list[tuple[list[int] | int, int]] = []
    for table in draw(st.lists(tables, min_size=1, max_size=3)):
        for _ in range(draw(st.integers(0, 60))):
            if draw(st.booleans()):
                found.append((table, draw(st.integers(0, len(table) - 2))))
            else:
                bits = draw(st.integers(1, 15))
                found.append((bits, draw(st.integers(0, (1 << bits) - 1))))
    return found


def write(message: list[tuple[list[int] | int, int]]) -> bytes:
    encoder = RangeEncoder()
    for kind, value in message:
        if isinstance(kind, int):
            encoder.number(value, kind)
        else:
            encoder.symbol(kind, value)
    return encoder.finish()


def read(packet: bytes, message: list[tuple[list[int] | int, int]]) -> list[int]:
    decoder = RangeDecoder(packet)
    return [decoder.number(kind) if isinstance(kind, int) else decoder.symbol(kind) for kind, _ in message]


@given(messages())
def test_what_is_written_is_read_back(message: list[tuple[list[int] | int, int]]) -> None:
    assert read(write(message), message) == [value for _, value in message]


@given(messages())
def test_the_packet_is_hardly_longer_than_the_tables_promise(message: list[tuple[list[int] | int, int]]) -> None:
    promised = sum(
        kind if isinstance(kind, int) else -log2((kind[value + 1] - kind[value]) / TOTAL) for kind, value in message
    )
    assert 8 * len(write(message)) <= promised * 1.001 + 16


@given(messages(), st.binary(max_size=40))
def test_other_bytes_give_other_symbols_and_no_error(
    message: list[tuple[list[int] | int, int]], damaged: bytes
) -> None:
    for (kind, _), value in zip(message, read(damaged, message), strict=True):
        assert 0 <= value < (1 << kind if isinstance(kind, int) else len(kind) - 1)


def test_a_likely_message_costs_nothing() -> None:
    table = table_of([100_000, 1])
    encoder = RangeEncoder()
    for _ in range(10):
        encoder.symbol(table, 0)
    assert encoder.finish() == b""


def test_a_carry_runs_through_bytes_that_are_written_already() -> None:
    table = [0, TOTAL - 1, TOTAL]
    message: list[tuple[list[int] | int, int]] = [(table, 1)] * 30 + [(table, 0)] * 30 + [(table, 1)] * 30
    assert read(write(message), message) == [value for _, value in message]
