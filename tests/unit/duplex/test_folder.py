"""The folder of a build: what is cleared in it, who may write there, and what the system's answers become."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from duplexforge.duplex import folder
from duplexforge.errors import ConfigError, RetryLater, UsageError
from tests.unit.duplex.building import tree


def _left(out: Path) -> None:
    """What a build leaves when it is killed half-way."""
    (out / ".building-x1").mkdir(parents=True)
    (out / ".building-x1" / "side.arrow").write_bytes(b"half")
    (out / "storage").mkdir()
    (out / "storage" / "part-00000").write_bytes(b"half")
    (out / "report.jsonl").write_bytes(b"{}\n")


def test_what_a_build_left_is_cleared_and_its_own_folder_is_gone_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "a" / "set"
    _left(out)
    with folder.cleared(out, overwrite=False) as work:
        assert work.parent == out
        assert [path.name for path in out.iterdir()] == [work.name]
        folder.write_whole(out / "format.json", b"{}", work)
        assert list(work.iterdir()) == []
    assert set(tree(out)) == {"format.json"}


def test_a_link_is_taken_away_and_what_it_points_to_is_not(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("all of it")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "storage").symlink_to(tmp_path / "mine")
    with folder.cleared(tmp_path / "set", overwrite=False):
        pass
    assert (tmp_path / "mine" / "thesis.tex").exists()
    assert list((tmp_path / "set").iterdir()) == []


def test_the_manifest_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _left(tmp_path)
    (tmp_path / "manifest.json").write_bytes(b"{}")

    def full(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(folder.shutil, "rmtree", full)
    with pytest.raises(ConfigError, match="Input/output error"), folder.cleared(tmp_path, overwrite=True):
        pass
    # Clearing broke off: what is left must not look finished.
    assert not (tmp_path / "manifest.json").exists()


Kind = Callable[[Path], AbstractContextManager[Path]]


@contextmanager
def _script(out: Path) -> Iterator[Path]:
    with folder.beside(out) as work:
        yield work


@contextmanager
def _dataset(out: Path) -> Iterator[Path]:
    with folder.cleared(out, overwrite=True) as work:
        yield work


@pytest.mark.parametrize("first", [_script, _dataset])
@pytest.mark.parametrize("second", [_script, _dataset])
def test_one_build_at_a_time(first: Kind, second: Kind, tmp_path: Path) -> None:
    with first(tmp_path / "set") as work:
        (work / "side.arrow").write_bytes(b"half")
        with pytest.raises(RetryLater, match=r"another build is writing to .*set: wait") as caught:
            second(tmp_path / "set").__enter__()
        assert (caught.value.reason, caught.value.exit_code) == ("in_use", 75)
        assert (work / "side.arrow").exists()
    with second(tmp_path / "set"):
        pass


_HOLDER = """
import sys, time
from pathlib import Path
from duplexforge.duplex import folder

with folder.cleared(Path(sys.argv[1]), overwrite=False) as work:
    (work / "side.arrow").touch()
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_build_keeps_nobody_out(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLDER, str(tmp_path / "set")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RetryLater):
            folder.cleared(tmp_path / "set", overwrite=False).__enter__()
        holder.kill()
    with folder.cleared(tmp_path / "set", overwrite=False):
        assert len(list((tmp_path / "set").iterdir())) == 1


def test_a_build_that_finished_meanwhile_is_not_cleared(tmp_path: Path) -> None:
    folder.check(tmp_path, overwrite=False)
    (tmp_path / "manifest.json").write_bytes(b"{}")
    with pytest.raises(UsageError, match="holds a finished data set"), folder.cleared(tmp_path, overwrite=False):
        pass
    assert (tmp_path / "manifest.json").exists()


def test_without_locks_a_build_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(folder.fcntl, "flock", none)
    with folder.cleared(tmp_path / "set", overwrite=False) as work:
        assert work.is_dir()


@pytest.mark.parametrize(
    ("number", "error", "told"),
    [
        (errno.ENOSPC, RetryLater, "there is no space left for .*set: make room"),
        (errno.EDQUOT, RetryLater, "there is no space left for .*set: make room"),
        (errno.EACCES, ConfigError, "cannot write to .*set: Permission denied"),
        (errno.EROFS, ConfigError, "cannot write to .*set: Read-only file system"),
    ],
)
@pytest.mark.parametrize("at", ["mkdir", "inside"])
def test_what_the_system_says_is_one_sentence(
    at: str, number: int, error: type[Exception], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    if at == "mkdir":
        monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(error, match=told), folder.cleared(tmp_path / "set", overwrite=False):
        refuse()


def test_a_folder_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ConfigError, match="Permission denied"):
        folder.check(tmp_path, overwrite=False)
