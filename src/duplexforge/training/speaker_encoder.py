"""Trains the speaker encoder: voices of one speaker near to each other, those of two far apart.

The score is minus the equal error rate on pairs of recordings of people whom it has not learned; where the folder holds none of
them, on kept recordings of those whom it has.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from duplexforge import log
from duplexforge.errors import InputError
from duplexforge.models import speakers
from duplexforge.models.speakers_network import Network
from duplexforge.training.recipe import Recipe, Table, section
from duplexforge.training.speaker_margin import Directions
from duplexforge.training.speaker_rows import Augment, can_be_told, changed, filled, frames_of, parted, spread_crops
from duplexforge.training.speaker_scores import detection_cost, equal_error_rate, pairs
from duplexforge.training.speech import MANIFEST, RATE, Crop, Speech, SpeechRow, generator
from duplexforge.training.trainers import Part, Place

__all__ = ["Losses", "Model", "SpeakerTrainer"]

SPEAKERS = "speakers"
# Places in the seed's tree, so that no two uses of it share numbers.
_CROPS, _CHANGES, _EVALUATION = range(3)
_AT_ONCE = 64
_log = log.get("train")

Frames = npt.NDArray[np.float32]


class Model(Table):
    """``[model]``: sizes (see ``models/speakers.py``), and what is kept of the learned speakers."""

    channels: int = Field(default=128, ge=1)
    dilations: tuple[int, ...] = Field(default=(2, 3, 4), min_length=1)
    squeeze: int = Field(default=32, ge=1)
    joined: int = Field(default=256, ge=1)
    attention: int = Field(default=64, ge=1)
    kept: float = Field(default=0.1, gt=0, lt=1)
    """Share of each learned speaker's files that are not learned from, but scored on."""
    evaluate_crops: int = Field(default=20, ge=2)
    """Crops of each speaker that an evaluation hears."""
    shifts: tuple[float, ...] = Field(default=(0.0,), min_length=1)
    """Bands of the mel scale by which crops are shifted; each shift but none makes another person of every speaker.

    Longer and shorter vocal tracts: so few speakers become more, as recordings played faster and slower make more of them.
    """
    augment: Augment = Augment()

    @field_validator("shifts")
    @classmethod
    def _with_none(cls, shifts: tuple[float, ...]) -> tuple[float, ...]:
        if shifts.count(0.0) != 1 or len(set(shifts)) < len(shifts):
            raise ValueError("0.0 must be one of the shifts, and none be there twice")
        return shifts


class Losses(Table):
    """``[losses]``: see :mod:`duplexforge.training.speaker_margin`."""

    scale: float = Field(default=30.0, gt=0)
    margin: float = Field(default=0.2, ge=0, lt=1.5)
    margin_steps: int = Field(default=100, ge=0)
    """Steps over which the margin grows to its full size: at once, it can be too much to begin with."""


class Batch(NamedTuple):
    """What is heard (crops × frames × 80) and who it is (crops)."""

    frames: Tensor
    numbers: Tensor


class _Learner(nn.Module):  # type: ignore[misc]
    def __init__(self, network: Network, directions: Directions) -> None:
        super().__init__()
        self.network, self.directions = network, directions


class SpeakerTrainer:
    """The trainer ``speakers``."""

    def __init__(self, recipe: Recipe, place: Place) -> None:
        self._recipe, self._place = recipe, place
        self._model = section(Model, recipe.model, "[model]")
        self._losses = section(Losses, recipe.losses, "[losses]")
        names = ("channels", "dilations", "squeeze", "joined", "attention")
        self._shape = speakers.Shape(**{name: getattr(self._model, name) for name in names})
        self._speech = Speech(recipe.data.folder)
        self._voices = parted(self._speech, recipe.data.folder, self._model.kept, recipe.seed)
        self._samples = max(RATE // 10, round(recipe.data.seconds * RATE))
        parts = place.size * recipe.loop.accumulate
        # The norm over a batch wants two of them.
        if recipe.loop.batch_size % parts or recipe.loop.batch_size < 2 * parts:
            raise InputError(
                f"a batch of {recipe.loop.batch_size} cannot be shared evenly by {place.size} processes "
                f"in {recipe.loop.accumulate} parts of two crops and more"
            )

    # -- the verbs -----------------------------------------------------------------------------------------------------

    def build(self) -> Sequence[Part]:
        """The network, and a direction for each speaker."""
        people = len(self._voices.speakers) * len(self._model.shifts)
        directions = Directions(people, self._losses.scale, self._losses.margin)
        self._learner = _Learner(Network(self._shape), directions).to(self._place.device)
        return [Part(SPEAKERS, self._learner)]

    def start(self) -> None:
        """Nothing is fitted before the first step; what will be learned is said."""
        voices, strangers = self._voices, {row.speaker for row in self._voices.strangers}
        count = sum(parameter.numel() for parameter in self._learner.network.parameters())
        _log.info(
            "a new speaker encoder",
            parameters=count,
            speakers=len(voices.speakers),
            files=len(voices.learned),
            kept=len(voices.kept),
            held_out_speakers=len(strangers),
        )
        lone = len(voices.speakers) - len({row.speaker for row in voices.kept})
        if lone:
            _log.warning("speakers with a single file are learned and not asked for", count=lone)
        if not self._asked(voices.strangers):
            _log.warning("no held-out speaker has two files: the score is that of learned speakers")

    def steps_per_epoch(self) -> int:
        """Steps that hear each second of the training speakers once."""
        samples = sum(row.samples for row in self._voices.learned)
        return self._recipe.loop.steps_per_epoch or max(1, samples // (self._samples * self._recipe.loop.batch_size))

    def phases(self, epoch: int) -> Sequence[str]:  # noqa: ARG002 - the same in each
        """All at once."""
        return (SPEAKERS,)

    def batches(self, step: int) -> Sequence[Batch]:
        """This process's share of the batch, in parts."""
        random = generator(self._recipe.seed, _CROPS, step)
        crops = self._speech.crops(self._voices.learned, self._recipe.loop.batch_size, self._samples, random)
        mine = range(self._place.rank, len(crops), self._place.size)
        heard = [self._heard(crops[one], generator(self._recipe.seed, _CHANGES, step, one)) for one in mine]
        size = len(heard) // self._recipe.loop.accumulate
        return [self._batch(heard[at : at + size]) for at in range(0, len(heard), size)]

    def step(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Mapping[str, float]]:  # noqa: ARG002
        """The loss of one part of the batch."""
        part = min(1.0, step / self._losses.margin_steps) if self._losses.margin_steps else 1.0
        voices = self._learner.network(batch.frames)
        loss, right = self._learner.directions.loss(voices, batch.numbers, part)
        return loss, {"loss/speakers": float(loss.detach()), "right": float(right.float().mean())}

    def settle(self, step: int) -> bool:  # noqa: ARG002
        """No weight is moved by hand."""
        return False

    def evaluate(self) -> Mapping[str, float]:
        """Errors on pairs of held-out and of learned speakers (``_seen``), and the share of kept crops that are known again.

        The score is minus the error rate on held-out speakers, else on learned ones, else minus the share not known.
        """
        if self._recipe.loop.overfit:
            parts = self.batches(0)
            same = torch.cat([self._nearest(self._learner.network(one.frames)) == one.numbers for one in parts])
            known = float(same.float().mean())
            return {"score": known - 1, "identified": known}
        found: dict[str, float] = {}
        kept, vectors = self._embedded(self._voices.kept)
        if kept:
            nearest = self._nearest(torch.from_numpy(vectors).to(self._place.device)).tolist()
            right = [self._number(row) == one for row, one in zip(kept, nearest, strict=True)]
            found["identified"] = sum(right) / len(right)
        if can_be_told(kept):
            found["eer_seen"] = equal_error_rate(pairs(vectors, *_names(kept)))
        asked = self._asked(self._voices.strangers)
        if asked:
            strangers, theirs = self._embedded(self._voices.strangers)
            if len(asked) == 1:
                # One alone is told from nobody: those who were learned stand beside.
                strangers, theirs = [*strangers, *kept], np.concatenate([theirs, vectors])
            trials = pairs(theirs, *_names(strangers), asked)
            found |= {"eer": equal_error_rate(trials), "min_dcf": detection_cost(trials)}
        wrong = found.get("eer", found.get("eer_seen", 1 - found.get("identified", 0.0)))
        return {"score": -wrong, **found}

    def export(self, folder: Path) -> Sequence[Path]:
        """The weights that :mod:`duplexforge.models.speakers` reads."""
        path = folder / speakers.FILE
        weights = self._learner.network.weights()
        arrays = {name: tensor.detach().float().cpu().numpy() for name, tensor in weights.items()}
        learned = self._voices.learned
        data = {
            "speakers": len(self._voices.speakers),
            "synthetic": len({row.speaker for row in learned if row.synthetic}),
            "hours": round(sum(row.samples for row in learned) / RATE / 3600, 4),
            "manifest": hashlib.sha256((self._recipe.data.folder / MANIFEST).read_bytes()).hexdigest(),
        }
        facts = {"recipe": self._recipe.model_dump_json(exclude={"output", "data"}), "data": json.dumps(data)}
        speakers.write(path, speakers.Encoder(self._shape, arrays, facts))
        return [path]

    # -- their parts ---------------------------------------------------------------------------------------------------

    def _asked(self, rows: Sequence[SpeechRow]) -> list[str]:
        """The held-out speakers, if pairs of them can be made, if need be with kept files of those who are learned."""
        names = sorted({row.speaker for row in rows})
        lone = len(names) == 1 and len(rows) > 1 and bool(self._voices.kept)
        return names if lone or can_be_told(rows) else []

    def _heard(self, crop: Crop, random: np.random.Generator) -> tuple[Frames, int]:
        """What is heard of ``crop``, and the number of the person whom it is made."""
        gain = float(10 ** (random.uniform(*self._recipe.data.gain_db) / 20))
        wave = filled(self._speech, Crop(crop.row, crop.start, crop.samples, gain))
        if self._recipe.loop.overfit:
            return frames_of(wave), self._number(crop.row)
        shift = int(random.integers(len(self._model.shifts)))
        frames = changed(wave, self._model.shifts[shift], self._model.augment, random)
        return frames, self._number(crop.row, shift)

    def _number(self, row: SpeechRow, shift: int | None = None) -> int:
        """The direction of the speaker of ``row``, as they are (None) or under a shift."""
        shift = self._model.shifts.index(0.0) if shift is None else shift
        return shift * len(self._voices.speakers) + self._voices.number(row)

    def _nearest(self, voices: Tensor) -> Tensor:
        """The directions that ``voices`` are nearest to, of people as they are."""
        first = self._model.shifts.index(0.0) * len(self._voices.speakers)
        cosines = self._learner.directions.cosines(voices)[:, first : first + len(self._voices.speakers)]
        return first + cosines.argmax(dim=1)

    def _batch(self, heard: Sequence[tuple[Frames, int]]) -> Batch:
        device = self._place.device
        frames = torch.from_numpy(np.stack([one for one, _ in heard]))
        return Batch(frames.to(device), torch.tensor([number for _, number in heard]).to(device))

    def _embedded(self, rows: Sequence[SpeechRow]) -> tuple[list[SpeechRow], Frames]:
        """The rows of crops of every speaker of ``rows``, and their voices: the same at every evaluation."""
        random = generator(self._recipe.seed, _EVALUATION)
        crops = spread_crops(rows, self._model.evaluate_crops, self._samples, random)
        found = [np.zeros((0, speakers.SIZE), np.float32)]
        for at in range(0, len(crops), _AT_ONCE):
            frames = np.stack([frames_of(filled(self._speech, crop)) for crop in crops[at : at + _AT_ONCE]])
            voices = self._learner.network(torch.from_numpy(frames).to(self._place.device))
            found.append(voices.float().cpu().numpy())
        return [crop.row for crop in crops], np.concatenate(found)


def _names(rows: Sequence[SpeechRow]) -> tuple[list[str], list[str]]:
    return [row.speaker for row in rows], [row.path for row in rows]
