"""OPML: feeds in folders in folders, and nothing that is no feed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.downloading.notes import SeedReport
from duplexforge.downloading.opml import Outline, looks_like_opml, outlines
from duplexforge.errors import InputError

NESTED = b"""<?xml version="1.0"?><opml version="2.0"><head><title>Mine</title></head><body>
<outline text="News"><outline text="Deep"><outline type="rss" text="One" xmlUrl="https://a.example/1.xml"/></outline>
<outline title="Two" text="2" xmlurl="https://b.example/2.xml" language="de-AT"/></outline>
<outline text="Evil" xmlUrl="file:///etc/passwd"/><outline text="Three" XMLURL="http://c.example/3.xml"/>
<outline text="A page" htmlUrl="https://d.example/"/></body></opml>"""


def read(body: bytes) -> tuple[list[Outline], SeedReport]:
    """Feeds and notes."""
    notes = SeedReport()
    return list(outlines(body, "mine.opml", notes)), notes


def test_folders_are_followed_and_bad_addresses_refused() -> None:
    assert looks_like_opml(NESTED)
    feeds, notes = read(NESTED)
    assert feeds == [
        Outline("https://a.example/1.xml", "One"),
        Outline("https://b.example/2.xml", "Two", "de-AT"),
        Outline("http://c.example/3.xml", "Three"),
    ]
    assert [what for what, _ in notes.refused] == ["Evil"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not XML"),
        (b"<rss/>", "not OPML"),
        (b"<opml><body/></opml>", "without a single feed"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><opml>&a;</opml>', "entities"),
        (b"<opml><body><outline", "not XML"),
    ],
)
def test_what_is_no_opml_is_said_so(body: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(body)


def test_a_thousand_folders_deep() -> None:
    deep = b"<outline>" * 1000 + b'<outline xmlUrl="https://a.example/1.xml"/>' + b"</outline>" * 1000
    feeds, _ = read(b"<opml><body>" + deep + b"</body></opml>")
    assert len(feeds) == 1


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for whole in (body, b"<opml>" + body + b"</opml>"):
        try:
            feeds, _ = read(whole)
        except InputError:
            continue
        assert all(feed.url.startswith("http") for feed in feeds)
