"""Transcribe: the text of every segment, and every reason to doubt it.

``auto`` takes Whisper when its model folder is on this machine, else pocketsphinx, else nothing. What an engine
cannot know stays ``None``; a language that it does not speak gives an empty text with the flag ``no_asr``. Clips of all
episodes under way share the recogniser's calls.

The published pipeline (open-mmlab/Amphion, preprocessors/Emilia, ``asr``) asks for the language of each segment, drops
the segment unless it is a supported one with a probability over 0.8, and pads every segment to 30 s. Here a sure
detection replaces the expected language and an unsure one leaves it; nothing is dropped. Under ``compat`` the detected
language always counts, and the segments that would have been dropped are those flagged ``unsupported_language`` or
``language_uncertain``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from Emilia.batching import Batcher, Expectation, gather
from Emilia.config import Config
from Emilia.doubts import check, compression_ratio, flag_odd_rates
from Emilia.errors import ModelMissing
from Emilia.options import TranscribeOptions
from Emilia.recording import Asr, Audio, Recording, Segment, Waveform, Word, ms
from Emilia.stage import Progress, find

__all__ = ["ENGINES", "Hypothesis", "NoRecogniser", "Recogniser", "Transcribe"]

ENGINES = {
    "whisper": "Emilia.models.whisper:Whisper",
    "pocketsphinx": "Emilia.models.pocketsphinx:Pocketsphinx",
    "none": "Emilia.stages.transcribe:NoRecogniser",
}
_AUTO = ("whisper", "pocketsphinx", "none")
UNKNOWN = (None, "", "unknown", "und")


class Hypothesis(NamedTuple):
    """One clip's text, the language it was read in, and what the engine knows about both.

    ``words`` have times in seconds of the clip; ``temperature`` is that of the decoding that was kept; ``passes`` counts
    the encoder passes that the clip took and ``computed`` the seconds of audio that they were computed for.
    """

    text: str
    language: str
    asr: Asr
    words: tuple[Word, ...] = ()
    temperature: float = 0.0
    passes: float = 0.0
    computed: float = 0.0


class Recogniser(Protocol):
    """A speech recogniser.

    ``languages`` are those it speaks (None: it decides itself). Clips of the same ``window`` may share a call of
    ``recognise``, which takes what ``prepare`` made of each 16 kHz clip and the language that each is expected in, and
    gives one hypothesis a clip; a clip's answer must depend on that clip alone, whatever is in the batch or came
    before. ``recognise`` is called from one thread only, ``prepare`` from another.
    """

    models: dict[str, str]
    languages: frozenset[str] | None

    def load(self, device: str) -> None: ...

    def window(self, samples: int) -> int: ...

    def prepare(self, clip: Audio) -> Any: ...

    def recognise(self, clips: list[Any], languages: Sequence[str | None]) -> list[Hypothesis]: ...

    def close(self) -> None: ...


class NoRecogniser:
    """No recognition: it speaks no language, so every segment is flagged ``no_asr``."""

    languages: frozenset[str] | None = frozenset()

    def __init__(self, config: Config) -> None:  # noqa: ARG002
        self.models: dict[str, str] = {}

    def load(self, device: str) -> None:
        """Nothing to load."""

    def window(self, samples: int) -> int:
        """Each length for itself."""
        return samples

    def prepare(self, clip: Audio) -> Audio:
        """The clip."""
        return clip

    def recognise(self, clips: list[Audio], languages: Sequence[str | None]) -> list[Hypothesis]:
        """Empty texts."""
        return [Hypothesis("", language or "unknown", Asr()) for _, language in zip(clips, languages, strict=True)]

    def close(self) -> None:
        """Nothing to close."""


class _Clip(NamedTuple):
    """Samples ``start`` to ``stop`` of an episode, read only when their turn comes."""

    wave: Waveform
    start: int
    stop: int
    language: str | None


class _Answer(NamedTuple):
    call: int
    found: Hypothesis


class Transcribe:
    """Needs ``narrow`` and ``segments``; adds their text, language, words, ``asr`` figures and flags.

    Flags: ``no_asr``, ``language_assumed``, ``language_uncertain``, ``unsupported_language``, ``few_characters``,
    ``odd_rate``, ``repetition``, ``low_confidence``. The outcome is ``unsupported_language`` when that holds for every
    segment. ``run`` may be called by several threads at once; a thread that says so with ``coming`` beforehand lets the
    batches of the others wait a moment for its clips.
    """

    name = "transcribe"
    needs: tuple[str, ...] = ("narrow", "segments")
    adds: tuple[str, ...] = ("segments",)

    def __init__(self, config: Config) -> None:
        self.options: TranscribeOptions = config.transcribe
        self.engine = self.options.engine
        self._config = config
        self._recogniser: Recogniser | None = None if self.engine == "auto" else self._build(self.engine)
        self._batcher: Batcher[_Clip, tuple[Any, str | None], _Answer] | None = None
        self._starting = threading.Lock()
        self._thread = threading.local()
        self._calls = 0

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

    @contextmanager
    def coming(self) -> Iterator[None]:
        """For the time between an episode's start and its ``run`` in the same thread, or until it ends without."""
        self._thread.expectation = self._batches().expect()
        try:
            yield
        finally:
            self._settle()

    def _settle(self) -> None:
        expectation: Expectation | None = getattr(self._thread, "expectation", None)
        if expectation:
            expectation.settle()

    def run(self, recording: Recording, progress: Progress) -> None:
        """Transcribe clip by clip, then compare the segments of the episode with each other."""
        segments = recording.pieces()
        language = None if recording.language in UNKNOWN else recording.language
        assert self._recogniser is not None, "load() comes first"
        speaks = self._recogniser.languages
        if speaks is not None and (language not in speaks if language else not speaks):
            self._settle()
            for segment in segments:
                segment.language = language or "unknown"
                segment.flag("no_asr")
            return
        assumed = language is None and speaks is not None
        self._recognise(recording, min(speaks) if assumed and speaks else language, progress)
        for segment in segments:
            if assumed:
                segment.flag("language_assumed")
            elif self._uncertain(segment.asr, language):
                segment.flag("language_uncertain")
            check(segment, self.options)
        flag_odd_rates(segments, self.options)
        if segments and all("unsupported_language" in segment.flags for segment in segments):
            recording.outcome = "unsupported_language"

    def _uncertain(self, asr: Asr, expected: str | None) -> bool:
        """Whether nothing but a doubtful detection speaks for the language."""
        sure = asr.language_probability is None or asr.language_probability > self.options.language_certain
        return not sure and (expected is None or self._config.pipeline.compat)

    def _recognise(self, recording: Recording, language: str | None, progress: Progress) -> None:
        wave, segments = recording.narrow_rate(), recording.pieces()
        clips = [_clip(wave, segment, language) for segment in segments]
        try:
            futures = self._batches().submit(clips)
        finally:
            self._settle()
        if not futures:
            return
        answers = gather(futures, progress)
        for segment, answer in zip(segments, answers, strict=True):
            _fill(segment, answer.found)
        recording.facts |= self._figures(clips, answers)

    def _batches(self) -> Batcher[_Clip, tuple[Any, str | None], _Answer]:
        with self._starting:
            if self._batcher is None:
                self._batcher = Batcher(self._call, self._window, self.options.batch, prepare=self._prepare)
            return self._batcher

    def _window(self, clip: _Clip) -> int:
        assert self._recogniser is not None
        return self._recogniser.window(clip.stop - clip.start)

    def _prepare(self, clip: _Clip) -> tuple[Any, str | None]:
        assert self._recogniser is not None
        return self._recogniser.prepare(clip.wave.read(clip.start, clip.stop)), clip.language

    def _call(self, ready: list[tuple[Any, str | None]]) -> list[_Answer]:
        assert self._recogniser is not None
        self._calls += 1
        found = self._recogniser.recognise([clip for clip, _ in ready], [language for _, language in ready])
        return [_Answer(self._calls, hypothesis) for hypothesis in found]

    def _figures(self, clips: Sequence[_Clip], answers: Sequence[_Answer]) -> dict[str, object]:
        """How well the clips filled the recogniser's windows, and in how many calls they were read."""
        facts: dict[str, object] = {"asr_clips": len(clips), "asr_calls": len({answer.call for answer in answers})}
        computed = sum(answer.found.computed for answer in answers)
        if computed:
            fill = sum((clip.stop - clip.start) / clip.wave.rate for clip in clips) / computed
            facts |= {"asr_fill": round(fill, 4), "asr_padding_waste": round(1 - fill, 4)}
            facts["asr_encoder_passes"] = round(sum(answer.found.passes for answer in answers) / len(clips), 4)
        return facts

    def idle_share(self) -> float | None:
        """Of the time in which any clip was unread, the share without a call of the recogniser; None before the first.

        Over all episodes since the first: what one of them waited for may be another one's clips.
        """
        work = self._batches().work
        return round(work.idle / (work.idle + work.busy), 4) if work.busy else None

    def close(self) -> None:
        """End the thread that runs the batches, and free the model."""
        with self._starting:
            batcher, self._batcher = self._batcher, None
        if batcher:
            batcher.close()
        if self._recogniser:
            self._recogniser.close()


def _clip(wave: Waveform, segment: Segment, language: str | None) -> _Clip:
    start, stop = (min(max(0, round(time * wave.rate)), wave.frames) for time in (segment.start, segment.end))
    return _Clip(wave, start, stop, language)


def _fill(segment: Segment, found: Hypothesis) -> None:
    segment.text, segment.language, segment.asr = found.text, found.language, found.asr
    if segment.asr.compression_ratio is None and segment.text:
        segment.asr.compression_ratio = compression_ratio(segment.text)
    if found.temperature > 0:
        segment.extra["temperature"] = found.temperature
    segment.words = [
        Word(_within(segment, word.start), _within(segment, word.end), word.text, word.probability)
        for word in found.words
    ]


def _within(segment: Segment, time: float) -> float:
    return min(ms(segment.start + time), segment.end)
