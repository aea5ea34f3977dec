"""Shares with their intervals, and the tables that `s2s_answers.py` prints of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from statistics import median
from typing import Any

__all__ = ["COLUMNS", "Item", "Pitch", "Row", "Share", "markdown", "pitches", "plain", "rows"]

_Z = 1.959964
"""95 % of a normal distribution lies within so many standard deviations."""


@dataclass(frozen=True)
class Share:
    """``right`` of ``asked``."""

    right: int
    asked: int

    @classmethod
    def of(cls, found: Iterable[bool]) -> Share:
        """The share that is true."""
        told = list(found)
        return cls(sum(told), len(told))

    @property
    def value(self) -> float:
        """Between 0 and 1; not a number when nothing was asked."""
        return self.right / self.asked if self.asked else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true share lies with 95 % (Wilson, 1927): unlike the simple one, right for few and near the ends."""
        if not self.asked:
            return 0.0, 1.0
        spread = _Z * _Z / self.asked
        middle = (self.value + spread / 2) / (1 + spread)
        half = _Z * sqrt(self.value * (1 - self.value) / self.asked + spread / self.asked / 4) / (1 + spread)
        return max(middle - half, 0.0), min(middle + half, 1.0)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.1%} ({100 * low:.1f}–{100 * high:.1f}) of {self.asked}" if self.asked else "–"


@dataclass(frozen=True)
class Item:
    """What was found of one answer; ``found`` has the measures that could be asked of it."""

    held_out: str
    language: str
    speaker: int
    emotion: int
    found: Mapping[str, bool]
    pitch: float = float("nan")
    """Median (Hz) of the audio."""
    length: float = float("nan")
    """Frames of the audio over those of the true answer, where the text is right."""


COLUMNS: dict[str, Callable[[Item], bool]] = {
    "all": lambda item: True,  # noqa: ARG005
    "new wording": lambda item: item.held_out == "wording",
    "new voice": lambda item: item.held_out == "voice",
    "both new": lambda item: item.held_out == "both",
    "English": lambda item: item.language == "en",
    "Telugu": lambda item: item.language == "te",
}
"""Columns of the table: which items each one counts."""


@dataclass(frozen=True)
class Row:
    """One measure: its shares by column."""

    name: str
    shares: dict[str, Share]

    def to_json(self) -> dict[str, Any]:
        """Shares with their counts and intervals."""
        told = {
            column: asdict(share) | {"share": round(share.value, 4), "interval": [round(x, 4) for x in share.interval]}
            for column, share in self.shares.items()
            if share.asked
        }
        return {"name": self.name, "columns": told}


def rows(items: Sequence[Item], measures: Sequence[str]) -> list[Row]:
    """A row for each of ``measures`` that was asked at all."""
    found = [
        Row(
            name,
            {
                column: Share.of(item.found[name] for item in items if name in item.found and counts(item))
                for column, counts in COLUMNS.items()
            },
        )
        for name in measures
    ]
    return [row for row in found if row.shares["all"].asked]


@dataclass(frozen=True)
class Pitch:
    """How high a voice or an emotion is (Hz, or a factor), and how far from what is wanted and from the corpus (shares)."""

    name: str
    count: int
    heard: float
    wanted_error: float | None
    corpus_error: float

    @property
    def met(self) -> bool:
        """Whether both are within a tenth."""
        return all(abs(error) <= 0.1 for error in (self.wanted_error, self.corpus_error) if error is not None)


def pitches(
    items: Sequence[Item],
    voices: Sequence[tuple[str, str, float]],
    emotions: Sequence[str],
    corpus: Mapping[str, Mapping[str, float]],
) -> list[Pitch]:
    """A row for each of ``voices`` (name, key, wanted Hz) when neutral, then one for each of ``emotions``.

    ``corpus`` has medians (Hz) by key and emotion. Over voices an emotion is told as the median factor on the corpus' pitch of
    the same voice and emotion, so that who happened to be drawn does not matter.
    """
    voiced = [item for item in items if item.pitch == item.pitch]
    found = []
    for number, (name, key, wanted) in enumerate(voices):
        mine = [item.pitch for item in voiced if (item.speaker, item.emotion) == (number, 0)]
        if mine:
            hz = median(mine)
            found.append(Pitch(f"{name}, neutral", len(mine), hz, hz / wanted - 1, hz / corpus[key][emotions[0]] - 1))
    for number, emotion in enumerate(emotions):
        keys = [(item.pitch, corpus[voices[item.speaker][1]].get(emotion)) for item in voiced if item.emotion == number]
        factors = [pitch / usual for pitch, usual in keys if usual]
        if factors:
            found.append(Pitch(f"all voices, {emotion}", len(factors), median(factors), None, median(factors) - 1))
    return found


def markdown(table: Sequence[Row], high: Sequence[Pitch]) -> list[str]:
    """Both tables for a model card."""
    lines = ["| share, 95 % interval (%), answers | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines += [f"| {row.name} | " + " | ".join(str(row.shares[column]) for column in COLUMNS) + " |" for row in table]
    lines += [
        "",
        "| pitch | answers | median | beside the voice's | beside the corpus' | within 10 % |",
        "|---" * 6 + "|",
    ]
    return lines + ["| " + " | ".join(_cells(row)) + " |" for row in high]


def plain(table: Sequence[Row], high: Sequence[Pitch]) -> list[str]:
    """Both tables for a terminal, a line a share."""
    lines = []
    for row in table:
        told = [f"{column} {share}" for column, share in row.shares.items() if share.asked]
        lines += [row.name, "    " + "; ".join(told)]
    lines.append("")
    for one in high:
        name, count, middle, wanted, corpus, met = _cells(one)
        lines.append(
            f"{name:<26}{count:>5} answers  {middle:>8}  voice {wanted:>7}  corpus {corpus:>7}  within 10 %: {met}"
        )
    return lines


def _cells(row: Pitch) -> tuple[str, ...]:
    wanted = "–" if row.wanted_error is None else f"{row.wanted_error:+.1%}"
    middle = f"× {row.heard:.2f}" if row.wanted_error is None else f"{row.heard:.0f} Hz"
    return row.name, str(row.count), middle, wanted, f"{row.corpus_error:+.1%}", "yes" if row.met else "NO"
