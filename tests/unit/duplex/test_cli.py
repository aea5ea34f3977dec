"""``duplexforge duplex build`` as a person types it: what is printed, written and returned, and what a kill leaves."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub.constants
import numpy as np
import pytest

from duplexforge import log
from duplexforge.cli import main
from duplexforge.config import child_environment
from duplexforge.duplex.validate import validate
from duplexforge.loading.collator import Collator
from duplexforge.loading.dataset import easy_load
from tests.duplex import processed as episodes
from tests.duplex.magichub import make_corpus
from tests.duplex.network import speaker_network
from tests.duplex.tokenizer import tiny_tokenizer
from tests.unit.duplex.building import sides, tree
from tests.unit.models.speakers_made import written


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
    # What HF_HUB_OFFLINE sets: no test asks the real Hub.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)

    def run(*arguments: object, command: str = "build") -> Done:
        monkeypatch.setattr(sys, "argv", ["duplexforge", "duplex", command, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    yield run
    # Not to the stream of this test, which is closed when others log.
    log.setup(level="WARNING", stream=sys.__stderr__)


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
        "audio_format": "wav", "shards": True, "corpus": "magichub",
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
        done = run(*common, "--workers", workers, "--out", f"one{workers}")
        assert done.code == 65, done.err
        assert "conversations without the speaker asked for: 2" in done.out
    assert tree(place / "one1") == tree(place / "one2")
    assert list(sides(place / "one1")) == ["A0002_S001--G0003"]
    assert json.loads((place / "one1" / "format.json").read_text())["silence_token"] == number["content"]


def _episode(store: Any, name: str, **changes: Any) -> None:
    """A talk of half a minute."""
    turns = episodes.chat(12)
    rows = episodes.rows_of(name, turns)
    sound = np.sum(list(episodes.voices(turns, 31.0).values()), axis=0, dtype=np.float32)
    episodes.commit(store, name, rows, recording=episodes.flac(sound), files=episodes.cuts(sound, rows), **changes)


def test_processed_episodes(run: Run, tmp_path: Path, place: Path) -> None:
    store, _ = episodes.store_in(tmp_path)
    _episode(store, "ep")
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


def test_the_store_of_the_settings_is_built_from_and_sent_to(
    run: Run, tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = episodes.store_in(tmp_path)
    _episode(store, "ep")
    monkeypatch.setenv("STORE_URL", f"file://{tmp_path}")
    done = run("--model", "tiny", "--out", "mine", "--send", "calls", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)
    assert f"file://{tmp_path}/duplex/calls/" in done.err
    here, there = easy_load(place / "mine"), easy_load(f"file://{tmp_path}/duplex/calls")
    assert len(here) == len(there) > 0
    assert all(
        np.array_equal(one["input_audios"], other["input_audios"]) for one, other in zip(here, there, strict=True)
    )
    # Again it is the same, and nothing is sent; with other rules it is another one, which wants another name.
    assert "calls/ was there" in run(place / "mine", "calls", command="send").err
    done = run("--model", "tiny", "--window", "10", "--out", "other", "--send", "calls")
    assert (done.code, "another data set calls" in done.err) == (2, True)


def test_who_has_opted_out_is_never_in_a_set(run: Run, tmp_path: Path, place: Path) -> None:
    store, _ = episodes.store_in(tmp_path)
    for name in ("yt-AAAAAAAAAAA", "yt-BBBBBBBBBBB", "ep"):
        _episode(store, name)
    _episode(store, "feed", url="https://gone.example.net/talk.mp3")
    store.put(episodes.LAYOUT.opt_out(), b"# by letter\nyt-AAAAAAAAAAA\nBBBBBBBBBBB\ngone.example.net\n")
    done = run(tmp_path, "--model", "tiny", "--out", "asked")
    assert (done.code, "not wanted: opted_out: 3" in done.out) == (0, True), done.err
    assert {row["group"] for row in sides(place / "asked").values()} == {"ep"}
    lines = [json.loads(line) for line in (place / "asked" / "report.jsonl").read_text().splitlines()]
    assert [(line["reason"], line["by_rule"]) for line in lines] == [("opted_out", True)] * 3
    # No byte of theirs is left anywhere in it.
    whole = b"".join(path.read_bytes() for path in (place / "asked").rglob("*.arrow"))
    assert not any(name in whole for name in (b"AAAAAAAAAAA", b"BBBBBBBBBBB", b"gone.example"))
    told = run(tmp_path, "--mode", "script", "--model", "tiny", "--out", "asked-texts")
    assert (told.code, len(list((place / "asked-texts").glob("*--*.json")))) == (0, 2)
    manifest = json.loads((place / "asked" / "manifest.json").read_text())
    assert manifest["settings"]["corpus"] == "processed"
    assert manifest["settings"]["rules"]["min_turns"] == 2.0
    # Without them there is nothing; the sentence says why.
    store.put(episodes.LAYOUT.opt_out(), b"ep\nyt-AAAAAAAAAAA\nBBBBBBBBBBB\ngone.example.net\n")
    done = run(tmp_path, "--model", "tiny", "--out", "nobody")
    assert (done.code, "opted out" in done.err or "opt-out" in done.err) == (65, True), done.err
    assert not (place / "nobody").exists()


def test_voices_from_a_network_all_the_way(run: Run, place: Path) -> None:
    speaker_network(place / "net.onnx")
    common = ["talks", "--model", "tiny", "--embedding", "onnx:net.onnx"]
    assert run(*common, "--window", 2, "--out", "voices").code == 65
    checked = run("voices", command="validate")
    assert (checked.code, checked.out.splitlines()[-1]) == (0, "voices: valid")
    data = easy_load(place / "voices")
    rows = sides(place / "voices")
    assert {row["embedding_engine"] for row in rows.values()} == {data.manifest.settings["embedding"]}
    for item in data:
        row = rows[item["session_id"]]
        vector = item["speaker_embedding"]
        assert (vector is None) == ("no_speaker_embedding" in row["flags"])
        if vector is not None:
            np.testing.assert_array_equal(vector, np.asarray(row["speaker_embedding"], np.float32))
            assert (vector.dtype, vector.shape) == (np.float32, (192,))
    batch = Collator(data.format, audio_token_id=99)(data[:4])
    assert batch["speaker_mask"].all()
    np.testing.assert_array_equal(batch["speaker_embeddings"][0], data[0]["speaker_embedding"])
    # Where the network lies changes nothing in the set.
    (place / "nets").mkdir()
    speaker_network(place / "nets" / "net.onnx")
    run(*common[:-1], "onnx:nets/net.onnx", "--window", 2, "--out", "voices-again")
    assert tree(place / "voices") == tree(place / "voices-again")


def test_voices_from_weights_of_our_own_all_the_way(run: Run, place: Path) -> None:
    written(place / "speakers.safetensors")
    common = ["talks", "--model", "tiny", "--embedding", "speakers.safetensors"]
    assert run(*common, "--out", "own-voices").code == 65
    assert run("own-voices", command="validate").code == 0
    digest = hashlib.sha256((place / "speakers.safetensors").read_bytes()).hexdigest()
    name = f"speakers:speakers.safetensors@{digest[:12]}"
    assert easy_load(place / "own-voices").manifest.settings["embedding"] == name
    rows = list(sides(place / "own-voices").values())
    assert {row["embedding_engine"] for row in rows} == {name}
    heard = [row["speaker_embedding"] for row in rows if row["speaker_embedding"] is not None]
    assert heard
    assert all(np.linalg.norm(vector) == pytest.approx(1, abs=1e-5) for vector in heard)


def test_a_set_that_was_moved_and_whose_tokenizer_is_gone(
    run: Run, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("talks", "--model", "tiny", "--out", "mover").code == 65
    (place / "mover").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    gone = run("moved", command="validate")
    assert (gone.code, gone.out) == (69, "")
    assert "; or name it with --model, or go without it with --no-tokenizer" in gone.err
    assert gone.err.count("\n") == 1
    for options in (["--model", place / "tiny"], ["--no-tokenizer"]):
        done = run("moved", *options, command="validate")
        assert (done.code, done.out.splitlines()[-1]) == (0, "moved: valid")
    session = run("moved", "--json", command="inspect")
    name = json.loads(session.out)[0]["session_id"]
    assert run("moved", name, command="inspect").code == 69
    assert run("moved", name, "--no-tokenizer", command="inspect").code == 0
    # A model that was named is what is wrong; there is no more to say.
    wrong = run("moved", "--model", "./nothing", command="validate")
    assert (wrong.code, "or name it" in wrong.err) == (69, False)


def test_inspect_says_what_is_wrong(run: Run, place: Path) -> None:
    assert run("talks", "--model", "tiny", "--out", "seen").code == 65
    name = next(iter(sides(place / "seen")))
    listed = run("seen", command="inspect")
    # In one piece, also where lines are short.
    assert (listed.code, name in listed.out) == (0, True)
    for arguments, code, told in (
        (["seen", name, "--html", "no/folder/page.html"], 78, "cannot write to no/folder/page.html"),
        (["seen", name, "--start", "500"], 2, "nothing lies from 500 s on"),
        (["seen", name, "--start", "5", "--end", "1"], 2, "nothing lies from 5 s on"),
        (["seen", "nobody"], 2, "has no side 'nobody'"),
        (["talks"], 65, "talks is no finished duplex data set: it has no manifest.json"),
        (["nowhere"], 65, "nowhere is no finished duplex data set"),
    ):
        done = run(*arguments, command="inspect")
        assert (done.code, told in done.err, done.err.count("\n")) == (code, True, 1), done.err
    (place / "building" / "storage").mkdir(parents=True)
    for command in ("inspect", "validate"):
        assert run("building", command=command).code == 65


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
        (["talks", "--splits=-1,1,1"], 2, "must be three numbers from 0 on, not all 0"),
        (["talks", "--splits", "nan,1,1"], 2, "must be three numbers from 0 on, not all 0"),
        (["talks", "--window", "0.1"], 2, "--window must be at least one chunk of 0.32 s"),
        (["talks", "--window", "3", "--overlap", "3"], 2, "--overlap must be less than --window"),
        (["talks", "--overlap", "3"], 2, "--overlap wants --window"),
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


@pytest.mark.slow  # test_folder.py and test_pool.py kill the parts
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_build_that_was_stopped_is_built_again(
    run: Run, place: Path, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    make_corpus(tmp_path / "long", sessions=5, seconds=40.0)
    wanted = [tmp_path / "long", "--model", place / "tiny"]
    command = [sys.executable, "-m", "duplexforge", "duplex", "build", *map(str, wanted), "--workers", "2"]
    command += ["--out", str(tmp_path / "stopped")]
    with subprocess.Popen(command, env=child_environment(STORE_URL=""), stderr=subprocess.PIPE) as build:
        until = time.monotonic() + 60
        while not list((tmp_path / "stopped").glob(".building-*/*.arrow")):
            assert time.monotonic() < until
            assert build.poll() is None
            time.sleep(0.02)
        # While it builds, nobody else does, and nobody takes it for finished. It waits, or it might be done by then.
        build.send_signal(signal.SIGSTOP)
        second = run(*wanted, "--out", tmp_path / "stopped")
        assert (second.code, "another build is writing to" in second.err) == (75, True)
        assert run(tmp_path / "stopped", command="inspect").code == 65
        build.send_signal(sent)
        build.send_signal(signal.SIGCONT)
        said = build.communicate()[1]
        # Of a killed one Python itself says that semaphores were left.
        assert said == b"" or sent == signal.SIGKILL
        assert build.returncode == code
    assert not (tmp_path / "stopped" / "manifest.json").exists()
    assert bool(list((tmp_path / "stopped").glob(".building-*"))) == (sent == signal.SIGKILL)
    for out in ("stopped", "whole"):
        assert run(*wanted, "--out", tmp_path / out).code == 0
    assert tree(tmp_path / "stopped") == tree(tmp_path / "whole")
    refused = run(*wanted, "--out", tmp_path / "whole")
    assert (refused.code, "holds a finished data set" in refused.err) == (2, True)


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; from duplexforge import cli_duplex; "
        "print(*sorted({'numpy', 'pyarrow', 'soundfile', 'soxr', 'transformers', 'obstore'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
