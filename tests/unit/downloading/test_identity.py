"""Ids, URLs and source words: stable, safe in a key, and the same for every spelling of one thing."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.downloading.identity import (
    address,
    host_word,
    normal_url,
    source_word,
    url_id,
    web_url,
    youtube_id,
    youtube_list,
)
from duplexforge.downloading.local import path_of, printable
from duplexforge.errors import InputError
from duplexforge.layout import safe_name

hostile = st.text(max_size=300) | st.sampled_from(
    ["../../etc", "..", ".", "/", "\0", "\u202eevil", "e\u0301", "🎙" * 80]
)


@given(hostile)
def test_source_word_always_fits_a_key(text: str) -> None:
    word = source_word(text, "local")
    assert safe_name(word) == word
    assert source_word(word, "local") == word


def test_source_words_of_foreign_alphabets_differ() -> None:
    assert source_word("подкасты", "local") != source_word("播客", "local")
    assert source_word("  ", "local") == "local"


@given(hostile)
def test_any_text_becomes_a_requestable_url_or_is_refused(text: str) -> None:
    url = None
    with suppress(InputError):
        url = web_url(f"https://example.org/{text}")
    # Only a control character makes a path impossible; everything else is escaped.
    assert (url is None) == (len(text) > 0 and any(ord(letter) < 32 for letter in text.rstrip()))
    if url is None:
        return
    assert url.isascii()
    assert " " not in url
    assert web_url(url) == url
    assert safe_name(url_id(url)) == url_id(url)


@pytest.mark.parametrize(
    "text",
    [
        "", "   ", "file:///etc/passwd", "FILE:///etc/passwd", "ftp://example.org/a.mp3", "data:audio/mpeg;base64,AA",
        "//example.org/a.mp3", "example.org/a.mp3", "http://", "http:///a.mp3", "https://user:secret@example.org/a.mp3",
        "http://exa\nmple.org/", "http://[::1/a.mp3", "http://example.org:99999/a.mp3", "javascript:alert(1)",
        "http://example.org/" + "a" * 9000, "\\\\server\\share\\a.mp3", "-o/tmp/x",
    ],
)  # fmt: skip
def test_everything_but_plain_web_addresses_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        web_url(text)
    assert caught.value.reason == "refused"


@pytest.mark.parametrize("relative", ["file:///etc/passwd", "ftp://x/a.mp3"])
def test_a_base_does_not_lend_its_scheme_to_others(relative: str) -> None:
    with pytest.raises(InputError):
        web_url(relative, "https://example.org/feed.xml")
    assert web_url("a b.mp3", "https://example.org/x/feed.xml") == "https://example.org/x/a%20b.mp3"


def test_spellings_of_one_address_are_one_id() -> None:
    spellings = ["https://Example.ORG/a.mp3", "HTTPS://example.org:443/a.mp3", "https://example.org/a.mp3#t=3"]
    assert len({url_id(web_url(one)) for one in spellings}) == 1
    assert url_id("https://example.org/a.mp3?x=1") != url_id("https://example.org/a.mp3?x=2")
    assert url_id("http://example.org") == url_id("http://example.org/")
    assert normal_url("http://[::1]:80/x") == "http://[::1]/x"


@pytest.mark.parametrize(
    "url",
    [
        "https://www.youtube.com/watch?v=dQw4w9WgXcQ", "https://youtu.be/dQw4w9WgXcQ?t=3",
        "https://m.youtube.com/watch?list=PL1&v=dQw4w9WgXcQ", "https://www.youtube.com/shorts/dQw4w9WgXcQ",
        "https://www.youtube.com/live/dQw4w9WgXcQ?x", "https://music.youtube.com/watch?v=dQw4w9WgXcQ",
        "https://www.youtube-nocookie.com/embed/dQw4w9WgXcQ",
    ],
)  # fmt: skip
def test_youtube_addresses_are_known_by_their_video(url: str) -> None:
    assert youtube_id(url) == "dQw4w9WgXcQ"
    assert url_id(url) == "yt-dQw4w9WgXcQ"


@pytest.mark.parametrize(
    "url",
    [
        "https://www.youtube.com/@channel", "https://www.youtube.com/watch?v=short", "https://youtu.be/",
        "https://youtube.com.evil.example/watch?v=dQw4w9WgXcQ", "https://www.youtube.com/playlist?list=PL1",
        "https://www.youtube.com/shorts/dQw4w9WgXcQtoolong",
    ],
)  # fmt: skip
def test_other_addresses_are_no_videos(url: str) -> None:
    assert youtube_id(url) is None
    assert url_id(url).startswith("url-")


def test_host_word_names_the_host() -> None:
    assert host_word("https://www.example.org:8080/feed") == "example.org"
    assert host_word("http://[::1]/feed") == "1"


@given(st.binary(min_size=1, max_size=250).filter(lambda name: b"\0" not in name and b"/" not in name))
def test_any_file_name_survives_its_url(name: bytes) -> None:
    path = Path("/audio", os.fsdecode(name))
    url = path.as_uri()
    assert url.isascii()
    assert path_of(url) == path
    assert printable(path.name).encode("utf-8").decode() == printable(path.name)


@pytest.mark.parametrize("url", ["file://server/share/a.mp3", "file:///a%00b.mp3", "file:a.mp3", "file:"])
def test_file_urls_of_other_machines_are_refused(url: str) -> None:
    with pytest.raises(InputError) as caught:
        path_of(url)
    assert caught.value.reason == "refused"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://www.a.example/x/", "http://a.example/x", True),
        ("https://a.example:443/x#part", "https://A.EXAMPLE/x", True),
        ("https://a.example/x?p=1", "https://a.example/x?p=2", False),
        ("https://www.youtube.com/@Some/videos", "https://m.youtube.com/@some", True),
        ("https://www.youtube.com/channel/UCa/about", "https://youtube.com/channel/UCa", True),
        ("https://www.youtube.com/channel/UCa", "https://youtube.com/channel/UCA", False),
        ("https://www.youtube.com/playlist?list=PL1&si=2", "https://music.youtube.com/playlist?list=PL1", True),
        ("https://www.youtube.com/playlist?list=PL1", "https://www.youtube.com/playlist?list=PL2", False),
    ],
)
def test_addresses_are_compared_by_what_they_name(one: str, other: str, same: bool) -> None:
    assert (address(one) == address(other)) is same


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        ("https://www.youtube.com/@some", True),
        ("https://m.youtube.com/c/Some/videos", True),
        ("https://www.youtube.com/user/some", True),
        ("https://www.youtube.com/playlist?list=PL1", True),
        ("https://www.youtube.com/watch?v=dQw4w9WgXcQ&list=PL1", False),
        ("https://youtu.be/dQw4w9WgXcQ", False),
        ("https://www.youtube.com/feed/trending", False),
        ("https://notyoutube.com/@some", False),
    ],
)
def test_channels_and_playlists_are_told_from_videos(url: str, answer: bool) -> None:
    assert youtube_list(url) is answer
