"""Opting out: who is meant by an entry, and that nothing of theirs passes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.downloading.entries import Said
from duplexforge.downloading.optout import OptOut
from duplexforge.errors import UsageError
from duplexforge.records import DownloadTask
from tests.unit.downloading.conftest import Place

VIDEO = "https://www.youtube.com/watch?v=dQw4w9WgXcQ"


def task(url: str, *, origins: list[str] | None = None, name: str | None = None) -> DownloadTask:
    """The task of a URL."""
    found = Said().item(url)
    changes = {"id": name, "episode_id": name} if name else {}
    return found.model_copy(update={"origins": origins, **changes})


def of(*lines: str) -> OptOut:
    """The list of these lines."""
    found = OptOut()
    found.add(lines)
    return found


@pytest.mark.parametrize(
    ("entry", "url", "origins"),
    [
        ("dQw4w9WgXcQ", VIDEO, None),
        ("yt-dQw4w9WgXcQ", "https://youtu.be/dQw4w9WgXcQ", None),
        ("https://youtu.be/dQw4w9WgXcQ?t=5", VIDEO, None),
        ("a.example", "https://a.example/1.mp3", None),
        ("A.EXAMPLE.", "http://cdn.b.a.example:8080/1.mp3", None),
        ("*.a.example", "https://x.a.example/1.mp3", None),
        ("https://a.example/", "https://a.example/1.mp3", None),
        ("https://a.example/1.mp3", "http://www.a.example/1.mp3", None),
        ("a.example/show/", "https://cdn.example/1.mp3", ["https://a.example/show"]),
        ("feeds.example", "https://cdn.example/1.mp3", ["https://feeds.example/show.xml"]),
        ("https://www.youtube.com/@Some-One", VIDEO, ["https://m.youtube.com/@some-one/videos"]),
        ("youtube.com/channel/UCabc/streams", VIDEO, ["https://www.youtube.com/channel/UCabc"]),
        ("https://www.youtube.com/playlist?list=PL1&si=x", VIDEO, ["https://www.youtube.com/playlist?list=PL1"]),
    ],
)  # fmt: skip
def test_an_entry_stands_for_all_spellings(entry: str, url: str, origins: list[str] | None) -> None:
    found = of(f"  {entry}   # asked on the phone")
    assert found.mistakes == []
    assert found.refuses(task(url, origins=origins))


@pytest.mark.parametrize(
    ("entry", "url", "origins"),
    [
        ("a.example", "https://notaa.example/1.mp3", None),
        ("a.example", "https://b.example/a.example/1.mp3", None),
        ("https://a.example/1.mp3", "https://a.example/2.mp3", None),
        ("https://a.example/f?show=1", "https://a.example/f?show=2", None),
        ("https://www.youtube.com/channel/UCabc", VIDEO, ["https://www.youtube.com/channel/UCABC"]),
        ("youtube.com/@someone", VIDEO, ["https://www.youtube.com/@someone2"]),
        ("# a.example", "https://a.example/1.mp3", None),
    ],
)
def test_it_stands_for_nobody_else(entry: str, url: str, origins: list[str] | None) -> None:
    assert of(entry).refuses(task(url, origins=origins)) is None


def test_an_episode_is_known_by_its_id() -> None:
    assert of("pod-0123456789abcdef").refuses(task("https://a.example/1.mp3", name="pod-0123456789abcdef"))


def test_the_stores_list_and_a_file_count_together(place: Place, tmp_path: Path) -> None:
    place.store.put(place.layout.opt_out(), b"\xef\xbb\xbfa.example\n\nneither this nor that\n")
    (tmp_path / "more.txt").write_text("b.example\n")
    found = OptOut.read(place.store, place.layout, tmp_path / "more.txt")
    assert found.refuses(task("https://a.example/1.mp3"))
    assert found.refuses(task("https://b.example/1.mp3"))
    assert found.refuses(task("https://c.example/1.mp3")) is None
    # The role cannot ask anybody, so a bad line of the shared list stops nothing; it is there to be told.
    assert found.mistakes == ["line 3 is no id, host or address: neither this nor that"]
    assert OptOut.read(Place(tmp_path / "empty").store, place.layout).refuses(task("https://a.example/1.mp3")) is None


@pytest.mark.parametrize("line", ["two words", "http://", "ftp://a.example/x", "-", "http://[bad/x"])
def test_a_line_of_a_file_that_means_nobody_is_an_error(tmp_path: Path, line: str) -> None:
    (tmp_path / "list.txt").write_text(f"a.example\n{line}\n")
    with pytest.raises(UsageError, match="line 2"):
        OptOut().add_file(tmp_path / "list.txt")


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        OptOut().add_file(tmp_path / "none.txt")


@settings(deadline=None)
@given(st.lists(st.text(max_size=60), max_size=5), st.text(max_size=60))
def test_any_text_is_either_an_entry_or_a_mistake(lines: list[str], host: str) -> None:
    found = of(*lines)
    assert len(found.mistakes) <= len(lines)
    probe = DownloadTask(id="x", episode_id="x", url=f"https://{host}/1.mp3", origins=[host])
    assert found.refuses(probe) is None or found.names or found.hosts or found.addresses
