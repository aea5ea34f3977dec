"""What inspect shows is what the data hold: texts in their chunks, levels of each track, both tracks in one sound."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from typer.testing import CliRunner

from duplexforge.cli import app
from duplexforge.duplex.build import BuildSettings, Where, run
from duplexforge.duplex.inspect import stereo, timeline, write_page
from duplexforge.duplex.look import look, side_row
from duplexforge.duplex.stretches import StretchRules
from duplexforge.duplex.tokens import load_tokenizer
from duplexforge.duplex.validate import opened
from duplexforge.errors import UsageError
from duplexforge.framing import DuplexFormat
from duplexforge.loading.schema import STORAGE
from duplexforge.loading.tables import rows_of
from tests.duplex.magichub import Truth, make_corpus

SECONDS = 12


@pytest.fixture(scope="module")
def made(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    """A built session and its truth."""
    root = tmp_path_factory.mktemp("inspect")
    truth = make_corpus(root / "corpus", sessions=1, seconds=SECONDS, seed=3)
    where = Where("magichub", "corpus", root / "corpus", None, StretchRules(), "en", None)
    run(where, BuildSettings(DuplexFormat(model=str(model))), root / "out", mode="dataset")
    return root / "out", truth


def shown(folder: Path, **span: float) -> tuple[str, object]:
    """Session id of the first side, and the look at it."""
    manifest, fmt = opened(folder)
    row = next(rows_of(folder / STORAGE))
    session = row["session_id"]
    assert side_row(folder, manifest, session) == row
    return session, look(row, fmt, load_tokenizer(fmt.model), **span)


def command(*arguments: str) -> tuple[int, str]:
    """Exit code and output of ``duplexforge duplex inspect``."""
    done = CliRunner().invoke(app, ["duplex", "inspect", *arguments], env={"COLUMNS": "200"})
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def test_pieces_make_up_what_the_agent_says(made: tuple[Path, Truth]) -> None:
    folder, _ = made
    _, found = shown(folder)
    row = next(rows_of(folder / STORAGE))
    texts = "".join(event["text"] for event in json.loads(row["events_json"]))
    pieces = [piece for said in found.said for piece in said]
    assert len(pieces) == row["tokens"]
    # A letter of several bytes may be shared by two tokens and then shows twice.
    plain = re.sub(r"[^ -~]", "", "".join(pieces))
    assert plain == re.sub(r"[^ -~]", "", texts)[: len(plain)]
    assert sum(not said for said in found.said) == row["silent_chunks"]


def test_levels_are_high_where_somebody_speaks(made: tuple[Path, Truth]) -> None:
    _, found = shown(made[0])
    levels = found.levels(found.agent)
    middles = [found.fmt.chunk_at((event.start + event.end) / 2) for event in found.events]
    assert levels[middles].min() > -30
    assert levels[0] == -60.0


def test_a_stretch_is_the_chunks_that_hold_it(made: tuple[Path, Truth]) -> None:
    session, whole = shown(made[0])
    _, part = shown(made[0], start=3.0, end=6.0)
    assert part.session_id == session
    assert (part.first, part.end) == (9, 19)
    assert part.said == whole.said[9:19]
    np.testing.assert_array_equal(part.user, whole.user[9 * 5120 : 19 * 5120])
    np.testing.assert_array_equal(part.agent, whole.agent[9 * 7680 : 19 * 7680])
    assert part.start_seconds == pytest.approx(2.88)
    assert all(event.end >= 2.88 and event.start < 6.08 for event in part.events)


def test_the_sound_has_the_user_left_and_the_agent_right(made: tuple[Path, Truth]) -> None:
    _, found = shown(made[0])
    samples, rate = sf.read(io.BytesIO(stereo(found)), dtype="int16")
    assert rate == 24_000
    assert samples.shape == (len(found.agent), 2)
    np.testing.assert_array_equal(samples[:, 1], found.agent)
    # Resampled, the user keeps its loudness.
    loud = [np.sqrt(np.mean(track.astype(float) ** 2)) for track in (samples[:, 0], found.user)]
    assert loud[0] == pytest.approx(loud[1], rel=0.01)


def test_the_page_is_whole_and_needs_nothing_else(made: tuple[Path, Truth], tmp_path: Path) -> None:
    session, found = shown(made[0])
    write_page(found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert session in page
    assert "data:audio/flac;base64," in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert page.count("<polygon") == 2
    for event in found.events:
        assert event.text in page
    assert page.count('class="at silent"') == sum(not said for said in found.said)


def test_a_text_with_marks_of_html_stays_text(made: tuple[Path, Truth], tmp_path: Path) -> None:
    folder, _ = made
    _, fmt = opened(folder)
    row = next(rows_of(folder / STORAGE))
    told = json.loads(row["events_json"])
    told[0]["text"] = "<script>alert(1)</script>"
    write_page(look({**row, "events_json": json.dumps(told)}, fmt, None), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_without_a_tokenizer_ids_are_shown(made: tuple[Path, Truth]) -> None:
    folder, _ = made
    _, fmt = opened(folder)
    row = next(rows_of(folder / STORAGE))
    found = look(row, fmt, None)
    first = json.loads(row["events_json"])[0]["input_ids"]
    pieces = [piece for said in found.said for piece in said]
    assert pieces[: len(first)] == [f"[{number}]" for number in first]
    timeline(found)


def test_what_is_not_there_is_one_sentence(made: tuple[Path, Truth]) -> None:
    folder, _ = made
    manifest, fmt = opened(folder)
    with pytest.raises(UsageError, match="has no side 'nobody'"):
        side_row(folder, manifest, "nobody")
    with pytest.raises(UsageError, match="nothing lies from 99 s on"):
        look(next(rows_of(folder / STORAGE)), fmt, None, start=99.0)


def test_the_command_lists_shows_and_writes(made: tuple[Path, Truth], tmp_path: Path) -> None:
    folder, truth = made
    code, listed = command(str(folder))
    session = f"{truth.sessions[0].conversation_id}--{truth.sessions[0].tracks[0].speaker}"
    assert code == 0
    assert session in listed
    code, told = command(str(folder), session, "--start", "1", "--end", "5", "--json")
    assert code == 0
    rows = json.loads(told)["timeline"]
    assert [row["chunk"] for row in rows] == list(range(3, 16))
    code, drawn = command(str(folder), session)
    assert code == 0
    assert drawn.count("│") >= 5 * len(rows)
    code, _ = command(str(folder), session, "--html", str(tmp_path / "side.html"))
    assert code == 0
    assert (tmp_path / "side.html").stat().st_size > 10_000
