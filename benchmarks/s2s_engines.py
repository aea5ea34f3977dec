"""The speech-to-speech model's engines on one core: numpy, ONNX graphs in 32 and 8 bits, against the network in torch.

A turn is heard chunk by chunk and answered step by step with the same given tokens by every engine, in one slot and in four.
The logits of the engines in 32 bits must be torch's to 1e-3; of the one in 8 bits it is said how far they move and how
many of the likeliest tokens stay the same. Random weights at the recipes' sizes, or ``--weights FILE``.
"""

from __future__ import annotations

from harness import Comparison, Figure, arguments, compare, report  # isort: skip

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from duplexforge.models.s2s import weights as files
from duplexforge.models.s2s.features import WIDTH
from duplexforge.models.s2s.loading import network_of
from duplexforge.models.s2s.network import TorchSteps
from duplexforge.models.s2s.onnx_export import export
from duplexforge.models.s2s.onnx_steps import OnnxSteps
from duplexforge.models.s2s.plain import PlainSteps
from duplexforge.models.s2s.plain_arrays import drawn
from duplexforge.models.s2s.shape import Shape
from duplexforge.models.s2s.talk import Steps

Floats = npt.NDArray[np.float32]

SEED = 1
SIZES = {
    "256": Shape(books=6),
    "512": Shape(
        width=512, heads=8, encoder_layers=6, decoder_layers=6, encoder_inner=1024, decoder_inner=1408, books=6
    ),
    "768": Shape(
        width=768, heads=12, encoder_layers=12, decoder_layers=12, encoder_inner=1536, decoder_inner=2112, books=6
    ),
}
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Turn:
    """What is heard (chunks × slots × chunk × 320), and what is given as said a step before."""

    chunks: Floats
    text: npt.NDArray[np.int64]
    audio: npt.NDArray[np.int64]

    @classmethod
    def of(cls, shape: Shape, slots: int, steps: int) -> Turn:
        """A random turn of as many frames as ``steps``."""
        random = np.random.default_rng(SEED)
        chunks = random.standard_normal((steps // shape.chunk, slots, shape.chunk, WIDTH)).astype(np.float32)
        text = random.integers(0, shape.vocabulary, (steps, slots))
        return cls(chunks, text, random.integers(0, shape.entries, (steps, slots, shape.books)))


def answered(steps: Steps, turn: Turn, times: dict[str, list[float]] | None = None) -> Floats:
    """The audio's logits (steps × slots × books × entries); ``times`` takes in seconds of each call."""
    everyone = np.ones(steps.slots, np.bool_)
    steps.reset(everyone)
    for chunk in turn.chunks:
        _timed(times, "hear", lambda chunk=chunk: steps.hear(chunk, everyone))
    rows = np.arange(steps.slots)
    steps.begin(everyone, steps.speakers[rows % len(steps.speakers)], steps.emotions[rows % len(steps.emotions)])
    found = []
    for text, audio in zip(turn.text, turn.audio, strict=True):
        one = _timed(times, "speak", lambda text=text, audio=audio: steps.speak(text, audio, everyone))
        found.append(one[1].copy())
    return np.stack(found)


def _timed(times: dict[str, list[float]] | None, what: str, call: Callable[[], object]) -> object:
    # The processor time of this thread, so that what else the machine does is not counted.
    begun = time.thread_time()
    found = call()
    if times is not None:
        times.setdefault(what, []).append(time.thread_time() - begun)
    return found


def alike(ours: Floats, theirs: Floats, *, exact: bool) -> str:
    """What is equal, in words; AssertionError when the engines do not agree."""
    moved = float(np.abs(ours - theirs).max())
    same = float((ours.argmax(-1) == theirs.argmax(-1)).mean())
    if exact:
        assert moved < TOLERANCE, f"logits differ by {moved}"
        return f"logits to {moved:.1e}, {same:.1%} of the likeliest tokens"
    spread = float(np.sqrt(np.square(ours - theirs).mean()) / theirs.std())
    assert spread < 0.5, f"8 bits move logits by {spread:.0%} of their spread"
    return f"logits moved by {spread:.1%} of their spread, {same:.1%} of the likeliest tokens the same"


def measured(
    name: str, model: files.Weights, turn: Turn, folders: dict[str, Path], repetitions: int
) -> tuple[list[Comparison], list[Figure]]:
    """Every engine against torch, and seconds of a call."""
    slots = turn.text.shape[1]
    name = f"{name}, {slots} slot{'s' if slots > 1 else ''}"
    peer = TorchSteps(network_of(model), slots)
    engines: dict[str, Callable[[], Steps]] = {"plain": lambda: PlainSteps(model, slots)}
    engines |= {kind: lambda folder=folder: OnnxSteps(folder, slots) for kind, folder in folders.items()}
    rows, figures = [], _figures(f"{name}, torch", peer, turn)
    for kind, made in engines.items():
        steps = made()
        rows.append(
            compare(
                f"{name}: {kind}",
                lambda steps=steps: answered(steps, turn),
                lambda: answered(peer, turn),
                check=lambda ours, theirs, kind=kind: alike(ours, theirs, exact=kind != "onnx int8"),
                peer_name="the network in torch, 32 bits, one thread",
                repetitions=repetitions,
            )
        )
        figures += _figures(f"{name}, {kind}", steps, turn)
    return rows, figures


def _figures(name: str, steps: Steps, turn: Turn) -> list[Figure]:
    times: dict[str, list[float]] = {}
    answered(steps, turn, times)
    return [
        Figure(f"{name}: {what} p{point}", float(np.percentile(taken, point)) * 1e3, "ms a call")
        for what, taken in times.items()
        for point in (50, 99)
    ]


def _sizes(name: str, model: files.Weights, folders: dict[str, Path]) -> list[Figure]:
    numbers = sum(array.size for array in model.arrays.values())
    found = [Figure(f"{name}: parameters", numbers / 1e6, "million")]
    found.append(Figure(f"{name}: weights file, 16 bits", 2 * numbers / 1e6, "MB"))
    for kind, folder in folders.items():
        total = sum(path.stat().st_size for path in folder.iterdir())
        found.append(Figure(f"{name}: {kind}", total / 1e6, "MB"))
    return found


def models(sizes: Sequence[str], path: Path | None) -> dict[str, files.Weights]:
    """What is to be measured, by name."""
    if path is not None:
        return {path.name: files.read(path)}
    return {f"{size} wide": drawn(SIZES[size], SEED) for size in sizes}


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--sizes", choices=list(SIZES), nargs="+", default=["256"])
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--weights", type=Path, help="a trained model instead of random ones")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Comparison] = []
    figures: list[Figure] = []
    for name, model in models(options.sizes, options.weights).items():
        with tempfile.TemporaryDirectory() as made:
            folders = {"onnx": Path(made) / "whole", "onnx int8": Path(made) / "int8"}
            for kind, folder in folders.items():
                export(model, folder, int8=kind == "onnx int8")
            figures += _sizes(name, model, folders)
            for slots in options.slots:
                turn = Turn.of(model.shape, slots, 20 if options.quick else 100)
                some, more = measured(name, model, turn, folders, options.repetitions)
                rows += some
                figures += more
    report(
        "Speech-to-speech model: one turn on one core",
        rows,
        figures,
        as_json=options.json,
        packages=["numpy", "onnxruntime", "torch"],
        seed=SEED,
        notes=["hear takes in a chunk of 2 frames (80 ms), speak says a step of 40 ms; a call serves all slots"],
    )


if __name__ == "__main__":
    main()
