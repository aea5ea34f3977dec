"""One machine's part of a run: exit codes, and what torchrun is told. Whole runs are in ``tests/manifests/test_gang.py``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge import errors
from duplexforge.config import child_environment
from duplexforge.training import node
from duplexforge.training.node import Meeting, code_of


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([], 0),
        ([0, 0], 0),
        ([75, 75], 75),
        ([75, 0], 75),
        ([75, 78], 78),
        ([75, 65, 70], 65),
        ([75, 70], 70),
        ([-9, 75], 1),
        ([-15], 1),
        ([1, 75], 1),
    ],
)
def test_one_code_for_all(codes: list[int], expected: int) -> None:
    assert code_of(codes) == expected


@given(st.lists(st.integers(-31, 130), max_size=8))
def test_a_failure_is_never_taken_for_success_nor_for_a_stop(codes: list[int]) -> None:
    told = code_of(codes)
    assert (told == 0) is (not any(codes))
    # Only where every end was a stop may the Job count none.
    assert (told == 75) is (bool(any(codes)) and {code for code in codes if code} == {75})
    assert 0 <= told <= 255


def test_what_cannot_be_cured_is_what_the_tree_of_errors_says() -> None:
    again = errors.RetryLater.exit_code
    for kind in (errors.ConfigError, errors.UsageError, errors.InputError, errors.ModelError):
        assert code_of([again, kind.exit_code, 70, -9]) == kind.exit_code


def test_torchrun_is_told_where_to_meet_and_who_waits() -> None:
    meeting = Meeting(3, 1, "train-0.train:29400", "codec-1", stop_seconds=150, wait_seconds=60)
    told = node._options(meeting, "8")
    assert {"--nnodes=3", "--nproc-per-node=8", "--rdzv-backend=c10d", "--rdzv-id=codec-1"} <= set(told)
    assert {"--rdzv-endpoint=train-0.train:29400", "--max-restarts=0", "--shutdown-timeout=150"} <= set(told)
    assert "--rdzv-conf=join_timeout=60,is_host=0" in told
    assert "--rdzv-conf=join_timeout=600,is_host=1" in node._options(Meeting(), "1")


@pytest.mark.heavy
def test_torchrun_knows_all_of_them() -> None:
    from torch.distributed.run import config_from_args, parse_args

    meeting = Meeting(2, 0, "localhost:29411", "r", stop_seconds=7, wait_seconds=9)
    config, program, words = config_from_args(parse_args([*node._options(meeting, "1"), "-m", "duplexforge", "train"]))
    assert (config.min_nodes, config.max_nodes, config.nproc_per_node) == (2, 2, 1)
    assert (config.shutdown_timeout, config.max_restarts, config.run_id) == (7, 0, "r")
    assert config.rdzv_configs["join_timeout"] == "9"
    assert (program, words[-3:]) == (sys.executable, ["-m", "duplexforge", "train"])


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "duplexforge", "train", "node", *arguments]
    return subprocess.run(
        command, cwd=folder, env=child_environment(**variables), capture_output=True, text=True, check=False
    )


def test_a_number_that_is_none_of_the_machines_is_refused(tmp_path: Path) -> None:
    for name in ("NODE_RANK", "JOB_COMPLETION_INDEX"):
        done = run(tmp_path, "--nnodes", "2", "--", "codec", "--recipe", "r.toml", **{name: "2"})
        assert (done.returncode, done.stdout) == (2, "")
        assert "machine number 2, counted from 0, and --nnodes says 2" in done.stderr


@pytest.mark.parametrize("name", ["../x", "a/b", "é", "a" * 200, "a..b"])
def test_a_run_is_called_by_a_name(tmp_path: Path, name: str) -> None:
    done = run(tmp_path, "--", "codec", "--recipe", "r.toml", TRAIN_RUN=name)
    assert done.returncode == 78
    assert "TRAIN_RUN" in done.stderr


@pytest.mark.heavy
def test_who_does_not_meet_anybody_is_to_try_again(tmp_path: Path, free_port: int) -> None:
    words = ["--nnodes", "2", "--wait", "3", "--rdzv-endpoint", f"127.0.0.1:{free_port}", "--", "codec"]
    done = run(tmp_path, *words, "--recipe", "r.toml")
    assert done.returncode == 75, done.stderr
    assert f"the machines did not meet at 127.0.0.1:{free_port}" in done.stderr


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on now."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
