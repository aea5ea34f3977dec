"""Fitting the context model: it learns, and what it writes is what the codec reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from duplexforge.models import observing
from duplexforge.models.codec import decode, encode
from duplexforge.models.context import features
from duplexforge.models.frames import run_state, step
from duplexforge.models.mdct import HOP
from duplexforge.models.mdct_codec import MdctCodec
from duplexforge.models.measure import snr
from duplexforge.models.model import STATES, load
from duplexforge.models.range_coder import TOTAL
from duplexforge.models.voice import BALANCED, FIDELITY
from tests.unit.models.voices import RATE, voice

WAVES = [voice(1.0, seed) + np.float32(0.003) * np.sin(np.arange(RATE) * seed).astype(np.float32) for seed in (1, 2, 3)]


def test_what_is_observed_is_what_the_coder_codes() -> None:
    model = load()
    plain, chosen = observing.observe(WAVES[:1], None, 1), observing.observe(WAVES[:1], model, 1)
    for found in (plain, chosen):
        frames = RATE // HOP - 1
        assert found.planes.shape == (frames, 5, HOP + 6)
        assert found.sizes.shape == found.states.shape == found.ratios.shape == (frames, HOP)
        assert found.states.max() < STATES
        # A coefficient lies in the cell of its number, or was made smaller to save bits.
        assert (found.sizes <= np.ceil(found.ratios.astype(float) + 0.5)).all()
    assert not plain.planes[0].any()
    assert plain.planes[5].any()


def test_states_are_those_of_the_coder() -> None:
    sizes = [0, 1, 5, 0, 0, 2] + [0] * 154
    near, run, expected = 0, 0, []
    for size in sizes:
        expected.append(near + run_state(run))
        near, run = step(run, size)
    assert observing.states_of(sizes) == expected
    assert expected[0] == 0
    assert len(set(expected)) > 3


def test_symbols_are_counted_by_the_tables_that_would_write_them() -> None:
    model = load()
    codecs = [MdctCodec("fidelity", FIDELITY, model), MdctCodec("balanced", BALANCED, model)]
    counts = observing.count(WAVES[:1], codecs)
    packets = RATE // 640
    assert counts["counts"].sum() == 2 * packets * 4 * HOP
    assert counts["loudness"].sum() == packets * 4
    assert 0 < counts["fill"].sum() <= packets * 4 * 10


def test_shares_sum_to_the_total_and_leave_nothing_out() -> None:
    found = observing.shares(np.array([[0.0, 1.0, 3.0], [1e9, 0.0, 0.0], [1.0, 1.0, 1.0]]))
    assert (found.sum(axis=1) == TOTAL).all()
    assert found.min() >= 1
    assert found[0, 2] > found[0, 1] > found[0, 0]


def test_centres_are_means_of_what_was_rounded() -> None:
    found = observing.observe(WAVES, load(), 2)
    tables = np.full(found.sizes.shape, 12 * 30)
    ones = found.sizes == 1
    centres = observing.centres(found, tables, least=1)
    expected = 64 * (found.ratios[ones].astype(float) - 1).mean()
    assert centres[30, 0] == pytest.approx(np.clip(expected, -19.2, 19.2), abs=1)
    assert not np.delete(centres, 30, axis=0).any()
    assert not observing.centres(found, tables, least=10**9).any()


@pytest.mark.heavy
def test_fitting_learns_and_writes_what_the_codec_reads(tmp_path: Path) -> None:
    from duplexforge.models import fitting

    target, lines = tmp_path / "fit.safetensors", []
    plan = fitting.Plan(rounds=(250, 250), batch=24, chosen=1.0, counted=0.5)
    fitting.fit(WAVES, target, plan, lines.append)
    bits = [float(line.split()[1]) for line in lines if "bits" in line]
    assert bits[-1] < bits[0]
    wave = voice(1.0, 7)
    codec = MdctCodec("balanced", BALANCED, load(target), step=290)
    packets = encode(codec, wave)
    assert snr(wave, decode(codec, packets)) > 15
    untrained = replace(codec, model=load(plain(tmp_path)))
    assert packets.bits < 0.8 * encode(untrained, wave).bits


def plain(folder: Path) -> Path:
    """The weights of a network that has learned nothing."""
    from duplexforge.models import fitting

    target = folder / "plain.safetensors"
    fitting.write(fitting.Network(), target, fitting.Plan())
    return target


@pytest.mark.heavy
def test_the_whole_numbers_say_what_the_floats_say(tmp_path: Path) -> None:
    import torch

    from duplexforge.models import fitting

    torch.manual_seed(3)
    network = fitting.Network()
    fitting.write(network, tmp_path / "w.safetensors", fitting.Plan())
    model = load(tmp_path / "w.safetensors")
    planes = observing.observe(WAVES[:1], None, 1).planes[40].astype(float)
    each, shared = features(planes)
    with torch.no_grad():
        out = network(torch.tensor(each[None], dtype=torch.float32), torch.tensor(shared[None], dtype=torch.float32))[0]
    scale = np.clip((out[:, 0].numpy() + 4.5) * 6, 0, 63)
    found = model.tables_of(each, shared) // 12
    assert np.abs(found - scale).max() < 0.6


@pytest.mark.heavy
def test_pieces_come_from_every_speaker(tmp_path: Path) -> None:
    from duplexforge.models import fitting

    for number, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        for place in range(3):
            sf.write(tmp_path / name / f"{place}.wav", np.full(RATE, 0.25 * (number + 1)), RATE)
    found = fitting.pieces(tmp_path, 6, 1, seconds=2)
    assert [len(piece) for piece in found] == [2 * RATE] * 6
    assert sorted(round(float(piece.mean()), 2) for piece in found) == [0.25] * 3 + [0.5] * 3
    again = fitting.pieces(tmp_path, 6, 1, seconds=2)
    assert all(np.array_equal(one, other) for one, other in zip(found, again, strict=True))
