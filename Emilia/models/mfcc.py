"""Mel-frequency cepstra of 16 kHz speech in numpy: 25 ms Hamming windows every 10 ms, 30 mel bands, 20 coefficients.

Written out here because the packages that offer it bring torch or librosa. The filters are triangles on the mel scale
``2595 log10(1 + f/700)``, the transform is the orthonormal DCT-II, coefficient 0 is the log energy's share.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.fft import dct

from Emilia.recording import Audio, Waveform

__all__ = ["COEFFICIENTS", "HOP", "RATE", "mfcc", "mfcc_between"]

RATE = 16000
HOP = 160
WINDOW = 400
COEFFICIENTS = 20
_FFT = 512
_BANDS = 30
_LOWEST, _HIGHEST = 60.0, 7600.0
_EMPHASIS = 0.97
# Level of 16-bit quantisation noise in a band: keeps digital silence from dominating every mean.
_FLOOR = 1e-7


def _filters() -> npt.NDArray[np.float64]:
    low, high = (2595 * np.log10(1 + f / 700) for f in (_LOWEST, _HIGHEST))
    centres = 700 * (10 ** (np.linspace(low, high, _BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(_FFT, 1 / RATE)
    rise = (bins - centres[:-2, None]) / (centres[1:-1] - centres[:-2])[:, None]
    fall = (centres[2:, None] - bins) / (centres[2:] - centres[1:-1])[:, None]
    return np.maximum(0.0, np.minimum(rise, fall))


_MEL = _filters()
_TAPER = np.hamming(WINDOW)


def mfcc(samples: Audio) -> npt.NDArray[np.float32]:
    """Cepstra (frames, 20) of ``samples``; frame ``i`` covers samples ``160 i`` to ``160 i + 400``, incomplete ones
    left out.
    """
    if len(samples) < WINDOW:
        return np.zeros((0, COEFFICIENTS), np.float32)
    signal = samples.astype(np.float64)
    emphasised = np.concatenate([signal[:1], signal[1:] - _EMPHASIS * signal[:-1]])
    frames = np.lib.stride_tricks.sliding_window_view(emphasised, WINDOW)[::HOP] * _TAPER
    power = np.abs(np.fft.rfft(frames, _FFT)) ** 2 / _FFT
    cepstra = dct(np.log(power @ _MEL.T + _FLOOR), type=2, norm="ortho", axis=1)[:, :COEFFICIENTS]
    return cepstra.astype(np.float32)


def mfcc_between(wave: Waveform, first: int, last: int) -> npt.NDArray[np.float32]:
    """Cepstra of the frames ``first`` to ``last`` of ``wave``, centred on their hop; zero-padded at the recording's
    ends.
    """
    lead = (WINDOW - HOP) // 2
    start, stop = first * HOP - lead, last * HOP + lead
    samples = wave.read(start, stop)
    before, after = max(0, -start), max(0, stop - wave.frames)
    return mfcc(np.pad(samples, (before, after))[: (last - first) * HOP + 2 * lead])
