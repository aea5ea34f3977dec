"""Separate: speech from music and effects.

The engine ``mdx`` takes away what its network hears besides voices, where anything plays behind the speech at all; it
notes where in ``recording.separated``. ``none`` keeps the mix and says so in the facts.
"""

from __future__ import annotations

from typing import Protocol

from Emilia.config import Config
from Emilia.recording import Recording
from Emilia.stage import Progress, find

__all__ = ["ENGINES", "KeepMix", "Separate", "Separator"]

ENGINES = {"mdx": "Emilia.models.mdx:MdxNet", "none": "Emilia.stages.separate:KeepMix"}


class Separator(Protocol):
    """A separation model: replaces ``recording.wave`` and ``recording.narrow`` by the voice alone, equally long, and
    fills ``recording.separated``.
    """

    models: dict[str, str]

    def load(self, device: str) -> None: ...

    def separate(self, recording: Recording, progress: Progress) -> None: ...

    def close(self) -> None: ...


class KeepMix:
    """No separation: the mix is used as it is."""

    def __init__(self, config: Config) -> None:  # noqa: ARG002
        self.models: dict[str, str] = {}

    def load(self, device: str) -> None:
        """Nothing to load."""

    def separate(self, recording: Recording, progress: Progress) -> None:
        """Leave the waveforms alone."""

    def close(self) -> None:
        """Nothing to close."""


class Separate:
    """Needs and adds ``wave`` and ``narrow``; the fact ``separation`` names the engine."""

    name = "separate"
    needs: tuple[str, ...] = ("wave", "narrow")
    adds: tuple[str, ...] = ("wave", "narrow")

    def __init__(self, config: Config) -> None:
        self.engine = config.separate.engine
        self._separator: Separator = find(ENGINES, self.engine, "separator")(config)

    @property
    def models(self) -> dict[str, str]:
        """Name and version of the separation model."""
        return self._separator.models

    def load(self, device: str) -> None:
        """Load the model onto ``device``."""
        self._separator.load(device)

    def run(self, recording: Recording, progress: Progress) -> None:
        """Replace the waveforms, or keep them."""
        self._separator.separate(recording, progress)
        recording.facts["separation"] = self.engine

    def close(self) -> None:
        """Free the model."""
        self._separator.close()
