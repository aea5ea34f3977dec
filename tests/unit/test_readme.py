"""The README says what the program says: every setting, command and exit code stands in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer.main

from duplexforge import errors
from duplexforge.cli import app
from duplexforge.variables import markdown

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("line", markdown().splitlines())
def test_settings_are_those_of_the_program(line: str) -> None:
    assert line in README.splitlines(), "`duplexforge settings --markdown` prints what should stand there"


def test_commands_are_documented() -> None:
    group = typer.main.get_command(app)
    for name in group.commands:  # type: ignore[attr-defined]
        assert f"duplexforge {name}" in README, name


def test_exit_codes_are_documented() -> None:
    codes = {one.exit_code for one in vars(errors).values() if isinstance(one, type) and hasattr(one, "exit_code")}
    for code in codes:
        assert f"| {code} |" in README, code
