"""Standardise: any audio file to mono waveforms at 24 kHz and 16 kHz with a known loudness.

One streaming pass decodes, mixes to mono, resamples both ways with soxr (very high quality) into scratch files and
measures loudness (BS.1770), robust peak and constant offset. The level is then applied on reading, so no second pass
is needed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import soxr

from Emilia.config import Config
from Emilia.errors import BadAudio
from Emilia.models.loudness import LoudnessMeter
from Emilia.models.media import Source
from Emilia.options import StandardizeOptions
from Emilia.recording import Audio, Recording, WaveformWriter, ms
from Emilia.stage import Progress, find

__all__ = ["ENGINES", "Standardize"]

Mix = Callable[[Audio], Audio]

ENGINES = {"av": "Emilia.models.media:Source"}

# Samples beyond this are not sound at any scaling; they come from damaged float files.
_ABSURD = 1e6
# A mono mix with less than this share of the channels' energy has cancelled itself: one channel is inverted.
_CANCELLED = 0.01


class Resampler:
    """Streams mono blocks of any rate into a scratch file at one rate; the source's rate may change on the way."""

    def __init__(self, writer: WaveformWriter) -> None:
        self._writer = writer
        self._stream: soxr.ResampleStream | None = None
        self._rate = 0

    def add(self, samples: Audio, rate: int) -> Audio:
        """Resample and write; returns what was written, which lags behind the input by the filter's length."""
        out = np.zeros(0, np.float32)
        if rate != self._rate:
            out = self.flush()
            self._rate = rate
            self._stream = soxr.ResampleStream(rate, self._writer.rate, 1, dtype="float32", quality="VHQ")
        assert self._stream is not None
        fresh = self._stream.resample_chunk(samples)
        self._writer.write(fresh)
        return np.concatenate([out, fresh])

    def flush(self) -> Audio:
        """Write the filter's tail and return it."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        tail: Audio = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        self._stream = None
        self._rate = 0
        self._writer.write(tail)
        return tail


class Standardize:
    """Needs nothing, adds ``wave``, ``narrow``, ``duration`` and the facts of the file.

    Raises ``BadAudio``. Sets the outcome ``too_short`` or, where nothing passes the loudness gate, ``no_speech``.
    """

    name = "standardize"
    needs: tuple[str, ...] = ("source",)
    adds: tuple[str, ...] = ("wave", "narrow", "duration")

    def __init__(self, config: Config) -> None:
        self.options: StandardizeOptions = config.standardize
        self.engine = self.options.engine
        self.models: dict[str, str] = {}

    def load(self, device: str) -> None:  # noqa: ARG002
        """Nothing to load; names an unknown engine at once."""
        self._open: type[Source] = find(ENGINES, self.engine, "decoder")

    def close(self) -> None:
        """Nothing to close."""

    def run(self, recording: Recording, progress: Progress) -> None:
        """Decode ``recording.source`` into its scratch folder."""
        decoded = self._decode(recording, progress, _mean)
        recording.facts["downmix"] = "mean"
        if decoded.cancelled:
            decoded = self._decode(recording, progress, _first)
            recording.facts["downmix"] = "first"
        self._level(recording, decoded)

    def _decode(self, recording: Recording, progress: Progress, mix: Mix) -> _Decoded:
        options, limit = self.options, self.options.max_hours * 3600
        scratch = recording.scratch
        with (
            self._open(recording.source) as source,
            WaveformWriter(scratch / "wave.f32", options.rate) as wide,
            WaveformWriter(scratch / "narrow.f32", options.narrow_rate) as narrow,
        ):
            source.refuse_over(limit)
            decoded = _Decoded(wide, narrow)
            for rate, block in source.blocks():
                decoded.add(rate, block, mix)
                if decoded.seconds > limit:
                    raise BadAudio("too_long", f"{recording.source.name} is longer than {options.max_hours:g} hours.")
                if decoded.due():
                    progress(min(1.0, decoded.seconds / (source.declared or limit)))
            decoded.finish()
            if decoded.seconds == 0:
                raise BadAudio("corrupt", f"{recording.source.name} holds nothing that can be decoded.")
            recording.facts.update(_facts(source))
        return decoded

    def _level(self, recording: Recording, decoded: _Decoded) -> None:
        options, meter = self.options, decoded.meter
        loudness, noise = meter.loudness(), meter.noise()
        ceiling = 10 ** (options.ceiling / 20)
        decibels = min(options.loudness - loudness, options.max_gain) if loudness > -np.inf else 0.0
        peak = meter.peak(options.peak_share)
        gain = min(10 ** (decibels / 20), ceiling / peak if peak > 0 else 1.0)
        recording.wave = decoded.wide.done(bias=meter.mean, gain=gain, ceiling=ceiling)
        recording.narrow = decoded.narrow.done(bias=meter.mean, gain=gain, ceiling=ceiling)
        recording.duration = ms(decoded.seconds)
        recording.facts["loudness_lufs"] = _decibels(loudness)
        recording.facts["gain_db"] = _decibels(20 * float(np.log10(gain)))
        recording.facts["noise_dbfs"] = _decibels(noise + 20 * float(np.log10(gain)))
        if recording.duration < options.min_seconds:
            recording.outcome = "too_short"
        elif loudness == -np.inf:
            recording.outcome = "no_speech"


class _Decoded:
    """The two waveforms being written, and what is measured on the way."""

    def __init__(self, wide: WaveformWriter, narrow: WaveformWriter) -> None:
        self.wide, self.narrow = wide, narrow
        self.meter = LoudnessMeter(wide.rate)
        self.seconds = 0.0
        self._wide, self._narrow = Resampler(wide), Resampler(narrow)
        self._mixed = self._channels = 0.0
        self._reported = 0.0
        self._waiting: list[Audio] = []
        self._waiting_rate = 0

    def add(self, rate: int, block: Audio, mix: Mix) -> None:
        """Take one decoded frame (channels, n) at ``rate``."""
        bad = ~(np.abs(block) < _ABSURD)
        if bad.any():
            block = np.where(bad, np.float32(0), block)
        mono = mix(block)
        self._mixed += float(np.square(_mean(block), dtype=np.float64).sum())
        self._channels += float(np.square(block, dtype=np.float64).mean(axis=0).sum())
        self.seconds += len(mono) / rate
        if rate != self._waiting_rate:
            self._pass_on()
            self._waiting_rate = rate
        self._waiting.append(mono)
        # Codec frames are some 20 ms; resampling a second at a time is an order of magnitude cheaper.
        if sum(map(len, self._waiting)) >= rate:
            self._pass_on()

    def _pass_on(self) -> None:
        if self._waiting:
            mono = np.concatenate(self._waiting)
            self._waiting = []
            self.meter.add(self._wide.add(mono, self._waiting_rate))
            self._narrow.add(mono, self._waiting_rate)

    def finish(self) -> None:
        """Write what is still inside the resamplers."""
        self._pass_on()
        self.meter.add(self._wide.flush())
        self._narrow.flush()

    def due(self) -> bool:
        """True once for every ten seconds of audio."""
        due = self.seconds - self._reported >= 10
        if due:
            self._reported = self.seconds
        return due

    @property
    def cancelled(self) -> bool:
        """True when the channels are each other's inverse."""
        return self._mixed < _CANCELLED * self._channels


def _mean(block: Audio) -> Audio:
    mono: Audio = block.mean(axis=0, dtype=np.float32)
    return mono


def _first(block: Audio) -> Audio:
    first: Audio = block[0]
    return first


def _facts(source: Source) -> dict[str, object]:
    facts: dict[str, object] = {
        "container": source.container,
        "codec": source.codec,
        "sample_rate": source.rate,
        "channels": source.channels,
    }
    if source.errors:
        facts["decode_errors"] = source.errors
    return facts


def _decibels(level: float) -> float | None:
    return round(level, 2) if np.isfinite(level) else None
