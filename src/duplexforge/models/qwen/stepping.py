"""The duplex step: a chunk of the user's sound in, silence or exactly two text tokens out, for many sessions at once.

A session costs one forward for each chunk in which it is silent and one more for each further text token. What it says is
fed back to it, as in training: the last token together with the next chunk's sound. Its logits are those of one forward
over the whole interleaved sequence (:mod:`duplexforge.models.qwen.forward`).

What is remembered is bounded: a session attends to its last ``window`` tokens and to its first chunk, and one that reaches
the model's largest position is refused (for Qwen3-Omni after about half an hour or more): reset it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from duplexforge.errors import InputError, RetryLater
from duplexforge.framing import DuplexFormat
from duplexforge.models.qwen.cache import SlotCache

__all__ = ["DuplexStep", "Said", "Sampling", "Session"]

Floats = npt.NDArray[np.float32]
Features = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen: the likeliest at ``temperature`` 0, else drawn from the ``top_k`` likeliest."""

    temperature: float = 0.0
    top_k: int = 50


@dataclass
class Session:
    """One conversation in its slot. ``position`` counts its tokens, ``chunks`` the chunks it heard."""

    slot: int
    seed: int = 0
    position: int = 0
    chunks: int = 0
    # Said, and not yet fed back.
    pending: list[int] = field(default_factory=list)
    open: bool = True


@dataclass(frozen=True)
class Said:
    """What a session says to a chunk: the silence token alone, or ``text_tokens`` tokens.

    ``logits`` float32[decisions, vocabulary] are what each of them was chosen by.
    """

    tokens: tuple[int, ...]
    logits: Tensor


class DuplexStep:
    """The thinker with ``slots`` sessions. ``features`` makes [chunks, 128, mel frames] of samples [chunks, 5120].

    It is ``duplexforge.loading.features.log_mels``, which stands above the models. Memory is taken at once: for the
    published model and bf16 some 98 kB a token of the window and slot.
    """

    def __init__(
        self,
        thinker: Any,
        fmt: DuplexFormat,
        features: Features,
        *,
        slots: int = 1,
        window: int = 4096,
        sampling: Sampling = Sampling(),
    ) -> None:
        self._thinker, self.format, self._features, self._sampling = thinker, fmt, features, sampling
        self._like = thinker.lm_head.weight
        text = thinker.config.text_config
        block = fmt.frames_per_chunk + 1
        self._most = int(text.max_position_embeddings)
        self._cache = SlotCache(
            text, slots, window=max(window, block), kept=fmt.frames_per_chunk, block=block, like=self._like
        )
        self._free = list(range(slots))
        told = thinker.config
        # Tokens that stand for what is heard or seen cannot be said.
        self._mute = [told.audio_token_id, told.audio_start_token_id, told.image_token_id, told.video_token_id]

    # -- sessions ------------------------------------------------------------------------------------------------------

    def open(self, seed: int = 0) -> Session:
        """A session in a free slot; RetryLater when there is none. ``seed`` is of its draws alone."""
        if not self._free:
            raise RetryLater("all slots of the model are taken", reason="capacity")
        slot = self._free.pop(0)
        self._cache.reset(slot)
        return Session(slot, seed)

    def reset(self, session: Session) -> None:
        """Let ``session`` forget everything; it keeps its slot."""
        self._check_open(session)
        self._cache.reset(session.slot)
        session.position = session.chunks = 0
        session.pending = []

    def close(self, session: Session) -> None:
        """Give the slot back; a second time does nothing."""
        if session.open:
            session.open = False
            self._free.append(session.slot)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def step(self, session: Session, chunk: Floats) -> tuple[int, ...]:
        """What ``session`` says to a chunk, float32[5120] at 16 kHz in ±1."""
        return self.steps([session], [chunk])[0].tokens

    def steps(
        self,
        sessions: Sequence[Session],
        chunks: Sequence[Floats],
        forced: Sequence[Sequence[int] | None] | None = None,
    ) -> list[Said]:
        """A chunk for each of ``sessions``, in one batch; their order and number change nothing but rounding.

        ``forced`` puts tokens into a session's mouth (None: its own choice): teacher forcing, or silence when it was
        interrupted. InputError, before anything has changed, when a chunk or a session is not as it must be.
        """
        told = list(forced) if forced is not None else [None] * len(sessions)
        self._check(sessions, chunks, told)
        with torch.no_grad():
            heard = self._heard(np.stack(chunks).astype(np.float32))
            first = self._hear(sessions, heard)
            turns = [_Turn(one, given) for one, given in zip(sessions, told, strict=True)]
            self._choose(turns, first)
            for _ in range(1, self.format.text_tokens):
                speaking = [turn for turn in turns if turn.tokens[0] != self.format.silence_token_id]
                if speaking:
                    self._choose(speaking, self._say(speaking))
        for turn in turns:
            turn.session.pending = turn.tokens[-1:]
            turn.session.chunks += 1
        return [Said(tuple(turn.tokens), torch.stack(turn.logits).float()) for turn in turns]

    def _heard(self, chunks: Floats) -> Tensor:
        """Embeddings [chunks, frames, width], each chunk encoded on its own."""
        features = torch.from_numpy(self._features(chunks)).to(self._like)
        mask = torch.ones(features.shape[0], features.shape[2], dtype=torch.int64, device=features.device)
        found: Tensor = self._thinker.get_audio_features(features, feature_attention_mask=mask).last_hidden_state
        return found.to(self._like).view(len(chunks), self.format.frames_per_chunk, -1)

    def _hear(self, sessions: Sequence[Session], heard: Tensor) -> Tensor:
        """Feed what each session said last and what it hears now; logits [sessions, vocabulary]."""
        before = max(len(one.pending) for one in sessions)
        silence = self.format.silence_token_id
        # A session that has said nothing yet gets a filler before its sound, where others have their last token.
        fed = [[silence] * (before - len(one.pending)) + one.pending for one in sessions]
        rows = []
        for one in sessions:
            count = len(one.pending) + heard.shape[1]
            fillers = before - len(one.pending)
            rows.append([-1] * fillers + list(range(one.position, one.position + count)))
            one.position += count
        embedded = torch.cat([self._embedded(fed), heard], dim=1)
        return self._run(sessions, embedded, rows)

    def _say(self, turns: Sequence[_Turn]) -> Tensor:
        """Feed the last token of each turn."""
        rows = []
        for turn in turns:
            rows.append([turn.session.position])
            turn.session.position += 1
        return self._run([turn.session for turn in turns], self._embedded([turn.tokens[-1:] for turn in turns]), rows)

    def _embedded(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        ids = torch.as_tensor(np.asarray(tokens, dtype=np.int64), device=self._like.device)
        found: Tensor = self._thinker.get_input_embeddings()(ids)
        return found

    def _run(self, sessions: Sequence[Session], embedded: Tensor, rows: list[list[int]]) -> Tensor:
        places = torch.as_tensor(rows, device=embedded.device)
        mask = self._cache.begin([one.slot for one in sessions], places)
        answer = self._thinker.model.language_model(
            inputs_embeds=embedded,
            attention_mask=mask,
            position_ids=places.clamp_min(0).expand(3, -1, -1),
            past_key_values=self._cache,
            use_cache=True,
        )
        found: Tensor = self._thinker.lm_head(answer.last_hidden_state[:, -1])
        return found

    # -- choosing ------------------------------------------------------------------------------------------------------

    def _choose(self, turns: Sequence[_Turn], logits: Tensor) -> None:
        silence = self.format.silence_token_id
        for turn, row in zip(turns, logits, strict=True):
            turn.logits.append(row)
            if turn.forced is not None:
                turn.tokens.append(int(turn.forced[len(turn.tokens)]))
            elif turn.tokens and turn.tokens[-1] == silence:
                # Silence fills up a chunk: no word comes after it before the next one.
                turn.tokens.append(silence)
            else:
                turn.tokens.append(self._drawn(row, turn))

    def _drawn(self, row: Tensor, turn: _Turn) -> int:
        scores = row.float().clone()
        scores[self._mute] = -torch.inf
        if self._sampling.temperature <= 0:
            return int(scores.argmax())
        best, ids = scores.topk(min(self._sampling.top_k, len(scores)))
        odds = torch.softmax(best.double() / self._sampling.temperature, dim=0).cumsum(dim=0).cpu().numpy()
        # From (seed, chunk, place) alone: who else is in the batch changes no draw.
        random = np.random.default_rng([turn.session.seed, turn.session.chunks, len(turn.tokens)])
        return int(ids[min(int(np.searchsorted(odds, random.random() * odds[-1])), len(odds) - 1)])

    # -- what is refused -----------------------------------------------------------------------------------------------

    def _check(
        self, sessions: Sequence[Session], chunks: Sequence[Floats], told: Sequence[Sequence[int] | None]
    ) -> None:
        if not sessions or len(chunks) != len(sessions) or len(told) != len(sessions):
            raise InputError(f"a step takes as many chunks as sessions, not {len(chunks)} and {len(sessions)}")
        if len({one.slot for one in sessions}) != len(sessions):
            raise InputError("a session takes one chunk a step")
        size, silence = self.format.user_samples, self.format.silence_token_id
        for session, chunk, given in zip(sessions, chunks, told, strict=True):
            self._check_open(session)
            if np.shape(chunk) != (size,) or not np.isfinite(chunk).all():
                raise InputError(
                    f"a chunk is {size} finite samples, not of shape {np.shape(chunk)}", reason="bad_chunk"
                )
            if given is not None and list(given) != [silence] and len(given) != self.format.text_tokens:
                raise InputError(f"a chunk says silence or {self.format.text_tokens} tokens, not {len(given)}")
            if session.position + 1 + self.format.frames_per_chunk + self.format.text_tokens > self._most:
                raise InputError(f"the session is at the model's last position, {self._most}", reason="session_full")

    @staticmethod
    def _check_open(session: Session) -> None:
        if not session.open:
            raise InputError("the session is closed", reason="closed")


@dataclass
class _Turn:
    """A session in the middle of a step."""

    session: Session
    forced: Sequence[int] | None
    tokens: list[int] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)
