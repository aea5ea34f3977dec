"""Diarize: who speaks when. The engine finds turns, this stage names the speakers and counts them."""

from __future__ import annotations

from typing import Protocol

from Emilia.config import Config
from Emilia.recording import Recording, Turn, ms
from Emilia.stage import Progress, find

__all__ = ["ENGINES", "Diarize", "Diarizer", "named", "names_of"]

ENGINES = {
    "clusters": "Emilia.models.clustering:ClusterDiarizer",
    "pyannote": "Emilia.models.pyannote:PyannoteDiarizer",
}


class Diarizer(Protocol):
    """A diarization model.

    ``turns`` gives turns in any order with any speaker labels. ``adds`` has ``voiced`` when it fills that on the way,
    and ``voices``, by those labels, when it knows an embedding of its speakers. ``marks_overlap`` says whether two turns
    may cover the same moment.
    """

    models: dict[str, str]
    adds: tuple[str, ...]
    marks_overlap: bool

    def load(self, device: str) -> None: ...

    def turns(self, recording: Recording, progress: Progress) -> list[Turn]: ...

    def close(self) -> None: ...


class Diarize:
    """Needs ``narrow``, adds ``turns`` (some engines ``voiced`` or ``voices`` too); without any turn the outcome is
    ``no_speech``.
    """

    name = "diarize"
    needs: tuple[str, ...] = ("narrow",)

    def __init__(self, config: Config) -> None:
        self.engine = config.diarize.engine
        self._diarizer: Diarizer = find(ENGINES, self.engine, "diarizer")(config)
        self.adds: tuple[str, ...] = self._diarizer.adds

    @property
    def models(self) -> dict[str, str]:
        """Name and version of the models of the diarizer."""
        return self._diarizer.models

    def load(self, device: str) -> None:
        """Load the diarizer onto ``device``."""
        self._diarizer.load(device)

    def run(self, recording: Recording, progress: Progress) -> None:
        """Fill ``recording.turns`` and ``recording.voices``, speakers named in order of appearance."""
        recording.voices = {}
        turns = self._diarizer.turns(recording, progress)
        names = names_of(turns)
        recording.turns = named(turns)
        recording.voices = {names[label]: recording.voices[label] for label in names if label in recording.voices}
        recording.facts["speakers"] = len({turn.speaker for turn in recording.turns})
        recording.facts["overlap"] = "marked" if self._diarizer.marks_overlap else "unknown"
        if not recording.turns:
            recording.outcome = "no_speech"

    def close(self) -> None:
        """Free the models."""
        self._diarizer.close()


def names_of(turns: list[Turn]) -> dict[str, str]:
    """By the labels in ``turns``: ``S00``, ``S01``, … by first appearance."""
    labels = dict.fromkeys(turn.speaker for turn in sorted(turns))
    return {label: f"S{number:02d}" for number, label in enumerate(labels)}


def named(turns: list[Turn]) -> list[Turn]:
    """Turns in time order with speakers named by :func:`names_of`; times in whole milliseconds."""
    names = names_of(turns)
    return [Turn(ms(turn.start), ms(turn.end), names[turn.speaker]) for turn in sorted(turns)]
