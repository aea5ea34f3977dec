"""The sound of a processed episode on its own clock, and the track of one speaker in it, to be read in any process.

A store is not for pickling, its settings are: each process opens its own. An episode is fetched and decoded once per process
and rate, into a file without a name that is gone with the process, so that the many conversations of an episode cost one
decoding and twelve hours take no more memory than a minute.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from duplexforge.config import StoreSettings
from duplexforge.duplex.audio import FileAudio, to_pcm
from duplexforge.duplex.corpus import Samples
from duplexforge.duplex.masking import Masking, Said, heard, mask, spans_of
from duplexforge.errors import InputError
from duplexforge.loading.fetching import opened
from duplexforge.loading.packing import Pcm
from duplexforge.storage import Store

__all__ = ["EpisodeFile", "MaskedAudio", "Piece", "SegmentFiles", "Sound"]

_BLOCK = 5
_FULL_SCALE = np.float32(1 / 32768)
# Where the pipeline's own limiter begins: it brings an episode to its loudness by a gain that may pass full scale.
_CEILING = 10 ** (-1 / 20)


@dataclass(frozen=True)
class EpisodeFile:
    """The recording as it was downloaded, at the loudness that the pipeline gave it (``gain`` in dB).

    ``sha256`` is what the pipeline had before it, None when nobody noted it. ``channel`` is None for the mean of all.
    """

    settings: StoreSettings
    key: str
    sha256: str | None
    gain: float = 0.0
    channel: int | None = None

    def read(self, rate: int, first: int, end: int) -> Samples:
        """Samples ``first`` to ``end`` at ``rate``, counted from the start of the episode; silence where it has none."""
        return _placed(_decoded_episode(self, rate), 0, first, end)


class Piece(NamedTuple):
    """A segment's own file and where in the episode (seconds) it belongs."""

    start: float
    end: float
    key: str
    sha256: str


@dataclass(frozen=True)
class SegmentFiles:
    """The recording put together again from the files of its segments, in time order; silence between them."""

    settings: StoreSettings
    pieces: tuple[Piece, ...]

    def read(self, rate: int, first: int, end: int) -> Samples:
        """As :meth:`EpisodeFile.read`. Segments that overlap hold the same sound there: it is taken once."""
        samples = np.zeros(end - first, np.float32)
        for piece in self.pieces:
            at = round(piece.start * rate)
            # A file's length is its segment's to the sample, or nearly; a second more costs nothing.
            if at < end and first < at + round((piece.end - piece.start + 1) * rate):
                pcm = _decoded_piece(self.settings, piece.key, piece.sha256, rate)
                low, high = max(first, at), min(end, at + len(pcm))
                if high > low:
                    samples[low - first : high - first] = pcm[low - at : high - at] * _FULL_SCALE
        return samples


Sound = EpisodeFile | SegmentFiles


@dataclass(frozen=True)
class MaskedAudio:
    """One speaker's track of a conversation from ``start`` to ``end`` (seconds in the episode): the sound where they are
    heard, true zero elsewhere. ``said`` is who is heard when, of everybody.

    A :class:`~duplexforge.duplex.corpus.Audio`: small, picklable, fetches the sound when it is read.
    """

    sound: Sound
    start: float
    end: float
    speaker: str
    said: tuple[Said, ...]
    masking: Masking

    def blocks(self, rate: int) -> Iterator[Samples]:
        """Mono float32 at ``rate``, as long as the conversation; InputError when the store has not what was committed."""

        def read(start: float, end: float) -> tuple[Samples, int]:
            return self.sound.read(rate, round(start * rate), round(end * rate)), rate

        spans = spans_of(self.speaker, heard(self.said, self.masking.bridge), read, self.masking)
        first, last = round(self.start * rate), round(self.end * rate)
        for begin in range(first, last, _BLOCK * rate):
            end = min(last, begin + _BLOCK * rate)
            gain = mask(spans, begin, end, rate, self.masking.fade)
            # Where nobody is heard nothing needs to be fetched or decoded.
            yield self.sound.read(rate, begin, end) * gain if gain.any() else gain


def _placed(pcm: npt.NDArray[np.int16], at: int, first: int, end: int) -> Samples:
    samples = np.zeros(end - first, np.float32)
    low, high = max(first, at), min(end, at + len(pcm))
    if high > low:
        samples[low - first : high - first] = pcm[low - at : high - at] * _FULL_SCALE
    return samples


@lru_cache(maxsize=4)
def _store(settings: StoreSettings) -> Store:
    return opened(settings, create=False)


# One episode at the two rates of a side; another takes the place of the first.
@lru_cache(maxsize=2)
def _decoded_episode(episode: EpisodeFile, rate: int) -> Pcm:
    gain = 10 ** (episode.gain / 20)
    with tempfile.TemporaryDirectory(prefix="duplexforge-") as folder, tempfile.TemporaryFile() as file:
        path = _fetched(_store(episode.settings), episode.key, episode.sha256, Path(folder))
        for block in FileAudio(str(path), episode.channel).blocks(rate):
            file.write(to_pcm(_limited(block * np.float32(gain))).tobytes())
        file.flush()
        if not file.tell():
            raise InputError(f"{episode.key} has no audio that can be decoded", reason="corrupt")
        # The mapping keeps the file alive, which has no name any more.
        return np.memmap(file, dtype=np.int16, mode="r")


# A conversation of a quarter of an hour, which is read several times over; some tens of megabytes.
@lru_cache(maxsize=128)
def _decoded_piece(settings: StoreSettings, key: str, sha256: str, rate: int) -> Pcm:
    with tempfile.TemporaryDirectory(prefix="duplexforge-") as folder:
        path = _fetched(_store(settings), key, sha256, Path(folder))
        blocks = [to_pcm(block) for block in FileAudio(str(path)).blocks(rate)]
    return np.concatenate([*blocks, np.zeros(0, np.int16)])


def _fetched(store: Store, key: str, sha256: str | None, folder: Path) -> Path:
    path = folder / f"sound.{key.rsplit('.', 1)[-1].lower()[:8]}"
    try:
        found = store.download(key, path)
    except FileNotFoundError as error:
        raise InputError(f"{key} is not in the store any more", reason="input_missing") from error
    if sha256 is not None and found != sha256:
        raise InputError(f"{key} is not what its manifest says", reason="checksum")
    return path


def _limited(samples: Samples) -> Samples:
    """What is over the ceiling bent softly below full scale, as the pipeline does."""
    room = 1 - _CEILING
    over = np.abs(samples) - np.float32(_CEILING)
    bent = np.sign(samples) * (_CEILING + room * np.tanh(np.maximum(over, 0) / room))
    limited: Samples = np.where(over > 0, bent, samples).astype(np.float32)
    return limited
