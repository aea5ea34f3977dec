"""Reasons to doubt a text: each becomes a flag of its segment, none drops it."""

from __future__ import annotations

import zlib

import numpy as np

from Emilia.options import TranscribeOptions
from Emilia.recording import Segment

__all__ = ["check", "compression_ratio", "flag_odd_rates", "repeats"]


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


def check(segment: Segment, options: TranscribeOptions) -> None:
    """Flag what one segment's own text and figures say against it."""
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


def flag_odd_rates(segments: list[Segment], options: TranscribeOptions) -> None:
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
