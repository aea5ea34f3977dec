"""One door to the speech-to-speech model: weights, an engine that runs them, the words and the codec that it speaks.

::

    found = open_s2s(slots=4)
    talk, voice = Talk(found.steps), found.base.decoder(slots=4)

``plain`` is numpy alone, ``onnx`` runs a folder of graphs (``duplexforge train export-onnx``), ``torch`` the network itself,
on a GPU too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from duplexforge.errors import ModelError, UsageError
from duplexforge.models.base import BaseCodec, open_mode
from duplexforge.models.s2s import weights as files
from duplexforge.models.s2s.shape import Shape
from duplexforge.models.s2s.talk import Steps
from duplexforge.models.s2s.vocabulary import Vocabulary
from duplexforge.models.weights_file import FOLDER

__all__ = ["ENGINES", "Opened", "open_s2s", "read_weights", "shipped"]

Facts = Mapping[str, str]


class Opened(NamedTuple):
    """A model that is ready to talk."""

    steps: Steps
    vocabulary: Vocabulary
    base: BaseCodec


def shipped() -> Path:
    """Where the weights lie that come with the project."""
    return FOLDER / files.NAME


def read_weights(path: Path | None = None) -> files.Weights:
    """The weights at ``path`` (None: those that come with the project); a ModelError when there are none."""
    found = path or shipped()
    if not found.is_file():
        cure = "duplexforge train s2s makes some" if path is None else "name a weights file (.safetensors)"
        raise ModelError(f"there are no weights of a speech-to-speech model at {found}: {cure}")
    return files.read(found)


def open_s2s(slots: int = 1, *, engine: str = "plain", weights: Path | None = None, device: str = "cpu") -> Opened:
    """The model at ``weights`` (None: the one that comes with the project) run by ``engine`` for so many ``slots``.

    Raises UsageError for an engine or a device that there is not, ModelError when weights or packages are missing or do
    not fit.
    """
    if engine not in ENGINES:
        raise UsageError(f"there is no engine {engine}; there are {', '.join(ENGINES)}")
    if device != "cpu" and engine != "torch":
        raise UsageError(f"the engine {engine} runs on the CPU alone: take the engine torch for {device}")
    if slots < 1:
        raise UsageError(f"a model wants at least one slot, not {slots}")
    steps, vocabulary, facts = ENGINES[engine](weights, slots, device)
    base = open_mode("base")
    _fit(steps.shape, facts, base)
    return Opened(steps, vocabulary, base)


def _fit(shape: Shape, facts: Facts, base: BaseCodec) -> None:
    if facts.get(files.CODEC_WEIGHTS, f"{base.weights:08x}") != f"{base.weights:08x}":
        raise ModelError(
            "the model was trained on the codes of other weights of the codec than those that are here: "
            "to this codec they say something else"
        )
    if (shape.books, shape.entries) != (base.books, base.entries):
        raise ModelError(
            f"the model says {shape.books} books of {shape.entries}, and the codec has {base.books} of {base.entries}: "
            "it was trained for another codec"
        )


def _plain(path: Path | None, slots: int, _: str) -> tuple[Steps, Vocabulary, Facts]:
    from duplexforge.models.s2s.plain import PlainSteps

    found = read_weights(path)
    return PlainSteps(found, slots), found.vocabulary, found.facts


def _torch(path: Path | None, slots: int, device: str) -> tuple[Steps, Vocabulary, Facts]:
    found = read_weights(path)
    if find_spec("torch") is None:
        raise ModelError("the engine torch wants torch: pip install torch, or take the engine plain")
    from duplexforge.models.s2s.loading import network_of
    from duplexforge.models.s2s.network import TorchSteps

    try:
        network = network_of(found).to(device)
    except (RuntimeError, AssertionError) as error:  # a name that torch does not know, or a device that is not there
        told = str(error).splitlines()[0].rstrip(".")
        raise ModelError(f"torch cannot run the model on {device}: {told}") from error
    return TorchSteps(network, slots), found.vocabulary, found.facts


def _onnx(path: Path | None, slots: int, _: str) -> tuple[Steps, Vocabulary, Facts]:
    if path is None:
        raise ModelError("the engine onnx wants a folder of graphs: duplexforge train export-onnx writes one")
    from duplexforge.models.s2s.onnx_steps import OnnxSteps

    steps = OnnxSteps(path, slots)
    return steps, steps.vocabulary, {}


ENGINES: dict[str, Callable[[Path | None, int, str], tuple[Steps, Vocabulary, Facts]]] = {
    "plain": _plain,
    "torch": _torch,
    "onnx": _onnx,
}
"""What can run the model, by name."""
