"""Standardise: any audio file to mono waveforms at 24 kHz and 16 kHz with a known loudness.

One streaming pass decodes, mixes to mono, resamples both ways with soxr (very high quality) into scratch files and
measures loudness (BS.1770), robust peak and constant offset. The level is then applied on reading, so no second pass
is needed. Under ``compat`` the level is the published pipeline's: towards -20 dBFS by at most 3 dB, then divided by the
file's peak; decoding and resampling stay as they are here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

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
# The published level: root mean square in dBFS that it aims at, and how many dB it may go either way.
_TARGET, _REACH = -20.0, 3.0


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
        self.compat = config.pipeline.compat
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
            decoded = _Decoded(wide, narrow, mix)
            for rate, block in source.blocks():
                decoded.add(rate, block)
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
        level = decoded.published_level() if self.compat else self._normalised(decoded, loudness)
        recording.wave = decoded.wide.done(bias=level.bias, gain=level.gain, ceiling=level.ceiling)
        recording.narrow = decoded.narrow.done(bias=level.bias, gain=level.gain, ceiling=level.ceiling)
        recording.duration = ms(decoded.seconds)
        recording.facts["loudness_lufs"] = _decibels(loudness)
        recording.facts["gain_db"] = _decibels(20 * float(np.log10(level.gain)))
        recording.facts["noise_dbfs"] = _decibels(noise + 20 * float(np.log10(level.gain)))
        if recording.duration < options.min_seconds:
            recording.outcome = "too_short"
        elif loudness == -np.inf:
            recording.outcome = "no_speech"

    def _normalised(self, decoded: _Decoded, loudness: float) -> _Level:
        """To the target loudness, unless a robust peak would pass the ceiling."""
        options, ceiling = self.options, 10 ** (self.options.ceiling / 20)
        decibels = min(options.loudness - loudness, options.max_gain) if loudness > -np.inf else 0.0
        peak = decoded.meter.peak(options.peak_share)
        gain = min(10 ** (decibels / 20), ceiling / peak if peak > 0 else 1.0)
        return _Level(decoded.meter.mean, gain, ceiling)


class _Level(NamedTuple):
    """How a waveform is heard, see :class:`Emilia.recording.Waveform`."""

    bias: float
    gain: float
    ceiling: float


class _Decoded:
    """The two waveforms being written, and what is measured on the way."""

    def __init__(self, wide: WaveformWriter, narrow: WaveformWriter, mix: Mix) -> None:
        self.wide, self.narrow = wide, narrow
        self._mix = mix
        self.meter = LoudnessMeter(wide.rate)
        self.seconds = 0.0
        self._wide, self._narrow = Resampler(wide), Resampler(narrow)
        self._mixed = self._channels = 0.0
        self._power = self._peak = 0.0
        self._reported = 0.0
        self._waiting: list[Audio] = []
        # Rate and channels of what waits, and how many samples.
        self._kind = (0, 0)
        self._waits = 0

    def add(self, rate: int, block: Audio) -> None:
        """Take one decoded frame (channels, n) at ``rate``."""
        kind = (rate, len(block))
        if kind != self._kind:
            self._pass_on()
            self._kind = kind
        self.seconds += block.shape[1] / rate
        self._waiting.append(block)
        self._waits += block.shape[1]
        # Codec frames are some 20 ms; all arithmetic a second at a time is an order of magnitude cheaper.
        if self._waits >= rate:
            self._pass_on()

    def _pass_on(self) -> None:
        if not self._waiting:
            return
        block = np.concatenate(self._waiting, axis=1)
        self._waiting, self._waits = [], 0
        # Also true for what is no number.
        if not np.abs(block).max(initial=0.0) < _ABSURD:
            block = np.where(np.abs(block) < _ABSURD, block, np.float32(0))
        mean, rate = _mean(block), self._kind[0]
        mono = mean if self._mix is _mean else self._mix(block)
        self._mixed += float(np.vdot(mean, mean))
        self._channels += float(np.vdot(block, block)) / len(block)
        self._measure(self._wide.add(mono, rate))
        self._narrow.add(mono, rate)

    def finish(self) -> None:
        """Write what is still inside the resamplers."""
        self._pass_on()
        self._measure(self._wide.flush())
        self._narrow.flush()

    def _measure(self, samples: Audio) -> None:
        self.meter.add(samples)
        self._power += float(np.square(samples, dtype=np.float64).sum())
        self._peak = max(self._peak, float(np.abs(samples).max(initial=0.0)))

    def published_level(self) -> _Level:
        """Gain of ``-20 dBFS - level`` within 3 dB, clipped at full scale, then divided by the greatest sample.

        Where the gain reaches full scale the division changes nothing more; else it takes the gain back. Silence, which
        would be divided by zero, stays silence.
        """
        if not self._peak:
            return _Level(0.0, 1.0, 1.0)
        level = 10 * float(np.log10(self._power / self.wide.frames))
        gain = 10 ** (min(max(_TARGET - level, -_REACH), _REACH) / 20)
        # A ceiling of full scale clips, as the published integer samples did, and limits nothing.
        return _Level(0.0, max(gain, 1.0 / self._peak), 1.0)

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
