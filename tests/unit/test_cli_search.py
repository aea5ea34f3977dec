"""The search command: what it prints and saves. The results are recorded ones; finding them is tested where it is done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from duplexforge import log
from duplexforge.cli import app
from duplexforge.downloading import search as searching
from duplexforge.downloading.notes import SeedReport
from duplexforge.downloading.search import Query, chosen
from tests.unit.downloading.recorded import video

Typed = Callable[..., Result]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Typed]:
    """Types a search whose site answers with recorded entries."""

    def search(query: Query, _: Any, notes: SeedReport) -> list[dict[str, Any]]:
        query.check()
        return list(chosen((video(number) for number in range(1, 9)), query, notes))

    monkeypatch.setattr(searching, "search", search)
    yield lambda *words: CliRunner().invoke(app, ["search", *words], catch_exceptions=False)
    # The command sent the log to the runner's output, which is closed by now.
    log.setup(level="WARNING")


def test_text_is_for_people(typed: Typed) -> None:
    done = typed("two", "words", "--max-results", "2")
    assert done.stdout.splitlines() == [
        "    1:00  https://www.youtube.com/watch?v=00000000001  Talk 1",
        "    2:00  https://www.youtube.com/watch?v=00000000002  Talk 2",
    ]
    assert done.stderr == "2 found\n"


def test_json_is_for_seed_and_nothing_else_is_in_it(typed: Typed) -> None:
    done = typed("words", "--min-length", "180", "--max-length", "240", "--output-format", "json")
    assert [entry["title"] for entry in json.loads(done.stdout)] == ["Talk 3", "Talk 4"]
    assert "too_short" in done.stderr
    assert "too_long" in done.stderr


@pytest.mark.parametrize(
    ("name", "words", "as_json"),
    [("r.json", [], True), ("r.txt", [], False), ("r.txt", ["--output-format", "json"], True),
     ("r.json", ["--output-format", "text"], False)],
)  # fmt: skip
def test_a_file_takes_the_place_of_the_output(
    typed: Typed, tmp_path: Path, name: str, words: list[str], as_json: bool
) -> None:
    done = typed("words", "--save-file", str(tmp_path / name), *words)
    assert done.stdout == ""
    saved = (tmp_path / name).read_text()
    assert (len(json.loads(saved)) if as_json else len(saved.splitlines())) == 8


def test_a_file_that_cannot_be_written_is_said_so(tmp_path: Path, typed: Typed) -> None:
    from duplexforge.errors import UsageError

    with pytest.raises(UsageError, match="cannot be written"):
        typed("words", "--save-file", str(tmp_path / "none" / "r.json"))


def test_nothing_found_is_an_empty_list(typed: Typed) -> None:
    done = typed("words", "--min-length", "9999", "--output-format", "json")
    assert json.loads(done.stdout) == []
    assert done.stderr.startswith("0 found, left out: 8 too_short")
