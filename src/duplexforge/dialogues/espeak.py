"""espeak-ng through its library: a sentence in, samples and the times of its words out.

The library keeps a state from one call to the next (the flutter of the voice, the noise of some variants, counts of words), so
the same sentence never sounds the same twice. Hence each call is made in a fork of a process that has made none: what comes
out depends on the sentence and the manner alone.
"""

from __future__ import annotations

import ctypes
import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from duplexforge.errors import InputError, ModelError

__all__ = ["RATE", "Espeak", "Manner", "Said", "Sentence", "WordTime", "library", "word_times"]

RATE = 22_050
"""Samples a second of what espeak-ng gives."""

_LIBRARY = "libespeak-ng.so.1"
_RETRIEVE, _PHONEME_EVENTS, _DONT_EXIT = 2, 1, 0x8000
_SPEED, _VOLUME, _PITCH, _SPREAD, _GAP = 1, 2, 3, 4, 7
_UTF8, _READ_PHONEMES, _END_PAUSE = 1, 0x100, 0x1000
_END, _WORD, _PHONEME = 0, 1, 7
_BLOCK_MS = 200

Pcm = npt.NDArray[np.int16]
T = TypeVar("T")


@dataclass(frozen=True)
class Manner:
    """How espeak-ng is to speak, in its own units: voice and variant, pitch and range (0 to 99), words a minute, gap (10 ms)."""

    voice: str
    pitch: int = 50
    spread: int = 50
    speed: int = 175
    gap: int = 0


@dataclass(frozen=True)
class Sentence:
    """What is to be said: a sound for each word (a spelling, or phonemes in double brackets), and ``prefix`` before them."""

    words: tuple[str, ...]
    prefix: str = ""


@dataclass(frozen=True)
class WordTime:
    """When a word is spoken: its number in the sentence, and seconds from the first sample."""

    word: int
    start: float
    end: float


@dataclass(frozen=True)
class Said:
    """Samples at :data:`RATE` and the times of the words. A word without a time of its own shares its neighbour's."""

    samples: Pcm
    words: tuple[WordTime, ...]


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique", ctypes.c_uint),
        ("position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """The library, loaded (:func:`library` has the one of a process); ModelError when the package is not installed."""

    def __init__(self) -> None:
        try:
            self._library: Any = ctypes.CDLL(_LIBRARY)
        except OSError as error:
            raise ModelError(
                f"espeak-ng is not installed ({_LIBRARY} cannot be loaded): apt-get install espeak-ng"
            ) from error
        if self._library.espeak_Initialize(_RETRIEVE, _BLOCK_MS, None, _PHONEME_EVENTS | _DONT_EXIT) < 0:
            raise ModelError("espeak-ng finds none of its data: apt-get install --reinstall espeak-ng-data")
        self._library.espeak_Info.restype = ctypes.c_char_p
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._blocks: list[bytes] = []
        self._events: list[tuple[int, int, int, bytes]] = []
        # Kept here, or it would be collected while the library still calls it.
        self._callback = _CALLBACK(self._take)
        self._library.espeak_SetSynthCallback(self._callback)

    @property
    def version(self) -> str:
        """The library's version, such as ``1.51``."""
        found: bytes = self._library.espeak_Info(None)
        return found.decode().split()[0]

    def say(self, sentence: Sentence, manner: Manner) -> Said:
        """Speak; InputError when nothing is heard or there is no such voice."""
        said = _apart(lambda: self._say(sentence, manner))
        if said is None or not said.samples.any():
            raise InputError(f"espeak-ng says nothing to “{' '.join(sentence.words)}” in the voice {manner.voice}")
        return said

    def phonemes(self, words: Sequence[str], voice: str) -> tuple[str, ...]:
        """How ``voice`` would pronounce each of ``words``: espeak's mnemonics, an underscore between them."""
        found = _apart(lambda: self._phonemes(words, voice))
        if found is None:
            raise InputError(f"espeak-ng cannot pronounce “{' '.join(words)}” in the voice {voice}")
        return found

    def _phonemes(self, words: Sequence[str], voice: str) -> tuple[str, ...] | None:
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            return None
        return tuple(self._sounds(word) for word in words)

    def _sounds(self, word: str) -> str:
        text = ctypes.create_string_buffer(word.encode())
        place = ctypes.c_void_p(ctypes.addressof(text))
        found: bytes = self._library.espeak_TextToPhonemes(ctypes.byref(place), _UTF8, ord("_") << 8)
        return found.decode().strip()

    def _say(self, sentence: Sentence, manner: Manner) -> Said | None:
        self._blocks.clear()
        self._events.clear()
        if self._library.espeak_SetVoiceByName(manner.voice.encode()) != 0:
            return None
        settings = {_SPEED: manner.speed, _VOLUME: 100, _PITCH: manner.pitch, _SPREAD: manner.spread, _GAP: manner.gap}
        for parameter, value in settings.items():
            self._library.espeak_SetParameter(parameter, value, 0)
        text = " ".join((*([sentence.prefix] if sentence.prefix else []), *sentence.words))
        body = text.encode()
        flags = _UTF8 | _READ_PHONEMES | _END_PAUSE
        self._library.espeak_Synth(body, len(body) + 1, 0, 1, 0, flags, None, None)
        return Said(np.frombuffer(b"".join(self._blocks), np.int16), word_times(sentence, self._events))

    def _take(self, samples: Any, count: int, events: Any) -> int:
        if samples and count:
            self._blocks.append(ctypes.string_at(samples, 2 * count))
        place = 0
        while events[place].type != _END:
            event = events[place]
            name = event.id.string if event.type == _PHONEME else b""
            self._events.append((event.type, event.position - 1, event.sample, name))
            place += 1
        return 0


@cache
def library() -> Espeak:
    """The library of this process, loaded once: a second start would bring the state that forks are to be free of."""
    return Espeak()


def _apart(work: Callable[[], T | None]) -> T | None:
    """What ``work`` gives in a fork of this process, which stays as it is; None where that gives nothing or dies."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            # Some variants' noise is the C library's rand(), which others of this process may have drawn from.
            ctypes.CDLL(None).srand(1)
            with os.fdopen(write, "wb") as pipe:
                pickle.dump(work(), pipe)
        finally:
            # Not exit(): nothing of the parent's is to be flushed or closed from here.
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    # Our own child wrote it.
    found: T | None = pickle.loads(told) if told else None  # noqa: S301
    return found


def word_times(sentence: Sentence, events: list[tuple[int, int, int, bytes]]) -> tuple[WordTime, ...]:
    """Where each word starts and ends, from the library's events (kind, place in the text, sample, phoneme)."""
    place = len(sentence.prefix) + 1 if sentence.prefix else 0
    ends: list[int] = []
    for word in sentence.words:
        place += len(word) + 1
        ends.append(place)
    first = len(sentence.prefix)
    starts: dict[int, int] = {}
    for kind, position, sample, _ in events:
        if kind == _WORD and position >= first:
            starts.setdefault(next((n for n, end in enumerate(ends) if position < end), len(ends) - 1), sample)
    pauses = [sample for kind, _, sample, name in events if kind == _PHONEME and name.startswith(b"_")]
    total = max((sample for _, _, sample, _ in events), default=0)
    found: list[WordTime] = []
    order = sorted(starts)
    for number, first_word in enumerate(order):
        start = starts[first_word]
        following = starts[order[number + 1]] if number + 1 < len(order) else total
        # The pause at a comma or at the end belongs to no word.
        end = min([following, *(pause for pause in pauses if start < pause)])
        # Words run together ("of the") are told as one: they share its time by their letters.
        last = order[number + 1] if number + 1 < len(order) else len(sentence.words)
        shared = range(first_word if number else 0, last)
        letters = np.cumsum([0, *(len(sentence.words[one]) for one in shared)])
        cuts = start + (end - start) * letters / letters[-1]
        found += [
            WordTime(one, round(float(cuts[n]) / RATE, 3), round(float(cuts[n + 1]) / RATE, 3))
            for n, one in enumerate(shared)
        ]
    return tuple(found)
