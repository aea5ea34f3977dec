"""Sound as it goes over ``/v1/realtime``: base64 of PCM16 at 24 kHz or of G.711 at 8 kHz."""

from __future__ import annotations

import base64
import binascii

import numpy as np

from duplexforge.errors import InputError
from duplexforge.serving.packets import AudioOutput, Floats, pcm16, samples_of
from duplexforge.serving.protocols import g711
from duplexforge.serving.protocols.realtime_settings import AudioFormat, Pcm
from duplexforge.serving.resampling import Resampler

__all__ = ["Speaking", "heard", "rate_of"]

_LAWS: dict[str, g711.Law] = {"audio/pcmu": "mu", "audio/pcma": "a"}


def rate_of(form: AudioFormat) -> int:
    """Samples a second."""
    return form.rate if isinstance(form, Pcm) else g711.RATE


def heard(text: str, form: AudioFormat) -> Floats:
    """The samples of ``text``, at :func:`rate_of` the format; InputError when it is no base64 or half a sample is left over."""
    try:
        data = base64.b64decode(text, validate=True)
        return samples_of(data) if isinstance(form, Pcm) else g711.decoded(data, _LAWS[form.type])
    except binascii.Error as error:
        raise InputError("audio is no base64", reason="invalid_audio") from error
    except ValueError as error:
        raise InputError(str(error), reason="invalid_audio") from error


class Speaking:
    """The sound of one answer on its way out."""

    def __init__(self, form: AudioFormat) -> None:
        self._form = form
        self._resampler: Resampler | None = None

    def push(self, audio: AudioOutput) -> str:
        """What is ready after this piece; it may be nothing yet."""
        if self._resampler is None:
            self._resampler = Resampler(audio.rate, rate_of(self._form))
        return self._said(self._resampler.push(samples_of(audio.audio_bytes)))

    def rest(self) -> str:
        """What is left of an answer that is whole."""
        if self._resampler is None:
            return ""
        return self._said(self._resampler.push(np.zeros(0, np.float32), last=True))

    def _said(self, samples: Floats) -> str:
        data = pcm16(samples) if isinstance(self._form, Pcm) else g711.encoded(samples, _LAWS[self._form.type])
        return base64.b64encode(data).decode()
