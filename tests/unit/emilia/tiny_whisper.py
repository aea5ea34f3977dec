"""A Whisper of a few thousand random weights as a CTranslate2 folder: says nonsense through all of the real code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs import WhisperSpec
from faster_whisper.tokenizer import _LANGUAGE_CODES
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

MELS = 80
_WIDTH, _HEADS, _CONTEXT = 16, 2, 1500
# What it can say: spaced words, parts of words, marks, and signs of a script without spaces.
_SAID = (
    *(" harbour", " the", " light", " small", " boat", " Über", " été", " cielo", " tide", " I", " nor", " day"),
    *("ing", "s", "ness", ",", ".", "?", ' "', " (", "-", "'", "舟", "海", "夜", "が", "の", "は", " 7", "0"),
)


def write(folder: Path, seed: int = 0, *, multilingual: bool = True) -> Path:
    """Make the folder with model.bin, vocabulary, config.json, tokenizer.json and preprocessor_config.json."""
    folder.mkdir(parents=True)
    tokens, unsaid = _tokenizer(folder)
    if multilingual:
        # CTranslate2 knows a multilingual model by the empty token in its vocabulary.
        tokens.append("")
    spec = WhisperSpec(1, _HEADS, 1, _HEADS)
    rng = np.random.default_rng(seed)
    spec.encoder.conv1.weight, spec.encoder.conv1.bias = _drawn(rng, _WIDTH, MELS, 3), _drawn(rng, _WIDTH)
    spec.encoder.conv2.weight, spec.encoder.conv2.bias = _drawn(rng, _WIDTH, _WIDTH, 3), _drawn(rng, _WIDTH)
    spec.encoder.position_encodings.encodings = _drawn(rng, _CONTEXT, _WIDTH)
    spec.decoder.position_encodings.encodings = _drawn(rng, 448, _WIDTH)
    spec.decoder.embeddings.weight = _drawn(rng, len(tokens), _WIDTH)
    spec.decoder.projection.weight = spec.decoder.embeddings.weight
    for part in (spec.encoder, spec.decoder):
        _norm(part.layer_norm)
        for layer in part.layer:
            _attention(rng, layer.self_attention, [3 * _WIDTH, _WIDTH])
            if part is spec.decoder:
                _attention(rng, layer.attention, [_WIDTH, 2 * _WIDTH, _WIDTH])
            _norm(layer.ffn.layer_norm)
            _linear(rng, layer.ffn.linear_0, 4 * _WIDTH, _WIDTH)
            _linear(rng, layer.ffn.linear_1, _WIDTH, 4 * _WIDTH)
    spec.register_vocabulary(tokens)
    languages = [tokens.index(f"<|{code}|>") for code in _LANGUAGE_CODES]
    spec.config.suppress_ids, spec.config.suppress_ids_begin = unsaid, [0]
    spec.config.lang_ids, spec.config.alignment_heads = languages, [(0, 0)]
    spec.validate()
    spec.optimize()
    spec.save(str(folder))
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": MELS, "sampling_rate": 16000}))
    return folder


def _tokenizer(folder: Path) -> tuple[list[str], list[int]]:
    """The tokens, and the numbers of those that would make a text unreadable."""
    bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["".join(piece for piece, _ in bytewise.pre_tokenize_str(word)) for word in _SAID]
    known = [*letters, *(word for word in words if word not in letters)]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(known)}, []))
    tokenizer.pre_tokenizer = bytewise
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in _LANGUAGE_CODES)]
    specials += [
        "<|translate|>",
        "<|transcribe|>",
        "<|startoflm|>",
        "<|startofprev|>",
        "<|nospeech|>",
        "<|notimestamps|>",
    ]
    stamps = [f"<|{number * 0.02:.2f}|>" for number in range(1501)]
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in specials])
    tokenizer.add_tokens([AddedToken(token, special=False) for token in stamps])
    tokenizer.save(str(folder / "tokenizer.json"))
    vocabulary = tokenizer.get_vocab()
    unsaid = [vocabulary[token] for token in (*letters, *stamps) if token not in words]
    return sorted(vocabulary, key=lambda token: vocabulary[token]), unsaid


def _drawn(rng: np.random.Generator, *shape: int) -> Any:
    return (0.3 * rng.standard_normal(shape)).astype(np.float32)


def _linear(rng: np.random.Generator, spec: Any, rows: int, columns: int) -> None:
    spec.weight, spec.bias = _drawn(rng, rows, columns), _drawn(rng, rows)


def _norm(spec: Any) -> None:
    spec.gamma, spec.beta = np.ones(_WIDTH, np.float32), np.zeros(_WIDTH, np.float32)


def _attention(rng: np.random.Generator, spec: Any, rows: list[int]) -> None:
    _norm(spec.layer_norm)
    for linear, count in zip(spec.linear, rows, strict=True):
        _linear(rng, linear, count, _WIDTH)
