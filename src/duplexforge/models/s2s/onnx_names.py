"""What lies in a folder of exported graphs, and the names of their inputs and outputs. For who writes and who reads them."""

from __future__ import annotations

from duplexforge.models.s2s.shape import Shape

__all__ = ["BEGIN", "HEAR", "HEARD", "SPEAK", "SPOKEN", "STYLES", "TABLES", "TABLE_NAMES", "cache_names"]

HEAR, BEGIN, SPEAK = "hear.onnx", "begin.onnx", "speak.onnx"
TABLES = "tables.safetensors"
"""Embeddings, shape and vocabulary: looked up outside the graphs, so that they can be kept in 16 bits."""
TABLE_NAMES = tuple(f"decoder.{name}.weight" for name in ("text", "audio", "speakers", "emotions"))
HEARD = ("turn", "keys_after", "values_after", "sounds_after", "memory_keys", "memory_values")
"""Memory's keys are layers × slots × heads × size × chunk, its values … × chunk × size."""
STYLES = ("styles",)
SPOKEN = ("said", "sound", "new_keys", "new_values")
"""Logits, and the step's keys and values (layers × slots × heads × size)."""


def cache_names(shape: Shape) -> list[str]:
    """The caches that a step takes, four a layer: own keys and values, and those of the user's frames.

    Keys are slots × heads × size × places, values slots × heads × places × size.
    """
    kinds = ("own_keys", "own_values", "memory_keys", "memory_values")
    return [f"{kind}_{layer}" for layer in range(shape.decoder_layers) for kind in kinds]
