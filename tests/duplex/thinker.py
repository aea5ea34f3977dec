"""Qwen3-Omni's thinker in a folder, tiny and with random weights, made offline from its configuration.

Every part of the real one is there: 128 mels, the real encoder's windows, experts, mrope. So is the tiny tokenizer, whose
control tokens it knows by their ids.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.duplex.tokenizer import tiny_tokenizer

SEED = 4
VOCABULARY = 512
# With the published model's 0.02 so narrow a net gives every sound the same embedding, to six digits.
LOUD = 0.2


def configuration(words: dict[str, int], **text: Any) -> Any:
    """Its configuration, with the ids of ``words``; ``text`` changes the language model's."""
    from transformers.models.qwen3_omni_moe.configuration_qwen3_omni_moe import Qwen3OmniMoeThinkerConfig

    width = text.get("hidden_size", 32)
    audio = {
        "num_mel_bins": 128, "d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 32,
        "downsample_hidden_size": 8, "output_dim": width, "n_window": 50, "n_window_infer": 800,
        "initializer_range": LOUD,
    }  # fmt: skip
    vision = {
        "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": width,
        "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
    }  # fmt: skip
    model = {
        "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2,
        "moe_intermediate_size": 16, "pad_token_id": None, "initializer_range": LOUD,
        "rope_scaling": {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True},
    }  # fmt: skip
    return Qwen3OmniMoeThinkerConfig(
        audio_config=audio,
        vision_config=vision,
        text_config=model | text,
        audio_token_id=words["<|audio_pad|>"],
        audio_start_token_id=words["<|audio_start|>"],
        image_token_id=words["<|image_pad|>"],
        video_token_id=words["<|video_pad|>"],
        vision_start_token_id=words["<|vision_start|>"],
        initializer_range=LOUD,
    )


def tiny_thinker(folder: Path, *, whole: bool = False, **text: Any) -> Path:
    """Write model and tokenizer into ``folder``, which is made, and return that; ``whole`` puts it into a Qwen3-Omni."""
    import torch
    from transformers import (
        AutoTokenizer,
        Qwen3OmniMoeForConditionalGeneration,
        Qwen3OmniMoeThinkerForConditionalGeneration,
    )
    from transformers.models.qwen3_omni_moe.configuration_qwen3_omni_moe import Qwen3OmniMoeConfig
    from transformers.utils import logging as chatter

    chatter.disable_progress_bar()
    tiny_tokenizer(folder)
    told = configuration(AutoTokenizer.from_pretrained(folder).get_vocab(), **text)
    torch.manual_seed(SEED)
    if whole:
        model = Qwen3OmniMoeForConditionalGeneration(
            Qwen3OmniMoeConfig(thinker_config=told.to_dict(), enable_audio_output=False)
        )
    else:
        model = Qwen3OmniMoeThinkerForConditionalGeneration(told)
    model.save_pretrained(folder)
    return folder
