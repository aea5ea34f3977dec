"""Whisper on CTranslate2: the recogniser where a model folder is on disk; never downloads anything.

The encoder runs once a clip: its output serves the detection of the language, every decoding and the times of the words.
A window is as long as its clip, rounded up; no text of an earlier clip is given.

A doubtful text is decoded again, as in github.com/openai/whisper, ``transcribe.py``, with one departure. There a
temperature above 0 draws samples. CTranslate2 seeds its random numbers once a thread (``set_random_seed`` has no effect
later), so a sample depends on all that was drawn before and cannot be repeated. Here a temperature ``t`` above 0 stands
for a beam search that never repeats three tokens in a row and weakens the scores of tokens already said by the factor
``1 + t / 2``.

Under ``compat``: windows of 30 s, the detected language always, the published prompt, and one decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from Emilia.config import Config
from Emilia.doubts import compression_ratio
from Emilia.errors import BadConfig, ModelMissing
from Emilia.models.cublas import load_cublas
from Emilia.models.cuda import in_batches
from Emilia.models.weights import fingerprint, resolve
from Emilia.models.whisper_mel import HOP, LONGEST, RATE, Heard, LogMel, Spectrogram, cut, frames_of, lengths, shortest
from Emilia.models.whisper_words import words_of
from Emilia.recording import Asr, Audio, Word
from Emilia.stages.transcribe import Hypothesis

__all__ = ["Whisper", "locate"]

_PUBLISHED_PROMPT = "um, uh, um, uh, So uhm, yeaah. Okay, ehm, uuuh."


def locate(model: str) -> Path:
    """The folder of ``model`` (relative: beside this file); raises ``ModelMissing`` when it holds no model and
    tokenizer.
    """
    folder = resolve(model)
    if not all((folder / name).is_file() for name in ("model.bin", "tokenizer.json")):
        own = f"put a CTranslate2 Whisper model (model.bin and tokenizer.json) into {folder}"
        raise ModelMissing("whisper", f"run cache_models.py, or {own}.")
    return folder


class _Part(NamedTuple):
    """One window: bands x frames, the ``samples`` of it that are not padding, the language that is expected."""

    mel: Spectrogram
    samples: int
    expected: str | None


class _Reading(NamedTuple):
    """One decoding of one window."""

    tokens: list[int]
    text: str
    language: str
    certainty: float | None
    avg_logprob: float
    no_speech: float
    temperature: float
    words: tuple[Word, ...] = ()


class _Encoded:
    """The encoder's output for a batch, as CTranslate2 has it on the device."""

    def __init__(self, whole: Any) -> None:
        self.whole = whole

    @cached_property
    def _host(self) -> Any:
        import ctranslate2

        return np.array(self.whole.to_device(ctranslate2.Device.cpu))

    def rows(self, rows: list[int]) -> Any:
        """Some windows of it; nothing is encoded again."""
        if len(rows) == self.whole.shape[0]:
            return self.whole
        return type(self.whole).from_array(np.ascontiguousarray(self._host[rows]))


class Whisper:
    """The recogniser ``whisper``: all languages of its model, detection included."""

    languages: frozenset[str] | None = None

    def __init__(self, config: Config) -> None:
        self._options = config.transcribe
        if self._options.window not in ("clip", "full"):
            raise BadConfig(f"The option 'transcribe.window' is 'clip' or 'full', not {self._options.window!r}.")
        self._compat = config.pipeline.compat
        self.models: dict[str, str] = {}
        self._encoded = 0

    def load(self, device: str) -> None:
        """Load the model folder onto ``device``, one CPU thread; raises ``ModelMissing``."""
        folder = locate(self._options.whisper_model)
        kind, _, index = device.partition(":")
        if kind == "cuda":
            load_cublas()
        import ctranslate2
        from faster_whisper.feature_extractor import FeatureExtractor
        from tokenizers import Tokenizer

        precision = "float16" if kind == "cuda" else "int8"
        self._storage = ctranslate2.StorageView.from_array
        self._model: Any = ctranslate2.models.Whisper(
            str(folder), device=kind, device_index=int(index or 0), compute_type=precision, intra_threads=1
        )
        self._vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizers: dict[str, Any] = {}
        bands = self._model.n_mels
        self._log_mel = LogMel(FeatureExtractor.get_mel_filters(RATE, 400, bands))
        whole = self._compat or self._options.window == "full"
        self._windows = [LONGEST] if whole else lengths(self._options.step, bands)
        made = f"{precision}, ctranslate2 {version('ctranslate2')}"
        self.models = {"whisper": f"{fingerprint(folder / 'model.bin')} ({made})"}

    def close(self) -> None:
        """Free the model."""
        del self._model

    def window(self, samples: int) -> int:
        """Frames of the network's window for a clip of ``samples``, or for each part of a clip over 30 s."""
        return shortest(self._windows, max(cut(samples)))

    def prepare(self, clip: Audio) -> Heard:
        """The spectrogram of ``clip`` (16 kHz); one over 30 s is cut into equal parts."""
        return self._log_mel.heard(clip, self.window(len(clip)))

    def recognise(self, clips: list[Heard], languages: Sequence[str | None]) -> list[Hypothesis]:
        """Texts of prepared clips; ``languages`` are what they are expected to be in."""
        parts = [
            _Part(mel, samples, language)
            for clip, language in zip(clips, languages, strict=True)
            for mel, samples in zip(clip.parts, clip.samples, strict=True)
        ]
        before, readings = self._encoded, list[_Reading]()
        for _, alike in groupby(parts, lambda part: part.mel.shape):
            for _, read in in_batches(alike, self._options.batch, self._read):
                readings += read
        # Counted, not assumed: a batch that did not fit was encoded twice.
        passes = (self._encoded - before) / len(parts) if parts else 0.0
        rest = iter(readings)
        return [_joined(clip, [next(rest) for _ in clip.samples], passes) for clip in clips]

    def _read(self, parts: Sequence[_Part]) -> list[_Reading]:
        """Encode windows of one length once, and get everything else from that."""
        encoded = _Encoded(self._model.encode(self._storage(np.stack([part.mel for part in parts]))))
        self._encoded += len(parts)
        if self._model.is_multilingual:
            detected = self._model.detect_language(encoded.whole)
            spoken = [self._language(found, part.expected) for found, part in zip(detected, parts, strict=True)]
        else:
            spoken = [("en", None)] * len(parts)
        readings = self._decode(encoded, spoken)
        return self._aligned(encoded, readings, parts) if self._options.words else readings

    def _language(self, detected: list[tuple[str, float]], expected: str | None) -> tuple[str, float | None]:
        """The language to read a clip in, and the probability that detection gives it."""
        found = {token[2:-2]: float(probability) for token, probability in detected}
        best = max(found, key=found.__getitem__)
        if not self._compat and found[best] <= self._options.language_certain:
            wanted = [name for name in found if name in self._options.languages] or list(found)
            best = expected if expected in found else max(wanted, key=found.__getitem__)
        return best, found[best]

    def _tokenizer(self, language: str) -> Any:
        if language not in self._tokenizers:
            from faster_whisper.tokenizer import Tokenizer

            self._tokenizers[language] = Tokenizer(
                self._vocabulary, self._model.is_multilingual, task="transcribe", language=language
            )
        return self._tokenizers[language]

    def _prompt(self, language: str) -> list[int]:
        tokenizer = self._tokenizer(language)
        before = [tokenizer.sot_prev, *tokenizer.encode(" " + _PUBLISHED_PROMPT)] if self._compat else []
        return [*before, *tokenizer.sot_sequence, tokenizer.no_timestamps]

    def _decode(self, encoded: _Encoded, spoken: list[tuple[str, float | None]]) -> list[_Reading]:
        """One text a window; only the doubtful ones are decoded again."""
        tries: list[list[_Reading]] = [[] for _ in spoken]
        left = list(range(len(spoken)))
        for temperature in self._options.temperatures[: 1 if self._compat else None]:
            found = self._model.generate(
                encoded.rows(left),
                [self._prompt(spoken[index][0]) for index in left],
                beam_size=self._options.beam,
                no_repeat_ngram_size=3 if temperature else 0,
                repetition_penalty=1 + temperature / 2,
                return_scores=True,
                return_no_speech_prob=True,
            )
            for index, result in zip(left, found, strict=True):
                tries[index].append(self._reading(result, *spoken[index], temperature))
            left = [index for index in left if self._doubtful(tries[index][-1])]
            if not left:
                break
        return [self._best(readings) for readings in tries]

    def _reading(self, result: Any, language: str, certainty: float | None, temperature: float) -> _Reading:
        tokenizer = self._tokenizer(language)
        said = result.sequences_ids[0]
        # The score is a mean over the tokens without the end mark, whose probability it includes.
        logprob = result.scores[0] * len(said) / (len(said) + 1)
        tokens = [token for token in said if token < tokenizer.eot]
        text = tokenizer.decode(tokens).strip()
        return _Reading(tokens, text, language, certainty, logprob, result.no_speech_prob, temperature)

    def _doubtful(self, reading: _Reading) -> bool:
        unlikely = reading.avg_logprob < self._options.min_logprob
        # An unlikely text where probably nobody speaks is as good as it gets.
        if unlikely and reading.no_speech > self._options.max_no_speech:
            return False
        return unlikely or self._repetitive(reading)

    def _repetitive(self, reading: _Reading) -> bool:
        return compression_ratio(reading.text) > self._options.max_compression

    def _best(self, tries: list[_Reading]) -> _Reading:
        if not self._doubtful(tries[-1]):
            return tries[-1]
        return max([one for one in tries if not self._repetitive(one)] or tries, key=lambda one: one.avg_logprob)

    def _aligned(self, encoded: _Encoded, readings: list[_Reading], parts: Sequence[_Part]) -> list[_Reading]:
        """The readings with their words' times.

        One call each: in a batch CTranslate2 normalises the attention over the padding of the shorter texts too, and a
        clip's times would depend on its neighbours.
        """
        aligned = list(readings)
        for index, (reading, part) in enumerate(zip(readings, parts, strict=True)):
            if not reading.tokens:
                continue
            tokenizer = self._tokenizer(reading.language)
            frames = max(2, frames_of(part.samples))
            (found,) = self._model.align(encoded.rows([index]), tokenizer.sot_sequence, [reading.tokens], [frames])
            pieces, tokens = tokenizer.split_to_word_tokens(reading.tokens)
            counts = [len(group) for group in tokens]
            words = words_of(pieces, counts, found.alignments, found.text_token_probs, part.samples / RATE)
            aligned[index] = reading._replace(words=tuple(words))
        return aligned


def _joined(clip: Heard, readings: list[_Reading], passes: float) -> Hypothesis:
    """The parts of one clip as one answer."""
    seconds = np.array(clip.samples) / RATE
    begins = np.cumsum(seconds) - seconds
    asr = Asr(
        avg_logprob=float(np.mean([one.avg_logprob for one in readings])),
        no_speech_prob=max(one.no_speech for one in readings),
        language_probability=readings[0].certainty,
    )
    # Of digital silence it would make up words.
    text = "" if clip.silent else " ".join(one.text for one in readings if one.text)
    words = [
        Word(begin + word.start, begin + word.end, word.text, word.probability)
        for begin, one in zip(begins.tolist(), readings, strict=True)
        for word in one.words
    ]
    return Hypothesis(
        text,
        readings[0].language,
        asr,
        words=() if clip.silent else tuple(words),
        temperature=max(one.temperature for one in readings),
        passes=passes * len(readings),
        computed=passes * len(readings) * clip.parts.shape[2] * HOP / RATE,
    )
