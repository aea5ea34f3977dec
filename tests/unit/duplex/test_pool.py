"""Work in processes: order, one process without a pool, errors as they were, killed and abandoned workers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from duplexforge.duplex.pool import ordered
from duplexforge.errors import InputError, RetryLater


@dataclass(frozen=True)
class Work:
    """Squares; some numbers go wrong."""

    slow: Path | None = None

    def __call__(self, number: int) -> tuple[int, int]:
        if number == 13:
            raise InputError("13 brings bad luck", reason="unlucky")
        if number == 66:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.slow:
            (self.slow / f"{os.getpid()}").touch()
            time.sleep(60)
        return number * number, os.getpid()


def test_one_process_does_it_here_and_as_it_is_asked_for() -> None:
    asked = []

    def numbers() -> Iterator[int]:
        for number in range(3):
            asked.append(number)
            yield number

    answers = ordered(Work(), numbers(), 1)
    assert next(answers) == (0, os.getpid())
    assert asked == [0]
    assert [square for square, _ in answers] == [1, 4]


def test_several_processes_keep_the_order_and_end() -> None:
    # The pool takes things ahead, but never all of them.
    taken = []

    def numbers() -> Iterator[int]:
        for number in range(12):
            taken.append(number)
            yield number

    answers = ordered(Work(), numbers(), 2)
    first = next(answers)
    assert len(taken) < 12
    found = [first, *answers]
    assert [square for square, _ in found] == [number * number for number in range(12)]
    assert os.getpid() not in {pid for _, pid in found}
    with pytest.raises(InputError, match="13 brings bad luck") as caught:
        list(ordered(Work(), [1, 13, 2], 2))
    assert caught.value.reason == "unlucky"
    with pytest.raises(RetryLater, match="fewer --workers") as killed:
        list(ordered(Work(), [1, 66, 2], 2))
    assert (killed.value.reason, killed.value.exit_code) == ("worker_killed", 75)
    assert multiprocessing.active_children() == []


_PROGRAM = """
import sys
from pathlib import Path
from duplexforge.duplex.pool import ordered
from tests.unit.duplex.test_pool import Work

if __name__ == "__main__":
    print(list(ordered(Work(Path(sys.argv[1])), range(2), 2)))
"""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A process that waits for two workers which are at work, and their ids."""
    (tmp_path / "program.py").write_text(_PROGRAM)
    (tmp_path / "seen").mkdir()
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "seen")]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        _wait(lambda: len(list((tmp_path / "seen").iterdir())) == 2)
        yield process, [int(path.name) for path in (tmp_path / "seen").iterdir()]
        process.kill()


def _wait(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(sent: signal.Signals, program: tuple[subprocess.Popen[str], list[int]]) -> None:
    process, workers = program
    process.send_signal(sent)
    process.wait(30)
    _wait(lambda: all(map(_is_gone, workers)))
