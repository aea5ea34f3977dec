"""What can be said of a segment's quality without a model: an estimate of its signal-to-noise ratio. No score is made
up.
"""

from __future__ import annotations

import numpy as np

from Emilia.config import Config
from Emilia.recording import Audio
from Emilia.stage import Progress
from Emilia.stages.score import Quality

__all__ = ["SignalMeasure", "snr_estimate"]

_FRAME = 320


class SignalMeasure:
    """The scorer ``signal``: no DNSMOS, only ``snr_estimate``."""

    def __init__(self, config: Config) -> None:  # noqa: ARG002
        self.models: dict[str, str] = {}

    def load(self, device: str) -> None:
        """Nothing to load."""

    def close(self) -> None:
        """Nothing to close."""

    def score(self, audio: Audio, progress: Progress) -> Quality:  # noqa: ARG002
        """The estimate for one segment at 16 kHz."""
        return Quality(snr_estimate=snr_estimate(audio))


def snr_estimate(audio: Audio) -> float | None:
    """Level of the loudest tenth of the 20 ms frames over that of the quietest tenth, in dB; None under 0.2 s.

    The quietest frames of running speech are its short pauses, hence nearly the noise alone.
    """
    frames = len(audio) // _FRAME
    if frames < 10:
        return None
    energy = np.sort(np.square(audio[: frames * _FRAME].reshape(frames, _FRAME), dtype=np.float64).mean(axis=1)) + 1e-12
    tenth = frames // 10
    return float(10 * np.log10(energy[-tenth:].mean() / energy[:tenth].mean()))
