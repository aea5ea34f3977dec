"""A tokenizer as Qwen's models have it, only tiny: byte-level BPE over a few lines and the same control tokens.

Made from nothing and without a network; ``AutoTokenizer`` reads the folder. The same bytes in every run.
"""

from __future__ import annotations

from pathlib import Path

LINES = (
    "hello there how are you today",
    "well I was thinking that we could go to the market and then to the sea",
    "yeah right that is what she said to me yesterday, you know what I mean?",
    "no no no, it was not like that at all. I told them twice, and they did not listen!",
    "what would you do with all of the time in the world?",
)

# Qwen3-Omni's, in its order; 151643 to 151685 there.
SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<|audio_start|>",
    "<|audio_end|>",
    "<tts_pad>",
    "<tts_text_bos>",
    "<tts_text_bos_single>",
    "<|audio_pad|>",
)

# Qwen's own way to cut text into words, with the space before a word kept at it.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def tiny_tokenizer(folder: Path, *, lines: tuple[str, ...] = LINES) -> Path:
    """Write the tokenizer into ``folder``, which is made, and return that; other ``lines`` give another vocabulary."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    bpe.train_from_iterator(lines, trainer)
    # Here and not by the wrapper, which would put the end and the padding before the others.
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=[token for token in SPECIALS if token not in ("<|endoftext|>", "<|im_end|>")],
    )
    fast.save_pretrained(str(folder))
    return folder
