"""``python -m Emilia``: exit codes, one sentence for a person, and what it must not import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from Emilia.__main__ import main
from Emilia.config import DEFAULT


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration without the two slow models."""
    content = json.loads(DEFAULT.read_text())
    content["presets"]["lite"]["score"]["engine"] = "signal"
    content["presets"]["lite"]["transcribe"]["engine"] = "none"
    path = tmp_path_factory.mktemp("config") / "quick.json"
    path.write_text(json.dumps(content))
    return path


def test_table(talk: Path, quick: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(talk), "--out", str(tmp_path / "out"), "--config", str(quick), "--episode", "one two"]) == 0
    shown = capsys.readouterr()
    rows = dict(line.strip().split(maxsplit=1) for line in shown.out.splitlines())
    assert rows["episode"] == "one-two"
    assert rows["outcome"] == "ok"
    assert rows["speakers"] == "2"
    assert "x real time" in rows["diarize"]
    assert shown.err == ""
    assert (tmp_path / "out" / "one-two_000000.mp3").exists()


def test_options_can_be_set(talk: Path, quick: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(talk), "--out", str(tmp_path), "--config", str(quick)]
    assert main([*command, "--set", "export.engine=flac", "--set", "segment.pad=0"]) == 0
    assert (tmp_path / "talk_000000.flac").exists()
    capsys.readouterr()
    assert main([*command, "--set", "export.bit_rate=1"]) == 2
    assert "export.bit_rate" in capsys.readouterr().err


def test_json(talk: Path, quick: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(talk), "--out", str(tmp_path), "--config", str(quick), "--json", "--language", "en"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["outcome"] == "ok"
    assert content["segments"] == json.loads((tmp_path / "all_segments.json").read_text())
    assert content["models"]["silero-vad"].startswith("v6")


def test_bad_input_is_65_and_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "page.mp3").write_text("<html></html>")
    for name in ("page.mp3", "absent.mp3"):
        assert main([str(tmp_path / name), "--out", str(tmp_path / "out")]) == 65
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.count("\n") == 1
        assert name in shown.err


def test_missing_model_is_69(talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(DEFAULT.read_text())
    content["presets"]["lite"]["transcribe"]["engine"] = "whisper"
    (tmp_path / "c.json").write_text(json.dumps(content))
    assert main([str(talk), "--out", str(tmp_path), "--config", str(tmp_path / "c.json")]) == 69
    assert "whisper" in capsys.readouterr().err


def test_usage_is_2(talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(talk), "--out", str(tmp_path), "--preset", "huge"]) == 2
    assert "huge" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main([str(talk)])
    assert caught.value.code == 2


def test_neither_torch_nor_librosa_nor_duplexforge_is_imported(talk: Path, quick: Path, tmp_path: Path) -> None:
    program = (
        "import sys, Emilia\n"
        "assert not {'numpy', 'av', 'onnxruntime'} & set(sys.modules), 'import Emilia is not light'\n"
        "from Emilia.__main__ import main\n"
        f"assert main([{str(talk)!r}, '--out', {str(tmp_path)!r}, '--config', {str(quick)!r}]) == 0\n"
        "heavy = {name.split('.')[0] for name in sys.modules} & {'torch', 'librosa', 'duplexforge', 'sklearn', 'speechmos'}\n"
        "assert not heavy, heavy\n"
    )
    root = DEFAULT.parents[1]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
