"""The model's weights file: numbers of 16 bits, the shape and the vocabulary beside them. Read and written without torch.

Names are those of the network's ``state_dict``, so that ``Network.load_state_dict`` takes them as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from duplexforge.errors import InputError, ModelError
from duplexforge.models import weights_file
from duplexforge.models.s2s.shape import Shape
from duplexforge.models.s2s.vocabulary import Vocabulary

__all__ = ["CODEC_WEIGHTS", "NAME", "Weights", "read", "write"]

NAME = "s2s.safetensors"
CODEC_WEIGHTS = "codec_weights"
"""The fact that tells the codec's weights, eight hexadecimal digits: to other weights the model's codes mean other sounds."""
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Weights:
    """A model as it lies in a file; ``facts`` are what else the file says of itself (texts)."""

    shape: Shape
    vocabulary: Vocabulary
    arrays: Mapping[str, npt.NDArray[Any]]
    facts: Mapping[str, str]


def read(path: Path) -> Weights:
    """The model at ``path``, its arrays as float32; a ModelError when there is none or it is no such file."""
    arrays, facts = weights_file.read(path)
    try:
        shape = Shape(**json.loads(facts.pop("shape")))
        vocabulary = Vocabulary.from_json(facts.pop("vocabulary"))
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise ModelError(f"{path} is no weights file of a speech-to-speech model: {error}") from error
    wide = {name: array.astype(np.float32) for name, array in arrays.items()}
    return Weights(shape, vocabulary, wide, facts)


def write(path: Path, weights: Weights) -> None:
    """Write ``weights`` to ``path``. InputError when a number is none or too large for 16 bits: better than a model of noise."""
    for name, array in weights.arrays.items():
        if not (np.abs(array) <= _LARGEST).all():
            raise InputError(f"the weights {name} hold numbers that 16 bits cannot: the run has diverged")
    facts = {"shape": json.dumps(asdict(weights.shape)), "vocabulary": weights.vocabulary.to_json(), **weights.facts}
    weights_file.write(path, {name: np.asarray(array, np.float16) for name, array in weights.arrays.items()}, facts)
