"""The preset ``emilia`` whole: all six real engines on networks made on the spot, through the command and the role."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from duplexforge.config import StoreSettings, child_environment
from duplexforge.records import Manifest
from duplexforge.storage import open_store
from tests.unit.emilia import synth, tiny_mdx, tiny_pyannote, tiny_whisper

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("one", "two", "three")


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A man and a woman, four turns."""
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    sf.write(path, synth.talk(), synth.RATE)
    return path


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The preset pointed at weights that can be had here; everything is separated, so that the network really runs."""
    folder = tmp_path_factory.mktemp("weights")
    return {
        "mdx.model": str(tiny_mdx.identity(folder / "mdx.onnx")),
        "mdx.stem": "vocals",
        "separate.gate": 0,
        "pyannote.folder": str(tiny_pyannote.write_bands(folder / "diarization")),
        "transcribe.whisper_model": str(tiny_whisper.write(folder / "whisper")),
        # Nonsense is always doubtful: without this a random Whisper is asked again five times.
        "transcribe.temperatures": [0.0],
    }


def run(talk: Path, out: Path, options: dict[str, object], *more: str) -> dict[str, object]:
    """The command of a person, in a process of its own; its JSON."""
    command = [sys.executable, "-m", "Emilia", str(talk), "--out", str(out), "--preset", "emilia", "--json", *more]
    for name, value in options.items():
        command += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def done(
    talk: Path, options: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, object], Path]:
    out = tmp_path_factory.mktemp("done")
    return run(talk, out, options, "--language", "en"), out


def test_all_six_engines_ran(done: tuple[dict[str, object], Path]) -> None:
    result, _ = done
    facts = result["facts"]
    assert facts["engines"] == {
        "standardize": "av", "events": "none", "separate": "mdx", "diarize": "pyannote", "segment": "silero",
        "transcribe": "whisper", "score": "dnsmos", "export": "mp3",
    }  # fmt: skip
    assert result["outcome"] == "ok"
    assert sorted(result["models"]) == [
        "dnsmos", "mdx", "pyannote", "pyannote-embedding", "pyannote-segmentation", "silero-vad", "whisper",
    ]  # fmt: skip
    assert list(result["seconds"]) == [
        "standardize", "events", "separate", "diarize", "segment", "transcribe", "score", "export"
    ]  # fmt: skip
    assert facts["separation"] == "mdx"
    assert facts["overlap"] == "marked"
    assert facts["asr_encoder_passes"] == 1.0
    assert facts["real_time_factor"] > 0


def test_segments_carry_what_every_engine_found(done: tuple[dict[str, object], Path]) -> None:
    result, out = done
    segments = result["segments"]
    assert segments
    assert any(segment["text"] for segment in segments)
    for segment in segments:
        assert 1.0 <= segment["dnsmos"] <= 5.0
        assert segment["extra"]["separated"] == 1.0
        assert 0.0 <= segment["overlap"] <= 1.0
        assert hashlib.sha256((out / segment["audio"]).read_bytes()).hexdigest() == segment["sha256"]
    speakers = json.loads((out / "speakers.json").read_text())
    # Who says too little for an embedding has none.
    assert speakers
    assert set(speakers) <= {segment["speaker"] for segment in segments}
    words = json.loads((out / "words.json").read_text())
    for segment in segments:
        times = [time for word in words[segment["segment_id"]] for time in word[:2]]
        assert times == sorted(times)
        assert all(segment["start"] <= time <= segment["end"] for time in times)


def test_the_same_again(done: tuple[dict[str, object], Path], talk: Path, options: dict[str, object]) -> None:
    _, out = done
    again = out.with_name("again")
    run(talk, again, options, "--language", "en")
    assert {path.name: path.read_bytes() for path in again.iterdir()} == {
        path.name: path.read_bytes() for path in out.iterdir()
    }


def test_compat_runs_the_published_rules_with_the_same_engines(
    talk: Path, options: dict[str, object], tmp_path: Path
) -> None:
    result = run(talk, tmp_path / "out", {**options, "pipeline.compat": True, "transcribe.languages": []})
    assert result["outcome"] == "ok"
    assert result["facts"]["engines"]["separate"] == "mdx"


def test_missing_weights_are_named_with_the_cure(talk: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "Emilia", str(talk), "--out", str(tmp_path / "out"), "--preset", "emilia"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 69
    assert "UVR-MDX-NET-Inst_HQ_3.onnx" in done.stderr
    assert "cache_models.py" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Emilia package with weights where ``cache_models.py`` puts them; the network takes a tenth for music."""
    folder = tmp_path_factory.mktemp("package") / "Emilia"
    weights = ("*.onnx", "speaker-diarization-*", "faster-whisper-*", "models.lock.json")
    shutil.copytree(ROOT / "Emilia", folder, ignore=shutil.ignore_patterns("__pycache__", *weights))
    models = folder / "models"
    tiny_mdx.scaled(models / "UVR-MDX-NET-Inst_HQ_3.onnx", np.full((1, 1, 1, 1), 0.1, np.float32))
    tiny_pyannote.write_bands(models / "speaker-diarization-3.1")
    tiny_whisper.write(models / "faster-whisper-medium")
    return folder


def test_the_role_works_on_several_episodes_at_once(talk: Path, package: Path, tmp_path: Path) -> None:
    store = open_store(StoreSettings(store_url=f"file://{tmp_path}/store"))
    for name in NAMES:
        store.upload(talk, f"raw_audio/en/s/{name}.wav")
    variables = {
        "STORE_URL": store.url,
        "EMILIA_PATH": str(package),
        "EMILIA_PRESET": "emilia",
        "EPISODES_AT_ONCE": "3",
        "ASR_LANGUAGE": "en",
    }
    for arguments in (["seed", "process"], ["process", "--drain"]):
        command = [sys.executable, "-m", "duplexforge", *arguments]
        done = subprocess.run(command, env=child_environment(**variables), capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr
    manifests = [Manifest.model_validate_json(store.get(f"processed/en/{name}/manifest.json")) for name in NAMES]
    first = manifests[0]
    assert {entry.name for entry in first.files} >= {"all_segments.json", "speakers.json", "words.json"}
    assert list(first.seconds) == [
        "standardize", "events", "separate", "diarize", "segment", "transcribe", "score", "export"
    ]  # fmt: skip
    for manifest in manifests:
        assert manifest.outcome == "ok"
        assert manifest.facts["real_time_factor"] > 0
        assert 0 <= manifest.facts["asr_padding_waste"] < 1
        assert manifest.facts["asr_encoder_passes"] == 1.0
        assert manifest.facts["overlap_ratio"] >= 1.0
        assert set(manifest.models) == set(first.models) >= {"mdx", "whisper", "pyannote-segmentation"}
        # The same audio side by side: the same findings, whatever shared a batch with them.
        assert [entry.size for entry in manifest.files if entry.name.endswith(".mp3")] == [
            entry.size for entry in first.files if entry.name.endswith(".mp3")
        ]
        assert (manifest.flags, manifest.hours) == (first.flags, first.hours)
