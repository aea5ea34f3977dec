"""A recording's waveforms as streams at another rate: the mix as the separator hears it, and what it found taken out.

Resampling is soxr's (very high quality) in both directions; it keeps time exactly. What is separated is the sound to be
taken away: it is resampled to each waveform's own rate and subtracted there, so that a stretch where nothing is taken
away stays what it was, bit for bit, and the voice passes through no filter at all.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import soxr

from Emilia.recording import Audio, Waveform, WaveformWriter

__all__ = ["Mix", "Overlap", "Track"]

Moved = Callable[[], None]

# Seconds resampled at a time.
_BLOCK = 10


def _unwatched() -> None:
    """Nobody wants to know."""


class Mix:
    """``wave`` at ``rate`` Hz, read by ranges that begin at most ``back`` samples before the one before; memory holds
    ten seconds and what may be asked for again. ``frames`` is its length; ``moved`` is called after each block.
    """

    def __init__(self, wave: Waveform, rate: int, back: int, moved: Moved = _unwatched) -> None:
        self.frames = -(-wave.frames * rate // wave.rate)
        self._wave, self._back, self._moved = wave, back, moved
        self._stream = soxr.ResampleStream(wave.rate, rate, 1, dtype="float32", quality="VHQ")
        self._done, self._ended = 0, False
        self._first = 0
        self._held: Audio = np.zeros(0, np.float32)

    @property
    def share(self) -> float:
        """How much of the wave has been read, 0..1."""
        return 1.0 if self._ended else self._done / self._wave.frames

    def read(self, start: int, stop: int) -> Audio:
        """Samples ``start`` to ``stop``, zeros outside the recording."""
        while self._first + len(self._held) < min(stop, self.frames) and not self._ended:
            self._more(start - self._back)
        found = np.zeros(stop - start, np.float32)
        low, high = max(start, self._first), min(stop, self._first + len(self._held), self.frames)
        if low < high:
            found[low - start : high - start] = self._held[low - self._first : high - self._first]
        return found

    def _more(self, needed: int) -> None:
        """Resample the next block; forget what lies before ``needed``."""
        block = self._wave.read(self._done, self._done + _BLOCK * self._wave.rate)
        self._done += len(block)
        self._ended = self._done >= self._wave.frames
        fresh: Audio = self._stream.resample_chunk(block, last=self._ended)
        # All of a block is dropped where the next window is far: the filter must still run over it to keep its phase.
        drop = min(max(0, needed - self._first), len(self._held))
        self._held = np.concatenate([self._held[drop:], fresh])
        self._first += drop
        self._moved()


class Track:
    """A waveform being written to ``path``: ``wave`` minus what is added here at ``rate`` Hz, or, with ``alone``, what
    is added and nothing else. It ends up exactly as long as ``wave``.
    """

    def __init__(self, wave: Waveform, path: Path, rate: int, *, alone: bool) -> None:
        self._wave, self._alone = wave, alone
        self._stream = soxr.ResampleStream(rate, wave.rate, 1, dtype="float32", quality="VHQ")
        self._writer = WaveformWriter(path, wave.rate)

    def add(self, samples: Audio, last: bool = False) -> None:
        """Take the next samples; what is written lags behind by the filter's length until the ``last``."""
        fresh: Audio = self._stream.resample_chunk(samples, last=last)
        self._write(fresh[: self._wave.frames - self._writer.frames])
        if last:
            # There and back, soxr may end a sample early.
            self._write(np.zeros(self._wave.frames - self._writer.frames, np.float32))

    def _write(self, fresh: Audio) -> None:
        at = self._writer.frames
        self._writer.write(fresh if self._alone else self._wave.read(at, at + len(fresh)) - fresh)

    def done(self) -> Waveform:
        """Close the file; its samples are the level that is to be heard."""
        return self._writer.done()

    def close(self) -> None:
        """Close the file, whatever is in it."""
        self._writer.done()


class Overlap:
    """Adds pieces that may overlap, given in the order of their starts, and passes the sum on to ``tracks``: ``at``
    samples so far. Gaps pass in zeros, ``block`` at a time; ``moved`` is called after each block.
    """

    def __init__(self, tracks: list[Track], block: int, moved: Moved = _unwatched) -> None:
        self._tracks, self._block, self._moved = tracks, block, moved
        self.at = 0
        self._sum: Audio = np.zeros(0, np.float32)

    def add(self, start: int, piece: Audio) -> None:
        """Add ``piece`` at sample ``start``; nothing may come before it any more."""
        self._release(start)
        # A piece at the end of the recording may be shorter than the fade of the one before.
        common = min(len(self._sum), len(piece))
        self._sum[:common] += piece[:common]
        self._sum = np.concatenate([self._sum, piece[common:]])

    def finish(self, frames: int) -> None:
        """Pass on everything up to ``frames``, the length of the whole."""
        self._release(frames)
        for track in self._tracks:
            track.add(np.zeros(0, np.float32), last=True)

    def _release(self, stop: int) -> None:
        while self.at < stop:
            count = min(stop - self.at, len(self._sum) or self._block)
            ready = self._sum[:count] if len(self._sum) else np.zeros(count, np.float32)
            self._sum = self._sum[count:]
            for track in self._tracks:
                track.add(ready)
            self.at += count
            self._moved()
