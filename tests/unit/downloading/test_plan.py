"""Seeding: idempotent, streaming, and a report in which everything is counted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from duplexforge.downloading.plan import Defaults, seed
from tests.unit.downloading.conftest import Place
from tests.unit.downloading.test_feeds import feed, item


def make_folder(folder: Path, count: int = 12) -> Path:
    """Files with different content, one of them twice, and one that is no audio."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:02d}.mp3").write_bytes(b"audio %d" % number)
    shutil.copy(folder / "00.mp3", folder / "copy of 00.mp3")
    (folder / "notes.txt").write_text("x")
    return folder


def test_seeding_again_adds_nothing(place: Place, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in")
    first = seed(place.queue, [str(folder)], defaults=Defaults(language="en", licence="CC0", attempt_limit=2))
    assert (first.found, first.added, first.known) == (13, 12, 0)
    assert [what for what, _ in first.duplicates] == ["copy of 00.mp3"]
    assert dict(first.skipped) == {".txt": 1}
    assert place.queue.stats().waiting == 12
    again = seed(place.queue, [str(folder)])
    assert (again.found, again.added, again.known, len(again.duplicates)) == (13, 0, 12, 1)


def test_a_moved_file_is_the_same_episode(place: Place, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in")
    seed(place.queue, [str(folder)])
    folder.rename(tmp_path / "elsewhere")
    assert seed(place.queue, [str(tmp_path / "elsewhere")]).added == 0


def test_tasks_carry_the_defaults(place: Place, tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"a")
    seed(place.queue, [str(tmp_path / "a.mp3")], defaults=Defaults("en", "CC0", "Mine", 7))
    lease = place.queue.claim()
    assert lease is not None
    task = lease.task
    assert (task.language, task.licence, task.source, task.attempt_limit) == ("en", "CC0", "Mine", 7)
    assert task.enqueued_at is not None
    lease.release()


def test_a_dry_run_leaves_the_queue_alone(place: Place, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in")
    report = seed(place.queue, [str(folder)], dry_run=True)
    assert (report.found, report.added) == (13, 12)
    assert place.queue.stats().open == 0
    assert seed(None, [str(folder)], dry_run=True).added == 12


def test_sources_are_read_one_after_another_and_counted_together(place: Place, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in")
    (tmp_path / "show.xml").write_bytes(feed(item("https://a.example/1.mp3"), item("file:///etc/passwd")))
    sources = [str(folder), str(tmp_path / "show.xml"), "https://youtu.be/dQw4w9WgXcQ", str(folder / "0*.mp3")]
    report = seed(place.queue, sources)
    assert report.added == 12 + 1 + 1
    assert len(report.duplicates) == 1 + 10
    assert len(report.refused) == 1
    assert report.found == report.added + report.known + len(report.duplicates)


def test_the_report_is_for_machines_and_people(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in")
    (tmp_path / "list.txt").write_text("nonsense\n" * 30)
    report = seed(None, [str(folder), str(tmp_path / "list.txt")], dry_run=True)
    assert json.loads(json.dumps(report.to_json()))["skipped"] == {".txt": 1}
    text = report.to_text()
    assert text.startswith("13 items found: 12 would be offered")
    assert "duplicate: copy of 00.mp3" in text
    assert "refused: line 1: nonsense" in text
    assert "and 10 more" in text
