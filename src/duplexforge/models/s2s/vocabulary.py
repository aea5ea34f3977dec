"""Subwords of the texts that the model says: byte-pair merges learned from a corpus, any script. No torch, no files.

A word is spelt with a mark before it, so that a text is its pieces put together. Merges stay inside a word. A character that
the corpus did not have becomes ``UNKNOWN``, which reads as a replacement character. Source of the method: Sennrich et al.,
2016.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

from duplexforge.errors import InputError

__all__ = ["END", "PAD", "START", "UNKNOWN", "Vocabulary", "learn", "normal"]

PAD, END, UNKNOWN, START = range(4)
"""No text at this step; the answer is over; a character that is not known; what stands before the first step."""
_SPECIAL = 4
_MARK = "▁"

Pair = tuple[str, str]


def normal(text: str) -> str:
    """``text`` with one spelling of each character and single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).split())


@dataclass(frozen=True)
class Vocabulary:
    """Pieces by number (from the fourth on) and the merges in the order in which they apply."""

    pieces: tuple[str, ...]
    merges: tuple[Pair, ...]

    def __len__(self) -> int:
        return _SPECIAL + len(self.pieces)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {piece: number for number, piece in enumerate(self.pieces, _SPECIAL)}

    @cached_property
    def _ranks(self) -> dict[Pair, int]:
        return {pair: rank for rank, pair in enumerate(self.merges)}

    def word(self, word: str) -> list[int]:
        """The numbers of one word's pieces."""
        parts = _apart(word)
        while len(parts) > 1:
            best = min(pairwise(parts), key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            parts = _merged(parts, best)
        return [self._numbers.get(part, UNKNOWN) for part in parts]

    def text(self, text: str) -> list[int]:
        """The numbers of a whole text."""
        return [number for word in normal(text).split() for number in self.word(word)]

    def read(self, numbers: Iterable[int]) -> str:
        """The text of ``numbers``; what is no piece (padding, the end) says nothing."""
        said = [
            "\N{REPLACEMENT CHARACTER}" if number == UNKNOWN else self.pieces[number - _SPECIAL]
            for number in numbers
            if number == UNKNOWN or number >= _SPECIAL
        ]
        return "".join(said).replace(_MARK, " ").strip()

    def to_json(self) -> str:
        """As it is kept beside weights."""
        return json.dumps({"pieces": self.pieces, "merges": self.merges}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """What :meth:`to_json` wrote; InputError when it is no such thing."""
        try:
            found = json.loads(text)
            return cls(tuple(map(str, found["pieces"])), tuple((str(a), str(b)) for a, b in found["merges"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"this is no vocabulary: {error}") from error


def learn(texts: Iterable[str], size: int) -> Vocabulary:
    """The vocabulary of at most ``size`` numbers that spells ``texts``; every character of theirs is in it, whatever the size."""
    counts = Counter(word for text in texts for word in normal(text).split())
    words = {word: _apart(word) for word in counts}
    pieces = sorted({part for parts in words.values() for part in parts})
    merges: list[Pair] = []
    while len(pieces) + _SPECIAL < size:
        pairs: Counter[Pair] = Counter()
        for word, parts in words.items():
            for pair in pairwise(parts):
                pairs[pair] += counts[word]
        if not pairs:
            break
        # Ties go to the first in order of letters: the same corpus gives the same vocabulary everywhere.
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        joined = "".join(best)
        if joined not in pieces:
            pieces.append(joined)
        words = {word: _merged(parts, best) for word, parts in words.items()}
    return Vocabulary(tuple(pieces), tuple(merges))


@lru_cache(maxsize=4096)
def _letters(word: str) -> tuple[str, ...]:
    return (_MARK, *word)


def _apart(word: str) -> list[str]:
    return list(_letters(unicodedata.normalize("NFC", word)))


def _merged(parts: Sequence[str], pair: Pair) -> list[str]:
    found: list[str] = []
    at = 0
    while at < len(parts):
        both = at + 1 < len(parts) and (parts[at], parts[at + 1]) == pair
        found.append(parts[at] + parts[at + 1] if both else parts[at])
        at += 2 if both else 1
    return found
