"""A collated batch through Qwen3-Omni's thinker itself, tiny and random: shapes, audio tokens chunk by chunk, and learning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from duplexforge.framing import DuplexFormat, audio_tokens
from duplexforge.loading.collator import MODEL_INPUTS
from duplexforge.loading.dataset import easy_load
from tests.duplex.folder import write_folder
from tests.duplex.thinker import configuration

pytestmark = pytest.mark.heavy

SEED = 4
# Ids of a vocabulary small enough for a quick test: the made tokens are below 1,000.
AUDIO, SILENCE, VOCABULARY = 1001, 1000, 1024


@pytest.fixture(scope="module")
def thinker() -> Iterator[Any]:
    """The model with every part of the real one, 128 mels and the real encoder's windows, and few and narrow layers."""
    import torch
    from transformers import Qwen3OmniMoeThinkerForConditionalGeneration

    torch.manual_seed(SEED)
    # Nothing here is large enough for more, and on a busy machine threads wait for each other.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    names = ("<|audio_pad|>", "<|audio_start|>", "<|image_pad|>", "<|video_pad|>", "<|vision_start|>")
    ids = {name: AUDIO + place for place, name in enumerate(names)}
    config = configuration(ids, vocab_size=VOCABULARY)
    yield Qwen3OmniMoeThinkerForConditionalGeneration(config)
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Three windows of unlike lengths in one batch, and then each in one of its own."""
    from duplexforge.loading.torch_dataset import TorchCollator, TorchDataset

    made = write_folder(
        tmp_path_factory.mktemp("thinker") / "set", fmt=DuplexFormat(silence_token_id=SILENCE), chunks=5
    )
    data = easy_load(made.folder)
    collate = TorchCollator(data.format, audio_token_id=AUDIO, silence_weight=0.5)
    items = [TorchDataset(data)[index] for index in (0, 1, 2)]
    found = [collate(items), *(collate([item]) for item in items)]
    assert found[0]["chunk_mask"].sum(axis=1).tolist() == [3, 2, 3]
    return found


@pytest.fixture(scope="module")
def batch(batches: list[dict[str, Any]]) -> dict[str, Any]:
    """The three in one."""
    return batches[0]


def _inputs(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: batch[name] for name in MODEL_INPUTS}


def test_each_chunk_is_encoded_to_as_many_tokens_as_it_has_placeholders(thinker: Any, batch: dict[str, Any]) -> None:
    import torch
    from transformers.models.qwen3_omni_moe.modeling_qwen3_omni_moe import _get_feat_extract_output_lengths

    frames = batch["feature_attention_mask"].sum(dim=1)
    assert frames.tolist() == [32] * 8
    assert _get_feat_extract_output_lengths(frames).tolist() == [audio_tokens(32)] * 8 == [4] * 8
    with torch.no_grad():
        encoded = thinker.get_audio_features(
            batch["input_features"], feature_attention_mask=batch["feature_attention_mask"]
        ).last_hidden_state
        # The model itself does not compare the numbers: it would take the first of too many without a word.
        assert len(encoded) == int((batch["input_ids"] == AUDIO).sum()) == 8 * 4
        for chunk in range(8):
            alone = thinker.get_audio_features(
                batch["input_features"][chunk : chunk + 1],
                feature_attention_mask=batch["feature_attention_mask"][chunk : chunk + 1],
            ).last_hidden_state
            # Each on its own, and where its placeholders stand: as a server hears them.
            torch.testing.assert_close(encoded[4 * chunk : 4 * chunk + 4], alone, rtol=0, atol=1e-5)


def test_rows_meet_their_own_audio(thinker: Any, batches: list[dict[str, Any]]) -> None:
    import torch

    together, *alone = batches
    with torch.no_grad():
        logits = thinker(**_inputs(together)).logits
        for row, one in enumerate(alone):
            length = one["input_ids"].shape[1]
            torch.testing.assert_close(logits[row, :length], thinker(**_inputs(one)).logits[0], rtol=0, atol=1e-4)
        # The model is loud enough to tell: the first and the third window have as many chunks, and each other's audio.
        other = _inputs(alone[0]) | {"input_features": alone[2]["input_features"]}
        length = alone[0]["input_ids"].shape[1]
        assert (thinker(**other).logits[0] - logits[0, :length]).abs().max() > 0.1


def test_the_loss_is_that_of_text_and_silence_alone(thinker: Any, batch: dict[str, Any]) -> None:
    import torch

    with torch.no_grad():
        answer = thinker(**_inputs(batch))
    labels = batch["labels"][:, 1:]
    logs = torch.log_softmax(answer.logits[:, :-1].float(), dim=-1)
    counted = [-logs[row, place, labels[row, place]] for row, place in (labels != -100).nonzero().tolist()]
    assert torch.isfinite(answer.loss)
    torch.testing.assert_close(answer.loss, torch.stack(counted).mean(), rtol=1e-4, atol=1e-4)
    # Every text token and every silence that is not padding, and nothing else.
    assert len(counted) == int((batch["attention_mask"] == 1).sum()) - 8 * 4


def test_it_can_be_learnt(thinker: Any, batch: dict[str, Any]) -> None:
    import torch

    optimizer = torch.optim.AdamW(thinker.parameters(), lr=5e-3)
    losses = []
    for _ in range(30):
        loss = thinker(**_inputs(batch)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0] / 2
    # What was learnt came through the ears too.
    assert thinker.model.audio_tower.conv_out.weight.grad.abs().sum() > 0


def test_the_default_configuration_would_take_silence_for_audio() -> None:
    from transformers.models.qwen3_omni_moe.configuration_qwen3_omni_moe import Qwen3OmniMoeThinkerConfig

    from duplexforge.errors import ConfigError
    from duplexforge.loading.collator import Collator

    with pytest.raises(ConfigError, match="cannot be both the audio token of the model and silence"):
        Collator(DuplexFormat(), audio_token_id=Qwen3OmniMoeThinkerConfig().audio_token_id)


def test_the_real_names() -> None:
    """``forward`` takes the names we give."""
    import inspect

    from transformers import Qwen3OmniMoeThinkerForConditionalGeneration

    assert set(MODEL_INPUTS) <= set(inspect.signature(Qwen3OmniMoeThinkerForConditionalGeneration.forward).parameters)
