"""What the context model is fitted to: frames as the coder itself quantises them, with what was known before each."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from duplexforge.models import frames, mdct
from duplexforge.models.codec import Wave
from duplexforge.models.context import History
from duplexforge.models.mdct import HOP, PEAK, Floats
from duplexforge.models.mdct_codec import PACKET, MdctCodec, VoiceEncoder
from duplexforge.models.model import NEAR, RUNS, SCALES, ZEROS, Model
from duplexforge.models.quantise import CENTRE_PARTS, choose, step_units
from duplexforge.models.range_coder import TOTAL, RangeEncoder
from duplexforge.models.rate import likely_step
from duplexforge.models.side import NUMBERS_PER_LOUDNESS, loudness_of
from duplexforge.models.voice import BALANCED, FIDELITY, Past, Shape

_SPREAD = 24
"""Steps of the fitting lie so many numbers (¾ octave) round what 16 kbps need."""
_PLAIN_EDGE = 0.6
"""Without a model yet: what is smaller, in steps, becomes zero."""


@dataclass(frozen=True)
class Frames:
    """Frames of many recordings: what was known (planes), what came (magnitudes) and the states it came in."""

    planes: npt.NDArray[np.uint8]
    sizes: npt.NDArray[np.uint8]
    states: npt.NDArray[np.uint8]
    ratios: npt.NDArray[np.float16]
    """Coefficients over steps, before they were quantised."""


def observe(waves: Iterable[Wave], model: Model | None, seed: int) -> Frames:
    """Quantise ``waves`` at random steps; by ``model`` where there is one already, in its two modes by turns."""
    rng = np.random.default_rng(seed)
    shifts = (int(rng.integers(-_SPREAD, _SPREAD + 1)) for _ in itertools.count())
    shapes = itertools.cycle([FIDELITY, BALANCED] if model else [FIDELITY])
    parts = [_observe_one(wave, model, shape, shift) for wave, shape, shift in zip(waves, shapes, shifts, strict=False)]
    return Frames(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Frames)))


def _observe_one(wave: Wave, model: Model | None, shape: Shape, shift: int) -> Frames:
    number = likely_step(wave.astype(np.float64), 16, shape.follow) + shift
    step = np.full(HOP, step_units(number), np.int64)
    history = History()
    rows: list[tuple[Floats, ...]] = []
    past = Past(model, shape) if model else None
    for start in range(0, len(wave) - 2 * HOP + 1, HOP):
        spectrum = mdct.analyse(wave[start : start + 2 * HOP])
        if past and shape.follow:
            step = past.steps(number + NUMBERS_PER_LOUDNESS * loudness_of(spectrum, step_units(number), shape.follow))
        ratio = spectrum / step
        if model and past:
            values, used = choose(model, past.expect(step), ratio.tolist(), shape.thrift)
            past.take(values, used, step)
        else:
            values = (np.sign(ratio) * np.floor(np.abs(ratio) + 1 - _PLAIN_EDGE)).astype(int).tolist()
        sizes = np.abs(np.array(values))
        rows.append((history.planes(step), np.minimum(sizes, 255), np.array(states_of(sizes.tolist())), np.abs(ratio)))
        history.push(np.minimum(sizes * step, PEAK))
    planes, sizes, states, ratios = (np.stack(column) for column in zip(*rows, strict=True))
    ratios = np.minimum(ratios, 60000)
    return Frames(planes.astype(np.uint8), sizes.astype(np.uint8), states.astype(np.uint8), ratios.astype(np.float16))


def states_of(sizes: list[int]) -> list[int]:
    """The state in which each magnitude of a frame is read."""
    near, run, found = 0, 0, []
    for size in sizes:
        found.append(near + frames.run_state(run))
        near, run = frames.step(run, size)
    return found


assert NEAR * RUNS <= 256, "states are kept in bytes"


class _Tally(RangeEncoder):
    """Counts symbols by table instead of writing them."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))

    def symbol(self, table: Sequence[int], index: int) -> None:
        self.counts[id(table)][index] += 1

    def number(self, value: int, bits: int) -> None:
        """Plain bits teach nothing."""


def count(waves: Iterable[Wave], codecs: Sequence[MdctCodec]) -> dict[str, npt.NDArray[np.int64]]:
    """How often each symbol of each table was written, over all ``codecs``, which share one model."""
    model, tally = codecs[0].model, _Tally()
    for wave in waves:
        for codec in codecs:
            guess = likely_step(wave.astype(np.float64), 15, codec.shape.follow)
            voice = VoiceEncoder(replace(codec, step=guess))
            for start in range(0, len(wave) - PACKET + 1, PACKET):
                for spectrum in voice.spectra(wave[start : start + PACKET]):
                    voice.frame(tally, spectrum, guess)
    named = {"counts": model.tables, "loudness": model.loudness, "fill": model.fill}
    return {name: _counts(tables, tally.counts) for name, tables in named.items()}


def _counts(tables: list[list[int]], counts: dict[int, dict[int, int]]) -> npt.NDArray[np.int64]:
    found = np.zeros((len(tables), len(tables[0]) - 1), np.int64)
    for row, table in enumerate(tables):
        for index, number in counts.get(id(table), {}).items():
            found[row, index] = number
    return found


def shares(weights: Floats) -> npt.NDArray[np.uint16]:
    """Counts that sum to ``TOTAL`` in every row, none of them 0, near the proportions of ``weights``."""
    counts = np.maximum(np.rint(weights / weights.sum(axis=1, keepdims=True) * TOTAL).astype(np.int64), 1)
    counts[np.arange(len(counts)), counts.argmax(axis=1)] += TOTAL - counts.sum(axis=1)
    result: npt.NDArray[np.uint16] = counts.astype(np.uint16)
    return result


def centres(found: Frames, tables: npt.NDArray[np.int64], least: int = 200) -> npt.NDArray[np.int16]:
    """Where the coefficients lie in the cells of magnitude 1, 2 and more, by scale, in 64ths of a step off the middle."""
    scale = tables // ZEROS
    off = found.ratios.astype(np.float64) - found.sizes
    result = np.zeros((SCALES, 3), np.int16)
    for column in range(3):
        here = (found.sizes == column + 1) if column < 2 else (found.sizes > 2)
        number = np.bincount(scale[here], minlength=SCALES)
        total = np.bincount(scale[here], off[here], minlength=SCALES)
        mean = np.where(number >= least, total / np.maximum(number, 1), 0)
        result[:, column] = np.rint(np.clip(mean, -0.3, 0.3) * CENTRE_PARTS)
    return result
