"""Items of a duplex data set as one training batch for Qwen3-Omni's thinker, in numpy.

The keys in :data:`MODEL_INPUTS` are what its ``forward`` takes, the others are for the trainer. Each chunk goes through
the audio encoder as a recording of its own, in the order of its placeholders, batch row by batch row: that is how the
model puts encoded frames where the audio tokens stand, and how a server hears them one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from duplexforge.errors import ConfigError, InputError
from duplexforge.framing import DuplexFormat, Ints
from duplexforge.loading.dataset import Item
from duplexforge.loading.features import Floats, check, log_mels
from duplexforge.loading.schema import EMBEDDING_SIZE

__all__ = ["MODEL_INPUTS", "Batch", "Collator"]

Batch = dict[str, Any]

MODEL_INPUTS = ("input_ids", "attention_mask", "labels", "input_features", "feature_attention_mask")
"""Keys of a batch that the model takes."""

_NO_LOSS = -100


class Collator:
    """Makes batches of items; small and picklable, so that it works in the processes of a loader.

    ``audio_token_id`` is the model's (``config.audio_token_id``): it stands where placeholders do. ``max_chunks`` cuts what
    is longer, at its end. ``silence_weight`` adds ``loss_weights`` with that weight on silence tokens and 1 on text.
    """

    def __init__(
        self,
        fmt: DuplexFormat,
        *,
        audio_token_id: int,
        max_chunks: int | None = None,
        silence_weight: float | None = None,
    ) -> None:
        check(fmt)
        if audio_token_id == fmt.silence_token_id:
            # As in transformers' default configuration, which is not that of the published model.
            raise ConfigError(
                f"token {audio_token_id} cannot be both the audio token of the model and silence: "
                "take audio_token_id from the model's own configuration, or build with another silence token"
            )
        if max_chunks is not None and max_chunks < 1:
            raise ConfigError(f"max_chunks is at least 1, not {max_chunks}")
        if silence_weight is not None and not 0 <= silence_weight < float("inf"):
            raise ConfigError(f"silence_weight is a number from 0 on, not {silence_weight}")
        self.format, self.audio_token_id = fmt, audio_token_id
        self.max_chunks, self.silence_weight = max_chunks, silence_weight

    def __call__(self, items: Sequence[Item]) -> Batch:
        """The batch of ``items``, with B items, N chunks in all, C in the longest item and T the longest sequence.

        ::

            input_ids               int64[B, T]      audio tokens, text, silence; silence as padding
            attention_mask          int64[B, T]      0 on padding
            labels                  int64[B, T]      ids; -100 on audio and on padding (the model shifts them itself)
            loss_weights            float32[B, T]    with silence_weight only; 0 where labels are -100
            input_features          float32[N, 128, 32]
            feature_attention_mask  int64[N, 32]     all ones: chunks are whole
            target_audios           float32[B, C, 7680], zeros behind the end, where chunk_mask says so
            chunk_mask              bool[B, C]
            speaker_embeddings      float32[B, 192], of use only where speaker_mask is true
            speaker_mask            bool[B]          false: nobody measured this voice
            truncated               int64[B]         chunks that max_chunks cut off
            session_id, seq_id      lists

        InputError when an item's sequence and audio do not have the same chunks.
        """
        if not items:
            raise InputError("there is no item to make a batch of", reason="empty")
        cut = [self._cut(item) for item in items]
        batch = self._tokens([sequence for sequence, _, _ in cut])
        features = log_mels(np.concatenate([user for _, user, _ in cut]))
        batch["input_features"] = features
        batch["feature_attention_mask"] = np.ones((features.shape[0], features.shape[2]), dtype=np.int64)
        batch |= self._targets([agent for _, _, agent in cut])
        batch |= self._speakers([item["speaker_embedding"] for item in items])
        chunks = [len(item["input_audios"]) for item in items]
        batch["truncated"] = np.asarray(chunks, dtype=np.int64) - batch["chunk_mask"].sum(axis=1)
        batch["session_id"] = [item["session_id"] for item in items]
        batch["seq_id"] = [item["seq_id"] for item in items]
        return batch

    def _cut(self, item: Item) -> tuple[Ints, Floats, Floats]:
        """Sequence and tracks of an item, up to ``max_chunks``; torch's tensors are taken too."""
        sequence = np.asarray(item["input_sequence"])
        user, agent = np.asarray(item["input_audios"]), np.asarray(item["target_audios"])
        holders = np.flatnonzero(sequence == self.format.placeholder_id)
        per_chunk = self.format.frames_per_chunk
        if not len(user) == len(agent) == len(holders) / per_chunk:
            raise InputError(
                f"{item['session_id']}#{item['seq_id']} has {len(user)} chunks of the user, {len(agent)} of the agent "
                f"and {len(holders)} placeholders",
                reason="bad_item",
            )
        if self.max_chunks is None or len(user) <= self.max_chunks:
            return sequence, user, agent
        end = holders[self.max_chunks * per_chunk]
        return sequence[:end], user[: self.max_chunks], agent[: self.max_chunks]

    def _tokens(self, sequences: list[Ints]) -> Batch:
        shape = (len(sequences), max(len(one) for one in sequences))
        ids = np.full(shape, self.format.silence_token_id, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        audio = ids == self.format.placeholder_id
        labels = np.where(audio | (mask == 0), _NO_LOSS, ids)
        ids[audio] = self.audio_token_id
        batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        if self.silence_weight is not None:
            silent = labels == self.format.silence_token_id
            batch["loss_weights"] = np.where(silent, self.silence_weight, labels != _NO_LOSS).astype(np.float32)
        return batch

    def _targets(self, agents: list[Floats]) -> Batch:
        chunks = [len(one) for one in agents]
        audios = np.zeros((len(agents), max(chunks), self.format.agent_samples), dtype=np.float32)
        for row, agent in enumerate(agents):
            audios[row, : len(agent)] = agent
        return {"target_audios": audios, "chunk_mask": np.arange(max(chunks)) < np.asarray(chunks)[:, None]}

    def _speakers(self, vectors: list[npt.NDArray[np.float32] | None]) -> Batch:
        known = np.asarray([vector is not None for vector in vectors], dtype=bool)
        embeddings = np.zeros((len(vectors), EMBEDDING_SIZE), dtype=np.float32)
        for row, vector in enumerate(vectors):
            if vector is not None:
                embeddings[row] = vector
        return {"speaker_embeddings": embeddings, "speaker_mask": known}
