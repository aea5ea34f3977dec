"""Entries of lists: the names that people give to columns, and what an entry may say about itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.downloading.entries import Said, entry_of, fields, is_header
from duplexforge.errors import InputError
from duplexforge.layout import safe_name
from duplexforge.records import DownloadTask

SAID = Said("de", "CC0", "Mine")


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ({"url": "https://a.example/page", "audio_url": "https://a.example/1.mp3"}, "https://a.example/1.mp3"),
        ({"Enclosure URL": " https://a.example/1.mp3 "}, "https://a.example/1.mp3"),
        ({"audio-url": "https://a.example/1.mp3", "url": ""}, "https://a.example/1.mp3"),
        ({"video_id": "dQw4w9WgXcQ"}, "https://www.youtube.com/watch?v=dQw4w9WgXcQ"),
        ({"link": "https://youtu.be/dQw4w9WgXcQ"}, "https://www.youtube.com/watch?v=dQw4w9WgXcQ"),
    ],
)
def test_the_address_is_found_under_its_names(entry: dict[str, Any], url: str) -> None:
    assert SAID.described(entry).url == url


def test_an_entry_speaks_for_itself() -> None:
    entry = {
        "url": "https://a.example/1.mp3", "Language": "pt-BR", "license": "CC-BY", "Author": "Ana", "Title": "Olá",
        "upload date": "2026-03-01", "Duration": "1:02:03", "source": "x y", "channel_url": "https://a.example/ana",
    }  # fmt: skip
    task = SAID.described(entry)
    assert (task.language, task.licence, task.uploader, task.title) == ("pt", "CC-BY", "Ana", "Olá")
    assert (task.published, task.duration, task.source) == ("2026-03-01", 3723.0, "x-y")
    assert task.origins == ["https://a.example/ana"]
    plain = SAID.described({"url": "https://a.example/2.mp3"})
    assert (plain.language, plain.licence, plain.source, plain.duration) == ("de", "CC0", "Mine", None)


@pytest.mark.parametrize(
    ("stated", "seconds"),
    [("90", 90.0), (90, 90.0), ("1:30", 90.0), ("59:59.5", 3599.5), ("", None), ("long", None), (-1, None),
     (True, None), ("nan", None), (10**400, None), (["1"], None)],
)  # fmt: skip
def test_lengths(stated: object, seconds: float | None) -> None:
    assert SAID.described({"url": "https://a.example/1.mp3", "duration": stated}).duration == seconds


@pytest.mark.parametrize(
    "entry", [{}, {"title": "x"}, {"video_id": "short"}, {"url": "file:///etc/passwd"}, {"url": 7}]
)
def test_an_entry_without_an_address_is_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        SAID.described(entry)


@pytest.mark.parametrize("value", [1, None, ["https://a.example/1.mp3"]])
def test_what_is_no_object_is_no_entry(value: object) -> None:
    with pytest.raises(InputError):
        entry_of(value)


def test_a_header_names_an_address() -> None:
    assert is_header(["Title", "Feed URL"])
    assert not is_header(["title", "language"])


KEYS = (
    st.sampled_from(["url", "video_id", "episode_id", "language", "duration", "title", "Audio URL", "source"])
    | st.text()
)
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("https://a.example/1.mp3")


@settings(deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=8))
def test_any_entry_is_a_task_or_refused(entry: dict[str, Any]) -> None:
    fields(entry)
    try:
        task = SAID.described(entry)
    except InputError:
        return
    assert safe_name(task.id) == task.episode_id
    assert safe_name(task.source) == task.source
    assert DownloadTask.model_validate_json(task.to_bytes()) == task
