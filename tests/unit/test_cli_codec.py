"""``duplexforge codec`` as a person types it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from duplexforge.config import child_environment
from tests.unit.models.voices import RATE, voice

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the command in a folder of its own."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "duplexforge", "codec", *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, env=child_environment(), capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    sf.write(path, voice(1.0), RATE)
    return path


def test_there_and_back(run: Run, recording: Path, tmp_path: Path) -> None:
    done = run("encode", recording, "a.dfc", "--mode", "balanced", "--kbps", "15", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["bytes"] == (tmp_path / "a.dfc").stat().st_size
    assert facts["kbps"] <= 15
    done = run("decode", "a.dfc", "b.wav")
    assert done.returncode == 0, done.stderr
    assert "1.0 s" in done.stdout
    sound, rate = sf.read(tmp_path / "b.wav")
    assert (len(sound), rate) == (RATE, RATE)
    assert np.mean((sound - voice(1.0)) ** 2) < 0.01 * np.mean(voice(1.0) ** 2)


def test_bench_prints_a_row_for_each_recording(run: Run, recording: Path) -> None:
    done = run("bench", recording, recording, "--stream")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4
    rows = json.loads(run("bench", recording, "--json").stdout)
    assert rows[0]["snr"] > 20
    assert rows[0]["kbps"] <= 16


def test_a_damaged_file_is_decoded_and_reported(run: Run, recording: Path, tmp_path: Path) -> None:
    assert run("encode", recording, "a.dfc", "--stream").returncode == 0
    data = bytearray((tmp_path / "a.dfc").read_bytes())
    data[-10] ^= 1
    (tmp_path / "a.dfc").write_bytes(data)
    done = run("decode", "a.dfc", "b.wav")
    assert done.returncode == 65
    assert "1 packets of 26 were damaged, and " in done.stdout
    assert sf.info(tmp_path / "b.wav").frames == RATE


def test_bad_input_is_one_sentence(run: Run, recording: Path, tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"junk")
    for arguments, code, words in (
        (("encode", "none.wav", "a.dfc"), 65, "cannot read none.wav"),
        (("encode", recording, "no/where.dfc"), 65, "cannot write no/where.dfc"),
        (("encode", recording, "a.dfc", "--mode", "opus"), 2, "no codec mode opus"),
        (("encode", recording, "a.dfc", "--kbps", "1000"), 2, "out of reach"),
        (("decode", "junk", "b.wav"), 65, "no file of the codec"),
        (("fit", "none", "--out", "w.safetensors"), 2, "sub-folder for each speaker"),
    ):
        done = run(*arguments)
        assert done.returncode == code, done.stderr
        assert words in done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
