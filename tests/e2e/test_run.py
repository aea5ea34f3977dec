"""``duplexforge run`` as a user runs it: a folder of twenty files, again, and killed in the middle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.e2e import corpus

COMMAND = [sys.executable, "-m", "duplexforge"]


def duplexforge(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run([*COMMAND, *arguments], cwd=cwd, capture_output=True, text=True, timeout=900)


def rows(dataset: Path) -> list[dict[str, Any]]:
    """All rows of the data set's parquet files."""
    return [row for path in sorted(dataset.rglob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def digests(folder: Path) -> dict[str, str]:
    """sha256 by relative path of every file below ``folder``."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def twenty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The folder of twenty files and what must become of each."""
    folder = tmp_path_factory.mktemp("sources") / "twenty"
    return folder, corpus.make_folder(folder)


@pytest.fixture(scope="module")
def finished(
    twenty: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One whole run over the twenty files, shared by the tests that look at its outcome."""
    out = tmp_path_factory.mktemp("finished") / "out"
    done = duplexforge("run", str(twenty[0]), "--out", str(out), "--language", "en", "--json", cwd=out.parent)
    return out, done


def test_every_file_is_accounted_for(
    twenty: tuple[Path, dict[str, str]], finished: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    folder, fates = twenty
    out, done = finished
    assert done.returncode == 65, done.stderr
    manifests = [json.loads(path.read_text()) for path in out.glob("processed/*/*/manifest.json")]
    outcomes = {manifest["title"]: manifest["outcome"] for manifest in manifests}
    failed = [json.loads(path.read_text()) for path in out.glob("tasks/processing_failed/*.task")]
    assert outcomes == {name: fate for name, fate in fates.items() if fate != "failed"}
    assert sorted(record["reason"] for record in failed) == ["empty", "not_audio"]
    assert len(manifests) + len(failed) == len(list(folder.iterdir())) == 20
    snapshot = json.loads(done.stdout)
    assert snapshot["accounted"] is True
    published = {row["title"] for row in rows(out / "dataset")}
    assert published == {name for name, fate in fates.items() if fate == "ok"}
    assert len(published) == 17
    assert not list(out.parent.rglob("pwned"))


def test_hours_in_equal_hours_out(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    for path in finished[0].glob("processed/*/*/manifest.json"):
        hours = json.loads(path.read_text())["hours"]
        parts = hours["published"] + hours["flagged"] + hours["no_speech"]
        assert parts == pytest.approx(hours["source"], abs=1e-9)


def test_second_run_does_nothing(
    twenty: tuple[Path, dict[str, str]], finished: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    out, _ = finished
    before = {name: digest for name, digest in digests(out).items() if not name.startswith(("logs/", "report.html"))}
    again = duplexforge("run", str(twenty[0]), "--out", str(out), "--language", "en", cwd=out.parent)
    after = {name: digest for name, digest in digests(out).items() if not name.startswith(("logs/", "report.html"))}
    assert again.returncode == 65, again.stderr
    assert after == before


def test_verify_finds_a_flipped_bit_and_repairs_it(
    finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    out, _ = finished
    dataset = tmp_path / "dataset"
    shutil.copytree(out / "dataset", dataset)
    verify = ["verify", str(dataset), "--store", f"file://{out}", "--json"]
    assert json.loads(duplexforge(*verify, cwd=tmp_path).stdout) == []
    shard = dataset / "data" / "en" / "train-000000.tar"
    body = bytearray(shard.read_bytes())
    body[len(body) // 2] ^= 1
    shard.write_bytes(body)
    damaged = duplexforge(*verify, cwd=tmp_path)
    assert damaged.returncode == 65
    assert "train-000000.tar" in damaged.stdout
    mended = duplexforge(*verify, "--repair", "en-000000", cwd=tmp_path)
    assert (mended.returncode, json.loads(mended.stdout)) == (0, [])
    assert digests(dataset) == digests(out / "dataset")


def _wait_for(pattern: str, folder: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while len(list(folder.glob(pattern))) < count:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "the run made no progress"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        pytest.param("raw_audio/*/*/*.json", 9, id="while downloading"),
        pytest.param("processed/*/*/manifest.json", 6, id="while processing"),
        pytest.param("tasks/upload_in_progress/*", 1, id="while publishing"),
    ],
)
def test_killed_run_goes_on(
    twenty: tuple[Path, dict[str, str]],
    finished: tuple[Path, subprocess.CompletedProcess[str]],
    tmp_path: Path,
    pattern: str,
    count: int,
) -> None:
    out = tmp_path / "out"
    arguments = ["run", str(twenty[0]), "--out", str(out), "--language", "en"]
    with subprocess.Popen(
        [*COMMAND, *arguments], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as run:
        _wait_for(pattern, out, count, run)
        os.kill(run.pid, signal.SIGKILL)
    again = duplexforge(*arguments, cwd=tmp_path)
    assert again.returncode == 65, again.stderr
    assert digests(out / "dataset") == digests(finished[0] / "dataset")
