"""The plain ``load_dataset(path)`` of a published folder, decoded by torchcodec: wants torch and FFmpeg's libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.corpus import DEMO


@pytest.mark.system
def test_load_dataset_with_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    source = DEMO / "novel.flac"
    command = [sys.executable, "-m", "duplexforge", "run", str(source), "--out", str(out), "--language", "en"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=600)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    rows = datasets.load_dataset(str(out / "dataset"), split="train", cache_dir=str(tmp_path / "cache"))
    (manifest,) = [json.loads(path.read_text()) for path in out.glob("processed/*/*/manifest.json")]
    segments = json.loads((out / manifest["folder"] / "all_segments.json").read_text())
    assert [row["json"]["segment_id"] for row in rows] == [segment["segment_id"] for segment in segments]
    for row, segment in zip(rows, segments, strict=True):
        audio = row["mp3"].get_all_samples()
        assert audio.sample_rate == 24_000
        assert audio.data.shape[1] / audio.sample_rate == pytest.approx(segment["end"] - segment["start"], abs=0.03)
        assert float(audio.data.abs().max()) > 0.05
        for name in ("text", "speaker", "start", "end", "dnsmos", "flags"):
            assert row["json"][name] == segment[name], name
