"""``duplexforge convert`` as a person types it: what is printed, written and returned."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile as sf

from duplexforge.config import child_environment
from tests.unit.converting import made

Run = Callable[..., "subprocess.CompletedProcess[str]"]
SOUND = {"event": "applause", "label": "Clapping", "start": 3.75, "end": 4.0, "score": 0.8125}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the command in a folder of its own."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "duplexforge", "convert", *map(str, arguments)]
        environment = child_environment(STORE_URL="")
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """The folder of a run: raw audio and processed episodes."""
    folder = tmp_path / "corpus"
    store = made.folder_store(folder)
    made.commit(store, "yt-dQw4w9WgXcQ", [made.segment("yt-dQw4w9WgXcQ", n) for n in range(3)], events=[SOUND])
    made.commit(store, "file-a", [made.segment("file-a", 0)])
    made.put_recording(store, "file-a", made.write_wav(tmp_path / "a.wav", made.tone(1.0)))
    return folder


def test_timeline_dataset_and_audio_of_a_run(run: Run, corpus: Path, tmp_path: Path) -> None:
    done = run("timeline", corpus, "--out", "t.jsonl", "--merge-threshold", "0.5", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["written"], report["segments"], report["entries"], report["events"]) == (2, 4, 3, 1)
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert [(row["video_id"], len(row["timeline"])) for row in rows] == [("file-a", 1), ("dQw4w9WgXcQ", 3)]

    done = run("audio", corpus, "--out", "audio", "--to", "wav", "--rate", "16000", "--channels", "1")
    assert done.returncode == 0, done.stderr
    assert "1 converted (1.0 s)" in done.stdout
    assert sf.info(tmp_path / "audio" / "file-a.wav").samplerate == 16000

    done = run("dataset", f"file://{corpus}", "--out", "set", "--format", "jsonl", "--audio", "audio")
    assert done.returncode == 0, done.stderr
    first = json.loads((tmp_path / "set" / "train.jsonl").read_text().splitlines()[0])
    assert first["audio"] == "../audio/file-a.wav"


def test_the_older_spelling_of_transcoding(run: Run, tmp_path: Path) -> None:
    made.write_av(tmp_path / "in" / "a.webm", made.tone(1.0, 48000), "libopus")
    made.write_wav(tmp_path / "in" / "b.wav", made.tone(1.0))
    done = run("audio", "in", "--out", "out", "--from", "webm", "--to", "flac")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.flac"]
    (tmp_path / "in" / "bad.webm").write_bytes(b"no")
    done = run("audio", "in", "--out", "out", "--from", "webm", "--json")
    assert done.returncode == 65
    assert (json.loads(done.stdout)["there"], json.loads(done.stdout)["failed"][0][0]) == (1, "bad")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["timeline", "absent", "--out", "t"], "there is no folder absent"),
        (["timeline", ".", "--out", "t"], "belongs to a store"),
        (["timeline", "corpus", "--out", "t", "--merge-threshold", "-1"], "--merge-threshold must be 0 or more"),
        (["dataset", "corpus", "--out", "t", "--format", "csv"], "jsonl, parquet"),
        (["audio", "corpus", "--out", "t", "--to", "mp3"], "flac, wav"),
        (["audio", "absent", "--out", "t"], "there is no recording at absent"),
    ],
)
def test_a_wrong_command_is_one_sentence(
    run: Run, corpus: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = run(*arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "t").exists()


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from duplexforge import cli; "
        "print(*sorted({'av', 'numpy', 'pyarrow', 'soxr', 'obstore'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
