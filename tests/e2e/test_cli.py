"""The command line as a process: help without heavy modules, one sentence and an exit code for every mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "boto3", "kubernetes", "yt_dlp", "numpy", "obstore", "pydantic", "av", "pyarrow", "sklearn"}


def duplexforge(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command in ``cwd`` with nothing but the given variables and what a shell needs."""
    environment = {"PATH": "/usr/bin:/bin", "COLUMNS": "200", "HOME": str(cwd), **variables}
    command = [sys.executable, "-m", "duplexforge", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys; sys.argv = ['duplexforge', '--help']\n"
        "from duplexforge.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        f"print('LOADED', sorted({HEAVY!r} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "run" in done.stdout
    assert done.stdout.strip().endswith("LOADED []")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "missing.mp3", "--out", "o"], 2, "missing.mp3"),
        (["run", "empty-folder", "--out", "o"], 2, "empty-folder"),
        (["run", "--out", "o"], 2, "sources"),
        (["seed", "download", "http://nowhere.invalid/feed.xml"], 75, "nowhere.invalid"),
        (["seed", "download", "http://127.0.0.1:9/feed.xml"], 65, "ALLOW_PRIVATE_ADDRESSES"),
        (["seed", "missing.json"], 2, "missing.json"),
        (["search", "words", "--min-length", "9", "--max-length", "3"], 2, "--min-length"),
        (["queue", "stats", "--store", "ftp://x"], 78, "STORE_URL"),
        (["queue", "dead", "nonsense"], 2, "nonsense"),
        (["queue", "revive", "download", "--store", "file://."], 2, "--reason"),
        (["status", "--store", "file://no-such-folder"], 78, "no-such-folder"),
        (["seed", "process", "--store", "file:///proc/nowhere"], 78, "/proc/nowhere"),
        (["run", "a.mp3", "--out", "/proc/nowhere"], 78, "/proc/nowhere"),
        (["frobnicate"], 2, "frobnicate"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_get_one_sentence_and_a_code(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    (tmp_path / "empty-folder").mkdir()
    done = duplexforge(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_settings_are_named_all_at_once(tmp_path: Path) -> None:
    done = duplexforge(
        "process", cwd=tmp_path, LEASE_SECONDS="soon", WORKERS_PER_GPU="0", RAW_AUDIO_PREFIX="../x", MAX_GPUS=""
    )
    assert done.returncode == 78
    for name in ("LEASE_SECONDS", "WORKERS_PER_GPU", "RAW_AUDIO_PREFIX"):
        assert name in done.stderr
    assert "MAX_GPUS" not in done.stderr


def test_secrets_stay_out_of_messages(tmp_path: Path) -> None:
    done = duplexforge(
        "queue", "stats", cwd=tmp_path,
        STORE_URL="s3://bucket", AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_ACCESS_KEY_ID="AKIACANARY0000",
        AWS_SECRET_ACCESS_KEY="canary-secret-value",
    )  # fmt: skip
    assert done.returncode == 75
    assert "canary-secret-value" not in done.stderr + done.stdout
    assert "AKIACANARY0000" not in done.stderr + done.stdout


def test_workers_that_cannot_start_end_the_run_in_words(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"never looked at")
    done = duplexforge("run", "a.mp3", "--out", "out", cwd=tmp_path, EMILIA_PRESET="nonsense")
    assert done.returncode == 78
    assert "nonsense" in done.stderr
    assert "Traceback" not in done.stderr


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"not audio, but seeding does not judge")
    done = duplexforge("seed", "download", "a.mp3", "--dry-run", "--json", cwd=tmp_path, STORE_URL="file://./data")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["added"] == 1
    assert [path for path in (tmp_path / "data").rglob("*") if path.is_file()] == []


def test_reading_commands_print_json(tmp_path: Path) -> None:
    for arguments in (
        ["seed", "process"],
        ["seed", "upload"],
        ["queue", "stats"],
        ["queue", "dead", "download"],
        ["status"],
    ):
        done = duplexforge(*arguments, "--json", cwd=tmp_path, STORE_URL="file://./data")
        assert done.returncode == 0, (arguments, done.stderr)
        json.loads(done.stdout)
