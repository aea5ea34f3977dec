"""What goes between the steps of a model: the user's sound in, what it thinks, what it says.

Another module can be put in any place that takes the one and gives the other. ``AudioInput`` is a frame of the user, with
features when somebody has made them already; ``ThoughtPacket`` is what a thinker hands to a talker; ``AudioOutput`` is sound.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["AudioInput", "AudioOutput", "Floats", "Outcome", "ThoughtPacket", "pcm16", "samples_of"]

Floats = npt.NDArray[np.float32]

_FULL = 32767


@dataclass(frozen=True)
class AudioInput:
    """One frame of the user.

    ``samples`` float32[n] in ±1 at the backend's ``hears`` rate, ``features`` those of the backend's model (its own shape) or
    None where nobody has made them, ``timestamp`` the seconds of the user's stream at the frame's end.
    """

    samples: Floats
    features: Floats | None = None
    timestamp: float = 0.0


@dataclass(frozen=True)
class ThoughtPacket:
    """What a thinker made of a frame: ``text_token_str`` to read (empty: nothing was said), ``hidden_states`` for a talker.

    ``turn`` is its probability that the user has finished, None where the model has no opinion.
    """

    text_token_str: str = ""
    hidden_states: Any = None
    turn: float | None = None


@dataclass(frozen=True)
class AudioOutput:
    """Sound to play: little-endian mono PCM16 at ``rate``, and the text it says where that is known."""

    audio_bytes: bytes
    rate: int
    text_log: str = ""

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.audio_bytes) / 2 / self.rate


@dataclass(frozen=True)
class Outcome:
    """What one step made for one slot. ``ended``: the answer is over with this one."""

    thought: ThoughtPacket = field(default_factory=ThoughtPacket)
    audio: AudioOutput | None = None
    ended: bool = False


def pcm16(samples: Floats) -> bytes:
    """Little-endian PCM16 of samples in ±1; what is louder is clipped, and no number is silence."""
    whole = np.nan_to_num(samples.astype(np.float64), nan=0.0, posinf=1.0, neginf=-1.0)
    return np.round(np.clip(whole, -1.0, 1.0) * _FULL).astype("<i2").tobytes()


def samples_of(data: bytes) -> Floats:
    """Samples in ±1 of little-endian PCM16; ValueError for an odd number of bytes."""
    if len(data) % 2:
        raise ValueError("PCM16 has two bytes a sample, and one is left over")
    return np.asarray(np.frombuffer(data, "<i2") / (_FULL + 1), np.float32)
