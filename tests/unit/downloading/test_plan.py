"""Seeding: idempotent, streaming, and a report in which everything is counted."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.downloading.optout import OptOut
from duplexforge.downloading.plan import Choice, Defaults, seed
from duplexforge.downloading.selection import Screen, read_archive
from duplexforge.errors import UsageError
from duplexforge.records import DownloadTask
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
    assert report.found == report.added + report.known + report.repeated
    assert report.repeated == len(report.duplicates)


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


# -- choosing --------------------------------------------------------------------------------------------------------


def write_list(path: Path, count: int) -> str:
    """A list of so many addresses."""
    path.write_text("".join(f"https://a.example/{number}.mp3\n" for number in range(count)))
    return str(path)


def queued(place: Place) -> set[str]:
    """The ids that wait."""
    return {meta.key for meta in place.store.list(place.layout.queue_prefix("download", "todo"))}


def test_a_count_takes_the_first_and_a_shuffled_count_takes_any(tmp_path: Path) -> None:
    source = write_list(tmp_path / "list.txt", 100)
    first, drawn, again, other = (Place(tmp_path / name) for name in ("first", "drawn", "again", "other"))
    report = seed(first.queue, [source], choice=Choice(count=10))
    assert (report.offered, report.added) == (10, 10)
    for place, number in ((drawn, 1), (again, 1), (other, 2)):
        report = seed(place.queue, [source], choice=Choice(shuffle=True, seed=number, count=10))
        assert (report.found, report.added, report.left_out) == (100, 10, {"not_chosen": 90})
    assert queued(drawn) == queued(again)
    assert len({frozenset(queued(place)) for place in (first, drawn, other)}) == 3


def test_a_count_that_is_known_adds_nothing(place: Place, tmp_path: Path) -> None:
    source = write_list(tmp_path / "list.txt", 20)
    seed(place.queue, [source], choice=Choice(count=15))
    report = seed(place.queue, [source], choice=Choice(count=18))
    assert (report.offered, report.added, report.known) == (18, 3, 15)


def test_a_sources_file_speaks_for_its_sources(place: Place, tmp_path: Path) -> None:
    (tmp_path / "show.xml").write_bytes(feed(*(item(f"https://a.example/{number}.mp3") for number in range(9))))
    write_list(tmp_path / "list.txt", 5)
    (tmp_path / "sources.yaml").write_text(
        f"- source: {tmp_path / 'show.xml'}\n  language: fr\n  max_items: 2\n  only_audio: false\n  name: show\n"
        f"- source: {tmp_path / 'list.txt'}\n  licence: CC0\n"
    )
    report = seed(place.queue, [str(tmp_path / "sources.yaml")], defaults=Defaults("en", "CC-BY", only_audio=True))
    assert (report.added, report.left_out) == (7, {"beyond_max_items": 1})
    tasks = [DownloadTask.model_validate_json(place.store.get(key)) for key in sorted(queued(place))]
    facts = {(task.id[:3], task.language, task.licence, task.only_audio) for task in tasks}
    assert facts == {("pod", "fr", "CC-BY", False), ("url", "en", "CC0", True)}


def test_a_mistake_in_a_sources_file_stops_before_anything_is_put(place: Place, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("- source: x\n  speed: 3\n")
    with pytest.raises(UsageError, match="line 2"):
        seed(place.queue, [write_list(tmp_path / "list.txt", 3), str(tmp_path / "bad.yaml")])
    assert queued(place) == set()


def test_a_screen_and_licences_hold_for_all_sources(place: Place, tmp_path: Path) -> None:
    rows = ["https://a.example/1.mp3,CC BY 4.0", "https://a.example/2.mp3,(c)", "https://b.example/3.mp3,cc0"]
    (tmp_path / "t.csv").write_text("url,license\n" + "\n".join([*rows, "https://youtu.be/dQw4w9WgXcQ,"]))
    (tmp_path / "archive").write_text("youtube dQw4w9WgXcQ\n")
    opted = OptOut()
    opted.add(["b.example"])
    with read_archive(tmp_path / "archive") as archive:
        choice = Choice(licences=("cc-by", "cc0"), screen=Screen(opted, archive))
        report = seed(place.queue, [str(tmp_path / "t.csv")], choice=choice)
    assert (report.added, report.left_out) == (1, {"licence": 1, "opt_out": 1, "archive": 1})


def test_a_report_stays_small(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("nonsense\n" * 3000 + "https://a.example/1.mp3\n" * 3000)
    report = seed(None, [str(tmp_path / "list.txt")], dry_run=True)
    assert (report.found, report.added, report.repeated, report.left_out) == (3000, 1, 2999, {"refused": 3000})
    assert len(json.dumps(report.to_json())) < 50_000


def test_memory_does_not_grow_with_the_list(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        source = write_list(tmp_path / f"{count}.txt", count)
        tracemalloc.start()
        assert seed(None, [source], dry_run=True).added == count
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(100)
    assert peak(4000) < 2 * peak(500)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.sampled_from([f"https://a.example/{number}.mp3" for number in range(9)] + ["x", "http://10.0.0.1/"]))
)
def test_every_line_is_counted_once(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    folder = tmp_path_factory.mktemp("count")
    (folder / "list.txt").write_text("\n".join(lines))
    place = Place(folder / "store")
    seed(place.queue, ["https://a.example/0.mp3"])
    report = seed(place.queue, [str(folder / "list.txt")])
    assert len(lines) == report.added + report.known + report.repeated + report.left_out.total()
    assert report.added + report.known == len({line for line in lines if "a.example" in line})
