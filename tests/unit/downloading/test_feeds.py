"""RSS feeds: what becomes a task, what is refused, and that a feed cannot reach this machine."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.downloading import feeds
from duplexforge.downloading.feeds import feed_tasks
from duplexforge.downloading.notes import SeedReport
from duplexforge.errors import InputError
from duplexforge.layout import safe_name
from duplexforge.records import DownloadTask

URL = "https://feeds.example.org/show.xml"
GUID = "917393e3-1b1e-5cef-ace4-edaa54e1f810"
HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd" xmlns:atom="http://www.w3.org/2005/Atom"
 xmlns:podcast="https://podcastindex.org/namespace/1.0"
 xmlns:creativeCommons="http://backend.userland.com/creativeCommonsRssModule"><channel>"""
ITEM = (
    '<item><title>First</title><guid isPermaLink="false">ep-1</guid><pubDate>Tue, 03 Mar 2026 10:00:00 +0100</pubDate>'
    '<enclosure url="https://cdn.example.org/1.mp3?a=1&amp;b=2" length="1" type="audio/mpeg"/></item>'
)


def feed(*items: str, channel: str = "<title>Show</title><language>de-AT</language>") -> bytes:
    """A feed with the given items."""
    return f"{HEAD}{channel}{''.join(items)}</channel></rss>".encode()


def item(url: str, *, guid: str = "", kind: str = "audio/mpeg", title: str = "An item") -> str:
    """An item with an enclosure."""
    named = f"<guid>{guid}</guid>" if guid else ""
    return f'<item><title>{title}</title>{named}<enclosure url="{url}" type="{kind}"/></item>'


def read(
    body: bytes, where: str = URL, *, language: str = "unknown", licence: str | None = None, source: str | None = None
) -> tuple[list[DownloadTask], SeedReport]:
    """Tasks and notes of a feed."""
    notes = SeedReport()
    tasks = list(feed_tasks(body, where, language=language, licence=licence, source=source, notes=notes))
    return tasks, notes


def test_an_item_becomes_a_task_with_all_that_is_known() -> None:
    channel = (
        "<title>Show</title><language>de-AT</language><itunes:author>Anna</itunes:author>"
        "<creativeCommons:license>https://creativecommons.org/licenses/by/4.0/</creativeCommons:license>"
    )
    ((task,), notes) = read(feed(ITEM, channel=channel))
    assert task.id == task.episode_id
    assert task.id.startswith("pod-")
    assert task.url == "https://cdn.example.org/1.mp3?a=1&b=2"
    assert task.title == "First"
    assert task.language == "de"
    assert task.source == "feeds.example.org"
    assert task.uploader == "Anna"
    assert task.licence == "https://creativecommons.org/licenses/by/4.0/"
    assert task.published == "2026-03-03T10:00:00+01:00"
    assert notes.refused == []


def test_what_is_said_on_the_command_line_wins() -> None:
    ((task,), _) = read(feed(ITEM), language="nl", licence="CC0-1.0", source="My shows!")
    assert (task.language, task.licence, task.source) == ("nl", "CC0-1.0", "My-shows")


@pytest.mark.parametrize(
    ("channel", "licence"),
    [
        ("<copyright>(c) Anna</copyright>", "(c) Anna"),
        ("<podcast:license>cc-by-4.0</podcast:license>", "cc-by-4.0"),
        ("", None),
    ],
)
def test_licences(channel: str, licence: str | None) -> None:
    ((task,), _) = read(feed(ITEM, channel=channel))
    assert task.licence == licence


def test_an_episode_stays_the_same_when_feed_or_file_moves() -> None:
    known = f"<podcast:guid>{GUID}</podcast:guid>"
    ((here,), _) = read(feed(item("https://a.example/1.mp3", guid="g"), channel=known))
    ((there,), _) = read(
        feed(item("https://b.example/2.mp3", guid="g"), channel=known.upper().replace("PODCAST:GUID", "podcast:guid")),
        "https://other.example/feed",
    )
    assert here.id == there.id
    ((other,), _) = read(feed(item("https://a.example/1.mp3", guid="g")))
    assert other.id != here.id


def test_a_saved_feed_is_the_feed_it_was() -> None:
    channel = f'<title>Show</title><atom:link rel="self" href="{URL}"/>'
    ((online,), _) = read(feed(ITEM, channel=channel))
    ((saved,), _) = read(feed(ITEM, channel=channel), "/home/me/show.xml")
    assert saved.id == online.id
    assert saved.source == "Show"


def test_items_without_guid_are_known_by_their_enclosure() -> None:
    tasks, _ = read(
        feed(item("https://a.example/1.mp3"), item("https://a.example/2.mp3"), item("https://a.example/1.mp3"))
    )
    assert len({task.id for task in tasks}) == 2


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (item("file:///etc/passwd"), "not file:"),
        (item("ftp://example.org/a.mp3"), "not ftp:"),
        (item("https://u:p@example.org/a.mp3"), "password"),
        (item("https://a.example/cover.jpg", kind="image/jpeg"), "image/jpeg"),
        (item("https://a.example/book.pdf", kind="application/pdf"), "application/pdf"),
        (item(""), "no enclosure"),
        ("<item><title>Only words</title></item>", "no enclosure"),
    ],
)
def test_bad_items_are_refused_with_a_reason_and_the_others_go_on(bad: str, why: str) -> None:
    tasks, notes = read(feed(bad, ITEM))
    assert [task.title for task in tasks] == ["First"]
    ((_, said),) = notes.refused
    assert why in said


def test_a_relative_enclosure_is_read_from_the_feeds_address() -> None:
    ((task,), _) = read(feed(item("/audio/1.mp3")))
    assert task.url == "https://feeds.example.org/audio/1.mp3"
    tasks, notes = read(feed(item("/etc/passwd.mp3")), "/home/me/show.xml")
    assert tasks == []
    assert len(notes.refused) == 1


BOMB = b"""<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<rss><channel><title>&b;</title></channel></rss>"""
OUTSIDE = b"""<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<rss><channel><title>&x;</title></channel></rss>"""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not XML"),
        (b"hello", "not XML"),
        (b"<!doctype html><html><body>404</body></html>", "not XML"),
        (b"<html><body>hi</body></html>", "not an RSS or Atom feed"),
        (b"<feed xmlns='http://www.w3.org/2005/Atom'/>", "no items"),
        (b"<feed/>", "not an RSS or Atom"),
        (b"<rss><channel></channel></rss>", "no items"),
        (b"<rss/>", "not an RSS"),
        (BOMB, "entities"),
        (OUTSIDE, "entities"),
        (b"\xff\xfe\x00<", "not XML"),
        (b'<?xml version="1.0" encoding="nonsense"?><rss/>', "not XML"),
    ],
)
def test_what_is_no_feed_is_said_so(body: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read(body)
    assert caught.value.reason == "bad_feed"
    assert URL in str(caught.value)


def test_a_feed_without_end_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        read(b" " * (feeds.MAX_FEED + 1))
    assert caught.value.reason == "too_large"


def test_a_blank_line_before_the_declaration_and_latin_letters_are_forgiven() -> None:
    body = (
        b'\n<?xml version="1.0" encoding="ISO-8859-1"?><rss><channel><title>Caf\xe9</title>'
        + ITEM.encode()
        + b"</channel></rss>"
    )
    ((task,), _) = read(body)
    assert task.uploader == "Café"


@settings(deadline=None)
@given(
    title=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60),
    guid=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60),
)
def test_hostile_words_never_reach_an_id(title: str, guid: str) -> None:
    from xml.sax.saxutils import escape

    tasks, _ = read(feed(item("https://a.example/1.mp3", guid=escape(guid), title=escape(title))))
    assert len(tasks) == 1
    assert safe_name(tasks[0].id).startswith("pod-")
    assert (tasks[0].title or "") == title.strip()


@settings(deadline=None)
@given(st.text(max_size=40))
def test_odd_dates_stop_nothing(date: str) -> None:
    assert feeds._date(date) is None or isinstance(feeds._date(date), str)


# -- Atom ------------------------------------------------------------------------------------------------------------

ATOM = """<?xml version="1.0" encoding="utf-8"?>
<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="de-AT"><title>Show</title><id>urn:show</id>
<link rel="self" href="https://feeds.example.org/show.xml"/><author><name>Anna</name></author>
<rights>CC BY 4.0</rights>%s</feed>"""
ENTRY = (
    "<entry><title>First</title><id>urn:1</id><published>2026-03-03T10:00:00Z</published>"
    '<link href="https://a.example/page"/><link rel="enclosure" type="audio/mpeg" href="/1.mp3"/></entry>'
)
VIDEO = (
    "<entry><title>Clip</title><id>yt:video:x</id><updated>2026-03-04T10:00:00+01:00</updated>"
    '<author><name>Ben</name></author><link rel="alternate" href="https://www.youtube.com/watch?v=dQw4w9WgXcQ"/></entry>'
)


def test_an_atom_entry_becomes_a_task_with_all_that_is_known() -> None:
    ((task,), notes) = read((ATOM % ENTRY).encode())
    assert task.id.startswith("pod-")
    assert task.url == "https://feeds.example.org/1.mp3"
    assert (task.title, task.language, task.licence, task.uploader) == ("First", "de", "CC BY 4.0", "Anna")
    assert task.published == "2026-03-03T10:00:00+00:00"
    assert task.origins == [URL]
    assert notes.refused == []


def test_the_entry_of_a_video_feed_is_the_video() -> None:
    ((task,), _) = read((ATOM % VIDEO).encode())
    assert (task.id, task.video_id, task.uploader) == ("yt-dQw4w9WgXcQ", "dQw4w9WgXcQ", "Ben")
    assert task.published == "2026-03-04T10:00:00+01:00"


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ('<link href="https://a.example/page"/>', "no enclosure"),
        ('<link rel="enclosure" type="text/html" href="https://a.example/1"/>', "text/html"),
        ('<link rel="enclosure" href="file:///etc/passwd"/>', "not file:"),
    ],
)
def test_a_bad_entry_is_refused_and_the_others_go_on(link: str, why: str) -> None:
    tasks, notes = read((ATOM % (f"<entry><title>Bad</title>{link}</entry>" + ENTRY)).encode())
    assert [task.title for task in tasks] == ["First"]
    assert [what for what, _ in notes.refused] == ["Bad"]
    assert why in notes.refused[0][1]


@pytest.mark.parametrize(
    ("stated", "seconds"),
    [("3600", 3600.0), ("59:30", 3570.0), ("1:02:03", 3723.0), ("", None), ("1:2:3:4", None), ("x", None), ("٣", None)],
)
def test_lengths(stated: str, seconds: float | None) -> None:
    timed = ITEM.replace("</item>", f"<itunes:duration>{stated}</itunes:duration></item>")
    ((task,), _) = read(feed(timed))
    assert task.duration == seconds


def test_an_owner_is_known_by_every_address_of_the_feed() -> None:
    channel = (
        '<title>Show</title><atom:link rel="self" href="https://old.example/f"/><link>https://show.example/</link>'
    )
    ((task,), _) = read(feed(ITEM, channel=channel))
    assert task.origins == [URL, "https://old.example/f", "https://show.example/"]


@settings(deadline=None)
@given(st.binary(max_size=300), st.text(max_size=100))
def test_any_bytes_are_a_feed_or_refused(body: bytes, text: str) -> None:
    wrapped = (ATOM % text).encode("utf-8", "surrogatepass")
    for document in (body, feed().replace(b"</channel>", body + b"</channel>"), wrapped):
        try:
            tasks, _ = read(document)
        except InputError as error:
            assert error.reason  # noqa: PT017 - either outcome is right
            continue
        assert all(task.url.startswith("http") for task in tasks)
