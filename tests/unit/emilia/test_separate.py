"""Separate: which engine, on which device, and what it leaves in the recording."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from Emilia.config import load_config
from Emilia.errors import BadConfig, ModelMissing
from Emilia.models import mdx
from Emilia.recording import Recording, Span, Waveform
from Emilia.stages.separate import Separate
from tests.unit.emilia import synth, tiny_mdx
from tests.unit.emilia.conftest import hush

Make = Callable[..., Waveform]


def staged(**overrides: object) -> Separate:
    return Separate(load_config(None, overrides=overrides))


def recorded(wave: Make, folder: Path) -> Recording:
    samples = synth.speech(1.0, rate=24000)
    recording = Recording(folder / "a.wav", "ep", folder, folder, wave=wave(samples, 24000))
    recording.narrow = wave(synth.speech(1.0), 16000)
    return recording


def test_without_an_engine_the_mix_is_kept_and_said_so(wave: Make, tmp_path: Path) -> None:
    stage, recording = staged(), recorded(wave, tmp_path)
    before = recording.wave, recording.narrow
    stage.load("cpu")
    stage.run(recording, hush)
    stage.close()
    assert (recording.wave, recording.narrow) == before
    assert recording.separated is None
    assert recording.facts == {"separation": "none"}
    assert stage.models == {}


@pytest.mark.heavy
def test_with_a_network_the_waveforms_are_new_and_named(wave: Make, tmp_path: Path) -> None:
    model = tiny_mdx.identity(tmp_path / "identity.onnx")
    stage = staged(**{"separate.engine": "mdx", "mdx.model": str(model), "mdx.stem": "vocals"})
    recording = recorded(wave, tmp_path)
    before = recording.full_rate().read(0, 24000)
    stage.load("cpu")
    told: list[float] = []
    stage.run(recording, told.append)
    assert np.abs(recording.full_rate().read(0, 24000) - before).max() < 1e-4
    assert recording.facts == {"separation": "mdx", "separated_seconds": 1.0}
    assert recording.separated == [Span(0.0, 1.0)]
    assert list(stage.models) == ["mdx"]
    assert told == sorted(told)
    assert told[-1] == 1.0
    stage.close()


def test_a_missing_model_is_named_with_its_cure() -> None:
    with pytest.raises(ModelMissing, match=r"absent\.onnx") as caught:
        staged(**{"separate.engine": "mdx", "mdx.model": "absent.onnx"}).load("cpu")
    assert "cache_models.py" in caught.value.cure


def test_the_stage_has_its_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def opened(path: Path, device: str, options: object) -> None:
        asked.append(device)
        raise ModelMissing(path.name, "this is a test.")

    monkeypatch.setattr(mdx, "Network", opened)
    for own in ("", "cuda:1"):
        with pytest.raises(ModelMissing):
            staged(**{"separate.engine": "mdx", "separate.device": own}).load("cpu")
    assert asked == ["cpu", "cuda:1"]


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(BadConfig, match="mdx, none"):
        staged(**{"separate.engine": "demucs"})


def test_torch_is_not_imported_before_the_model_is_loaded() -> None:
    code = "import sys, Emilia.models.mdx, Emilia.stages.separate; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
