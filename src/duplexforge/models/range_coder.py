"""An arithmetic (range) coder over integer tables: symbols in, the fewest whole bytes out.

The interval is a Python integer of any length while a packet is written, so a carry needs no care; the width is kept
between 2^32 and 2^48 by shifting out 16 bits at a time. Every table of cumulated counts ends at ``TOTAL`` (2^15), so
that the division is a shift and no machine can come to another result than any other. After N. Martin, "Range encoding:
an algorithm for removing redundancy from a digitised message" (1979).

A decoder never fails: past the end it reads zeros, and what damaged bytes mean is for the caller to judge.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

TOTAL_BITS = 15
TOTAL = 1 << TOTAL_BITS
_WORD = 16
_LEAST = 1 << 32
_WIDEST = (1 << 48) - 1


class RangeEncoder:
    """One packet in the making."""

    def __init__(self) -> None:
        self._low = 0
        self._width = _WIDEST
        self._shifts = 0

    def symbol(self, table: Sequence[int], index: int) -> None:
        """Write symbol ``index`` of ``table``: cumulated counts from 0 to ``TOTAL``, one more than there are symbols."""
        unit = self._width >> TOTAL_BITS
        start = table[index]
        self._low += unit * start
        self._width = unit * (table[index + 1] - start)
        if self._width < _LEAST:
            self._shift()

    def number(self, value: int, bits: int) -> None:
        """Write ``bits`` (at most 15) bits of ``value`` as they are, every value being equally likely."""
        unit = self._width >> bits
        self._low += unit * value
        self._width = unit
        if unit < _LEAST:
            self._shift()

    def _shift(self) -> None:
        while self._width < _LEAST:
            self._low <<= _WORD
            self._width <<= _WORD
            self._shifts += 1

    def finish(self) -> bytes:
        """The packet: the shortest bytes that lie in the interval, whatever zeros the decoder reads after them."""
        length = 48 + _WORD * self._shifts
        top = self._low + self._width - 1
        # Of all values in the interval, the one with the most zeros at its end: those bytes need not be written.
        zeros = max((self._low ^ top).bit_length() - 1, 0)
        value = self._low if not self._low & ((1 << zeros) - 1) else (top >> zeros) << zeros
        return value.to_bytes(length // 8, "big").rstrip(b"\0")


class RangeDecoder:
    """Reads back what a ``RangeEncoder`` wrote, with the same tables in the same order."""

    def __init__(self, packet: bytes) -> None:
        self._bytes = packet
        self._place = 6
        self._width = _WIDEST
        self._offset = int.from_bytes(packet[:6].ljust(6, b"\0"), "big")

    def symbol(self, table: Sequence[int]) -> int:
        """The next symbol of ``table``."""
        unit = self._width >> TOTAL_BITS
        count = self._offset // unit
        # The last few values of the width belong to no count: only damage leads there.
        index = bisect_right(table, count) - 1 if count < TOTAL else len(table) - 2
        start = table[index]
        self._offset -= unit * start
        self._width = unit * (table[index + 1] - start)
        if self._width < _LEAST:
            self._shift()
        return index

    def number(self, bits: int) -> int:
        """The next ``bits`` bits, as ``RangeEncoder.number`` wrote them."""
        unit = self._width >> bits
        value = min(self._offset // unit, (1 << bits) - 1)
        self._offset -= unit * value
        self._width = unit
        if unit < _LEAST:
            self._shift()
        return value

    def _shift(self) -> None:
        while self._width < _LEAST:
            word = self._bytes[self._place : self._place + 2].ljust(2, b"\0")
            self._offset = (self._offset << _WORD) | int.from_bytes(word, "big")
            self._width <<= _WORD
            self._place += 2
