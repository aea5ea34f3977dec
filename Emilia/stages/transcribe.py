"""Transcribe: the text of every segment, and every reason to doubt it.

``auto`` takes Whisper when its model folder is on this machine, else pocketsphinx, else nothing. What an engine
cannot know stays ``None``; a language that it does not speak gives an empty text with the flag ``no_asr``.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple, Protocol

import numpy as np

from Emilia.config import Config
from Emilia.errors import ModelMissing
from Emilia.options import TranscribeOptions
from Emilia.recording import Asr, Audio, Recording, Segment
from Emilia.stage import Progress, find

__all__ = ["ENGINES", "Hypothesis", "NoRecogniser", "Recogniser", "Transcribe", "compression_ratio", "repeats"]

ENGINES = {
    "whisper": "Emilia.models.whisper:Whisper",
    "pocketsphinx": "Emilia.models.pocketsphinx:Pocketsphinx",
    "none": "Emilia.stages.transcribe:NoRecogniser",
}
_AUTO = ("whisper", "pocketsphinx", "none")
UNKNOWN = (None, "", "unknown", "und")


class Hypothesis(NamedTuple):
    """One clip's text, the language it was read in, and what the engine knows about both."""

    text: str
    language: str
    asr: Asr


class Recogniser(Protocol):
    """A speech recogniser.

    ``languages`` are those it speaks (None: it decides itself). ``recognise`` takes 16 kHz clips and the expected
    language and gives one hypothesis a clip; a clip's answer must depend on that clip alone, whatever is in the batch
    or came before.
    """

    models: dict[str, str]
    languages: frozenset[str] | None

    def load(self, device: str) -> None: ...

    def recognise(self, clips: list[Audio], language: str | None) -> list[Hypothesis]: ...

    def close(self) -> None: ...


class NoRecogniser:
    """No recognition: it speaks no language, so every segment is flagged ``no_asr``."""

    languages: frozenset[str] | None = frozenset()

    def __init__(self, config: Config) -> None:  # noqa: ARG002
        self.models: dict[str, str] = {}

    def load(self, device: str) -> None:
        """Nothing to load."""

    def recognise(self, clips: list[Audio], language: str | None) -> list[Hypothesis]:
        """Empty texts."""
        return [Hypothesis("", language or "unknown", Asr()) for _ in clips]

    def close(self) -> None:
        """Nothing to close."""


class Transcribe:
    """Needs ``narrow`` and ``segments``; adds their text, language, ``asr`` figures and flags.

    Flags: ``no_asr``, ``language_assumed``, ``unsupported_language``, ``few_characters``, ``odd_rate``, ``repetition``,
    ``low_confidence``. The outcome is ``unsupported_language`` when that holds for every segment.
    """

    name = "transcribe"
    needs: tuple[str, ...] = ("narrow", "segments")
    adds: tuple[str, ...] = ("segments",)

    def __init__(self, config: Config) -> None:
        self.options: TranscribeOptions = config.transcribe
        self.engine = self.options.engine
        self._config = config
        self._recogniser: Recogniser | None = None if self.engine == "auto" else self._build(self.engine)

    def _build(self, name: str) -> Recogniser:
        recogniser: Recogniser = find(ENGINES, name, "recogniser")(self._config)
        return recogniser

    @property
    def models(self) -> dict[str, str]:
        """Name and version of the recogniser's model."""
        return self._recogniser.models if self._recogniser else {}

    def load(self, device: str) -> None:
        """Load the recogniser; ``auto`` settles here on the best one whose model is on this machine."""
        if self._recogniser:
            self._recogniser.load(device)
            return
        for name in _AUTO:
            recogniser = self._build(name)
            try:
                recogniser.load(device)
            except ModelMissing:
                continue
            self.engine, self._recogniser = name, recogniser
            return

    def run(self, recording: Recording, progress: Progress) -> None:
        """Transcribe clip by clip, then compare the segments of the episode with each other."""
        segments = recording.pieces()
        language = None if recording.language in UNKNOWN else recording.language
        assert self._recogniser is not None, "load() comes first"
        speaks = self._recogniser.languages
        if speaks is not None and (language not in speaks if language else not speaks):
            for segment in segments:
                segment.language = language or "unknown"
                segment.flag("no_asr")
            return
        assumed = language is None and speaks is not None
        self._recognise(recording, min(speaks) if assumed and speaks else language, progress)
        for segment in segments:
            if assumed:
                segment.flag("language_assumed")
            _check(segment, self.options)
        _flag_odd_rates(segments, self.options)
        if segments and all("unsupported_language" in segment.flags for segment in segments):
            recording.outcome = "unsupported_language"

    def _recognise(self, recording: Recording, language: str | None, progress: Progress) -> None:
        assert self._recogniser is not None
        wave, segments, size = recording.narrow_rate(), recording.pieces(), self.options.batch
        for first in range(0, len(segments), size):
            batch = segments[first : first + size]
            clips = [wave.seconds_of(segment.start, segment.end) for segment in batch]
            for segment, found in zip(batch, self._recogniser.recognise(clips, language), strict=True):
                segment.text, segment.language, segment.asr = found.text, found.language, found.asr
                if segment.asr.compression_ratio is None and segment.text:
                    segment.asr.compression_ratio = compression_ratio(segment.text)
            progress((first + len(batch)) / len(segments))

    def close(self) -> None:
        """Free the model."""
        if self._recogniser:
            self._recogniser.close()


def compression_ratio(text: str) -> float:
    """Bytes of ``text`` over bytes of its zlib compression, as Whisper counts it; high for a text that repeats
    itself.
    """
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def repeats(text: str, times: int = 4) -> bool:
    """True when a phrase of one to four words comes ``times`` times in a row."""
    words = text.lower().split()
    for size in range(1, 5):
        run = 0
        for index in range(size, len(words)):
            run = run + 1 if words[index] == words[index - size] else 0
            if run >= size * (times - 1):
                return True
    return False


def _check(segment: Segment, options: TranscribeOptions) -> None:
    asr = segment.asr
    if len(segment.text.strip()) < options.min_characters:
        segment.flag("few_characters")
    if repeats(segment.text) or (asr.compression_ratio or 0.0) > options.max_compression:
        segment.flag("repetition")
    unlikely = asr.avg_logprob is not None and asr.avg_logprob < options.min_logprob
    if unlikely or (asr.no_speech_prob or 0.0) > options.max_no_speech:
        segment.flag("low_confidence")
    if options.languages and segment.language not in options.languages:
        segment.flag("unsupported_language")


def _flag_odd_rates(segments: list[Segment], options: TranscribeOptions) -> None:
    """Flag seconds per character outside the quartiles by ``rate_iqr`` interquartile ranges, once there is enough to
    judge.
    """
    spoken = [segment for segment in segments if len(segment.text) >= options.min_characters]
    if len(spoken) < options.rate_segments:
        return
    rates = np.array([(segment.end - segment.start) / len(segment.text) for segment in spoken])
    low, high = np.quantile(rates, [0.25, 0.75])
    reach = options.rate_iqr * (high - low)
    for segment, rate in zip(spoken, rates, strict=True):
        if not low - reach <= rate <= high + reach:
            segment.flag("odd_rate")
