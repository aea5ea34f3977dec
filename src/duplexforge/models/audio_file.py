"""Sound files as the codec takes them: one channel, 16 kHz."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile as sf
import soxr

from duplexforge.errors import InputError
from duplexforge.models.codec import Wave


def read(path: Path, rate: int) -> Wave:
    """The sound of ``path`` at ``rate``, its channels mixed into one; an ``InputError`` when libsndfile cannot read it."""
    try:
        sound, source = sf.read(path, dtype="float32", always_2d=True)
    except (sf.LibsndfileError, OSError) as error:
        hint = "duplexforge convert audio makes WAV of other formats"
        raise InputError(f"cannot read {path} as sound ({error}); {hint}") from error
    mono: Wave = sound.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise InputError(f"{path} holds samples that are no numbers")
    if source != rate:
        mono = soxr.resample(mono, source, rate, quality="VHQ")
    wave: Wave = mono.astype(np.float32, copy=False)
    return wave


def write(path: Path, wave: Wave, rate: int) -> None:
    """Write ``wave`` to ``path``, in the format of its ending, with 16 bits a sample where that is WAV or FLAC."""
    try:
        sf.write(path, wave, rate)
    except (sf.LibsndfileError, OSError, ValueError, TypeError) as error:
        raise InputError(f"cannot write {path}: {error}") from error
