"""How like the clean recording a coded one is: the scores that stand beside the signal-to-noise ratio.

All take two waves of equal length and rate, clean first. PESQ-WB and STOI are those of the packages ``pesq`` and
``pystoi``; the others are short enough to stand here.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import numpy as np
import numpy.typing as npt

from duplexforge.models.codec import Wave

Floats = npt.NDArray[np.float64]

_SCALES = ((512, 40), (1024, 64), (2048, 80))
_FLOOR = 1e-8
"""Power below which a band counts as silent: −80 dB of full scale."""
_VOICED = 0.5
_F0_BLOCK = 0.04
_F0_HOP = 0.01
_F0_RANGE = (60.0, 400.0)


def spectrogram(wave: Wave, size: int, hop: int) -> Floats:
    """Power spectrum of each frame (frames × size/2 + 1) under a Hann window, 1 for a full-scale sine."""
    blocks = np.stack(list(_blocks(wave.astype(np.float64), size, hop)))
    window = np.hanning(size + 1)[:-1]
    spectrum: Floats = np.abs(np.fft.rfft(blocks * window) / (window.sum() / 2)) ** 2
    return spectrum


def mel_distance(clean: Wave, coded: Wave, rate: int) -> float:
    """Mean absolute difference of log10 mel spectra over three window lengths."""
    found = []
    for size, bands in _SCALES:
        filters = _mel_filters(size, bands, rate)
        pair = [np.log10(np.maximum(spectrogram(wave, size, size // 4) @ filters, _FLOOR)) for wave in (clean, coded)]
        found.append(float(np.mean(np.abs(pair[0] - pair[1]))))
    return float(np.mean(found))


def log_spectral_distance(clean: Wave, coded: Wave) -> float:
    """Root mean square difference of the spectra in dB over frequency, mean over frames of 32 ms at 16 kHz."""
    pair = [10 * np.log10(np.maximum(spectrogram(wave, 512, 128), _FLOOR)) for wave in (clean, coded)]
    return float(np.mean(np.sqrt(np.mean((pair[0] - pair[1]) ** 2, axis=1))))


def f0_track(wave: Wave, rate: int) -> Floats:
    """The pitch of each 10 ms in Hz, by the highest normalised autocorrelation; 0 where it is below one half."""
    shortest, longest = int(rate / _F0_RANGE[1]), int(rate / _F0_RANGE[0])
    size = int(rate * _F0_BLOCK)
    found = []
    for block in _blocks(wave.astype(np.float64), size + longest, int(rate * _F0_HOP)):
        head = block[:size]
        lagged = np.lib.stride_tricks.sliding_window_view(block, size)[shortest : longest + 1]
        power = np.sqrt(np.sum(lagged * lagged, axis=1) * np.sum(head * head)) + 1e-6
        match = lagged @ head / power
        # Two periods match as well as one: the first peak that comes near the highest is the pitch.
        best = int(np.argmax(match >= 0.95 * match.max()))
        while best + 1 < len(match) and match[best + 1] > match[best]:
            best += 1
        found.append(rate / (best + shortest) if match[best] > _VOICED else 0.0)
    return np.array(found)


def f0_correlation(clean: Wave, coded: Wave, rate: int) -> float:
    """Correlation of the two pitch tracks where both are voiced; NaN with fewer than ten such frames."""
    first, second = f0_track(clean, rate), f0_track(coded, rate)
    both = (first > 0) & (second > 0)
    if both.sum() < 10 or not first[both].std() or not second[both].std():
        return float("nan")
    return float(np.corrcoef(first[both], second[both])[0, 1])


def pesq_wide(clean: Wave, coded: Wave, rate: int) -> float:
    """PESQ-WB (ITU-T P.862.2), 1 to 4.64; NaN where it finds no speech."""
    pesq = import_module("pesq")
    if not clean.any() and not coded.any():
        return float("nan")
    try:
        return float(pesq.pesq(rate, clean, coded, "wb"))
    except pesq.NoUtterancesError:
        return float("nan")


def intelligibility(clean: Wave, coded: Wave, rate: int, *, extended: bool = False) -> float:
    """STOI, or ESTOI when ``extended``: 0 to 1."""
    return float(import_module("pystoi").stoi(clean, coded, rate, extended=extended))


def scores(clean: Wave, coded: Wave, rate: int) -> dict[str, float]:
    """All of them, by name."""
    return {
        "pesq_wb": pesq_wide(clean, coded, rate),
        "stoi": intelligibility(clean, coded, rate),
        "estoi": intelligibility(clean, coded, rate, extended=True),
        "mel": mel_distance(clean, coded, rate),
        "lsd_db": log_spectral_distance(clean, coded),
        "f0_corr": f0_correlation(clean, coded, rate),
    }


def _blocks(wave: Floats, size: int, hop: int) -> Iterator[Floats]:
    if len(wave) < size:
        wave = np.concatenate([wave, np.zeros(size - len(wave))])
    for start in range(0, len(wave) - size + 1, hop):
        yield wave[start : start + size]


def _mel_filters(size: int, bands: int, rate: int) -> Floats:
    """Triangles (size/2 + 1 × bands), evenly spaced on the mel scale 2595·log10(1 + f/700)."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(size, 1 / rate)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters: Floats = np.maximum(np.minimum(rising, falling), 0)
    return filters
