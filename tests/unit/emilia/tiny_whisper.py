"""A Whisper of random weights as a CTranslate2 folder: says nonsense through all of the real code.

As a rule of a few thousand weights; for what a real one costs, of any size.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs import WhisperSpec
from faster_whisper.tokenizer import _LANGUAGE_CODES
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

MELS, WIDTH = 80, 16
_CONTEXT, _LONGEST_TEXT = 1500, 448
# What it can say: spaced words, parts of words, marks, and signs of a script without spaces.
_SAID = (
    *(" harbour", " the", " light", " small", " boat", " Über", " été", " cielo", " tide", " I", " nor", " day"),
    *("ing", "s", "ness", ",", ".", "?", ' "', " (", "-", "'", "舟", "海", "夜", "が", "の", "は", " 7", "0"),
)


def write(
    folder: Path,
    seed: int = 0,
    *,
    multilingual: bool = True,
    layers: int = 1,
    width: int = WIDTH,
    heads: int = 2,
    mels: int = MELS,
    length: int | None = None,
) -> Path:
    """Make the folder with model.bin, vocabulary, config.json, tokenizer.json and preprocessor_config.json.

    ``layers`` are those of the encoder and of the decoder each; Whisper medium has 24 of width 1,024 with 16 heads.
    Every text has ``length`` tokens of words; without it, as many as come of chance, and of any kind.
    """
    folder.mkdir(parents=True)
    tokens, unsaid = tokenizer(folder)
    if multilingual:
        # CTranslate2 knows a multilingual model by the empty token in its vocabulary.
        tokens.append("")
    spec = WhisperSpec(layers, heads, layers, heads)
    _fill(spec, _Weights(seed, width), mels, len(tokens))
    if length is not None:
        end = tokens.index("<|endoftext|>")
        _end(spec, end, length)
        # Only words make a text; of the rest, drawn as likely, there is far more.
        unsaid = sorted({*unsaid, *range(end + 1, len(tokens))})
    spec.register_vocabulary(tokens)
    languages = [tokens.index(f"<|{code}|>") for code in _LANGUAGE_CODES]
    spec.config.suppress_ids, spec.config.suppress_ids_begin = unsaid, [0]
    spec.config.lang_ids, spec.config.alignment_heads = languages, [(0, 0)]
    spec.validate()
    spec.optimize()
    spec.save(str(folder))
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": mels, "sampling_rate": 16000}))
    return folder


def tokenizer(folder: Path, *, empty: bool = False) -> tuple[list[str], list[int]]:
    """Write tokenizer.json; the tokens, and the numbers of those that would make a text unreadable.

    ``empty``: with the empty token before the special ones, where the tokenizers of the published models have it.
    """
    bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["".join(piece for piece, _ in bytewise.pre_tokenize_str(word)) for word in _SAID]
    known = [*letters, *(word for word in words if word not in letters), *([""] if empty else [])]
    made = Tokenizer(models.BPE({token: number for number, token in enumerate(known)}, []))
    made.pre_tokenizer = bytewise
    made.decoder = decoders.ByteLevel()
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
    made.add_special_tokens([AddedToken(token, special=True) for token in specials])
    made.add_tokens([AddedToken(token, special=False) for token in stamps])
    made.save(str(folder / "tokenizer.json"))
    vocabulary = made.get_vocab()
    unsaid = [vocabulary[token] for token in (*letters, *stamps) if token not in words]
    return sorted(vocabulary, key=lambda token: vocabulary[token]), unsaid


class _Weights:
    """Draws the weights of a network of one ``width``."""

    def __init__(self, seed: int, width: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.width = width

    def drawn(self, *shape: int) -> Any:
        """Float32; a matrix has a row for each of its outputs."""
        if self.width == WIDTH:
            return (0.3 * self._rng.standard_normal(shape)).astype(np.float32)
        # Wide and deep, that would grow from layer to layer until half precision overflows. Float32 from the start: the
        # larger networks have gigabytes of weights.
        fan_in = np.prod(shape[1:]) if len(shape) > 1 else self.width
        return self._rng.standard_normal(shape, np.float32) * np.float32(fan_in**-0.5)

    def linear(self, spec: Any, rows: int, columns: int) -> None:
        """Weights and bias of a linear layer, or of a part of one."""
        spec.weight, spec.bias = self.drawn(rows, columns), self.drawn(rows)

    def norm(self, spec: Any) -> None:
        """A normalisation that changes nothing more."""
        spec.gamma, spec.beta = np.ones(self.width, np.float32), np.zeros(self.width, np.float32)

    def attention(self, spec: Any, factors: list[int]) -> None:
        """The projections, ``factors`` times the width high."""
        self.norm(spec.layer_norm)
        for linear, factor in zip(spec.linear, factors, strict=True):
            self.linear(linear, factor * self.width, self.width)


def _fill(spec: Any, weights: _Weights, mels: int, tokens: int) -> None:
    width = weights.width
    spec.encoder.conv1.weight, spec.encoder.conv1.bias = weights.drawn(width, mels, 3), weights.drawn(width)
    spec.encoder.conv2.weight, spec.encoder.conv2.bias = weights.drawn(width, width, 3), weights.drawn(width)
    spec.encoder.position_encodings.encodings = weights.drawn(_CONTEXT, width)
    spec.decoder.position_encodings.encodings = weights.drawn(_LONGEST_TEXT, width)
    spec.decoder.embeddings.weight = weights.drawn(tokens, width)
    spec.decoder.projection.weight = spec.decoder.embeddings.weight
    for part in (spec.encoder, spec.decoder):
        weights.norm(part.layer_norm)
        for layer in part.layer:
            weights.attention(layer.self_attention, [3, 1])
            if part is spec.decoder:
                weights.attention(layer.attention, [1, 2, 1])
            weights.norm(layer.ffn.layer_norm)
            weights.linear(layer.ffn.linear_0, 4 * width, width)
            weights.linear(layer.ffn.linear_1, width, 4 * width)


def _end(spec: Any, mark: int, length: int) -> None:
    """Make the end ``mark`` out of the question for ``length`` tokens and certain then, by what the decoder knows of
    its place in the text.
    """
    places, direction = spec.decoder.position_encodings.encodings, spec.decoder.embeddings.weight[mark]
    # The first token is the answer to the last of the four of the prompt.
    last = 3 + length
    places[:last] -= 10 * direction
    places[last:] += 30 * direction
