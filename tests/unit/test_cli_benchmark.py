"""``duplexforge benchmark`` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile as sf

from duplexforge.latency import measuring, picture
from duplexforge.latency.measuring import tone
from duplexforge.models.s2s import opening
from tests.unit.command import Run, runner
from tests.unit.latency import made

SMALL = ("--random", "--width", "16", "--layers", "1", "--repeat", "1", "--question", "q.wav")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs the command in a folder of its own that holds a question."""
    monkeypatch.chdir(tmp_path)
    sf.write(tmp_path / "q.wav", tone(0.16), 16_000)
    return runner(monkeypatch, capsys, "benchmark", "latency")


def test_a_drawn_model_in_text_json_and_png(run: Run, tmp_path: Path) -> None:
    done = run(*SMALL, "--out", "new/out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("RANDOM WEIGHTS, a drawn model")
    assert "first text token" in done.stdout
    assert done.stdout.endswith("new/out/latency.json\nnew/out/latency.png\n")
    found = json.loads((tmp_path / "new" / "out" / "latency.json").read_text())
    assert found["title"].startswith("RANDOM WEIGHTS")
    assert found["measures"]["answer"]["n"] == found["rounds"] == 1
    assert (tmp_path / "new" / "out" / "latency.png").read_bytes().startswith(b"\x89PNG")


def test_json_alone_is_what_is_printed(run: Run, tmp_path: Path) -> None:
    done = run(*SMALL, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["model"]["engine"] == "plain"
    assert found["question"]["name"] == "q.wav"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["q.wav"]


def test_without_matplotlib_there_is_json_and_one_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture, "find_spec", lambda name: None)
    monkeypatch.setattr(measuring, "measure", lambda asked: made.report())
    done = run(*SMALL, "--out", "out")
    assert done.returncode == 0
    assert done.stderr == "no latency.png: matplotlib is not installed (duplexforge[report])\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["latency.json"]


def test_without_weights_nothing_is_made_up(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "shipped", lambda: tmp_path / "s2s.safetensors")
    done = run("--out", "out")
    assert done.returncode == 69
    assert "there are no weights of a speech-to-speech model at" in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


def test_bad_input_is_one_sentence(run: Run) -> None:
    for arguments, code, words in (
        (("--weights", "none.safetensors"), 69, "at none.safetensors"),
        (("--width", "64"), 2, "add --random"),
        (("--random", "--weights", "q.wav"), 2, "one of the two"),
        (("--weights", "q.wav"), 69, "q.wav"),
        ((*SMALL, "--engine", "steam"), 2, "there is no engine steam"),
        ((*SMALL, "--engine", "plain", "--device", "cuda"), 2, "runs on the CPU alone"),
        ((*SMALL[:-1], "none.wav"), 65, "cannot read none.wav"),
        ((*SMALL, "--out", "q.wav/out"), 65, "cannot write to q.wav/out"),
    ):
        done = run(*arguments)
        assert done.returncode == code, done.stderr
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.heavy
def test_torch_on_the_processor_and_no_gpu(run: Run) -> None:
    import torch

    torch.set_num_threads(1)
    done = run(*SMALL, "--engine", "torch", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"]["engine"] == "torch"
    if not torch.cuda.is_available():
        done = run(*SMALL, "--device", "cuda")
        assert done.returncode == 69
        assert "torch cannot run the model on cuda" in done.stderr


def test_options_reach_the_measurement(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[measuring.Asked] = []
    monkeypatch.setattr(measuring, "measure", lambda asked: (seen.append(asked), made.report())[1])
    assert run("--random", "--device", "cuda", "--threads", "3").returncode == 0
    assert run("--weights", "w", "--engine", "onnx", "--clock", "cpu", "--repeat", "7").returncode == 0
    drawn, given = seen
    assert (drawn.engine, drawn.device, drawn.threads) == ("torch", "cuda", 3)
    assert drawn.random is not None
    assert (drawn.random.width, drawn.random.encoder_layers, drawn.random.decoder_layers) == (256, 4, 4)
    assert (given.weights, given.random, given.engine) == (Path("w"), None, "onnx")
    assert (given.clock, given.repeat, given.question) == ("cpu", 7, None)
