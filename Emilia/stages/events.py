"""Events: what is heard besides speech, such as laughter, applause and music.

The engine names the sounds in a window, this stage says where windows lie and what makes one event. It listens to the
standardised mix, before separation takes away just these sounds. ``none`` does not listen and says so: a recording that
nobody listened to has no list of events, which is something else than an empty one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from Emilia.config import Config
from Emilia.errors import BadConfig
from Emilia.recording import Event, Recording, Waveform, ms
from Emilia.stage import Progress, find

__all__ = ["ENGINES", "Cell", "Events", "Heard", "Listener", "Nobody", "best", "cells", "merged"]

ENGINES = {"ast": "Emilia.models.audioset:Ast", "none": "Emilia.stages.events:Nobody"}

Scores = npt.NDArray[np.float32]

# Cells and windows begin on this grid (samples at 16 kHz): the hop of the network's own frames.
_GRID = 160
_LEAST = 0.1


class Cell(NamedTuple):
    """Samples ``start`` to ``stop``, told by the window from ``low`` to ``high`` around them."""

    start: int
    stop: int
    low: int
    high: int


class Heard(NamedTuple):
    """One event word in one cell: the class that was heard best and its probability."""

    event: str
    label: str
    start: float
    end: float
    score: float


class Listener(Protocol):
    """A model of sounds: ``scores`` gives a row of probabilities (0..1, one for each of ``labels``) for every cell, in
    order, some rows at a time; ``events`` are the labels of each of our words. ``adds`` is empty when it does not
    listen.
    """

    models: dict[str, str]
    adds: tuple[str, ...]
    labels: Sequence[str]
    events: Mapping[str, Sequence[str]]

    def load(self, device: str) -> None: ...

    def scores(self, wave: Waveform, cells: Sequence[Cell]) -> Iterator[Scores]: ...

    def close(self) -> None: ...


class Nobody:
    """Nobody listens."""

    adds: tuple[str, ...] = ()
    labels: Sequence[str] = ()

    def __init__(self, config: Config) -> None:  # noqa: ARG002
        self.models: dict[str, str] = {}
        self.events: Mapping[str, Sequence[str]] = {}

    def load(self, device: str) -> None:
        """Nothing to load."""

    def scores(self, wave: Waveform, cells: Sequence[Cell]) -> Iterator[Scores]:  # noqa: ARG002
        """No row at all."""
        return iter(())

    def close(self) -> None:
        """Nothing to close."""


class Events:
    """Needs ``narrow``; adds ``events`` when its engine listens. The fact ``events`` names the engine."""

    name = "events"
    needs: tuple[str, ...] = ("narrow",)

    def __init__(self, config: Config) -> None:
        self.options = config.events
        self.engine = self.options.engine
        if self.options.hop < _LEAST or self.options.window < _LEAST:
            raise BadConfig(f"'events.hop' and 'events.window' must be {_LEAST:g} s or more.")
        if self.options.gap < 0.0:
            raise BadConfig("'events.gap' must not be negative.")
        self._listener: Listener = find(ENGINES, self.engine, "listener")(config)
        self.adds: tuple[str, ...] = self._listener.adds

    @property
    def models(self) -> dict[str, str]:
        """Name and version of the model that listens."""
        return self._listener.models

    def load(self, device: str) -> None:
        """Load the model onto ``events.device`` or else ``device``."""
        self._listener.load(self.options.device or device)

    def run(self, recording: Recording, progress: Progress) -> None:
        """Fill ``recording.events``, or leave it None where nobody listens."""
        recording.facts["events"] = self.engine
        if not self.adds:
            return
        wave, options = recording.narrow_rate(), self.options
        grid = cells(wave.frames, _samples(options.window, wave.rate), _samples(options.hop, wave.rate))
        table = _columns(self._listener.events, self._listener.labels)
        heard: list[Heard] = []
        done = 0
        for rows in self._listener.scores(wave, grid):
            for cell, row in zip(grid[done : done + len(rows)], rows, strict=True):
                heard += best(cell, row, table, self._listener.labels, wave.rate)
            done += len(rows)
            progress(done / len(grid))
        recording.events = merged(heard, options.threshold, options.gap)

    def close(self) -> None:
        """Free the model."""
        self._listener.close()


def _samples(seconds: float, rate: int) -> int:
    return max(1, round(seconds * rate / _GRID)) * _GRID


def cells(frames: int, window: int, hop: int) -> list[Cell]:
    """The recording in cells of ``hop`` samples, each with a window of ``window`` samples as central as the ends of
    the recording allow; ``window`` and ``hop`` are multiples of 160, and so is every window's beginning.
    """
    found = []
    for start in range(0, frames, hop):
        middle = start + hop // 2 - window // 2
        low = max(0, min(middle, frames - window)) // _GRID * _GRID
        found.append(Cell(start, min(start + hop, frames), low, min(low + window, frames)))
    return found


def _columns(events: Mapping[str, Sequence[str]], labels: Sequence[str]) -> dict[str, list[int]]:
    """By event word: the columns of its labels. A network need not know all of them."""
    column = {label: index for index, label in enumerate(labels)}
    found = {word: [column[name] for name in names if name in column] for word, names in events.items()}
    return {word: columns for word, columns in found.items() if columns}


def best(
    cell: Cell, row: Scores, table: Mapping[str, Sequence[int]], labels: Sequence[str], rate: int
) -> Iterator[Heard]:
    """For each word of ``table`` (columns by word) its best label in ``row``; of equal ones the first."""
    for word, columns in table.items():
        column = max(columns, key=lambda index: row[index])
        # Rounded before anything is decided, so that the last bits of a sum decide nothing.
        score = round(float(row[column]), 4)
        yield Heard(word, labels[column], ms(cell.start / rate), ms(cell.stop / rate), score)


def merged(heard: Sequence[Heard], threshold: float, gap: float) -> list[Event]:
    """The events of ``heard`` (in time order for each word), in time order: what reaches ``threshold``, joined where at
    most ``gap`` seconds lie between two of a word. An event has the label and score of its best cell.
    """
    found: dict[str, list[Event]] = {}
    for one in heard:
        if one.score < threshold:
            continue
        events = found.setdefault(one.event, [])
        if events and ms(one.start - events[-1].end) <= gap:
            before = events[-1]
            label, score = (one.label, one.score) if one.score > before.score else (before.label, before.score)
            events[-1] = Event(one.event, label, before.start, max(before.end, one.end), score)
        else:
            events.append(Event(*one))
    return sorted((event for events in found.values() for event in events), key=lambda e: (e.start, e.end, e.event))
