"""What of a source is wanted: every item is taken or counted."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge import log
from duplexforge.config import DownloadSettings
from duplexforge.downloading.entries import Said
from duplexforge.downloading.notes import SeedReport
from duplexforge.downloading.optout import OptOut
from duplexforge.downloading.selection import Screen, read_archive, screen, selected, unwanted
from duplexforge.errors import UsageError
from duplexforge.records import DownloadTask, Selection
from tests.unit.downloading.conftest import Place


def task(number: int = 1, **fields: object) -> DownloadTask:
    """A task with these facts."""
    return Said().item(f"https://a.example/{number}.mp3").model_copy(update=fields)


@pytest.mark.parametrize(
    ("facts", "wanted", "reason"),
    [
        ({"duration": 59.0}, Selection(min_duration=60), "too_short"),
        ({"duration": 60.0}, Selection(min_duration=60, max_duration=60), None),
        ({"duration": 61.0}, Selection(max_duration=60), "too_long"),
        ({}, Selection(min_duration=60, since="2026-01-01", licences=["cc0"]), None),
        ({"published": "2025-12-31T23:00:00+00:00"}, Selection(since="2026-01-01"), "too_old"),
        ({"published": "2026-01-01"}, Selection(since="2026-01-01", until="2026-01-01"), None),
        ({"published": "2026-01-02"}, Selection(until="2026-01-01"), "too_new"),
        ({"published": "some day"}, Selection(since="2026-01-01"), None),
        ({"licence": "all rights reserved"}, Selection(licences=["cc-by"]), "licence"),
        ({"licence": "CC BY 4.0"}, Selection(licences=["cc-by"]), None),
    ],
)
def test_limits(facts: dict[str, object], wanted: Selection, reason: str | None) -> None:
    assert unwanted(task(**facts), wanted) == reason


@settings(deadline=None)
@given(st.lists(st.none() | st.floats(0, 100)), st.integers(1, 5))
def test_all_is_taken_or_counted(durations: list[float | None], most: int) -> None:
    notes = SeedReport()
    tasks = [task(number, duration=duration) for number, duration in enumerate(durations)]
    taken = list(selected(iter(tasks), Selection(min_duration=30, max_items=most), notes))
    fitting = [one for one in tasks if one.duration is None or one.duration >= 30]
    assert taken == fitting[:most]
    cut = len(fitting) > most
    assert notes.left_out["beyond_max_items"] == cut
    if not cut:
        assert len(taken) + notes.left_out.total() == len(tasks)


def test_the_source_is_read_no_further_than_needed() -> None:
    tasks = (task(number) for number in range(1_000_000))
    assert len(list(selected(tasks, Selection(max_items=3), SeedReport()))) == 3
    assert next(tasks).url.endswith("/4.mp3")


def test_a_feed_takes_the_wish_with_it() -> None:
    feed = task(kind="feed", duration=1.0)
    ((carried,),) = (list(selected([feed], Selection(min_duration=60), SeedReport())),)
    assert carried.selection == Selection(min_duration=60)
    assert DownloadTask.model_validate_json(carried.to_bytes()) == carried


def test_the_screen_counts_what_it_keeps_out(tmp_path: Path) -> None:
    (tmp_path / "archive.txt").write_text("youtube dQw4w9WgXcQ\nsoundcloud 17\n\nnonsense\nyoutube\n")
    opted = OptOut()
    opted.add(["b.example"])
    private = [
        "http://10.1.2.3/1.mp3", "http://127.1/x.mp3", "http://2130706433/x.mp3", "http://0x7f.0.0.1/x",
        "http://0177.0.0.1/x", "http://[::ffff:10.0.0.1]/x", "http://169.254.169.254/latest", "http://127.0.0.1./x",
    ]  # fmt: skip
    fine = ["https://a.example/1.mp3", "http://10.9.9.9/x", "s3://bucket/1.mp3", "file:///audio/1.mp3"]
    others = ["https://youtu.be/dQw4w9WgXcQ", "https://b.example/1.mp3"]
    notes = SeedReport()
    with read_archive(tmp_path / "archive.txt") as archive:
        assert list(archive) == ["yt-dQw4w9WgXcQ"]
        tasks = [named(url) for url in [*private, *fine, *others]]
        passed = [one.url for one in Screen(opted, archive, "10.9.0.0/16").passed(tasks, notes)]
    assert passed == fine
    assert notes.left_out == {"refused": len(private), "opt_out": 1, "archive": 1}


def named(url: str) -> DownloadTask:
    """A task of any URL, as a list or a bucket makes it."""
    return Said().item(url) if url.startswith("http") else DownloadTask(id="x", episode_id="x", url=url)


def test_without_an_allowance_no_local_name_passes() -> None:
    notes = SeedReport()
    urls = ["http://localhost/x", "http://metadata.google.internal/x", "http://service/x", "https://a.example/x"]
    passed = [one.url for one in Screen().passed([Said().item(url) for url in urls], notes)]
    assert passed == ["https://a.example/x"]
    assert notes.left_out == {"refused": 3}


def test_a_missing_archive_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_archive(tmp_path / "none")


def test_the_screen_of_a_deployment(place: Place, tmp_path: Path) -> None:
    place.store.put(place.layout.opt_out(), b"a.example\nspoilt by somebody\n")
    (tmp_path / "own.txt").write_text("b.example\n")
    (tmp_path / "archive.txt").write_text("youtube dQw4w9WgXcQ\n")
    settings = DownloadSettings(allow_private_addresses="10.9.0.0/16")
    written = io.StringIO()
    log.setup(level="WARNING", stream=written)
    try:
        found = screen(
            place.store, place.layout, settings, files=[tmp_path / "own.txt"], archive=tmp_path / "archive.txt"
        )
    finally:
        log.setup(level="WARNING")
    urls = [
        "https://a.example/1",
        "https://b.example/1",
        "https://youtu.be/dQw4w9WgXcQ",
        "http://10.9.1.1/x",
        "http://10.8.1.1/",
    ]
    notes = SeedReport()
    assert [one.url for one in found.passed([named(url) for url in urls], notes)] == ["http://10.9.1.1/x"]
    assert notes.left_out == {"opt_out": 2, "archive": 1, "refused": 1}
    assert "spoilt by somebody" in written.getvalue()
    assert found.archive is not None
    found.archive.close()
