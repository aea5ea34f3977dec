"""What a person types, and the tasks it stands for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from duplexforge.downloading.local import local_id
from duplexforge.downloading.notes import SeedReport
from duplexforge.downloading.sources import read_source
from duplexforge.errors import DuplexforgeError, InputError, RetryLater, UsageError
from duplexforge.records import DownloadTask
from duplexforge.storage import file_entry
from tests.unit.downloading.conftest import Site
from tests.unit.downloading.test_feeds import feed, item


def read(text: str, *, language: str | None = None, source: str | None = None) -> tuple[list[DownloadTask], SeedReport]:
    """Tasks and notes of a source."""
    notes = SeedReport()
    return list(read_source(text, language=language, source=source, notes=notes)), notes


def error_of(text: str) -> DuplexforgeError:
    """The error that a source ends in."""
    with pytest.raises(DuplexforgeError) as caught:
        read(text)
    assert "\n" not in str(caught.value)
    return caught.value


# -- files -----------------------------------------------------------------------------------------------------------


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    one, two = tmp_path / "one.mp3", tmp_path / "two.MP3"
    one.write_bytes(b"same")
    two.write_bytes(b"same")
    ((first,), _), ((second,), _) = read(str(one), language="en-US"), read(str(two), source="Böse Quelle")
    assert first.id == second.id == local_id(file_entry(one, "x").sha256)
    assert first.url == one.as_uri()
    assert (first.language, first.title) == ("en", "one.mp3")
    assert second.source == "B-se-Quelle"
    assert first.source == tmp_path.name


def test_a_folder_is_read_to_its_depth_in_order(tmp_path: Path) -> None:
    for name in ("b.mp3", "a.FLAC", "sub/c.opus", "sub/deep/d.webm", "notes.txt", "cover.JPG", "sub/e.jpg", "README"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "loop").symlink_to(tmp_path)
    tasks, notes = read(str(tmp_path))
    assert [task.title for task in tasks] == ["a.FLAC", "b.mp3", "c.opus", "d.webm"]
    assert dict(notes.skipped) == {".txt": 1, ".jpg": 2, "(no extension)": 1}


def test_empty_and_broken_audio_is_seeded_too(tmp_path: Path) -> None:
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "rubbish.wav").write_bytes(b"not audio")
    tasks, _ = read(str(tmp_path))
    assert len(tasks) == 2


@pytest.mark.parametrize(
    "name",
    [
        b"quo\"te's.mp3",
        b"new\nline.mp3",
        "🎙 émoji.mp3".encode(),
        b"-rf.mp3",
        b"%2e%2e%2f.mp3",
        b"a?b#c.mp3",
        b"\xff\xfe.mp3",
        b"x" * 246 + b".mp3",
        b"..mp3",
        b"a;$(touch pwned).mp3",
        "e\u0301\u202e3pm.mp3".encode(),
    ],
)
def test_any_file_name_works(tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / "audio"
    folder.mkdir()
    Path(folder, os.fsdecode(name)).write_bytes(name)
    # A pattern leaves hidden files out, as in a shell.
    pattern = ".*.mp3" if name.startswith(b".") else "*.mp3"
    for text in (str(folder), str(folder / os.fsdecode(name)), str(folder / pattern)):
        tasks, notes = read(text)
        assert len(tasks) == 1
        assert DownloadTask.model_validate_json(tasks[0].to_bytes()) == tasks[0]
        assert urlsplit(tasks[0].url).scheme == "file"
        assert notes.refused == []


def test_a_file_that_cannot_be_read_is_refused_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"a")
    os.mkfifo(tmp_path / "pipe.mp3")
    (tmp_path / "dangling.mp3").symlink_to(tmp_path / "nowhere")
    tasks, notes = read(str(tmp_path))
    assert [task.title for task in tasks] == ["a.mp3"]
    assert [Path(what).name for what, _ in notes.refused] == ["dangling.mp3", "pipe.mp3"]


def test_a_pattern_is_expanded(tmp_path: Path) -> None:
    for name in ("a1.mp3", "a2.mp3", "b.mp3", "a3.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "a-folder").mkdir()
    tasks, notes = read(str(tmp_path / "a*"))
    assert [task.title for task in tasks] == ["a1.mp3", "a2.mp3"]
    assert dict(notes.skipped) == {".txt": 1, "(folder)": 1}


def test_a_video_named_on_purpose_is_taken(tones: Path) -> None:
    ((task,), _) = read(str(tones / "talk.mkv"))
    assert task.title == "talk.mkv"


@pytest.mark.parametrize(
    "text", ["", "  ", "missing.mp3", "missing/*.mp3", "empty", "odd.docx", "a\0b.mp3", "rss:missing.xml"]
)
def test_mistakes_are_told_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd.docx").write_bytes(b"PK")
    assert isinstance(error_of(text), UsageError)


# -- lists -----------------------------------------------------------------------------------------------------------


def test_a_list_of_addresses(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(
        "\ufeff# a comment\n\nhttps://a.example/1.mp3\n  https://youtu.be/dQw4w9WgXcQ  \nfile:///etc/passwd\nnonsense\n",
        encoding="utf-8",
    )
    tasks, notes = read(str(path), language="en")
    assert [task.url for task in tasks] == ["https://a.example/1.mp3", "https://www.youtube.com/watch?v=dQw4w9WgXcQ"]
    assert [task.id[:4] for task in tasks] == ["url-", "yt-d"]
    assert [task.source for task in tasks] == ["a.example", "youtu.be"]
    assert tasks[1].video_id == "dQw4w9WgXcQ"
    assert [what for what, _ in notes.refused] == ["line 5: file:///etc/passwd", "line 6: nonsense"]


def test_a_list_may_name_feeds(tmp_path: Path, site: Site) -> None:
    (site.root / "listed.xml").write_bytes(feed(item("https://a.example/1.mp3")))
    path = tmp_path / "list.txt"
    path.write_text(f"rss:{site.url('files/listed.xml')}\nrss:{site.url('status/404')}\nhttps://a.example/2.mp3\n")
    tasks, notes = read(str(path))
    assert [task.id[:4] for task in tasks] == ["pod-", "url-"]
    ((_, why),) = notes.refused
    assert "404" in why


ENTRIES: list[object] = [
    "https://a.example/1.mp3",
    {
        "url": "https://a.example/2.mp3",
        "title": "Two",
        "language": "DE",
        "licence": "CC0",
        "source": "x/y",
        "uploader": "U",
    },
    {"url": "https://youtu.be/dQw4w9WgXcQ", "video_id": "dQw4w9WgXcQ"},
    {"url": "https://a.example/3.mp3", "episode_id": "mine-3"},
    {"url": "https://a.example/4.mp3", "episode_id": "../../evil"},
    {"url": "file:///etc/passwd"},
    {"title": "no address"},
    17,
    {"url": ["https://a.example/5.mp3"]},
]


@pytest.mark.parametrize("name", ["list.json", "list.jsonl"])
def test_a_json_list(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(json.dumps(ENTRIES) if name.endswith("json") else "\n".join(json.dumps(one) for one in ENTRIES))
    tasks, notes = read(str(path), language="en")
    assert [task.url[-5:] for task in tasks] == ["1.mp3", "2.mp3", "9WgXcQ"[-5:], "3.mp3", "4.mp3"]
    two = tasks[1]
    assert (two.title, two.language, two.licence, two.source, two.uploader) == ("Two", "de", "CC0", "x-y", "U")
    assert tasks[0].language == "en"
    assert [task.id for task in tasks[2:4]] == ["yt-dQw4w9WgXcQ", "mine-3"]
    assert tasks[4].id.startswith("url-")
    assert [what for what, _ in notes.refused] == ["entry 6", "entry 7", "entry 8", "entry 9"]


def test_broken_lines_of_a_json_list_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text('{"url": "https://a.example/1.mp3"}\n{oops\n' + "[" * 100_000 + "\n")
    tasks, notes = read(str(path))
    assert len(tasks) == 1
    assert [what for what, _ in notes.refused] == ["line 2", "line 3"]


@pytest.mark.parametrize("text", ["{", '{"url": "https://a.example/1.mp3"}', "[" * 100_000, "17"])
def test_a_file_that_is_no_json_list_is_said_so(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.json"
    path.write_text(text)
    error = error_of(str(path))
    assert isinstance(error, InputError)
    assert error.reason == "bad_record"


# -- the network -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["files/show.xml", "typed/show.xml?application/rss+xml", "typed/show.xml?text/plain"])
def test_a_feed_is_told_by_what_the_server_answers(site: Site, path: str) -> None:
    (site.root / "show.xml").write_bytes(feed(item("{base}/files/tone.mp3"), item("https://a.example/2.mp3")))
    tasks, _ = read(site.url(path))
    assert [task.id[:4] for task in tasks] == ["pod-", "pod-"]
    assert tasks[0].source == "127.0.0.1"
    if path.startswith("files"):
        assert tasks[0].url == site.url("files/tone.mp3")
        assert [task.id for task in read(f"rss:{site.url(path)}")[0]] == [task.id for task in tasks]


@pytest.mark.parametrize("path", ["typed/tone.mp3?", "page", "status/404", "typed/tone.mp3?application/octet-stream"])
def test_another_answer_is_an_item(site: Site, path: str) -> None:
    ((task,), _) = read(site.url(path))
    assert task.id.startswith("url-")
    assert task.url == site.url(path).removesuffix("?")


def test_an_address_that_names_audio_is_not_asked_for(site: Site) -> None:
    path = "files/never-asked.mp3?x=1"
    ((task,), _) = read(site.url(path))
    assert task.url == site.url(path)
    assert site.asked(path) == 0


@pytest.mark.parametrize(
    ("path", "kind", "reason"),
    [("status/404", InputError, "gone"), ("status/429", RetryLater, "throttled"), ("page", InputError, "bad_feed"),
     ("empty.mp3", InputError, "bad_feed"), ("cut/tone.mp3", RetryLater, "network"), ("loop", InputError, "gone")],
)  # fmt: skip
def test_a_feed_that_cannot_be_had(site: Site, path: str, kind: type[DuplexforgeError], reason: str) -> None:
    error = error_of(f"rss:{site.url(path)}")
    assert isinstance(error, kind)
    assert error.reason == reason


@pytest.mark.parametrize("text", ["http://127.0.0.1:9/feed.xml", "rss:http://127.0.0.1:9/feed.xml"])
def test_no_network_is_to_be_tried_again(text: str) -> None:
    error = error_of(text)
    assert isinstance(error, RetryLater)
    assert "127.0.0.1:9" in str(error)


def test_a_feed_never_names_a_file_of_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "evil.xml"
    path.write_bytes(feed(item("file:///etc/passwd"), item("/etc/passwd"), item("https://a.example/1.mp3")))
    tasks, notes = read(str(path))
    assert [urlsplit(task.url).scheme for task in tasks] == ["https"]
    assert len(notes.refused) == 2
