"""The listener ``ast``: its spectrogram against independent ones, its loading, its answers against transformers' own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from Emilia.config import Config, load_config
from Emilia.errors import BadConfig, ModelMissing
from Emilia.models.audioset import Ast, Frontend, locate
from Emilia.models.fbank import HOP, WINDOW, fbank
from Emilia.recording import Recording, Waveform
from Emilia.stages.events import Events, cells
from tests.unit.emilia import synth, tiny_ast
from tests.unit.emilia.conftest import hush

Make = Callable[..., Waveform]
FLOOR = float(np.finfo(np.float32).eps)


def slow(samples: np.ndarray, bands: int) -> np.ndarray:
    """Kaldi's definition, frame by frame and triangle by triangle in double precision."""
    mel = [1127.0 * np.log(1.0 + f / 700.0) for f in (20.0, 8000.0)]
    step = (mel[1] - mel[0]) / (bands + 1)
    window = [0.5 - 0.5 * np.cos(2.0 * np.pi * n / 399.0) for n in range(400)]
    rows = []
    for start in range(0, len(samples) - 399, 160):
        frame = samples[start : start + 400].astype(np.float64)
        frame = frame - frame.mean()
        sharp = np.array([frame[n] - 0.97 * frame[max(n - 1, 0)] for n in range(400)])
        power = np.abs(np.fft.rfft(sharp * window, 512)) ** 2
        row = []
        for band in range(bands):
            left = mel[0] + band * step
            total = 0.0
            for bin_ in range(256):
                at = 1127.0 * np.log(1.0 + bin_ * 31.25 / 700.0)
                if left < at < left + 2 * step:
                    total += power[bin_] * (1.0 - abs(at - left - step) / step)
            row.append(np.log(max(total, FLOOR)))
        rows.append(row)
    return np.array(rows)


# -- the spectrogram ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bands", [32, 128])
def test_the_spectrogram_is_kaldis(bands: int) -> None:
    samples = synth.speech(0.3)
    expected = slow(samples, bands)
    assert expected.shape == (28, bands)
    assert np.abs(fbank(samples, bands) - expected).max() < 2e-3
    assert np.abs(fbank(samples, bands) - expected).mean() < 1e-4


def test_silence_is_the_floor_and_less_than_a_frame_is_none() -> None:
    assert np.allclose(fbank(np.zeros(1600, np.float32)), np.log(FLOOR))
    assert fbank(np.zeros(WINDOW - 1, np.float32)).shape == (0, 128)
    assert fbank(np.zeros(WINDOW, np.float32)).shape == (1, 128)


@given(first=st.integers(0, 40), count=st.integers(1, 20))
@settings(max_examples=30, deadline=None)
def test_a_part_has_the_frames_of_the_whole(first: int, count: int) -> None:
    samples = synth.speech(1.0)
    part = samples[first * HOP : first * HOP + WINDOW + (count - 1) * HOP]
    assert np.abs(fbank(part) - fbank(samples)[first : first + count]).max() < 1e-4


@pytest.mark.heavy
def test_the_spectrogram_is_torchaudios_and_that_of_transformers() -> None:
    import torch
    import torchaudio.compliance.kaldi as kaldi
    from transformers import ASTFeatureExtractor

    samples = synth.dialogue([(synth.MAN, 3.0), (synth.WOMAN, 3.0)])[: 16000 * 6]
    theirs = kaldi.fbank(torch.from_numpy(samples)[None], window_type="hanning", num_mel_bins=128).numpy()
    assert np.abs(fbank(samples) - theirs).max() < 5e-3
    extractor = ASTFeatureExtractor()
    expected = extractor(samples, sampling_rate=16000, return_tensors="np")["input_values"]
    path = Path(__file__).with_name("absent.json")
    frontend = Frontend.__new__(Frontend)
    frontend.bands, frontend.length = 128, 1024
    frontend.mean, frontend.deviation = extractor.mean, extractor.std
    assert not path.exists()
    assert np.abs(frontend(samples, [(0, len(samples))]) - expected).max() < 1e-3


# -- the front end -----------------------------------------------------------------------------------------------------


def frontend(folder: Path, **changes: object) -> Frontend:
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(tiny_ast.described(**changes)))
    return Frontend(path)


def test_windows_of_a_stretch_are_those_of_each_alone(tmp_path: Path) -> None:
    samples, made = synth.speech(3.0), frontend(tmp_path)
    spans = [(0, 16000), (8000, 24000), (16000, 32000), (47520, 48000)]
    together = made(samples, spans)
    assert together.shape == (4, tiny_ast.LENGTH, tiny_ast.BANDS)
    for window, (low, high) in zip(together, spans, strict=True):
        alone = made(samples[low:high], [(0, high - low)])[0]
        assert np.abs(window - alone).max() < 1e-5
    padding = (0.0 - tiny_ast.MEAN) / (2 * tiny_ast.DEVIATION)
    assert np.allclose(together[0, 98:], padding)
    assert np.allclose(together[3, 1:], padding)


def test_a_window_longer_than_the_network_hears_is_cut(tmp_path: Path) -> None:
    made = frontend(tmp_path, max_length=50)
    assert made(synth.speech(1.0), [(0, 16000)]).shape == (1, 50, tiny_ast.BANDS)
    assert made.seconds == pytest.approx(0.515)


@pytest.mark.parametrize(
    "change",
    [{"sampling_rate": 44100}, {"std": 0.0}, {"num_mel_bins": "many"}, {"do_normalize": False}, {"max_length": 0}],
)
def test_an_input_that_is_not_ours_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(BadConfig, match=r"preprocessor_config\.json"):
        frontend(tmp_path, **change)
    (tmp_path / "preprocessor_config.json").write_text("[")
    with pytest.raises(BadConfig, match="does not describe"):
        Frontend(tmp_path / "preprocessor_config.json")


# -- loading -----------------------------------------------------------------------------------------------------------


def configured(folder: Path, **changes: object) -> Config:
    options = {"engine": "ast", "folder": str(folder), "window": 1.0, "hop": 0.5, "batch": 3, **changes}
    return load_config(None, overrides={f"events.{name}": value for name, value in options.items()})


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_ast.write(tmp_path_factory.mktemp("ast") / "tiny")


def test_missing_files_are_named_with_their_cure(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=r"config\.json") as caught:
        locate(str(tmp_path))
    assert "cache_models.py --models ast-audioset" in caught.value.cure


def test_torch_and_transformers_are_not_imported_before_the_model_is_loaded() -> None:
    code = "import sys, Emilia.models.audioset; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


@pytest.mark.heavy
def test_a_damaged_network_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny, folder)
    (folder / "model.safetensors").write_bytes(b"not tensors at all")
    with pytest.raises(ModelMissing, match="cannot be loaded"):
        Ast(configured(folder)).load("cpu")


@pytest.mark.heavy
def test_weights_that_lack_a_layer_are_refused(tiny: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "copy"
    shutil.copytree(tiny, folder)
    weights = {name: value for name, value in load_file(folder / "model.safetensors").items() if "dense" not in name}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelMissing, match="it has no "):
        Ast(configured(folder)).load("cpu")


@pytest.mark.heavy
def test_a_network_of_other_sounds_is_refused(tmp_path: Path) -> None:
    folder = tiny_ast.write(tmp_path / "cars", labels=("Engine", "Horn"))
    with pytest.raises(BadConfig, match="none of the sounds"):
        Ast(configured(folder)).load("cpu")


@pytest.mark.heavy
def test_windows_that_it_cannot_hear_are_refused(tiny: Path) -> None:
    with pytest.raises(BadConfig, match=r"at most 1\.295 s"):
        Ast(configured(tiny, window=1.5)).load("cpu")


# -- listening ---------------------------------------------------------------------------------------------------------


@pytest.mark.heavy
def test_scores_are_those_of_transformers_for_each_window(tiny: Path, wave: Make) -> None:
    import torch
    from transformers import ASTFeatureExtractor, ASTForAudioClassification

    listener = Ast(configured(tiny))
    listener.load("cpu")
    recorded = wave(synth.talk())
    grid = cells(recorded.frames, 16000, 8000)
    rows = np.concatenate(list(listener.scores(recorded, grid)))
    extractor = ASTFeatureExtractor(num_mel_bins=tiny_ast.BANDS, max_length=tiny_ast.LENGTH)
    network = ASTForAudioClassification.from_pretrained(tiny).eval()
    for row, cell in zip(rows, grid, strict=True):
        heard = extractor(recorded.read(cell.low, cell.high), sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            expected = torch.sigmoid(network(**heard).logits)[0].numpy()
        assert np.abs(row - expected).max() < 2e-3
    # Not a constant: the input decides.
    assert np.ptp(rows, axis=0).max() > 0.05
    assert list(listener.labels) == list(tiny_ast.LABELS)
    assert sorted(listener.models) == ["ast", "ast-events"]
    listener.close()


@pytest.mark.heavy
def test_a_recording_gets_the_same_events_whatever_the_batch(tiny: Path, wave: Make, tmp_path: Path) -> None:
    recorded = wave(synth.talk())
    found = []
    for batch in (1, 3, 100):
        stage = Events(configured(tiny, batch=batch, threshold=0.5))
        stage.load("cpu")
        recording = Recording(tmp_path / "a", "ep", tmp_path, tmp_path, narrow=recorded)
        stage.run(recording, hush)
        assert recording.facts == {"events": "ast"}
        found.append([event[:4] for event in recording.events or []])
        stage.close()
    assert found[0] == found[1] == found[2]


def test_the_table_has_each_label_once() -> None:
    words = Ast(load_config(None)).events
    labels = [label for names in words.values() for label in names]
    assert len(labels) == len(set(labels))
    assert {"laughter", "applause", "cheering", "crowd", "music"} <= set(words)
