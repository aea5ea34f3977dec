"""The duplex timing and token contract, written down once: rates, frames, chunks, placeholders and the queue rule.

A *chunk* is a few audio frames of the encoder (4 frames of 12.5 Hz: 0.32 s). For each chunk the model hears the user's
samples, which become one placeholder per frame, and then says either one silence token or exactly ``text_tokens`` text
tokens, filled up with silence. :class:`DuplexFormat` travels inside the data set (``format.json``), the checkpoint and the
session; :func:`place` is the rule by which text tokens find their chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from duplexforge.errors import ConfigError, InputError
from duplexforge.records import Record

Ints = npt.NDArray[np.int64]

Alignment = Literal["queue", "even", "words"]

# Qwen3-Omni's audio encoder: 10 ms mel frames, 13 tokens for each whole second of them.
_MEL_HZ = 100
_TOKENS_PER_SECOND = 13


def audio_tokens(mel_frames: int) -> int:
    """How many tokens Qwen3-Omni's encoder makes of ``mel_frames`` at once: its exact length formula.

    Three convolutions of stride two over what is left of the last second, 13 for each second before. Hence 32 frames
    alone give 4, but 100 at once give 13 and not 12: the encoder is run chunk by chunk.
    """
    seconds, rest = divmod(mel_frames, _MEL_HZ)
    for _ in range(3):
        rest = (rest + 1) // 2
    return rest + seconds * _TOKENS_PER_SECOND


def _chunk_seconds(frames: int, hz: float) -> Fraction:
    return frames / Fraction(hz).limit_denominator(10_000)


# Asked for every utterance of a corpus, and fractions are slow.
@lru_cache(maxsize=64)
def _chunk_samples(rate: int, frames: int, hz: float) -> int:
    return int(rate * _chunk_seconds(frames, hz))


class DuplexFormat(Record):
    """How audio and text are interleaved; stored as ``format.json``. Raises ValueError when the numbers do not fit together."""

    user_rate: int = Field(default=16_000, ge=8_000, le=192_000)
    """Samples a second of the user's track, which the encoder hears."""
    agent_rate: int = Field(default=24_000, ge=8_000, le=192_000)
    """Samples a second of the agent's track, which the model is to speak."""
    frame_hz: float = Field(default=12.5, gt=0, le=1000)
    """Audio frames (encoder tokens) a second."""
    frames_per_chunk: int = Field(default=4, ge=1, le=1000)
    """Frames, and so placeholders, of one chunk."""
    text_tokens: int = Field(default=2, ge=1, le=64)
    """Text tokens of a chunk in which the agent speaks."""
    placeholder_id: int = -100
    """Stands for one audio frame in a sequence; no token id."""
    silence_token: str = "<|object_ref_start|>"  # noqa: S105 - a word of the vocabulary
    """The token that says nothing; must be one token that no text makes."""
    silence_token_id: int = 151646
    """Its id; also the padding."""
    audio_token: str = "<|audio_pad|>"  # noqa: S105 - a word of the vocabulary
    """The model's own placeholder of an audio frame, which a collator puts where placeholders stand."""
    alignment: Alignment = "queue"
    """When the tokens of an utterance are due: all at its start, spread evenly over it, or at their words' times."""
    max_event_tokens: int | None = Field(default=None, ge=1)
    """Tokens beyond so many of one utterance are left out, and counted as capped."""
    model: str = "Qwen/Qwen3-Omni-30B-A3B-Instruct"
    """Where tokenizer and feature extractor come from: a Hub name or a folder's name."""
    revision: str | None = None
    """Commit of the model on the Hub."""
    tokenizer_sha256: str | None = None
    """Checksum of the vocabulary, so that another tokenizer of the same name is noticed."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for rate in (self.user_rate, self.agent_rate):
            if (rate * self.chunk_seconds).denominator != 1:
                raise ValueError(
                    f"a chunk of {float(self.chunk_seconds):g} s is no whole number of samples at {rate} Hz"
                )
        mel = self.chunk_seconds * _MEL_HZ
        if mel.denominator != 1 or audio_tokens(int(mel)) != self.frames_per_chunk:
            raise ValueError(
                f"a chunk of {float(self.chunk_seconds):g} s does not make {self.frames_per_chunk} tokens in the encoder"
            )
        return self

    @property
    def chunk_seconds(self) -> Fraction:
        """Length of a chunk in seconds, exactly."""
        return _chunk_seconds(self.frames_per_chunk, self.frame_hz)

    @property
    def user_samples(self) -> int:
        """Samples of the user's track in one chunk."""
        return _chunk_samples(self.user_rate, self.frames_per_chunk, self.frame_hz)

    @property
    def agent_samples(self) -> int:
        """Samples of the agent's track in one chunk."""
        return _chunk_samples(self.agent_rate, self.frames_per_chunk, self.frame_hz)

    @property
    def mel_frames(self) -> int:
        """Mel frames (10 ms) of one chunk, as the encoder sees them."""
        return int(self.chunk_seconds * _MEL_HZ)

    def chunks(self, seconds: float) -> int:
        """Chunks that hold ``seconds`` of audio, the last one filled up."""
        return self.chunks_of(round(seconds * self.user_rate), self.user_samples)

    @staticmethod
    def chunks_of(samples: int, chunk_samples: int) -> int:
        """Chunks that hold ``samples``, the last one filled up."""
        return -(-samples // chunk_samples)

    def chunk_at(self, seconds: float) -> int:
        """The chunk in which a moment lies; a moment on a seam belongs to the later one."""
        # Through whole samples: a time such as 0.64 must not fall before its seam for want of a bit.
        return round(seconds * self.user_rate) // self.user_samples

    def chunks_at(self, seconds: npt.NDArray[np.float64]) -> Ints:
        """:meth:`chunk_at` of many finite moments at once."""
        whole: Ints = np.rint(seconds * self.user_rate).astype(np.int64)
        return whole // self.user_samples

    def check(self, other: DuplexFormat) -> None:
        """ConfigError naming every field in which ``other`` differs (where the model comes from may differ in name)."""
        skipped = {"version", "model", "revision", "alignment", "max_event_tokens"}
        differ = [
            f"{name} {getattr(self, name)!r} and {getattr(other, name)!r}"
            for name in type(self).model_fields
            if name not in skipped and getattr(self, name) != getattr(other, name)
        ]
        if differ:
            raise ConfigError(f"two duplex formats do not go together: {'; '.join(differ)}")


@dataclass(frozen=True)
class Placed:
    """Where tokens came to stand: ``chunk`` and ``slot`` of each, in the order given; chunk −1 is one that found no place."""

    chunk: Ints
    slot: Ints

    @property
    def capped(self) -> int:
        """How many found no place before the end."""
        return int((self.chunk < 0).sum())


def place(due: Ints, chunks: int, per_chunk: int) -> Placed:
    """The queue rule: a token joins the queue in its ``due`` chunk, and each chunk takes up to ``per_chunk`` of the queue.

    ``due`` must not fall (tokens keep their order). Equal to walking over the chunks with a queue, in one pass: token i
    takes the first slot that is neither before its chunk nor before the slot after token i−1's.
    """
    if due.size and (np.any(np.diff(due) < 0) or due[0] < 0):
        raise InputError("tokens must be due in rising order, from chunk 0 on", reason="bad_events")
    order = np.arange(due.size, dtype=np.int64)
    slots = np.maximum.accumulate(due * per_chunk - order) + order
    chunk, slot = np.divmod(slots, per_chunk)
    chunk[chunk >= chunks] = -1
    return Placed(chunk, slot)


@dataclass(frozen=True)
class Stream:
    """The tokens of a stretch of chunks, interleaved.

    ``sequence`` int64[n] with ``placeholder_id`` for each audio frame; ``starts`` int64[chunks + 1] is where each chunk
    begins in it (the last entry is n); ``capped`` counts tokens that found no place, ``silent`` chunks without text.
    """

    sequence: Ints
    starts: Ints
    capped: int = 0
    silent: int = 0

    def cut(self, first: int, end: int) -> Ints:
        """The sequence of chunks ``first`` to ``end`` (exclusive)."""
        return self.sequence[self.starts[first] : self.starts[end]]


def interleave(fmt: DuplexFormat, tokens: Ints, due: Ints, chunks: int) -> Stream:
    """The sequence of a whole side: per chunk the placeholders, then one silence token or ``text_tokens`` tokens."""
    placed = place(due, chunks, fmt.text_tokens)
    kept = placed.chunk >= 0
    chunk, slot = placed.chunk[kept], placed.slot[kept]
    # Slots fill from the first on, so every chunk with text has a token there.
    speaks = chunk[slot == 0]
    lengths = np.full(chunks, fmt.frames_per_chunk + 1, dtype=np.int64)
    lengths[speaks] = fmt.frames_per_chunk + fmt.text_tokens
    starts = np.zeros(chunks + 1, dtype=np.int64)
    np.cumsum(lengths, out=starts[1:])
    sequence = np.full(starts[-1], fmt.placeholder_id, dtype=np.int64)
    text = starts[:-1] + fmt.frames_per_chunk
    sequence[text] = fmt.silence_token_id
    for later in range(1, fmt.text_tokens):
        sequence[text[speaks] + later] = fmt.silence_token_id
    sequence[text[chunk] + slot] = tokens[kept]
    return Stream(sequence, starts, placed.capped, chunks - len(speaks))
