"""``duplexforge duplex build`` as a person types it: what is printed, written and returned, and what a kill leaves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from duplexforge import log
from duplexforge.cli import main
from duplexforge.config import child_environment
from duplexforge.duplex.validate import validate
from tests.duplex import processed as episodes
from tests.duplex.magichub import make_corpus
from tests.duplex.tokenizer import tiny_tokenizer
from tests.unit.duplex.building import sides, tree


class Done(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus and a tokenizer."""
    folder = tmp_path_factory.mktemp("place")
    make_corpus(folder / "talks", sessions=3, seconds=8.0, spoil=("bad_times",), formats=((44_100, 2), (16_000, 1)))
    tiny_tokenizer(folder / "tiny")
    return folder


@pytest.fixture
def run(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs the command where the corpus lies, in this process: transformers is loaded once."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["duplexforge", "duplex", "build", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    yield run
    log.setup(level="WARNING")


def test_a_build_with_every_option(run: Run, place: Path) -> None:
    options = [
        "--model", "tiny", "--silence-token", "<|box_end|>", "--frames-per-chunk", "4", "--text-tokens", "4",
        "--alignment", "even", "--max-event-tokens", "9", "--window", "3", "--overlap", "1", "--splits", "0.4,0.3,0.3",
        "--embedding", "none", "--audio-format", "wav", "--language", "eng", "--licence", "cc0", "--shards", "--json",
    ]  # fmt: skip
    done = run("talks", "--out", "every", *options)
    assert done.code == 65, done.err  # the corpus has one bad line
    report = json.loads(done.out)
    assert report["problems"]["bad_times"] == report["left_out"] == 1
    assert (report["source"], report["conversations"], report["mode"]) == ("talks", 3, "dataset")
    kept = json.loads((place / "every" / "format.json").read_text())
    given = ("silence_token", "text_tokens", "alignment", "max_event_tokens", "model")
    assert [kept[name] for name in given] == ["<|box_end|>", 4, "even", 9, "tiny"]
    manifest = json.loads((place / "every" / "manifest.json").read_text())
    assert manifest["settings"] == {
        "agent_speaker": None, "window": 3.0, "overlap": 1.0, "splits": [0.4, 0.3, 0.3], "embedding": "none",
        "audio_format": "wav", "shards": True,
    }  # fmt: skip
    rows = sides(place / "every")
    assert len(rows) == 6
    assert {(row["language"], row["licence"], row["user_audio"][:4]) for row in rows.values()} == {
        ("en", "cc0", b"RIFF")
    }
    assert all(totals["sides"] == 2 for totals in manifest["totals"].values())


def test_one_agent_by_id_and_several_workers(run: Run, place: Path) -> None:
    number = json.loads((place / "tiny" / "tokenizer.json").read_text())["added_tokens"][8]
    common = ["talks", "--model", "tiny", "--silence-token", number["id"], "--agent-speaker", "G0003", "--window", 2]
    for workers in (1, 2):
        done = run(*common, "--shards", "--workers", workers, "--out", f"one{workers}")
        assert done.code == 65, done.err
        assert "conversations without the speaker asked for: 2" in done.out
    assert tree(place / "one1") == tree(place / "one2")
    assert list(sides(place / "one1")) == ["A0002_S001--G0003"]
    assert json.loads((place / "one1" / "format.json").read_text())["silence_token"] == number["content"]


def test_processed_episodes(run: Run, tmp_path: Path, place: Path) -> None:
    store, _ = episodes.store_in(tmp_path)
    turns = episodes.chat(12)
    rows = episodes.rows_of("ep", turns)
    sound = np.sum(list(episodes.voices(turns, 31.0).values()), axis=0, dtype=np.float32)
    episodes.commit(store, "ep", rows, recording=episodes.flac(sound), files=episodes.cuts(sound, rows))
    for source, out, options in (
        (tmp_path, "folder", []),
        (f"file://{tmp_path}", "url", []),
        (tmp_path, "named", ["--corpus", "processed"]),
    ):
        done = run(source, "--model", "tiny", "--out", out, *options)
        assert done.code == 0, done.err
    assert tree(place / "folder") == tree(place / "url") == tree(place / "named")
    assert validate(place / "folder").findings == []
    rows_built = sides(place / "folder")
    assert [name.partition("--")[2] for name in rows_built] == ["ep-S00", "ep-S01"]
    assert {row["licence"] for row in rows_built.values()} == {"CC-BY-4.0"}
    done = run(tmp_path, "--model", "tiny", "--min-seconds", "100", "--out", "none")
    assert done.code == 65
    assert "at least 100 are wanted" in done.err


def test_script_mode(run: Run, place: Path) -> None:
    done = run("talks", "--mode", "script", "--model", "tiny", "--out", "parsed")
    assert done.code == 65, done.err
    names = sorted(path.name for path in (place / "parsed").iterdir())
    assert names == sorted([f"{path.stem}.json" for path in (place / "talks" / "WAV").iterdir()] + ["report.jsonl"])
    rows = json.loads((place / "parsed" / names[0]).read_text())
    assert set(rows[0]) == {"start", "end", "text", "input_ids", "duration"}
    assert ": bad_times: 1" in done.out
    assert "TXT/" in done.out


def test_a_dry_run(run: Run, place: Path) -> None:
    done = run("talks", "--model", "tiny", "--out", "dry", "--dry-run")
    assert done.code == 65, done.err
    assert "3 conversations of talks read, nothing written" in done.out
    assert not (place / "dry").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["absent"], 2, "there is no folder absent, and it is no store's URL"),
        (["talks", "--mode", "both"], 2, "there is no mode 'both': dataset, script"),
        (["talks", "--corpus", "tapes"], 2, "there is no corpus 'tapes': magichub, processed"),
        (["talks", "--audio-format", "mp3"], 2, "there is no 'mp3': flac, wav"),
        (["talks", "--splits", "1,2"], 2, "--splits wants three numbers"),
        (["talks", "--window", "0"], 2, "--window must be more than 0"),
        (["talks", "--min-seconds", "-1"], 2, "--min-seconds must be 0 or more"),
        (["talks", "--agent-speaker", "G9"], 2, "nobody is called G9"),
        (["talks", "--out", "tiny"], 2, "tiny holds other things"),
        (["tiny"], 65, "tiny is no MagicHub corpus"),
        (["talks", "--model", "./nowhere"], 69, "there is no folder ./nowhere"),
        (["talks", "--embedding", "onnx:no.onnx"], 69, "there is no speaker network at no.onnx"),
        (["talks", "--alignment", "guess"], 78, "alignment: Input should be 'queue', 'even' or 'words'"),
        (["talks", "--frames-per-chunk", "13"], 78, "does not make 13 tokens in the encoder"),
        (["talks", "--silence-token", "hello there"], 78, "silence token hello there"),
        (["talks", "--silence-token", "999999"], 78, "has no token 999999"),
    ],
)
def test_a_wrong_command_is_one_sentence(arguments: list[str], code: int, said: str, run: Run, place: Path) -> None:
    out = [] if "--out" in arguments else ["--out", "wrong"]
    model = [] if "--model" in arguments else ["--model", "tiny"]
    done = run(*arguments, *out, *model)
    assert (done.code, said in done.err) == (code, True), done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    assert not (place / "wrong").exists()


def test_a_killed_build_is_built_again(run: Run, place: Path) -> None:
    make_corpus(place / "long", sessions=5, seconds=40.0)
    command = [sys.executable, "-m", "duplexforge", "duplex", "build", "long", "--model", "tiny", "--workers", "2"]
    command += ["--out", "killed"]
    with subprocess.Popen(command, cwd=place, env=child_environment(STORE_URL=""), stderr=subprocess.DEVNULL) as build:
        until = time.monotonic() + 60
        while not list((place / "killed").glob(".building-*/*.arrow")):
            assert time.monotonic() < until
            assert build.poll() is None
            time.sleep(0.02)
        build.send_signal(signal.SIGKILL)
    assert not (place / "killed" / "manifest.json").exists()
    assert list((place / "killed").iterdir())
    for out in ("killed", "whole"):
        assert run("long", "--model", "tiny", "--out", out).code == 0
    assert tree(place / "killed") == tree(place / "whole")
    refused = run("long", "--model", "tiny", "--out", "whole")
    assert (refused.code, "holds a finished data set" in refused.err) == (2, True)


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; from duplexforge import cli_duplex; "
        "print(*sorted({'numpy', 'pyarrow', 'soundfile', 'soxr', 'transformers', 'obstore'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
