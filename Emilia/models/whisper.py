"""faster-whisper (CTranslate2): the recogniser where a model folder is on disk; never downloads anything.

One clip a call, beam search, no previous text and no sampling: the usual temperature fallback draws random numbers,
so a doubtful text is decoded again with repetition forbidden instead, and the better of both answers is kept.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

from Emilia.config import Config
from Emilia.errors import ModelMissing
from Emilia.recording import Asr, Audio
from Emilia.stages.transcribe import Hypothesis

__all__ = ["Whisper", "locate"]

_PLAIN: dict[str, object] = {}
_CAREFUL: dict[str, object] = {"no_repeat_ngram_size": 3, "repetition_penalty": 1.1}


def locate(model: str) -> Path:
    """The folder of ``model`` (relative: beside this file); raises ``ModelMissing`` when it holds no model and
    tokenizer.
    """
    folder = Path(__file__).parent / model
    # Without its tokenizer faster-whisper would look for one on the net.
    if not all((folder / name).is_file() for name in ("model.bin", "tokenizer.json")):
        raise ModelMissing("whisper", f"put a CTranslate2 Whisper model (model.bin and its tokenizer) into {model!r}.")
    return folder


class Whisper:
    """The recogniser ``whisper``: all languages of its model, detection included."""

    languages: frozenset[str] | None = None

    def __init__(self, config: Config) -> None:
        self._options = config.transcribe
        self.models: dict[str, str] = {}

    def load(self, device: str) -> None:
        """Load the model folder onto ``device``; raises ``ModelMissing``."""
        folder = locate(self._options.whisper_model)
        from faster_whisper import WhisperModel

        kind, _, index = device.partition(":")
        self._model = WhisperModel(
            str(folder),
            device=kind,
            device_index=int(index or 0),
            compute_type="float16" if kind == "cuda" else "int8",
            cpu_threads=1,
            local_files_only=True,
        )
        with (folder / "model.bin").open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
        self.models = {"whisper": f"sha256:{digest} (faster-whisper {version('faster-whisper')})"}

    def close(self) -> None:
        """Free the model."""
        del self._model

    def recognise(self, clips: list[Audio], language: str | None) -> list[Hypothesis]:
        """Texts of the clips (16 kHz, up to 30 s each); ``language`` is what they are expected to be in."""
        return [self._recognise(clip, language) for clip in clips]

    def _recognise(self, clip: Audio, language: str | None) -> Hypothesis:
        spoken, certainty = self._language(clip, language)
        hypothesis = self._decode(clip, spoken, certainty, _PLAIN)
        if not self._doubtful(hypothesis.asr):
            return hypothesis
        second = self._decode(clip, spoken, certainty, _CAREFUL)
        return second if _merit(second.asr) > _merit(hypothesis.asr) else hypothesis

    def _language(self, clip: Audio, expected: str | None) -> tuple[str, float | None]:
        if not self._model.model.is_multilingual:
            return "en", None
        found, probability, everything = self._model.detect_language(clip)
        if expected is None or probability > self._options.language_certain:
            return found, float(probability)
        return expected, float(dict(everything).get(expected, 0.0))

    def _decode(self, clip: Audio, language: str, certainty: float | None, extra: dict[str, object]) -> Hypothesis:
        settings: dict[str, Any] = {
            "beam_size": self._options.beam,
            "temperature": [0.0],
            "condition_on_previous_text": False,
            "vad_filter": False,
            "no_speech_threshold": None,
            "compression_ratio_threshold": None,
            "log_prob_threshold": None,
        }
        pieces = list(self._model.transcribe(clip, language=language, **settings, **extra)[0])
        seconds = sum(max(piece.end - piece.start, 1e-3) for piece in pieces)
        asr = Asr(language_probability=certainty)
        if pieces:
            # Weighted by length: a long clip may come back as several pieces with their own figures.
            asr.avg_logprob = sum(p.avg_logprob * max(p.end - p.start, 1e-3) for p in pieces) / seconds
            asr.no_speech_prob = max(p.no_speech_prob for p in pieces)
            asr.compression_ratio = max(p.compression_ratio for p in pieces)
        return Hypothesis(" ".join(p.text.strip() for p in pieces).strip(), language, asr)

    def _doubtful(self, asr: Asr) -> bool:
        too_regular = asr.compression_ratio is not None and asr.compression_ratio > self._options.max_compression
        unlikely = asr.avg_logprob is not None and asr.avg_logprob < self._options.min_logprob
        return too_regular or unlikely


def _merit(asr: Asr) -> float:
    return asr.avg_logprob if asr.avg_logprob is not None else float("-inf")
