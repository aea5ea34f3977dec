"""Batches: what stands where, what carries loss, and what is cut; the tiny model itself is in ``test_thinker.py``."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.errors import ConfigError, InputError
from duplexforge.framing import DuplexFormat, interleave
from duplexforge.loading.collator import Collator
from duplexforge.loading.dataset import Item, easy_load
from duplexforge.loading.features import log_mels
from tests.duplex.folder import write_folder

AUDIO, SILENCE = 151675, 151646


def _item(chunks: int, *, seed: int = 0, known: bool = True) -> Item:
    rng, fmt = np.random.default_rng([seed, chunks]), DuplexFormat()
    due = np.sort(rng.integers(0, chunks, size=int(rng.integers(0, 2 * chunks))))
    stream = interleave(fmt, rng.integers(100, 1000, size=len(due)), due, chunks)
    return Item(
        input_sequence=stream.sequence,
        input_audios=(rng.standard_normal((chunks, 5120)) * 0.1).astype(np.float32),
        target_audios=(rng.standard_normal((chunks, 7680)) * 0.1).astype(np.float32),
        speaker_embedding=rng.standard_normal(192).astype(np.float32) if known else None,
        session_id=f"talk--{seed}",
        seq_id=seed,
    )


def _collator(**changes: Any) -> Collator:
    return Collator(DuplexFormat(), audio_token_id=AUDIO, **changes)


@given(
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    limit=st.one_of(st.none(), st.integers(1, 4)),
    weight=st.one_of(st.none(), st.floats(0, 2)),
)
@settings(max_examples=20, deadline=None)
def test_a_batch_is_its_items(lengths: list[int], limit: int | None, weight: float | None) -> None:
    items = [_item(chunks, seed=number, known=number % 2 == 0) for number, chunks in enumerate(lengths)]
    batch = _collator(max_chunks=limit, silence_weight=weight)(items)
    kept = [min(chunks, limit or chunks) for chunks in lengths]
    assert batch["truncated"].tolist() == [chunks - left for chunks, left in zip(lengths, kept, strict=True)]
    features = np.concatenate([log_mels(item["input_audios"][:left]) for item, left in zip(items, kept, strict=True)])
    np.testing.assert_array_equal(batch["input_features"], features)
    assert batch["feature_attention_mask"].shape == (sum(kept), 32)
    assert (batch["feature_attention_mask"] == 1).all()
    assert int((batch["input_ids"] == AUDIO).sum()) == 4 * sum(kept)
    for row, (item, left) in enumerate(zip(items, kept, strict=True)):
        ids = batch["input_ids"][row][batch["attention_mask"][row] == 1]
        back = np.where(ids == AUDIO, -100, ids)
        np.testing.assert_array_equal(back, item["input_sequence"][: len(ids)])
        assert (back == -100).sum() == 4 * left
        # Nothing is cut but whole chunks: behind what was kept a chunk begins, or nothing does.
        assert item["input_sequence"][len(ids) : len(ids) + 1].tolist() in ([], [-100])
        padding = batch["attention_mask"][row] == 0
        assert (batch["input_ids"][row][padding] == SILENCE).all()
        labels = batch["labels"][row]
        np.testing.assert_array_equal(labels == -100, padding | (batch["input_ids"][row] == AUDIO))
        np.testing.assert_array_equal(labels[labels != -100], batch["input_ids"][row][labels != -100])
        np.testing.assert_array_equal(batch["target_audios"][row, :left], item["target_audios"][:left])
        assert not batch["target_audios"][row, left:].any()
        assert batch["chunk_mask"][row].tolist() == [True] * left + [False] * (max(kept) - left)
    if weight is None:
        assert "loss_weights" not in batch
    else:
        expected = np.where(batch["labels"] == SILENCE, np.float32(weight), batch["labels"] != -100)
        np.testing.assert_array_equal(batch["loss_weights"], expected)
        assert batch["loss_weights"].dtype == np.float32


def test_a_voice_that_nobody_measured_is_masked() -> None:
    batch = _collator()([_item(2, known=True), _item(2, known=False)])
    assert batch["speaker_mask"].tolist() == [True, False]
    assert np.abs(batch["speaker_embeddings"][0]).sum() > 1
    assert batch["speaker_embeddings"].shape == (2, 192)


def test_silence_keeps_its_loss() -> None:
    item = _item(1)
    item["input_sequence"] = np.asarray([-100] * 4 + [SILENCE])
    batch = _collator()([item])
    assert batch["labels"].tolist() == [[-100] * 4 + [SILENCE]]


def test_names_travel_along_and_dtypes_are_torchs_own() -> None:
    batch = _collator(silence_weight=0.5)([_item(2, seed=4), _item(1, seed=9)])
    assert (batch["session_id"], batch["seq_id"]) == (["talk--4", "talk--9"], [4, 9])
    kinds = {name: one.dtype.name for name, one in batch.items() if isinstance(one, np.ndarray)}
    assert {name for name, kind in kinds.items() if kind == "int64"} == {
        "input_ids", "attention_mask", "labels", "feature_attention_mask", "truncated",
    }  # fmt: skip
    assert {name for name, kind in kinds.items() if kind == "bool"} == {"chunk_mask", "speaker_mask"}
    assert set(kinds.values()) == {"int64", "bool", "float32"}


def test_items_of_a_data_set(tmp_path: Path) -> None:
    made = write_folder(tmp_path / "set")
    data = easy_load(made.folder)
    batch = Collator(data.format, audio_token_id=AUDIO)(data[:5])
    assert batch["target_audios"].shape == (5, 3, 7680)
    assert int((batch["input_ids"] == AUDIO).sum()) == 4 * int(data.chunks()[:5].sum())


def test_a_collator_travels_to_workers() -> None:
    again = pickle.loads(pickle.dumps(_collator(max_chunks=2, silence_weight=0.1)))
    np.testing.assert_array_equal(again([_item(3)])["labels"], _collator(max_chunks=2)([_item(3)])["labels"])


def test_what_makes_no_batch() -> None:
    with pytest.raises(InputError, match="no item"):
        _collator()([])
    item = _item(3)
    item["input_audios"] = item["input_audios"][:2]
    with pytest.raises(InputError, match="talk--0#0 has 2 chunks of the user, 3 of the agent and 12 placeholders"):
        _collator()([item])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"audio_token_id": SILENCE}, "token 151646 cannot be both the audio token of the model and silence"),
        ({"max_chunks": 0}, "max_chunks is at least 1, not 0"),
        ({"silence_weight": -0.1}, "silence_weight is a number from 0 on, not -0.1"),
        ({"silence_weight": float("nan")}, "silence_weight is a number from 0 on, not nan"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Collator(DuplexFormat(), **{"audio_token_id": AUDIO, **changes})
