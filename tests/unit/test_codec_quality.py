"""The bench of the codec: what it reads, how it treats the peers, and what it calls a gate met."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from tests.unit.models.voices import RATE, voice

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import codec_quality as bench  # noqa: E402


def test_a_peer_is_shifted_to_where_it_fits() -> None:
    wave = voice(1.0)
    for shift in (-300, 0, 7, 1000):
        moved = np.roll(np.pad(wave, 2000), shift)[2000 : 2000 + len(wave)]
        found = bench.aligned(wave, moved)
        assert len(found) == len(wave)
        inner = slice(1100, -1100)
        assert np.allclose(found[inner], wave[inner], atol=1e-6)


def test_opus_comes_at_the_rate_asked_for_and_sounds_like_the_wave() -> None:
    wave = voice(2.0)
    sound, rates = bench.opus("audio")(wave, 16.0)
    assert rates["kbps"] == pytest.approx(16, rel=0.05)
    assert rates["packets"] == rates["kbps"]
    assert len(sound) == len(wave)
    assert bench.snr(wave, sound) > 3


def test_mp3_takes_the_rate_that_it_knows() -> None:
    sound, rates = bench.mp3(voice(2.0), 17.0)
    assert rates["kbps"] == pytest.approx(16, rel=0.1)
    assert bench.snr(voice(2.0), sound) > 3


def test_speakers_are_folders_and_items_are_the_same_in_every_run(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for place in range(6):
            sf.write(tmp_path / name / f"{place}.wav", voice(4.0, place), RATE)
    found = dict(bench.speakers(tmp_path, 2))
    assert list(found) == ["a", "b"]
    assert [len(wave) for wave in found["a"]] == [8 * RATE, 8 * RATE]
    again = dict(bench.speakers(tmp_path, 2))
    assert all(np.array_equal(one, other) for one, other in zip(found["b"], again["b"], strict=True))
    with pytest.raises(SystemExit, match="speech_data"):
        list(bench.speakers(tmp_path / "a", 2))


def test_gates_are_met_or_not() -> None:
    values = {"kbps": 15.9, "packets": 15.3, "snr": 25.1, "pesq_wb": 3.95, "stoi": 0.97}
    assert bench.met(bench.Row("all", "fidelity", values)) is True
    assert bench.met(bench.Row("all", "balanced", values)) is True
    assert bench.met(bench.Row("all", "balanced", values | {"kbps": 16.2})) is False
    assert bench.met(bench.Row("all", "fidelity", values | {"snr": 24.9})) is False
    assert bench.met(bench.Row("all", "token", values)) is True
    assert bench.met(bench.Row("all", "opus", values)) is None
    rows = [bench.Row("a", "fidelity", values), bench.Row("b", "fidelity", values | {"snr": 27.1})]
    assert bench.overall(rows)[0].values["snr"] == pytest.approx(26.1)
    assert "gate met" in bench.table(rows)
    assert bench.to_json(rows)[-1]["speaker"] == "all"


@pytest.mark.heavy
def test_the_bench_runs(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    sf.write(tmp_path / "a" / "0.wav", voice(3.0), RATE)
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "codec_quality.py"),
        "--quick",
        "--no-peers",
        "--data",
        tmp_path,
    ]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "fidelity" in done.stdout
