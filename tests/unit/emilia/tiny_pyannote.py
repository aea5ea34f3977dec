"""Model folders for the diarizer ``pyannote`` in the real formats, and the audio that goes with them.

``write`` makes networks of pyannote's own kinds with random weights: they find nonsense through all of the real code.
``write_bands`` makes those of :mod:`tests.unit.emilia.bands`, which find exactly who speaks in the audio of ``talk``.
torch is imported inside, so that this module can be imported without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

RATE = 16000
_VOICES = {"low": (260, 480, 560, 800, 900), "high": (2200, 2600, 2900, 3500, 3800)}


class Said(NamedTuple):
    """``speaker`` (``low`` or ``high``) speaks from ``start`` to ``end`` seconds."""

    start: float
    end: float
    speaker: str


def write(folder: Path, seed: int = 0, *, full: bool = False) -> Path:
    """PyanNet and WeSpeaker's ResNet, random, with a random PLDA; small, or ``full``: as large as the published ones."""
    import torch
    from pyannote.audio.models.embedding import WeSpeakerResNet34
    from pyannote.audio.models.segmentation import PyanNet

    from tests.unit.emilia.bands import SmallWeSpeaker

    torch.manual_seed(seed)
    small = {"hidden_size": 8, "num_layers": 1}
    # Four layers have the published 1.47 million parameters; pyannote's own default is two.
    network = PyanNet(lstm={"num_layers": 4}) if full else PyanNet(lstm=small, linear=small)
    segmentation = _specified(network, segments=True)
    # As drawn, the seven classes are nearly equally likely always, and one of them would win all of the time.
    torch.nn.init.normal_(segmentation.classifier.weight, std=30.0)
    _save(segmentation, folder / "segmentation")
    _save(_specified(WeSpeakerResNet34() if full else SmallWeSpeaker(), segments=False), folder / "embedding")
    return _plda(folder, 256 if full else 32, seed)


def write_bands(folder: Path) -> Path:
    """The networks that hear who speaks, and a PLDA in which every direction tells speakers apart alike."""
    from tests.unit.emilia.bands import BandEmbedding, BandSegmentation

    _save(_specified(BandSegmentation(), segments=True), folder / "segmentation")
    _save(_specified(BandEmbedding(), segments=False), folder / "embedding")
    return _plda(folder, 8, None)


def _specified(model: Any, *, segments: bool) -> Any:
    """``model`` told its task by hand, as a trained one knows it, and built."""
    from pyannote.audio.core.task import Problem, Resolution, Specifications

    model.specifications = Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION if segments else Problem.REPRESENTATION,
        resolution=Resolution.FRAME if segments else Resolution.CHUNK,
        duration=10.0,
        classes=["speaker#1", "speaker#2", "speaker#3"] if segments else None,
        powerset_max_classes=2 if segments else None,
        permutation_invariant=segments,
    )
    model.build()
    return model


def _save(model: Any, folder: Path) -> None:
    """As pyannote's training does: everything that ``Model.from_pretrained`` wants, in one pickle."""
    import lightning
    import torch

    checkpoint = {
        "state_dict": model.state_dict(),
        "hyper_parameters": dict(model.hparams),
        "pytorch-lightning_version": lightning.__version__,
    }
    model.on_save_checkpoint(checkpoint)
    folder.mkdir(parents=True)
    torch.save(checkpoint, folder / "pytorch_model.bin")


def _plda(folder: Path, size: int, seed: int | None) -> Path:
    plda = folder / "plda"
    plda.mkdir()
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.standard_normal((size, size)))[0] if seed is not None else np.eye(size)
    np.savez(plda / "xvec_transform.npz", mean1=np.zeros(size), mean2=np.zeros(size), lda=turn)
    # One voice spreads by a sixth around its mean, and the means of two lie several times that apart.
    np.savez(plda / "plda.npz", mu=np.zeros(size), tr=6 * np.eye(size), psi=np.linspace(20.0, 10.0, size))
    return folder


def script(seconds: float, seed: int, both: float = 0.2) -> list[Said]:
    """A conversation: speakers take turns of 2 to 12 s with pauses to 1 s; a share ``both`` of the turns begins before
    the other has ended. Recorded times are whole hundredths.
    """
    rng = np.random.default_rng(seed)
    said: list[Said] = []
    at, number = 0.5, int(rng.integers(2))
    while at < seconds - 13.0:
        end = at + float(rng.uniform(2.0, 12.0))
        said.append(Said(round(at, 2), round(end, 2), list(_VOICES)[number % 2]))
        at = end - float(rng.uniform(0.5, 1.5)) if rng.random() < both else end + float(rng.uniform(0.2, 1.0))
        # The same speaker may go on after a pause, but nobody interrupts himself.
        number += 1 if at < end or rng.random() < 0.7 else 2
    return said


def talk(said: list[Said], seconds: float, seed: int) -> npt.NDArray[np.float32]:
    """Audio of ``said`` over a quiet room: each turn is its speaker's five tones, out of tune by up to 30 Hz."""
    rng = np.random.default_rng(seed)
    sound = 1e-4 * rng.standard_normal(round(seconds * RATE))
    for start, end, speaker in said:
        first, last = round(start * RATE), round(end * RATE)
        times = np.arange(last - first) / RATE
        for pitch in _VOICES[speaker] + rng.uniform(-30, 30, 5):
            sound[first:last] += 0.06 * np.sin(2 * np.pi * pitch * times + rng.uniform(0, 6))
    return sound.astype(np.float32)


def overlap_share(turns: list[Any]) -> float:
    """The share of all spoken time in which two speak; anything with ``start`` and ``end`` will do."""
    edges = sorted([(t.start, 1) for t in turns] + [(t.end, -1) for t in turns])
    alone = both = 0.0
    count, before = 0, 0.0
    for at, step in edges:
        alone, both = alone + (at - before) * (count == 1), both + (at - before) * (count > 1)
        count, before = count + step, at
    return both / max(alone + both, 1e-9)
