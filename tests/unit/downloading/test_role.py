"""The download role on a real store, queue and worker: local files, commits, and attempts that died before theirs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from duplexforge import storage
from duplexforge.downloading.fetch import Ways
from duplexforge.downloading.item import Item
from duplexforge.downloading.plan import Defaults, seed
from duplexforge.downloading.resume import Partials
from duplexforge.downloading.role import DownloadStep, record_key
from duplexforge.errors import DuplexforgeError, InputError, LeaseLost, Preempted
from duplexforge.records import DownloadTask
from duplexforge.storage import file_entry
from duplexforge.worker import Worker
from tests.unit.downloading.conftest import Calm, Place, Site, settings_with, write_tone
from tests.unit.downloading.test_feeds import feed, item


def task_for(path: Path, **changes: Any) -> DownloadTask:
    """The task of a local file."""
    body = {"id": "ep-1", "episode_id": "ep-1", "url": path.as_uri(), "language": "en", "source": "src", **changes}
    return DownloadTask(**body)


def attempt_at(place: Place, task: DownloadTask, folder: Path, attempt: str, **settings: Any) -> dict[str, Any]:
    """One attempt, run to its end."""
    folder.mkdir()
    step = place.step(**settings)
    return step.work(task, step.fetch(task, folder), attempt, Calm())


def audio_keys(place: Place) -> list[str]:
    """All keys of audio in the store."""
    return [meta.key for meta in place.store.list(place.layout.raw) if not meta.key.endswith(".json")]


def test_local_files_are_committed(place: Place, tones: Path) -> None:
    seed(place.queue, [str(tones / "tone.mp3")], defaults=Defaults(language="eng", licence="CC0"))
    tally = place.drain()
    assert (tally.completed, tally.failed) == (1, 0)
    record, entry = place.record(), file_entry(tones / "tone.mp3", "x")
    assert record.language == "en"
    assert (record.sha256, record.size, record.title, record.licence) == (entry.sha256, entry.size, "tone.mp3", "CC0")
    assert record.duration == pytest.approx(1.0, abs=0.1)
    assert record.audio_key.endswith(f"/{record.episode_id}.mp3")
    meta = place.store.head(record.audio_key)
    assert meta is not None
    assert meta.etag == record.etag
    assert place.store.get(record.audio_key) == (tones / "tone.mp3").read_bytes()
    (ended,) = place.queue.ended("completed")
    assert ended.result == {"bytes": entry.size, "seconds": record.duration, "extension": "mp3"}


@pytest.mark.parametrize("content", [b"", b"rubbish" * 100, b"<html><body>saved by mistake</body></html>"])
def test_a_local_file_is_not_judged_here(place: Place, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp3").write_bytes(content)
    seed(place.queue, [str(tmp_path / "a.mp3")])
    place.drain()
    record = place.record()
    assert record.duration is None
    assert (record.size, record.language) == (len(content), "unknown")
    assert place.store.get(record.audio_key) == content


def test_every_hostile_name_is_committed(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    names = [
        b"quo\"te'.mp3",
        b"new\nline.mp3",
        "🎙.mp3".encode(),
        b"-rf.mp3",
        b"a?b#c%.mp3",
        b"\xff.mp3",
        b"x" * 246 + b".mp3",
    ]
    for number, name in enumerate(names):
        write_tone(Path(folder, os.fsdecode(name)), "libmp3lame", "mp3", frequency=300.0 + 50 * number, seconds=0.2)
    seed(place.queue, [str(folder)])
    tally = place.drain()
    assert (tally.completed, tally.failed) == (len(names), 0)
    assert {record.title for record in place.records().values()} == {name.decode("utf-8", "replace") for name in names}


@pytest.mark.parametrize(("name", "extension"), [("tone.MP3", "mp3"), ("x.M4A", "m4a"), ("y.oPuS", "opus")])
def test_extensions_are_lower_case_in_keys(
    place: Place, tones: Path, tmp_path: Path, name: str, extension: str
) -> None:
    (tmp_path / name).write_bytes((tones / "tone.mp3").read_bytes())
    seed(place.queue, [str(tmp_path / name)])
    place.drain()
    assert place.record().audio_key.endswith(f".{extension}")


def test_a_video_becomes_audio(place: Place, tones: Path) -> None:
    seed(place.queue, [str(tones / "talk.mkv"), str(tones / "mute.mkv")])
    place.drain()
    record = place.record()
    assert record.audio_key.endswith(".m4a")
    assert record.duration == pytest.approx(1.0, abs=0.15)
    assert place.failure().reason == "not_audio"


@pytest.mark.parametrize(
    ("change", "settings", "reason"),
    [
        ("none", {"allow_file_urls": False}, "refused"),
        ("gone", {}, "gone"),
        ("edited", {}, "changed"),
        ("none", {"max_bytes": 100}, "too_large"),
        ("folder", {}, "unsupported"),
        ("pipe", {}, "unsupported"),
    ],
)
def test_local_files_that_cannot_be_had(
    place: Place, tones: Path, tmp_path: Path, change: str, settings: dict[str, Any], reason: str
) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes((tones / "tone.mp3").read_bytes())
    seed(place.queue, [str(path)])
    if change != "none":
        path.unlink()
    if change == "edited":
        path.write_bytes(b"other content")
    elif change == "folder":
        path.mkdir()
    elif change == "pipe":
        os.mkfifo(path)
    assert place.drain(**settings).failed == 1
    assert place.failure().reason == reason
    assert audio_keys(place) == []


def test_work_done_is_not_done_again(place: Place, tones: Path) -> None:
    task = task_for(tones / "tone.mp3")
    place.queue.put(task)
    place.drain()
    assert place.step().done(task)
    place.store.delete(place.layout.completed("download", "ep-1"))
    place.queue.put(task)
    assert place.drain().skipped == 1


# -- attempts that died, attempts that lost --------------------------------------------------------------------------


def test_equal_bytes_of_a_dead_attempt_are_adopted(place: Place, tones: Path, tmp_path: Path) -> None:
    task = task_for(tones / "tone.mp3")
    plain = place.layout.raw_audio("en", "src", "ep-1", "mp3")
    place.store.put(plain, (tones / "tone.mp3").read_bytes())
    attempt_at(place, task, tmp_path / "two", "a2-beef0000")
    assert place.record().audio_key == plain
    assert audio_keys(place) == [plain]


@pytest.mark.parametrize("same_size", [True, False])
def test_other_bytes_of_a_dead_attempt_are_left_alone(
    place: Place, tones: Path, tmp_path: Path, *, same_size: bool
) -> None:
    task, content = task_for(tones / "tone.mp3"), (tones / "tone.mp3").read_bytes()
    plain = place.layout.raw_audio("en", "src", "ep-1", "mp3")
    dead = content[:-1] + b"?" if same_size else content[:1000]
    place.store.put(plain, dead)
    attempt_at(place, task, tmp_path / "two", "a2-beef0000")
    record = place.record()
    assert record.audio_key == place.layout.raw_audio("en", "src", "ep-1", "mp3", nonce="a2-beef0000")
    assert place.store.get(record.audio_key) == content
    assert place.store.get(plain) == dead


def test_a_large_file_goes_to_a_key_of_its_own(
    place: Place, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "SINGLE_PUT_LIMIT", 100)
    attempt_at(place, task_for(tones / "tone.mp3"), tmp_path / "one", "a1-beef0000")
    assert place.record().audio_key.endswith("/ep-1.a1-beef0000.mp3")


def test_a_record_that_was_committed_first_stands(place: Place, tones: Path, tmp_path: Path) -> None:
    first, second = task_for(tones / "tone.mp3"), task_for(tones / "tone.flac")
    attempt_at(place, first, tmp_path / "one", "a1-aaaa0000")
    before = place.store.get(record_key(place.layout, first))
    facts = attempt_at(place, second, tmp_path / "two", "a2-bbbb0000")
    assert facts == {"outcome": "committed by another attempt"}
    assert place.store.get(record_key(place.layout, first)) == before
    assert place.store.get(place.record().audio_key) == (tones / "tone.mp3").read_bytes()


def test_the_loser_takes_only_its_own_audio_away(place: Place, tones: Path, tmp_path: Path) -> None:
    task = task_for(tones / "tone.mp3")
    attempt_at(place, task, tmp_path / "one", "a1-aaaa0000")
    # The same item, other bytes: the plain key is taken, so the loser wrote a key with its own name.
    other = tmp_path / "other.mp3"
    write_tone(other, "libmp3lame", "mp3", frequency=999.0)
    attempt_at(place, task_for(other), tmp_path / "two", "a2-bbbb0000")
    assert audio_keys(place) == [place.record().audio_key]
    # The same bytes: adopted by both, so the loser must not take them from the winner.
    attempt_at(place, task, tmp_path / "three", "a3-cccc0000")
    assert audio_keys(place) == [place.record().audio_key]


class FencedOff(Calm):
    """Progress of an attempt that has lost its lease by the time of its commit."""

    def check_lease(self) -> None:
        """Another attempt holds the task."""
        raise LeaseLost("taken over")


def test_a_fenced_attempt_commits_nothing(place: Place, tones: Path, tmp_path: Path) -> None:
    task, step = task_for(tones / "tone.mp3"), place.step()
    place.store.put(place.layout.raw_audio("en", "src", "ep-1", "mp3"), b"of another attempt")
    with pytest.raises(LeaseLost):
        step.work(task, step.fetch(task, tmp_path), "a1-aaaa0000", FencedOff())
    assert place.records() == {}
    assert audio_keys(place) == [place.layout.raw_audio("en", "src", "ep-1", "mp3")]


def test_the_lease_is_looked_at_after_the_upload(place: Place, tones: Path, tmp_path: Path) -> None:
    task, step, calm = task_for(tones / "tone.mp3"), place.step(), Calm()
    step.work(task, step.fetch(task, tmp_path), "a1-aaaa0000", calm)
    assert calm.beats == ["upload", "lease"]


def test_a_stop_breaks_a_fetch_off(place: Place, tones: Path, tmp_path: Path) -> None:
    step = place.step()
    step.stop_when(lambda: True)
    with pytest.raises(Preempted):
        step.fetch(task_for(tones / "tone.mp3"), tmp_path)


# -- bodies written by others ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("episode", ["../../etc/passwd", "a/b", "", "x" * 300, "é", "a\nb", ".hidden", "a..b"])
def test_ids_that_fit_no_key_are_bad_records(place: Place, tones: Path, episode: str) -> None:
    task = task_for(tones / "tone.mp3", id="", episode_id=episode)
    assert not place.step().done(task)
    with pytest.raises(InputError) as caught:
        place.step().fetch(task, place.folder)
    assert caught.value.reason == "bad_record"


def test_a_task_that_failed_for_its_id_stops_no_sweep(place: Place, tones: Path) -> None:
    place.queue.put(task_for(tones / "tone.mp3", episode_id="../evil"))
    assert place.drain().failed == 1
    assert place.failure().reason == "bad_record"
    assert place.queue.sweep(place.step().done) == 0


@pytest.mark.parametrize(
    ("source", "word"), [("../../x", "x"), ("", "web"), ("a b", "a-b"), ("ok.source", "ok.source")]
)
def test_source_words_are_made_fit(place: Place, tones: Path, tmp_path: Path, source: str, word: str) -> None:
    attempt_at(place, task_for(tones / "tone.mp3", source=source, language="de_DE"), tmp_path / "one", "a1-aaaa0000")
    assert list(place.records()) == [f"raw_audio/de/{word}/ep-1.json"]


def test_an_older_body_is_understood(place: Place, tones: Path) -> None:
    url = (tones / "tone.mp3").as_uri()
    place.store.put(place.layout.todo("download", "yt-abc"), f'{{"video_id": "abc", "url": "{url}"}}'.encode())
    place.drain()
    assert list(place.records()) == ["raw_audio/unknown/web/yt-abc.json"]


def test_what_the_site_told_fills_the_gaps(place: Place, tones: Path, tmp_path: Path) -> None:
    copy = tmp_path / "item"
    copy.write_bytes((tones / "tone.mp3").read_bytes())
    item = Item(copy, "mp3", title="Site title", uploader="Anna", licence="CC BY", published="2026-01-02")
    place.step().work(task_for(copy, title="My title"), item, "a1-aaaa0000", Calm())
    record = place.record()
    assert (record.title, record.uploader, record.licence, record.published) == (
        "My title",
        "Anna",
        "CC BY",
        "2026-01-02",
    )


def test_a_full_disk_is_the_machines_fault(place: Place, tones: Path, tmp_path: Path) -> None:
    with pytest.raises(DuplexforgeError) as caught:
        place.step().fetch(task_for(tones / "tone.mp3"), tmp_path / "no-such-folder")
    assert caught.value.reason == "machine"


# -- tasks of other kinds --------------------------------------------------------------------------------------------


def test_a_feed_task_becomes_its_items(place: Place, site: Site) -> None:
    items = [item("{base}/files/tone.mp3", guid="1"), item("http://10.0.0.1/a.mp3", guid="2")]
    (site.root / "kind.xml").write_bytes(feed(*items))
    place.queue.put(DownloadTask(id="feed-1", episode_id="feed-1", url=site.url("files/kind.xml"), kind="feed"))
    step = place.step()
    step.expand_into(place.queue)
    tally = Worker(place.queue, step, place.settings, drain=True).run()
    assert (tally.completed, tally.failed) == (2, 0)
    assert place.record().url == site.url("files/tone.mp3")
    results = {ended.id: ended.result for ended in place.queue.ended("completed")}
    assert (results["feed-1"]["items"], results["feed-1"]["added"]) == (1, 1)


def test_a_feed_that_is_inside_is_refused(place: Place) -> None:
    place.queue.put(DownloadTask(id="feed-1", episode_id="feed-1", url="http://127.0.0.2/feed.xml", kind="feed"))
    step = place.step()
    step.expand_into(place.queue)
    Worker(place.queue, step, place.settings, drain=True).run()
    assert place.failure().reason == "refused"


def test_a_second_attempt_goes_on_where_the_first_was_cut(place: Place, site: Site, tmp_path: Path) -> None:
    url = site.url("resume/tone.mp3?cuts=1500,0&role=1")
    place.queue.put(DownloadTask(id="url-1", episode_id="url-1", url=url, attempt_limit=2))
    kept = tmp_path / "kept"
    ways = Ways.of(settings_with(), partials=Partials(kept, 5))
    step = DownloadStep(place.store, place.layout, ways)
    settings = place.settings.model_copy(update={"attempt_limit": 2})
    tally = Worker(place.queue, step, settings, drain=True).run()
    assert (tally.retried, tally.completed) == (1, 1)
    assert place.store.get(place.record().audio_key) == (site.root / "tone.mp3").read_bytes()
    assert list(kept.iterdir()) == []
