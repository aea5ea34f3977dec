"""Trains the base layer: books by k-means, then the network that says how loud harmonics and noise are to be.

The books come from the vectors of the recordings alone. The steps then run the synthesis on what the books decode to and
move the network (and, where the recipe says so, the books) on spectra at several resolutions: what pitch, envelope and
breath miss about a spectrum, or what is lost by coding them coarsely, it makes up where it can.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from duplexforge import log
from duplexforge.errors import InputError
from duplexforge.models import weights_file
from duplexforge.models.base import hear_whole
from duplexforge.models.base_analysis import HOP
from duplexforge.models.base_model import BaseModel, BaseShape, Stretch, stretch
from duplexforge.models.base_pitch import pitch_code, pitches_of
from duplexforge.models.base_weights import FILE, weigh
from duplexforge.training import losses
from duplexforge.training.recipe import Recipe, Table, section
from duplexforge.training.speech import RATE, Crop, Speech, SpeechRow, generator
from duplexforge.training.trainers import Part, Place

BASE = "base"
SYNTHETIC = "synthetic-"
"""What the name of a speaker begins with who is no person."""
# Places in the seed's tree, so that no two uses of it share numbers.
_CROPS, _LEVELS, _DEPTH, _START, _EVALUATION, _NOISE = range(6)
_log = log.get("train")


class Shape(Table):
    """``[model]``."""

    books: int = Field(default=5, ge=1)
    entries: int = Field(default=1024, ge=2, le=1024)
    hidden: int = Field(default=192, ge=1)
    learn: tuple[Literal["books", "net"], ...] = ("net",)
    """What the steps move."""
    start_seconds: float = Field(default=1800.0, gt=0)
    """Speech that k-means sees."""
    start_rounds: int = Field(default=8, ge=1)
    synthetic: float = Field(default=0.0, ge=0, le=1)
    """Share of the crops that come from speakers whose name says that they are synthetic; 0: as many as there are."""
    dropout: float = Field(default=0.1, ge=0, le=1)
    """Share of steps that use only the first books, so that these are of use alone."""


class Losses(Table):
    """``[losses]``: the weight of each loss."""

    spectrum: float = Field(default=0.5, ge=0)
    mel: float = Field(default=1.0, ge=0)
    level: float = Field(default=0.5, ge=0)
    """Power in bands over 40 ms, in bels: what keeps loudness true, where the others would rather be too quiet."""


class Batch(NamedTuple):
    """Waves (crops × samples) with their vectors, the vectors' weights (crops × frames × width) and their pitches."""

    waves: Tensor
    vectors: Tensor
    weights: Tensor
    given: Stretch


class BaseTrainer:
    """The trainer ``base``."""

    def __init__(self, recipe: Recipe, place: Place) -> None:
        self._recipe, self._place = recipe, place
        self._shape = section(Shape, recipe.model, "[model]")
        self._losses = section(Losses, recipe.losses, "[losses]")
        self._speech = Speech(recipe.data.folder)
        self._rows = self._speech.of("train")
        self._samples = max(1, round(recipe.data.seconds * RATE / HOP)) * HOP
        if recipe.loop.batch_size % (place.size * recipe.loop.accumulate):
            raise InputError(
                f"a batch of {recipe.loop.batch_size} cannot be shared evenly by {place.size} processes "
                f"in {recipe.loop.accumulate} parts"
            )

    # -- the verbs -----------------------------------------------------------------------------------------------------

    def build(self) -> Sequence[Part]:
        """Books and network, the network saying nothing yet."""
        shape = BaseShape(self._shape.books, self._shape.entries, self._shape.hidden)
        self._model = BaseModel(shape).to(self._place.device)
        self._hold()
        return [Part(BASE, self._model)]

    def start(self) -> None:
        """k-means on crops of the training speakers."""
        count = max(1, round(self._shape.start_seconds * RATE / self._samples))
        if self._recipe.loop.overfit:
            batch = self.batches(0)[0]
            vectors, weights = batch.vectors, batch.weights
        else:
            found = [self._heard(crop) for crop in self._drawn(count, _START, 0)]
            vectors = torch.cat([one.vectors[0] for one in found])
            weights = torch.cat([one.weights[0] for one in found])
        random = torch.Generator(device=self._place.device).manual_seed(self._recipe.seed + 1)
        self._model.start(vectors.flatten(0, -2), weights.flatten(0, -2), self._shape.start_rounds, random)
        _log.info("started from k-means", seconds=round(count * self._samples / RATE))

    def steps_per_epoch(self) -> int:
        """Steps that hear each second of the training speakers once."""
        samples = sum(row.samples for row in self._rows)
        return self._recipe.loop.steps_per_epoch or max(1, samples // (self._samples * self._recipe.loop.batch_size))

    def phases(self, epoch: int) -> Sequence[str]:  # noqa: ARG002 - the same in each
        """All at once."""
        return (BASE,)

    def batches(self, step: int) -> Sequence[Batch]:
        """This process's share of the batch, in parts."""
        crops = self._drawn(self._recipe.loop.batch_size, _CROPS, step)[self._place.rank :: self._place.size]
        size = len(crops) // self._recipe.loop.accumulate
        found = [self._heard(crop) for crop in crops]
        return [_joined(found[at : at + size]) for at in range(0, len(found), size)]

    def step(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Mapping[str, float]]:  # noqa: ARG002
        """The loss of one part of the batch."""
        random = generator(self._recipe.seed, _DEPTH, step)
        short = self._shape.books > 1 and random.random() < self._shape.dropout
        depth = int(random.integers(1, self._shape.books)) if short else None
        made = self._made(batch, depth, int(random.integers(400)))
        weight = self._losses
        parts = {
            "spectrum": weight.spectrum * losses.spectral(made, batch.waves),
            "mel": weight.mel * losses.mel(made, batch.waves),
            "level": weight.level * level_distance(made, batch.waves),
        }
        return torch.stack(list(parts.values())).sum(), {
            f"loss/{name}": float(one.detach()) for name, one in parts.items()
        }

    def settle(self, step: int) -> bool:  # noqa: ARG002
        """Nothing: books that k-means left have no dead entries."""
        return False

    def evaluate(self) -> Mapping[str, float]:
        """Distances on held-out speakers, or on the first batch of an overfit run; the score is minus that of mel spectra."""
        if self._recipe.loop.overfit:
            batch = self.batches(0)[0]
        else:
            random = generator(self._recipe.seed, _EVALUATION)
            rows = self._speech.of("validation")
            batch = _joined([self._heard(crop) for crop in self._speech.crops(rows, 32, self._samples, random)])
        made = self._made(batch, None, 0)
        _, coded = self._model.code(batch.vectors, batch.weights)
        wrong = ((coded - batch.vectors).square() * batch.weights).sum() / batch.weights[..., :1].sum() / 4
        mel = float(losses.mel(made, batch.waves))
        return {
            "score": -mel,
            "mel": mel,
            "spectrum": float(losses.spectral(made, batch.waves)),
            "level": float(level_distance(made, batch.waves)),
            "vector_db": float(wrong.sqrt()),
        }

    def export(self, folder: Path) -> Sequence[Path]:
        """The weights that :mod:`duplexforge.models.base_weights` reads."""
        path = folder / FILE
        write_weights(self._model, path, {"recipe": self._recipe.model_dump_json(exclude={"output", "data"})})
        return [path]

    # -- their parts ---------------------------------------------------------------------------------------------------

    def _hold(self) -> None:
        """Hold still what the steps are not to move."""
        for name, parameter in self._model.named_parameters():
            parameter.requires_grad_(name.split(".")[0] in self._shape.learn)

    def _made(self, batch: Batch, depth: int | None, at: int) -> Tensor:
        _, coded = self._model.code(batch.vectors, batch.weights, depth)
        made: Tensor = self._model.waves(coded, batch.given, at)
        return made

    def _drawn(self, count: int, place: int, step: int) -> list[Crop]:
        random = generator(self._recipe.seed, place, step)
        crops = []
        for rows, share in _shares(self._rows, self._shape.synthetic, count):
            crops += self._speech.crops(rows, share, self._samples, random)
        least, most = self._recipe.data.gain_db
        return [
            Crop(crop.row, crop.start, crop.samples, float(10 ** (random.uniform(least, most) / 20))) for crop in crops
        ]

    def _heard(self, crop: Crop) -> Batch:
        wave = np.clip(self._speech.read(crop), -1, 1)
        frames = hear_whole(wave)
        vectors = np.stack([frame.vector for frame in frames])
        # The pitches as they come out of the book: it is what the decoder gets.
        pitches = np.stack([pitches_of(pitch_code(frame.pitches)) for frame in frames])
        device = self._place.device
        waves, heard, weights = (
            torch.from_numpy(one).float()[None].to(device) for one in (wave, vectors, weigh(vectors))
        )
        return Batch(waves, heard, weights, Stretch(*(one.to(device) for one in stretch(pitches[None]))))


def level_distance(made: Tensor, true: Tensor) -> Tensor:
    """Mean distance of the power in 32 mel bands over 40 ms, in bels; silence below −70 dB is alike."""
    filters = losses.mel_filters(512, 32).to(made)
    bels = []
    for wave in (made, true):
        power = losses.magnitudes(wave, 512).square().transpose(1, 2) @ filters
        smooth = torch.nn.functional.avg_pool1d(power.transpose(1, 2), 5, 2)
        bels.append(torch.log10(smooth + 1e-4))
    return (bels[0] - bels[1]).abs().mean()


def _shares(rows: Sequence[SpeechRow], synthetic: float, count: int) -> list[tuple[Sequence[SpeechRow], int]]:
    """How many of ``count`` crops come from which rows."""
    made = [row for row in rows if row.speaker.startswith(SYNTHETIC)]
    recorded = [row for row in rows if not row.speaker.startswith(SYNTHETIC)]
    if not synthetic or not made or not recorded:
        return [(rows, count)]
    share = round(synthetic * count)
    return [(made, share), (recorded, count - share)]


def _joined(parts: Sequence[Batch]) -> Batch:
    waves, vectors, weights = (torch.cat([part[place] for part in parts]) for place in range(3))
    given = Stretch(*(torch.cat(one) for one in zip(*(part.given for part in parts), strict=True)))
    return Batch(waves, vectors, weights, given)


def write_weights(model: BaseModel, path: Path, facts: Mapping[str, str]) -> None:
    """Write the weights of ``model`` to ``path``: books in 8 bits with a scale an entry, everything else as it is."""
    state = {name: tensor.detach().cpu().float().numpy() for name, tensor in model.state_dict().items()}
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, values in state.items():
        if name == "books.vectors":
            scales = np.maximum(np.abs(values).max(axis=-1), 1e-9) / 127
            arrays["vectors"] = np.rint(values / scales[..., None]).astype(np.int8)
            arrays["scales"] = scales.astype(np.float32)
        elif name != "books.used":
            arrays[name] = values
    weights_file.write(path, arrays, {"shape": json.dumps(asdict(model.shape)), **facts})
