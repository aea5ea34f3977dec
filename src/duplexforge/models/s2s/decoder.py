"""The model's own side: what was said so far and what was heard so far, to what is said next.

Pre-norm blocks of self-attention (rotary positions, a static cache), cross-attention to the user's frames and SwiGLU. Speaker
and emotion are vectors whose sum scales and shifts the stream before each block (FiLM — Perez et al., 2018), so that any
vector between two speakers is a voice too. Every step takes the text and the books said at the step before.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from duplexforge.models.s2s.parts import Attention, Gated, Norm, attend, rotated, turns
from duplexforge.models.s2s.shape import Shape

__all__ = ["Decoder", "Memory", "Said"]


class Said(NamedTuple):
    """The cache of what was said: layers × slots × heads × steps × size; it never grows."""

    keys: Tensor
    values: Tensor


class Memory(NamedTuple):
    """What the decoder sees of the user: keys and values (layers × slots × heads × frames × size)."""

    keys: Tensor
    values: Tensor
    known: Tensor
    """int64[slots]: frames that were ever put in; with more than there is room for the oldest are gone."""


class Block(nn.Module):  # type: ignore[misc]
    """Self-attention, cross-attention, feed-forward."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.own, self.cross = Attention(shape.width, shape.heads), Attention(shape.width, shape.heads)
        self.feed = Gated(shape.width, shape.decoder_inner, dropout)
        self.style = nn.Linear(shape.width, 2 * shape.width)
        nn.init.zeros_(self.style.weight)
        nn.init.zeros_(self.style.bias)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, style: Tensor, turn: Tensor, own: Tensor, memory: tuple[Tensor, Tensor], seen: Tensor
    ) -> Tensor:
        """A whole answer (batch × steps × width); ``own`` and ``seen`` allow what is said and heard to be seen."""
        x = self.styled(x, style)
        normed = self.own.norm(x)
        keys, values = self.own.pairs(normed)
        found = attend(rotated(self.own.queries(normed), turn), rotated(keys, turn), values, own)
        return self.rest(x + self.dropout(self.own.merged(found)), *memory, seen)

    def styled(self, x: Tensor, style: Tensor) -> Tensor:
        """``x`` under ``style`` (batch × 2·width)."""
        scale, shift = style[:, None].chunk(2, dim=-1)
        return x * (1 + scale) + shift

    def rest(self, x: Tensor, keys: Tensor, values: Tensor, seen: Tensor) -> Tensor:
        """What comes after the self-attention."""
        queries = self.cross.queries(self.cross.norm(x))
        x = x + self.dropout(self.cross.merged(attend(queries, keys, values, seen)))
        out: Tensor = x + self.dropout(self.feed(x))
        return out


class Decoder(nn.Module):  # type: ignore[misc]
    """Streams to logits, over whole answers or step by step."""

    turn: Tensor

    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.again = False
        """Whether training computes a block's inside again on the way back instead of keeping it."""
        self.text = nn.Embedding(shape.vocabulary, shape.width)
        # Each book has an entry more: no sound.
        self.audio = nn.Embedding(shape.books * (shape.entries + 1), shape.width)
        self.speakers, self.emotions = (
            nn.Embedding(shape.speakers, shape.width),
            nn.Embedding(shape.emotions, shape.width),
        )
        self.blocks = nn.ModuleList(Block(shape, dropout) for _ in range(shape.decoder_layers))
        self.norm = Norm(shape.width)
        self.say, self.sound = (
            nn.Linear(shape.width, shape.vocabulary),
            nn.Linear(shape.width, shape.books * shape.entries),
        )
        self.register_buffer("turn", turns(shape.steps, shape.width // shape.heads), persistent=False)
        for table in (self.text, self.audio, self.speakers, self.emotions):
            nn.init.normal_(table.weight, std=0.3)

    def styles(self, speaker: Tensor, emotion: Tensor) -> Tensor:
        """What a speaker's and an emotion's vector (batch × width) do to each block (layers × batch × 2·width)."""
        return torch.stack([block.style(speaker + emotion) for block in self.blocks])

    def remembered(self, heard: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (layers × batch × heads × frames × size) of the encoder's vectors (batch × frames × width)."""
        pairs = [block.cross.pairs(block.cross.norm(heard)) for block in self.blocks]
        return torch.stack([keys for keys, _ in pairs]), torch.stack([values for _, values in pairs])

    def forward(self, text: Tensor, audio: Tensor, styles: Tensor, heard: Tensor, seen: Tensor) -> Tensor:
        """Vectors (batch × steps × width) of whole answers, for ``say`` and :meth:`sounds`.

        ``text`` (batch × steps) and ``audio`` (batch × steps × books) are what was said a step before; ``heard`` are the
        encoder's vectors, and ``seen`` (bool, batch × steps × frames) tells which of them each step sees.
        """
        x = self._entered(text, audio)
        steps = text.shape[1]
        own = torch.ones(steps, steps, dtype=torch.bool, device=text.device).tril()
        turn = self.turn[:, :steps]
        memory = self.remembered(heard)
        for layer, block in enumerate(self.blocks):
            given = (x, styles[layer], turn, own, (memory[0][layer], memory[1][layer]), seen[:, None])
            again = self.again and torch.is_grad_enabled()
            x = checkpoint(block, *given, use_reentrant=False) if again else block(*given)
        return self.norm(x)

    def sounds(self, x: Tensor) -> Tensor:
        """Logits (… × books × entries) of the audio for vectors (… × width)."""
        return self.sound(x).unflatten(-1, (self.shape.books, self.shape.entries))

    def step(
        self, text: Tensor, audio: Tensor, at: Tensor, *, styles: Tensor, said: Said, memory: Memory
    ) -> tuple[Tensor, Tensor, Said]:
        """One step of every slot: logits (slots × vocabulary; slots × books × entries), and the cache after it.

        ``text`` (slots) and ``audio`` (slots × books) were said a step before; ``at`` (int64[slots]) is each slot's step.
        """
        shape = self.shape
        places = torch.arange(shape.steps, device=at.device)
        own = (places <= at[:, None])[:, None, None]
        here = (places == at[:, None])[:, None, :, None]
        frames = torch.arange(memory.keys.shape[3], device=at.device)
        # A slot that has heard nothing sees one empty frame: a softmax over nothing is no number.
        seen = (frames < memory.known.clamp_min(1)[:, None])[:, None, None]
        turn = self.turn[:, at][:, :, None]
        x = self._entered(text[:, None], audio[:, None])
        kept = []
        for layer, block in enumerate(self.blocks):
            x = block.styled(x, styles[layer])
            normed = block.own.norm(x)
            key, value = block.own.pairs(normed)
            keys = torch.where(here, rotated(key, turn), said.keys[layer])
            values = torch.where(here, value, said.values[layer])
            found = attend(rotated(block.own.queries(normed), turn), keys, values, own)
            x = x + block.own.merged(found)
            x = block.rest(x, memory.keys[layer], memory.values[layer], seen)
            kept.append((keys, values))
        x = self.norm(x)[:, 0]
        after = Said(torch.stack([keys for keys, _ in kept]), torch.stack([values for _, values in kept]))
        return self.say(x), self.sounds(x), after

    def fresh(self, slots: int, device: torch.device | str = "cpu") -> tuple[Said, Memory]:
        """The states of slots that have said and heard nothing."""
        shape = self.shape
        size = shape.width // shape.heads
        cache, frames = ((shape.decoder_layers, slots, shape.heads, n, size) for n in (shape.steps, shape.memory))
        known = torch.zeros(slots, dtype=torch.int64, device=device)
        keys, values, seen, told = (torch.zeros(one, device=device) for one in (cache, cache, frames, frames))
        return Said(keys, values), Memory(seen, told, known)

    def remember(self, heard: Tensor, memory: Memory) -> Memory:
        """``memory`` with the encoder's vectors of one more chunk (slots × chunk × width) in it."""
        keys, values = self.remembered(heard)
        room, chunk = memory.keys.shape[3], heard.shape[1]
        # A ring: which frame lies where says nothing, as cross-attention knows no order but what the vectors tell.
        offset = (torch.arange(room, device=heard.device) - memory.known[:, None]) % room
        fresh = (offset < chunk)[:, None, :, None]
        index = offset.clamp_max(chunk - 1)[None, :, None, :, None].expand_as(memory.keys)
        return Memory(
            torch.where(fresh, keys.gather(3, index), memory.keys),
            torch.where(fresh, values.gather(3, index), memory.values),
            memory.known + chunk,
        )

    def _entered(self, text: Tensor, audio: Tensor) -> Tensor:
        offsets = torch.arange(self.shape.books, device=audio.device) * (self.shape.entries + 1)
        entered: Tensor = self.text(text) + self.audio(audio + offsets).sum(dim=2)
        return entered
