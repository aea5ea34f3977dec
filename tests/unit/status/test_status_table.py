"""The terminal tables, as a person with eighty columns sees them."""

from __future__ import annotations

import io

import pytest
from conftest import World
from rich.console import Console

from duplexforge.records import Hours
from duplexforge.status.collect import collect
from duplexforge.status.snapshot import HoursAccount, Snapshot
from duplexforge.status.table import render


def shown(snapshot: Snapshot, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False).print(render(snapshot))
    return out.getvalue()


def look(world: World) -> Snapshot:
    return collect(world.store, world.layout, world.queues)


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


@pytest.mark.parametrize("width", [80, 120])
def test_everything_is_there_and_fits(full: World, width: int) -> None:
    text = shown(look(full), width)
    assert max(len(line) for line in text.splitlines()) <= width
    for heading in ("Episodes", "Hours", "Failures", "Speech", "Computing time", "Data set", "Queues"):
        assert heading in text
    assert "Everything is accounted for: 11 episodes, 10:30:00 hours." in text


def test_the_numbers(full: World) -> None:
    lines = words(shown(look(full)))
    assert ["ok", "2", "3:00:00"] in lines
    assert ["failed:", "download", "2", "2"] in lines
    assert ["waiting:", "processing", "3", "3:29:56", "1"] in lines
    assert ["all", "inputs", "11", "10:30:00", "4"] in lines
    assert ["unflagged", "speech", "2:00:00", "19.0%"] in lines
    assert ["source", "10:30:00"] in lines
    assert ["download", "gone", "2", "yt-gone:", "the", "video", "is", "private"] in lines
    assert ["segments", "3,", "of", "which", "2", "flagged"] in lines
    assert ["flags", "low_mos", "2,", "too_long", "1"] in lines
    assert ["transcribe", "24.0", "75.0%", "0.0011"] in lines
    assert ["all", "stages", "32.0", "0.0015"] in lines
    assert ["somebody/voices", "@", "commit000001", "1", "3", "1", "2.5", "MB"] in lines
    assert ["not", "published", "yet", "1"] in lines
    assert ["download", "1", "0", "5", "2"] in lines


def test_account_and_hours_stand_side_by_side_when_there_is_room(full: World) -> None:
    snapshot = look(full)
    assert any("outcome" in line and "where they went" in line for line in shown(snapshot, 120).splitlines())
    assert not any("outcome" in line and "where they went" in line for line in shown(snapshot, 80).splitlines())


def test_an_empty_world_says_little(world: World) -> None:
    text = shown(look(world))
    assert "Everything is accounted for: 0 episodes" in text
    for heading in ("Failures", "Speech", "Computing time", "Data set"):
        assert heading not in text


def test_what_is_missing_is_named(world: World) -> None:
    world.raw("yt-lost", 0.5)
    world.seed_process("yt-lost")
    world.end("processing")
    text = shown(look(world))
    assert "Not accounted for" in text
    assert "yt-lost" in text
    assert "Everything is accounted for" not in text


def test_texts_from_outside_move_no_cursor_and_are_no_markup(world: World) -> None:
    world.fail("download", "yt-x", "gone \x1b[2J\x1b]0;title\x07 [bold red]now[/]\nsecond\rline", reason="a[b]c\x1b[1m")
    text = shown(look(world), 120)
    assert "\x1b" not in text
    assert "\r" not in text
    assert "[bold red]now[/] second line" in text
    assert "a[b]c" in text


def test_no_recogniser_is_said(world: World) -> None:
    world.manifest("yt-x", Hours(source=1.0, no_speech=1.0), models={}, facts={})
    assert ["text", "by", "no", "recogniser"] in words(shown(look(world)))


def test_colours_on_a_terminal(full: World) -> None:
    out = io.StringIO()
    Console(file=out, width=80, force_terminal=True, color_system="standard").print(render(look(full)))
    assert "\x1b[32m" in out.getvalue()


def test_a_stage_without_audio_has_no_factor() -> None:
    snapshot = Snapshot("now", {}, (), HoursAccount(), (), (), stage_seconds={"standardize": 1.0})
    assert ["standardize", "1.0", "100.0%"] in words(shown(snapshot))
    assert "Real-time factor" not in shown(snapshot)
