"""Score: perceived quality of every segment.

``auto`` takes DNSMOS where its network is on this machine and else the engine ``signal``, which gives no score: it
flags the segment ``no_dnsmos`` and leaves an estimate of the signal-to-noise ratio beside it.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from Emilia.config import Config
from Emilia.errors import ModelMissing
from Emilia.options import ScoreOptions
from Emilia.recording import Audio, Recording
from Emilia.stage import Progress, find

__all__ = ["ENGINES", "Quality", "Score", "Scorer"]

ENGINES = {"dnsmos": "Emilia.models.dnsmos:Dnsmos", "signal": "Emilia.models.signal:SignalMeasure"}


class Quality(NamedTuple):
    """DNSMOS P.835 scores (1..5, None when not measured) and ``snr_estimate`` in dB (None when not estimated)."""

    ovrl: float | None = None
    sig: float | None = None
    bak: float | None = None
    snr_estimate: float | None = None


class Scorer(Protocol):
    """A quality model: one segment's 16 kHz audio in, :class:`Quality` out. ``progress`` is told of the segment's
    share.
    """

    models: dict[str, str]

    def load(self, device: str) -> None: ...

    def score(self, audio: Audio, progress: Progress) -> Quality: ...

    def close(self) -> None: ...


class Score:
    """Needs ``narrow`` and ``segments``; adds their scores and the flags ``low_mos`` and ``no_dnsmos``."""

    name = "score"
    needs: tuple[str, ...] = ("narrow", "segments")
    adds: tuple[str, ...] = ("segments",)

    def __init__(self, config: Config) -> None:
        self.options: ScoreOptions = config.score
        self.engine = self.options.engine
        self._config = config
        self._scorer: Scorer | None = None if self.engine == "auto" else self._build(self.engine)

    def _build(self, name: str) -> Scorer:
        scorer: Scorer = find(ENGINES, name, "scorer")(self._config)
        return scorer

    @property
    def models(self) -> dict[str, str]:
        """Name and version of the quality model."""
        return self._scorer.models if self._scorer else {}

    def load(self, device: str) -> None:
        """Load the scorer; ``auto`` settles here on what this machine has."""
        if self._scorer:
            self._scorer.load(device)
            return
        try:
            scorer = self._build("dnsmos")
            scorer.load(device)
            self.engine = "dnsmos"
        except ModelMissing:
            scorer = self._build("signal")
            scorer.load(device)
            self.engine = "signal"
        self._scorer = scorer

    def run(self, recording: Recording, progress: Progress) -> None:
        """Score every segment from its own audio alone, so that no result depends on its neighbours."""
        assert self._scorer is not None, "load() comes first"
        wave, segments = recording.narrow_rate(), recording.pieces()
        for done, segment in enumerate(segments):
            quality = self._scorer.score(
                wave.seconds_of(segment.start, segment.end),
                lambda share, done=done: progress((done + share) / len(segments)),  # type: ignore[misc]
            )
            segment.dnsmos, segment.dnsmos_sig, segment.dnsmos_bak = quality.ovrl, quality.sig, quality.bak
            if quality.snr_estimate is not None:
                segment.extra["snr_estimate"] = quality.snr_estimate
            if quality.ovrl is None:
                segment.flag("no_dnsmos")
            elif quality.ovrl < self.options.min_mos:
                segment.flag("low_mos")
            progress((done + 1) / len(segments))

    def close(self) -> None:
        """Free the model."""
        if self._scorer:
            self._scorer.close()
