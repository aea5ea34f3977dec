"""``duplexforge data dialogues`` and ``data speakers`` as a person types them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from duplexforge.dialogues import domain
from tests.unit.command import Run, runner
from tests.unit.training import made


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STORE_URL", "")
    return runner(monkeypatch, capsys, "data")


def test_a_dry_run_counts_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    done = run(
        "dialogues", "--out", "corpus", "--dry-run", "--json", "--language", "te", "--variants", 2, "--framed", 1
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    intents = domain.domain(["te"])
    assert told["intents"] == {"te": len(intents)}
    assert told["pairs"]["train"] == (2 + 1) * sum(len(intent.ask) for intent in intents)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_made_is_said(run: Run) -> None:
    for arguments, sentence in (
        (["--language", "en,fr"], "there are no dialogues in fr; there are some in en, te"),
        (["--speakers", "nobody"], "there is no voice nobody; there are Arjun"),
        (["--emotions", "happy,angry"], "there is no emotion angry; there are neutral"),
    ):
        done = run("dialogues", "--out", "corpus", "--dry-run", *arguments)
        assert done.returncode == 2
        assert sentence in done.stderr


@pytest.mark.system
def test_a_corpus_is_made_once(run: Run, tmp_path: Path) -> None:
    choice = ["--out", "corpus", "--language", "te", "--intents", 2, "--variants", 1, "--emotions", "neutral"]
    done = run("dialogues", *choice, "--speakers", "lakshmi", "--jobs", 1)
    assert done.returncode == 0, done.stderr
    assert "Lakshmi" in done.stdout
    assert "wanted 190" in done.stdout
    assert (tmp_path / "corpus" / "dialogues.json").exists()
    again = run("dialogues", *choice, "--speakers", "lakshmi", "--jobs", 1)
    assert again.stdout == done.stdout
    other = run("dialogues", *choice, "--speakers", "priya")
    assert other.returncode == 2
    assert "made with other settings: choose another --out" in other.stderr


def test_speakers_are_numbered_and_balanced(run: Run, tmp_path: Path) -> None:
    source = made.recordings(tmp_path / "in", speakers=3, files=1, seconds=0.5)
    (tmp_path / "in" / "nobody.wav").write_bytes((source / "s0" / "0.wav").read_bytes())
    done = run("speakers", "in", "--out", "out", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["left_out"] == {"no_speaker": 1}
    assert report["speakers"] == {"train": 1, "validation": 1, "test": 1}
    rows = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert {row["speaker"]: row["label"] for row in rows} == {"s0": 0, "s1": 1, "s2": 2}
    assert all(row["weight"] == 1.0 for row in rows)


def test_speakers_reads_a_pairs_file(run: Run, tmp_path: Path) -> None:
    made.recordings(tmp_path / "in", speakers=3, files=1, seconds=0.5)
    pairs = [{"target_path": f"in/s{voice}/0.wav", "speaker_id": voice, "synthetic": True} for voice in range(3)]
    (tmp_path / "train_pairs.json").write_text(json.dumps(pairs))
    done = run("speakers", "train_pairs.json", "--out", "out")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert {row["speaker"]: row["label"] for row in rows} == {
        "synthetic-male_young": 0,
        "synthetic-male_mature": 1,
        "synthetic-female_young": 2,
    }
    assert all(row["synthetic"] for row in rows)
    refused = run("speakers", "none.json", "--out", "other")
    assert (refused.returncode, refused.stderr) == (
        65,
        "duplexforge: cannot read none.json: No such file or directory\n",
    )


def test_missing_packages_are_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "soxr" else there(name))
    for verb in (["dialogues"], ["speakers", "in"], ["speech", "in"]):
        done = run(*verb, "--out", "out")
        assert (done.returncode, done.stderr) == (
            78,
            "duplexforge: this needs soxr: pip install 'duplexforge[train]'\n",
        )
