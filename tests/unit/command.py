"""The command line, run in this process: what it prints and how it ends, without the second that a fresh interpreter takes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from duplexforge import cli


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


def runner(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *before: str) -> Run:
    """Runs ``duplexforge`` with ``before`` and then the arguments given."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["duplexforge", *before, *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
        except SystemExit as ended:
            return Done(int(ended.code or 0), *capsys.readouterr())
        return Done(0, *capsys.readouterr())

    return run
