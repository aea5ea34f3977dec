"""Trains the mode token: reconstruction first, judges later.

A fresh run starts from k-means (``TokenModel.start``), which alone reaches most of the SNR. The steps then move books,
networks and filter together on the wave and on spectra at several resolutions. From ``discriminator_start_epoch`` on, with
``discriminators``, multi-period and complex-spectrum judges join with hinge and feature-matching losses: late and weak, as
they cost SNR.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from duplexforge import log
from duplexforge.errors import InputError
from duplexforge.models import weights_file
from duplexforge.models.discriminators import Discriminators
from duplexforge.models.envelope import PACKET
from duplexforge.models.token_model import Coded, TokenModel, TokenShape
from duplexforge.training import losses
from duplexforge.training.recipe import Recipe, Table, section
from duplexforge.training.speech import RATE, Crop, Speech, generator
from duplexforge.training.trainers import Part, Place

CODEC, JUDGES = "codec", "judges"
WEIGHTS = "token.safetensors"
# Places in the seed's tree, so that no two uses of it share numbers.
_CROPS, _LEVELS, _DEPTH, _START, _MEND, _EVALUATION = range(6)
_log = log.get("train")


class Shape(Table):
    """``[model]``."""

    hop: int = Field(default=80, ge=8)
    entries: int = Field(default=1024, ge=2, le=1024)
    groups: tuple[int, ...] = (1, 2, 4)
    hidden: int = Field(default=192, ge=1)
    bands: int = Field(default=24, ge=1)
    tilt: float = Field(default=0.3, ge=0, le=1)
    quiet: float = Field(default=0.3, ge=0, le=1)
    learn: tuple[Literal["books", "looks", "filter"], ...] = ("books", "looks", "filter")
    """What the steps move; the rest stays as k-means and likelihood have left it."""
    start_seconds: float = Field(default=300.0, gt=0)
    """Speech that k-means sees."""
    start_tilt: float | None = Field(default=None, ge=0, le=1)
    """The tilt that k-means goes by, where it is not that of the search."""
    start_rounds: int = Field(default=5, ge=1)
    start_steps: int = Field(default=500, ge=1)
    """Steps of each network's own start."""
    mend_every: int = Field(default=200, ge=1)
    """Steps after which entries that nobody takes start anew."""
    least_use: float = Field(default=0.002, ge=0)
    """Uses a batch below which an entry counts as dead."""
    dropout: float = Field(default=0.1, ge=0, le=1)
    """Share of steps that use only some of the books, so that the first ones are of use alone."""


class Losses(Table):
    """``[losses]``: the weight of each loss."""

    wave: float = Field(default=1.0, ge=0)
    spectrum: float = Field(default=1.0, ge=0)
    mel: float = Field(default=1.0, ge=0)
    size: float = Field(default=0.1, ge=0)
    """Likelihood of what the networks between the books expect."""
    discriminators: bool = False
    discriminator_start_epoch: int = Field(default=5, ge=0)
    adversarial: float = Field(default=0.05, ge=0)
    features: float = Field(default=0.1, ge=0)
    judge_width: int = Field(default=16, ge=1)


class CodecTrainer:
    """The trainer ``codec``."""

    def __init__(self, recipe: Recipe, place: Place) -> None:
        self._recipe, self._place = recipe, place
        self._shape = section(Shape, recipe.model, "[model]")
        self._losses = section(Losses, recipe.losses, "[losses]")
        self._speech = Speech(recipe.data.folder)
        self._rows = self._speech.of("train")
        self._samples = round(recipe.data.seconds * RATE / self._shape.hop) * self._shape.hop
        if PACKET % self._shape.hop:
            raise InputError(f"a packet of {PACKET} samples is no whole number of frames of {self._shape.hop}")
        share = recipe.loop.batch_size // place.size
        if share * place.size != recipe.loop.batch_size or share % recipe.loop.accumulate:
            raise InputError(
                f"a batch of {recipe.loop.batch_size} cannot be shared evenly by {place.size} processes "
                f"in {recipe.loop.accumulate} parts"
            )

    # -- the verbs -----------------------------------------------------------------------------------------------------

    def build(self) -> Sequence[Part]:
        """The codec, and the judges where the recipe wants them."""
        fields = {name: getattr(self._shape, name) for name in TokenShape.__dataclass_fields__}
        self._model = TokenModel(TokenShape(**fields)).to(self._place.device)
        self._hold()
        parts = [Part(CODEC, self._model)]
        if self._losses.discriminators:
            self._judges = Discriminators(width=self._losses.judge_width).to(self._place.device)
            parts.append(Part(JUDGES, self._judges))
        return parts

    def start(self) -> None:
        """k-means and the networks' own start, on crops of the training speakers."""
        count = max(1, round(self._shape.start_seconds / self._recipe.data.seconds))
        waves = self._waves(self._drawn(count, _START, 0))
        if self._recipe.loop.overfit:
            waves = self.batches(0)[0]
        random = torch.Generator(device=self._place.device).manual_seed(self._recipe.seed + 1)
        frames = self._model.frames(waves)
        self._model.requires_grad_(True)
        shape = self._shape
        self._model.start(frames, random, rounds=shape.start_rounds, steps=shape.start_steps, tilt=shape.start_tilt)
        self._hold()
        _log.info("started from k-means", seconds=round(count * self._recipe.data.seconds))

    def steps_per_epoch(self) -> int:
        """Steps that hear each second of the training speakers once."""
        samples = sum(row.samples for row in self._rows)
        return self._recipe.loop.steps_per_epoch or max(1, samples // (self._samples * self._recipe.loop.batch_size))

    def phases(self, epoch: int) -> Sequence[str]:
        """The judges move first, once it is their time."""
        if self._losses.discriminators and epoch >= self._losses.discriminator_start_epoch:
            return (JUDGES, CODEC)
        return (CODEC,)

    def batches(self, step: int) -> Sequence[Tensor]:
        """Waves (crops × samples) of this process, in parts."""
        crops = self._drawn(self._recipe.loop.batch_size, _CROPS, step)[self._place.rank :: self._place.size]
        parts: Sequence[Tensor] = self._waves(crops).chunk(self._recipe.loop.accumulate)
        return parts

    def step(self, phase: str, batch: Tensor, step: int) -> tuple[Tensor, Mapping[str, float]]:
        """The loss of one part of the batch."""
        if phase == JUDGES:
            with torch.no_grad():
                made, _ = self._made(batch, None)
            true_scores, _ = self._judges(batch)
            made_scores, _ = self._judges(made)
            loss = losses.hinge_discriminator(true_scores, made_scores)
            return loss, {"loss/judges": float(loss.detach())}
        depth = self._depth(step)
        made, coded = self._made(batch, depth)
        if depth is None:
            self._model.count(coded.indices)
        return self._generator(batch, made, coded, step)

    def settle(self, step: int) -> bool:
        """Every so often, entries that nobody takes start anew among what the step's batch leaves over."""
        if (step + 1) % self._shape.mend_every or "books" not in self._shape.learn:
            return False
        waves = self.batches(0 if self._recipe.loop.overfit else step)[0]
        random = torch.Generator(device=self._place.device)
        random.manual_seed(int(generator(self._recipe.seed, _MEND, step).integers(1 << 62)))
        moved = self._model.mend(self._model.frames(waves), random, self._shape.least_use)
        if moved:
            _log.info("entries that nobody took start anew", step=step, entries=moved)
        return True

    def evaluate(self) -> Mapping[str, float]:
        """SNR (the score) and spectral distances on held-out speakers, or on the first batch of an overfit run."""
        if self._recipe.loop.overfit:
            waves = self.batches(0)[0]
        else:
            rows = self._speech.of("validation")
            random = generator(self._recipe.seed, _EVALUATION)
            waves = self._waves(self._speech.crops(rows, 32, self._samples, random))
        made, _ = self._made(waves, None)
        loud = waves.square().mean(dim=1) > 1e-6
        ratio = losses.snr(made[loud], waves[loud]).mean() if loud.any() else torch.zeros(())
        used = [bits for books in self._model.books for bits in books.bits()]
        return {
            "score": float(ratio),
            "snr": float(ratio),
            "mel": float(losses.mel(made, waves)),
            "spectrum": float(losses.spectral(made, waves)),
            "book_bits": sum(used) / len(used),
        }

    def export(self, folder: Path) -> Sequence[Path]:
        """The weights that :mod:`duplexforge.models.token_weights` reads."""
        path = folder / WEIGHTS
        write_weights(self._model, path, {"recipe": self._recipe.model_dump_json(exclude={"output", "data"})})
        return [path]

    # -- their parts ---------------------------------------------------------------------------------------------------

    def _hold(self) -> None:
        """Hold still what the steps are not to move."""
        for name, parameter in self._model.named_parameters():
            parameter.requires_grad_(name.split(".")[0] in self._shape.learn)

    def _made(self, waves: Tensor, depth: int | None) -> tuple[Tensor, Coded]:
        frames = self._model.frames(waves)
        if self._recipe.loop.gradient_checkpointing and torch.is_grad_enabled():
            coded = Coded(*checkpoint(self._model, frames, depth, use_reentrant=False))
        else:
            coded = self._model(frames, depth)
        return self._model.waves(coded.filtered), coded

    def _generator(self, true: Tensor, made: Tensor, coded: Coded, step: int) -> tuple[Tensor, Mapping[str, float]]:
        weight = self._losses
        plain = self._model.waves(coded.plain)
        parts = {
            "wave": weight.wave * 0.05 * (losses.noise_ratio(made, true) + losses.noise_ratio(plain, true)),
            "spectrum": weight.spectrum * losses.spectral(made, true),
            "mel": weight.mel * losses.mel(made, true),
            "size": weight.size * coded.scale_loss,
        }
        if len(self.phases(step // self.steps_per_epoch())) > 1:
            scores, features = self._judges(made)
            _, wanted = self._judges(true)
            parts["adversarial"] = weight.adversarial * losses.hinge_generator(scores)
            parts["features"] = weight.features * losses.feature_matching(wanted, features)
        total = torch.stack(list(parts.values())).sum()
        figures = {f"loss/{name}": float(part.detach()) for name, part in parts.items()}
        return total, figures | {"snr": float(losses.snr(made.detach(), true).mean())}

    def _depth(self, step: int) -> int | None:
        random = generator(self._recipe.seed, _DEPTH, step)
        books = sum(self._shape.groups)
        return int(random.integers(1, books)) if books > 1 and random.random() < self._shape.dropout else None

    def _drawn(self, count: int, place: int, step: int) -> list[Crop]:
        random = generator(self._recipe.seed, place, step)
        crops = self._speech.crops(self._rows, count, self._samples, random)
        least, most = self._recipe.data.gain_db
        return [
            Crop(crop.row, crop.start, crop.samples, float(10 ** (random.uniform(least, most) / 20))) for crop in crops
        ]

    def _waves(self, crops: Sequence[Crop]) -> Tensor:
        return torch.stack([torch.from_numpy(self._speech.read(crop)) for crop in crops]).to(self._place.device)


def write_weights(model: TokenModel, path: Path, facts: Mapping[str, str]) -> None:
    """Write the weights of ``model`` to ``path``: books in 8 bits, everything else as it is."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, tensor in model.state_dict().items():
        values = tensor.detach().cpu().float().numpy()
        if name.endswith(".vectors"):
            # With a scale an entry, what 8 bits lose is 40 dB below it, and the books that follow code that too.
            scales = np.maximum(np.abs(values).max(axis=-1), 1e-9) / 127
            arrays[name] = np.rint(values / scales[..., None]).astype(np.int8)
            arrays[name.replace("vectors", "scales")] = scales.astype(np.float32)
        elif not name.endswith(".used"):
            arrays[name] = values
    weights_file.write(path, arrays, {"shape": json.dumps(asdict(model.shape)), **facts})
