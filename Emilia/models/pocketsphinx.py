"""pocketsphinx with the US English model inside its wheel: a small recogniser that every machine can run.

Every clip is decoded whole, with batch cepstral mean normalisation. The front end's noise tracker would carry over to
the next clip, so the front end is made anew before each (a tenth of a millisecond): a clip's text depends on that
clip alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from Emilia.config import Config
from Emilia.errors import ModelMissing
from Emilia.recording import Asr, Audio
from Emilia.stages.transcribe import Hypothesis

__all__ = ["Pocketsphinx", "spoken_words"]

_MARKS = re.compile(r"<[^>]*>|\[[^\]]*\]|\+\+[^+]*\+\+|\(\d+\)")


def spoken_words(hypothesis: str) -> str:
    """``hypothesis`` without silence and noise marks and pronunciation variants: ``<sil> a(2) [NOISE]`` becomes
    ``a``.
    """
    return " ".join(_MARKS.sub(" ", hypothesis).split())


class Pocketsphinx:
    """The recogniser ``pocketsphinx``: English only; it knows neither token probabilities nor the language."""

    languages: frozenset[str] | None = frozenset({"en"})

    def __init__(self, config: Config) -> None:
        self._options = config.pocketsphinx
        self.models: dict[str, str] = {}

    def load(self, device: str) -> None:  # noqa: ARG002
        """Load dictionary, language and acoustic model from the wheel; raises ``ModelMissing``."""
        try:
            import pocketsphinx
        except ImportError as error:
            raise ModelMissing("pocketsphinx", "install pocketsphinx, which carries its English model.") from error
        self._decoder: Any = pocketsphinx.Decoder(
            samprate=16000,
            loglevel="FATAL",
            maxhmmpf=self._options.maxhmmpf,
            beam=self._options.beam,
            wbeam=self._options.wbeam,
            bestpath=self._options.bestpath,
            fwdflat=self._options.fwdflat,
        )
        self.models = {"pocketsphinx": f"{version('pocketsphinx')} en-us"}

    def close(self) -> None:
        """Free the models."""
        del self._decoder

    def window(self, samples: int) -> int:
        """Each length for itself: nothing is gained by reading clips together."""
        return samples

    def prepare(self, clip: Audio) -> Audio:
        """The clip."""
        return clip

    def recognise(self, clips: list[Audio], languages: Sequence[str | None]) -> list[Hypothesis]:  # noqa: ARG002
        """Texts of the clips (16 kHz), in lower case without punctuation."""
        return [self._recognise(clip) for clip in clips]

    def _recognise(self, clip: Audio) -> Hypothesis:
        # Of digital silence it would make up a word.
        if not clip.any():
            return Hypothesis("", "en", Asr())
        pcm = np.rint(np.clip(clip, -1.0, 1.0) * 32767).astype("<i2").tobytes()
        self._decoder.reinit_feat(self._decoder.config)
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, no_search=False, full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return Hypothesis(spoken_words(found.hypstr) if found else "", "en", Asr())
