"""``duplexforge demo`` as a newcomer runs it, and what it publishes as a user of the data set reads it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import pytest

from benchmarks import dialogue
from tests.e2e.corpus import DEMO

GOAL_DER = 0.15


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One run of the demo; its folder and how it ended."""
    out = tmp_path_factory.mktemp("demo") / "out"
    command = [sys.executable, "-m", "duplexforge", "demo", "--out", str(out)]
    return out, subprocess.run(command, cwd=out.parent, capture_output=True, text=True, timeout=600)


def segments(out: Path) -> dict[str, list[dict[str, Any]]]:
    """All committed segments by the title of their episode."""
    found = {}
    for path in out.glob("processed/*/*/manifest.json"):
        manifest = json.loads(path.read_text())
        found[manifest["title"]] = json.loads((out / manifest["folder"] / "all_segments.json").read_text())
    return found


def truth() -> dict[str, dict[str, Any]]:
    """The demo's ground truth by title."""
    files = json.loads((DEMO / "truth.json").read_text(encoding="utf-8"))["files"]
    return {facts["title"]: facts for facts in files.values()}


def test_demo_ends_well_and_shows_where_everything_is(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    out, done = demo
    assert done.returncode == 0, done.stderr
    assert (out / "report.html").stat().st_size > 50_000
    for words in ("no_speech", "separate", "dataset", "report.html"):
        assert words in done.stdout.replace("no speech", "no_speech")


def test_hours_in_are_hours_accounted_for(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    out, _ = demo
    status = subprocess.run(
        [sys.executable, "-m", "duplexforge", "status", "--full", "--json", "--store", f"file://{out}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = json.loads(status.stdout)
    assert told["account"]["accounted"] is True
    manifests = [json.loads(path.read_text()) for path in out.glob("processed/*/*/manifest.json")]
    assert {manifest["title"] for manifest in manifests} == set(truth())
    known = sum(facts["duration"] for facts in truth().values()) / 3600
    assert sum(manifest["hours"]["source"] for manifest in manifests) == pytest.approx(known, rel=0.001)
    for manifest in manifests:
        hours = manifest["hours"]
        assert hours["published"] + hours["flagged"] + hours["no_speech"] == pytest.approx(hours["source"], abs=1e-12)


def test_load_dataset_gives_the_segments(
    demo: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    # The way of the card without torch; tests/e2e/test_load_dataset.py has the plain one, with torchcodec decoding.
    path, cache = str(demo[0] / "dataset"), str(tmp_path)
    features = datasets.load_dataset_builder(path, cache_dir=cache).info.features.copy()
    features["mp3"] = datasets.Value("binary")
    rows = datasets.load_dataset(path, split="train", features=features, cache_dir=cache)
    published = {piece["segment_id"]: piece for pieces in segments(demo[0]).values() for piece in pieces}
    assert len(rows) == len(published) > 20
    for row in rows:
        expected = published[row["json"]["segment_id"]]
        for name in ("text", "speaker", "start", "end", "dnsmos", "flags"):
            assert row["json"][name] == expected[name], name
        with av.open(io.BytesIO(row["mp3"])) as container:
            seconds = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
        assert seconds == pytest.approx(expected["end"] - expected["start"], abs=0.002)


def test_speakers_are_told_apart(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    found = segments(demo[0])
    wrong = total = 0.0
    for title, facts in truth().items():
        if facts.get("turns"):
            score = dialogue.score_der(facts["turns"], found[title], facts["duration"])
            wrong += score["der"] * score["total"]
            total += score["total"]
    assert total > 100
    assert wrong / total <= GOAL_DER


def test_second_demo_finds_everything_done(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    out, _ = demo
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and "processed" in path.parts}
    command = [sys.executable, "-m", "duplexforge", "demo", "--out", str(out)]
    again = subprocess.run(command, cwd=out.parent, capture_output=True, text=True, timeout=300, env=dict(os.environ))
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
