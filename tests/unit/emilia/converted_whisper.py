"""A Whisper as the published ones come: saved by transformers, and converted by CTranslate2's own converter.

Unlike :mod:`tests.unit.emilia.tiny_whisper`, which writes CTranslate2's format by itself. The weights are random; the
vocabulary is the one there. torch and transformers are imported inside, so that this module can be imported without them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from faster_whisper.tokenizer import _LANGUAGE_CODES

from tests.unit.emilia import tiny_whisper

WIDTH, LAYERS, HEADS = 64, 2, 4
_COMMANDS = ("<|startoftranscript|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>")


def write(folder: Path, seed: int = 4, *, mels: int = 80) -> Path:
    """The converted folder, beside the ``checkpoint`` that it is made of: half precision, with copies of the tokenizer
    and the feature extractor's settings, as the published folders are.
    """
    from ctranslate2.converters import TransformersConverter

    source = checkpoint(folder / "checkpoint", seed, mels)
    copied = ["tokenizer.json", "preprocessor_config.json"]
    TransformersConverter(str(source), copy_files=copied).convert(str(folder / "whisper"), quantization="float16")
    return folder / "whisper"


def checkpoint(folder: Path, seed: int, mels: int) -> Path:
    """A folder that transformers loads: weights, tokenizer, feature extractor, and what Whisper adds to generation."""
    import torch
    from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    folder.mkdir(parents=True)
    # Without the empty token among them, CTranslate2 would take the model for one of English only.
    tokens, unsaid = tiny_whisper.tokenizer(folder, empty=True)
    numbers = {token: number for number, token in enumerate(tokens)}
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(WhisperConfig(**_sizes(mels, len(tokens)), **_marks(numbers)))
    with torch.no_grad():
        # The place counts for more than the token before it; otherwise most seeds say one word for ever.
        model.model.decoder.embed_positions.weight.mul_(3.0)
    quiet = sorted({*unsaid, numbers[""], *(numbers[token] for token in _COMMANDS), numbers["<|nospeech|>"]})
    model.generation_config = GenerationConfig(
        **_marks(numbers),
        alignment_heads=[[1, 0], [1, 2]],
        is_multilingual=True,
        lang_to_id={f"<|{code}|>": numbers[f"<|{code}|>"] for code in _LANGUAGE_CODES},
        no_timestamps_token_id=numbers["<|notimestamps|>"],
        suppress_tokens=quiet,
        begin_suppress_tokens=[numbers["<|endoftext|>"]],
    )
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=mels).save_pretrained(folder)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|endoftext|>",
        "bos_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def _sizes(mels: int, tokens: int) -> dict[str, Any]:
    both = {"layers": LAYERS, "attention_heads": HEADS, "ffn_dim": 4 * WIDTH}
    sides = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in both.items()}
    # With the usual deviation, a tenth of this, every token would be nearly as likely as any other.
    return {"num_mel_bins": mels, "d_model": WIDTH, "vocab_size": tokens, "init_std": 0.3, **sides}


def _marks(numbers: dict[str, int]) -> dict[str, Any]:
    end, start = numbers["<|endoftext|>"], numbers["<|startoftranscript|>"]
    return {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}
