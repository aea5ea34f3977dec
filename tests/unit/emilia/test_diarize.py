"""The diarize stage and what its engine ``pyannote`` says where it cannot work; no torch needed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from Emilia.config import load_config
from Emilia.errors import BadConfig, ModelMissing
from Emilia.models import torchaudio_mend
from Emilia.models.pyannote import PyannoteDiarizer, locate
from Emilia.recording import Recording, Turn, Waveform
from Emilia.stages.diarize import Diarize, named, names_of
from tests.unit.emilia.conftest import Samples, hush

SEGMENTATION, EMBEDDING = "segmentation/pytorch_model.bin", "embedding/pytorch_model.bin"
PLDA = ("plda/xvec_transform.npz", "plda/plda.npz")


class Found:
    """A diarizer that finds what it is told to."""

    adds = ("turns", "voices")
    marks_overlap = True

    def __init__(self, turns: list[Turn], voices: dict[str, list[float]]) -> None:
        self.models: dict[str, str] = {}
        self._turns, self._voices = turns, voices

    def load(self, device: str) -> None: ...

    def close(self) -> None: ...

    def turns(self, recording: Recording, progress: Callable[[float], None]) -> list[Turn]:
        recording.voices.update(self._voices)
        return self._turns


def ran(found: Found, wave: Waveform, tmp_path: Path) -> Recording:
    stage = Diarize(load_config(None))
    stage._diarizer = found
    recording = Recording(tmp_path, "ep", tmp_path, tmp_path, narrow=wave)
    recording.voices = {"S00": [9.0], "stale": [9.0]}
    stage.run(recording, hush)
    return recording


def test_voices_are_named_as_the_turns_are(wave: Callable[[Samples], Waveform], tmp_path: Path) -> None:
    turns = [Turn(3.0, 4.0, "one"), Turn(1.0, 2.0, "two"), Turn(1.5, 2.5, "three")]
    voices = {"one": [1.0], "two": [2.0], "nobody": [4.0]}
    recording = ran(Found(turns, voices), wave(np.zeros(80000, np.float32)), tmp_path)
    assert recording.turns == [Turn(1.0, 2.0, "S00"), Turn(1.5, 2.5, "S01"), Turn(3.0, 4.0, "S02")]
    assert recording.voices == {"S00": [2.0], "S02": [1.0]}
    assert recording.facts == {"speakers": 3, "overlap": "marked"}
    assert recording.outcome == "ok"


def test_nobody_speaks(wave: Callable[[Samples], Waveform], tmp_path: Path) -> None:
    recording = ran(Found([], {}), wave(np.zeros(80000, np.float32)), tmp_path)
    assert (recording.turns, recording.voices, recording.outcome) == ([], {}, "no_speech")


def test_names_follow_time() -> None:
    turns = [Turn(2.0, 3.0, "a"), Turn(1.0, 9.0, "b"), Turn(4.0, 5.0, "a")]
    assert names_of(turns) == {"b": "S00", "a": "S01"}
    assert [turn.speaker for turn in named(turns)] == ["S00", "S01", "S01"]


def folder(tmp_path: Path, *names: str) -> Path:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize(
    ("variant", "there", "missing", "page"),
    [
        ("3.1", (), SEGMENTATION, "pyannote/segmentation-3.0"),
        ("3.1", (SEGMENTATION,), EMBEDDING, "pyannote/segmentation-3.0"),
        ("community-1", (SEGMENTATION, EMBEDDING), PLDA[0], "pyannote/speaker-diarization-community-1"),
        ("community-1", (SEGMENTATION, EMBEDDING, PLDA[0]), PLDA[1], "pyannote/speaker-diarization-community-1"),
    ],
)
def test_the_missing_file_is_named_with_its_cure(
    tmp_path: Path, variant: str, there: tuple[str, ...], missing: str, page: str
) -> None:
    config = load_config(
        None, overrides={"pyannote.variant": variant, "pyannote.folder": str(folder(tmp_path, *there))}
    )
    with pytest.raises(ModelMissing) as caught:
        PyannoteDiarizer(config).load("cpu")
    assert str(tmp_path / missing) in caught.value.cure
    assert "python cache_models.py" in caught.value.cure
    assert page in caught.value.cure


def test_the_agglomerative_variant_wants_no_plda(tmp_path: Path) -> None:
    config = load_config(None, overrides={"pyannote.folder": str(folder(tmp_path, SEGMENTATION, EMBEDDING))})
    assert list(locate(config.pyannote)) == [SEGMENTATION, EMBEDDING]


def test_the_missing_package_is_named_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(None, overrides={"pyannote.folder": str(folder(tmp_path, SEGMENTATION, EMBEDDING))})
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelMissing, match=r"pyannote\.audio is missing: pip install .*emilia"):
        PyannoteDiarizer(config).load("cpu")


@pytest.mark.parametrize(("option", "value"), [("variant", "3.0"), ("block", 5.0)])
def test_values_without_sense_are_refused(option: str, value: object) -> None:
    with pytest.raises(BadConfig, match=option):
        Diarize(load_config(None, preset="emilia", overrides={f"pyannote.{option}": value}))


@pytest.mark.parametrize(
    ("torch", "torchaudio", "removed"),
    [
        ("None", "2.11.0+cu130", ["_torchaudio.abi3.so", "libtorchaudio.abi3.so"]),
        ("'13.0'", "2.11.0+cu130", []),
        ("None", "2.11.0+cpu", []),
    ],
)
def test_only_a_cuda_torchaudio_beside_a_cpu_torch_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torch: str, torchaudio: str, removed: list[str]
) -> None:
    packages = {
        "torch": f"__version__ = '2.13.0'\ndebug = False\ncuda: Optional[str] = {torch}\ngit_version = 'c0da'\n",
        "torchaudio": f"__version__ = '{torchaudio}'\ngit_version = '34c5'\n",
    }
    for name, text in packages.items():
        (tmp_path / name / "lib").mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text("raise OSError")
        (tmp_path / name / "version.py").write_text(text)
    for name in ("_torchaudio.abi3.so", "libtorchaudio.abi3.so", "readme.txt"):
        (tmp_path / "torchaudio" / "lib" / name).touch()
    monkeypatch.syspath_prepend(tmp_path)
    for name in packages:
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert [file.name for file in torchaudio_mend.mend()] == removed
    kept = {file.name for file in (tmp_path / "torchaudio" / "lib").iterdir()}
    assert kept == {"_torchaudio.abi3.so", "libtorchaudio.abi3.so", "readme.txt"} - set(removed)
    assert torchaudio_mend.mend() == []
