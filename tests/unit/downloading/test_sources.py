"""What a person types, and the tasks it stands for."""

from __future__ import annotations

import gzip
import json
import os
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.config import DownloadSettings
from duplexforge.downloading.local import local_id
from duplexforge.downloading.notes import SeedReport
from duplexforge.downloading.sources import Reading, read_source
from duplexforge.errors import DuplexforgeError, InputError, RetryLater, UsageError
from duplexforge.records import DownloadTask
from duplexforge.storage import file_entry
from tests.unit.downloading.conftest import Site
from tests.unit.downloading.test_dump import write
from tests.unit.downloading.test_feeds import feed, item

# The test site is at a private address.
SETTINGS = DownloadSettings(socket_timeout=2.0, allow_private_addresses="127.0.0.1")
HERE = Reading(SETTINGS)


def read(text: str, *, language: str | None = None, source: str | None = None) -> tuple[list[DownloadTask], SeedReport]:
    """Tasks and notes of a source."""
    notes = SeedReport()
    return list(read_source(text, language=language, source=source, notes=notes, reading=HERE)), notes


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


# -- channels, lists of feeds, pipes ---------------------------------------------------------------------------------

ATOM = b"""<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"><title>Show</title><id>urn:show</id>
<entry><title>One</title><id>urn:1</id><link rel="enclosure" type="audio/mpeg" href="https://a.example/1.mp3"/></entry>
</feed>"""


def opml(*urls: str) -> bytes:
    """An OPML file of feeds."""
    return b"<opml><body>%s</body></opml>" % b"".join(b'<outline text="F" xmlUrl="%s"/>' % url.encode() for url in urls)


def written(site: Site, name: str, *items: str) -> str:
    """The address of a feed on the site."""
    (site.root / name).write_bytes(feed(*items))
    return site.url(f"files/{name}")


def test_an_opml_file_reads_its_feeds_and_a_dead_one_stops_nothing(tmp_path: Path, site: Site) -> None:
    urls = [written(site, f"o{number}.xml", item(f"https://a.example/{number}.mp3")) for number in range(12)]
    urls.insert(5, site.url("status/404"))
    urls.insert(9, site.url("page"))
    (tmp_path / "mine.opml").write_bytes(opml(*urls))
    tasks, notes = read(str(tmp_path / "mine.opml"))
    assert [task.url for task in tasks] == [f"https://a.example/{number}.mp3" for number in range(12)]
    assert notes.left_out == {"gone": 1, "bad_feed": 1}
    assert [what for what, _ in notes.refused] == [f"F: {urls[5]}", f"F: {urls[9]}"]


def test_an_opml_on_a_server_is_told_by_its_beginning(site: Site) -> None:
    url = written(site, "one.xml", item("https://a.example/1.mp3"))
    (site.root / "list.opml").write_bytes(opml(url))
    assert [task.url for task in read(site.url("typed/list.opml?text/xml"))[0]] == ["https://a.example/1.mp3"]


def test_an_atom_feed_is_a_feed(tmp_path: Path, site: Site) -> None:
    (site.root / "atom.xml").write_bytes(ATOM)
    for text in (site.url("typed/atom.xml?application/atom+xml"), f"rss:{site.url('files/atom.xml')}"):
        assert [task.url for task in read(text)[0]] == ["https://a.example/1.mp3"]


def test_feeds_of_one_list_are_read_at_the_same_time_and_in_order(tmp_path: Path, site: Site) -> None:
    urls = [written(site, f"p{number}.xml", item(f"https://a.example/{number}.mp3")) for number in range(20)]
    path = tmp_path / "feeds.jsonl"
    path.write_text("".join(json.dumps({"feed": url, "language": "pt-BR", "title": "x"}) + "\n" for url in urls))
    tasks, _ = read(str(path), language="en")
    assert [task.url[18:] for task in tasks] == [f"{number}.mp3" for number in range(20)]
    assert {task.language for task in tasks} == {"pt"}


def test_a_feed_inside_a_list_never_reaches_a_private_address(tmp_path: Path, site: Site) -> None:
    hidden = written(site, "hidden.xml", item("https://a.example/1.mp3"))
    (tmp_path / "list.txt").write_text(f"rss:{hidden}\nrss:http://169.254.169.254/feed\nhttps://a.example/2.mp3\n")
    notes = SeedReport()
    public = Reading(DownloadSettings(socket_timeout=2.0))
    tasks = list(read_source(str(tmp_path / "list.txt"), notes=notes, reading=public))
    assert [task.url for task in tasks] == ["https://a.example/2.mp3"]
    assert notes.left_out == {"refused": 2}
    assert site.asked("files/hidden.xml") == 0


@pytest.mark.parametrize("defer", [True, False])
def test_a_table_names_no_file_of_this_machine(tmp_path: Path, defer: bool) -> None:
    (tmp_path / "own.xml").write_bytes(feed(item("https://a.example/1.mp3")))
    rows = [{"feed": str(tmp_path / "own.xml")}, {"url": f"rss:{tmp_path / 'own.xml'}"}, {"feed": "ftp://a.example/x"}]
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "l.txt").write_text(f"rss:{tmp_path / 'own.xml'}\nrss:http://user:key@a.example/x\nrss:none.xml\n")
    how = Reading(SETTINGS, defer=defer)
    notes = SeedReport()
    assert list(read_source(str(tmp_path / "t.jsonl"), notes=notes, reading=how)) == []
    assert notes.left_out == {"refused": 3}
    # A list that somebody wrote by hand may name one, and it is read here even where web feeds are deferred.
    own = SeedReport()
    assert len(list(read_source(str(tmp_path / "l.txt"), notes=own, reading=how))) == 1
    assert own.left_out == {"refused": 1, "usage": 1}
    assert "user:key" not in own.to_text()


@pytest.mark.parametrize("text", ["http://127.0.0.1:1/feed.xml", "http://2130706433/x.mp3", "http://localhost/x.mp3"])
def test_a_private_address_that_is_typed_is_an_error(text: str) -> None:
    with pytest.raises(InputError) as caught:
        list(read_source(text, reading=Reading(DownloadSettings())))
    assert caught.value.reason == "refused"


def test_channels_are_deferred_by_any_name(tmp_path: Path) -> None:
    names = ["@someone", "https://www.youtube.com/@someone/videos", "https://youtube.com/channel/UCx"]
    later = Reading(SETTINGS, defer=True)
    tasks = [task for name in names for task in read_source(name, reading=later)]
    (tmp_path / "list.txt").write_text("\n".join(names))
    assert list(read_source(str(tmp_path / "list.txt"), reading=later)) == tasks
    assert [task.kind for task in tasks] == ["feed"] * 3
    # The same channel under two of its addresses is one task.
    assert tasks[0].id == tasks[1].id != tasks[2].id


def test_a_table_of_videos(tmp_path: Path) -> None:
    path = tmp_path / "videos.csv"
    path.write_text("video_id,title,language,license\ndQw4w9WgXcQ,One,EN,CC-BY\nbad,Two,,\n,Three,,\n")
    tasks, notes = read(str(path), language="de")
    assert [(task.id, task.language, task.licence) for task in tasks] == [("yt-dQw4w9WgXcQ", "en", "CC-BY")]
    assert [what for what, _ in notes.refused] == ["line 3", "line 4"]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("pipe", '[{"video_id": "dQw4w9WgXcQ"}]'),
        ("pipe", '{"video_id": "dQw4w9WgXcQ"}\n'),
        ("pipe", "https://youtu.be/dQw4w9WgXcQ\n"),
        ("pipe", "title,video_id\nx,dQw4w9WgXcQ\n"),
    ],
)
def test_a_pipe_is_told_by_how_it_begins(tmp_path: Path, name: str, body: str) -> None:
    path = tmp_path / name
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(body,))
    writer.start()
    tasks, _ = read(str(path))
    writer.join()
    assert [task.id for task in tasks] == ["yt-dQw4w9WgXcQ"]


def test_a_gzipped_list(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"url": "https://a.example/1.mp3"}\n' * 2))
    assert len(read(str(path))[0]) == 2


def test_a_dump_is_read_feed_by_feed(tmp_path: Path, site: Site) -> None:
    urls = [written(site, f"d{number}.xml", item(f"https://a.example/{number}.mp3")) for number in range(4)]
    rows = [
        (None, url, f"Show {number}", "de" if number % 2 else "en", "A", 0, 9, 0) for number, url in enumerate(urls)
    ]
    path = write(tmp_path / "podcasts.db", rows)
    tasks, notes = read(str(path), language="de")
    assert [(task.url[18:], task.language) for task in tasks] == [("1.mp3", "de"), ("3.mp3", "de")]
    assert notes.left_out == {"language": 2}
    limited = Reading(SETTINGS, defer=True, max_feeds=1)
    assert [task.title for task in read_source(str(path), reading=limited)] == ["Show 0"]


def test_a_sources_file_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("- https://a.example/1.mp3\n")
    assert isinstance(error_of(str(tmp_path / "s.yaml")), UsageError)


@settings(deadline=None, max_examples=40)
@given(st.binary(max_size=200))
def test_any_document_is_read_or_is_one_sentence(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    for name in ("x.txt", "x.csv", "x.json", "x.jsonl", "x.xml", "x.opml", "x.gz", "x"):
        (folder / name).write_bytes(body)
        try:
            tasks = list(read_source(str(folder / name), reading=Reading(SETTINGS, defer=True)))
        except (UsageError, InputError):
            continue
        assert all(task.url.startswith("http") for task in tasks)
