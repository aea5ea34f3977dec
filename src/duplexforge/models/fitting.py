"""Fits the context model of the MDCT modes to speech: a small network in floats, then its weights in whole numbers.

Two rounds: the first learns from coefficients that a plain quantiser made, the second from those that the coder itself
chooses with what the first has learned, for its choices depend on the model. At the end the tables of counts are counted
on what the coder writes, so that they follow the speech rather than a formula. Needs torch; the codec does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from duplexforge.models import audio_file, observing, weights_file
from duplexforge.models.codec import Wave
from duplexforge.models.context import PER_BIN, SHARED, Floats, features
from duplexforge.models.mdct import HOP, RATE
from duplexforge.models.mdct_codec import MdctCodec
from duplexforge.models.model import (
    ACT_BITS,
    LARGEST,
    SCALE_LOW,
    SCALE_STEPS,
    SCALES,
    STATES,
    WEIGHT_BITS,
    ZERO_LOW,
    ZERO_STEPS,
    ZEROS,
    Model,
    load,
)
from duplexforge.models.observing import Frames
from duplexforge.models.side import LOUDNESSES, NOTHING
from duplexforge.models.voice import BALANCED, FIDELITY

_WIDTH = 48
_TOP = 8.0
_INPUT = 16.0
_ZERO_SHIFT = 2.0
_BINS = np.arange(HOP)
_PRIOR = 200.0
"""Weight of the formula beside the counts, in symbols."""


@dataclass(frozen=True)
class Plan:
    """How long to fit: iterations of the two rounds, frames a batch, and on what share of the pieces the coder is run.

    To run the coder takes thirty times as long as the plain quantiser, so the second round and the counts take fewer.
    """

    rounds: tuple[int, int] = (2500, 1500)
    batch: int = 96
    rate: float = 4e-3
    chosen: float = 0.35
    counted: float = 0.15
    seed: int = 1

    def some(self, waves: Sequence[Wave], share: float) -> Sequence[Wave]:
        """The first ``share`` of the pieces, which come in random order."""
        return waves[: max(round(share * len(waves)), 1)]


class Network(nn.Module):  # type: ignore[misc]
    """The float twin of ``model.Model``: features of a bin to scale and zeros for each state."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(PER_BIN, _WIDTH)
        self.shared = nn.Linear(SHARED, _WIDTH, bias=False)
        self.bins = nn.Parameter(torch.zeros(HOP, _WIDTH))
        self.second = nn.Linear(_WIDTH, _WIDTH)
        self.last = nn.Linear(_WIDTH, 2 * STATES)
        self.form = nn.Parameter(torch.zeros(2))

    def forward(self, each: Any, shared: Any) -> Any:
        """Scale (log2 of steps) and zeros (a logit) for each bin and state: … × 160 × 2 × ``STATES``."""
        hidden = self.first(each / _INPUT) + self.shared(shared / _INPUT)[:, None] + self.bins
        hidden = self.second(hidden.clamp(0, _TOP)).clamp(0, _TOP)
        return self.last(hidden).unflatten(-1, (2, STATES))

    def cost(self, each: Any, shared: Any, states: Any, sizes: Any) -> Any:
        """Bits of each magnitude and its sign."""
        out = self(each, shared)
        picked = out.gather(3, states[..., None, None].expand(-1, -1, 2, 1))[..., 0]
        sharpness = torch.exp2(-picked[..., 0].clamp(-5, 6))
        zeros = torch.sigmoid(picked[..., 1].clamp(-6, 4) - _ZERO_SHIFT)
        inner = torch.where(sizes > 0, self._beyond(sizes - 0.5, sharpness), torch.ones_like(sharpness))
        share = (inner - self._beyond(sizes + 0.5, sharpness)) * (1 - zeros) + zeros * (sizes == 0)
        return (sizes > 0).float() - torch.log2(share + 1e-7)

    def _beyond(self, edge: Any, sharpness: Any) -> Any:
        """The share of magnitudes beyond ``edge``: a Laplace and a logistic distribution, mixed."""
        mix, narrow = torch.sigmoid(self.form[0]), 2 * torch.exp(self.form[1])
        edge = edge.clamp(min=0)
        return mix * torch.exp(-edge * sharpness) + (1 - mix) * 2 * torch.sigmoid(-edge * sharpness * narrow)


def fit(waves: Sequence[Wave], target: Path, plan: Plan, report: Any = print) -> None:
    """Fit to ``waves`` (16 kHz, a few seconds each) and write the weights to ``target``."""
    torch.manual_seed(plan.seed)
    torch.set_num_threads(1)
    network = Network()
    first = observing.observe(waves, None, plan.seed)
    report(f"round 1: {len(first.sizes)} frames of a plain quantiser")
    _train(network, first, plan.rounds[0], plan, report)
    model = _written(network, target, plan)
    second = observing.observe(plan.some(waves, plan.chosen), model, plan.seed + 1)
    report(f"round 2: {len(second.sizes)} frames of the coder")
    _train(network, second, plan.rounds[1], plan, report)
    model = _written(network, target, plan)
    write(network, target, plan, _counted(network, model, plan.some(waves, plan.counted), second))
    load.cache_clear()


def _written(network: Network, target: Path, plan: Plan) -> Model:
    write(network, target, plan)
    load.cache_clear()
    return load(target)


def pieces(folder: Path, count: int, seed: int, seconds: int = 8) -> list[Wave]:
    """``count`` pieces of ``seconds`` from the recordings in ``folder``, one sub-folder a speaker, as many of each."""
    rng = np.random.default_rng(seed)
    speakers = [sorted(path for path in place.rglob("*") if path.is_file()) for place in sorted(folder.iterdir())]
    found = [
        _piece(paths, rng, seconds * RATE) for paths in speakers if paths for _ in range(-(-count // len(speakers)))
    ]
    return [found[place] for place in rng.permutation(len(found))[:count]]


def _piece(paths: list[Path], rng: np.random.Generator, length: int) -> Wave:
    """Recordings in a row, from a random one on, until there are ``length`` samples."""
    first, parts, heard = int(rng.integers(len(paths))), [], 0
    for place in range(len(paths)):
        parts.append(audio_file.read(paths[(first + place) % len(paths)], RATE))
        heard += len(parts[-1])
        if heard >= length:
            break
    start = int(rng.integers(max(heard - length, 0) + 1))
    return np.concatenate(parts)[start : start + length]


def _train(network: Network, found: Frames, iterations: int, plan: Plan, report: Any) -> None:
    rng = np.random.default_rng(plan.seed)
    optimiser = torch.optim.Adam(network.parameters(), plan.rate)
    smooth = 0.0
    for number in range(iterations):
        for group in optimiser.param_groups:
            group["lr"] = plan.rate * min(1, (number + 1) / 50) * (0.51 + 0.49 * cos(pi * number / iterations))
        some = np.sort(rng.integers(0, len(found.sizes), plan.batch))
        loss = network.cost(*_batch(found, some)).sum(dim=1).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 20.0)
        optimiser.step()
        bits = float(loss.detach())
        smooth = 0.99 * smooth + 0.01 * bits if number else bits
        if number % 250 == 249:
            report(f"  {number + 1}: {smooth:.2f} bits a frame")


def _batch(found: Frames, some: npt.NDArray[np.int64]) -> tuple[Any, Any, Any, Any]:
    each, shared = features(found.planes[some].astype(np.float64))
    return (
        torch.tensor(each, dtype=torch.float32),
        torch.tensor(shared, dtype=torch.float32),
        torch.tensor(found.states[some], dtype=torch.int64),
        torch.tensor(found.sizes[some], dtype=torch.float32),
    )


def _formula(network: Network) -> Floats:
    """What the network's formula says of each table: ``SCALES`` × ``ZEROS`` rows of shares."""
    with torch.no_grad():
        sharpness = torch.exp2(-(SCALE_LOW + torch.arange(SCALES) / SCALE_STEPS))[:, None]
        sizes = torch.arange(LARGEST + 1)
        beyond = network._beyond(sizes[1:] - 0.5, sharpness).double().numpy()
        zeros = torch.sigmoid(ZERO_LOW + torch.arange(ZEROS) / ZERO_STEPS - _ZERO_SHIFT).double().numpy()
    edges = np.concatenate([np.ones((SCALES, 1)), beyond, np.zeros((SCALES, 1))], axis=1)
    shares = (edges[:, :-1] - edges[:, 1:])[:, None, :] * (1 - zeros[:, None])
    shares[:, :, 0] += zeros
    rows: Floats = shares.reshape(SCALES * ZEROS, LARGEST + 1)
    return rows


def write(network: Network, target: Path, plan: Plan, counted: dict[str, Any] | None = None) -> None:
    """Write the network in whole numbers, with tables from its formula or, better, as they were ``counted``."""
    state = {name: value.double().numpy() for name, value in network.state_dict().items()}
    one, fine = float(1 << WEIGHT_BITS), float(1 << (WEIGHT_BITS + ACT_BITS))
    steps = np.repeat([SCALE_STEPS, ZERO_STEPS], STATES)
    low = np.repeat([SCALE_LOW, ZERO_LOW], STATES)
    layers = {
        "first": state["first.weight"].T / _INPUT * fine,
        "shared": state["shared.weight"].T / _INPUT * fine,
        "bins": (state["bins"] + state["first.bias"]) * fine,
        "second": state["second.weight"].T * one,
        "second_bias": state["second.bias"] * fine,
        "last": state["last.weight"].T * steps * one,
        # Half a level more: the coder rounds down, and the nearest level is meant.
        "last_bias": ((state["last.bias"] - low) * steps + 0.5) * fine,
    }
    arrays: dict[str, Any] = {name: np.rint(value).astype(np.int32) for name, value in layers.items()}
    arrays["counts"] = observing.shares(_formula(network))
    arrays["loudness"] = observing.shares(np.ones((LOUDNESSES, LOUDNESSES)))
    arrays["fill"] = observing.shares(np.ones(((NOTHING + 1) ** 2 * 3, NOTHING)))
    arrays["centre"] = np.zeros((SCALES, 3), np.int16)
    target.parent.mkdir(parents=True, exist_ok=True)
    weights_file.write(target, arrays | (counted or {}), {"kind": "mdct context", "seed": str(plan.seed)})


def _counted(network: Network, model: Model, waves: Sequence[Wave], found: Frames) -> dict[str, Any]:
    """The tables of ``model`` as the coder used them on ``waves``, and where coefficients lie in their cells."""
    counts = observing.count(waves, [MdctCodec("fidelity", FIDELITY, model), MdctCodec("balanced", BALANCED, model)])
    pairs = zip(found.planes, found.states.astype(np.int64), strict=True)
    # Frame by frame: the tables of all states of all frames would take gigabytes.
    used = np.stack([model.tables_of(*features(planes.astype(np.float64)))[_BINS, states] for planes, states in pairs])
    return {
        "counts": observing.shares(counts["counts"] + _PRIOR * _formula(network)),
        "loudness": observing.shares(counts["loudness"] + _near(LOUDNESSES)),
        "fill": observing.shares(counts["fill"] + _near_levels()),
        "centre": observing.centres(found, used),
    }


def _near(size: int) -> Floats:
    """A few counts that favour what was said last."""
    apart = np.abs(np.arange(size)[:, None] - np.arange(size))
    counts: Floats = 3 * np.exp(-apart.astype(np.float64)) + 0.02
    return counts


def _near_levels() -> Floats:
    before, lower, level = np.meshgrid(
        *(np.arange(size) for size in (NOTHING + 1, NOTHING + 1, NOTHING)), indexing="ij"
    )
    apart = np.abs(level + 1 - (before + np.maximum(lower, 1)) / 2)
    rows: Floats = 0.5 * np.exp(-0.7 * apart) + 0.02
    return np.repeat(rows.reshape(-1, NOTHING), 3, axis=0)
