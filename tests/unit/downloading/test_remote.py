"""Feeds out there: what an address holds, bodies without an end, and feeds kept as tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from duplexforge.config import DownloadSettings
from duplexforge.downloading import remote, watch
from duplexforge.downloading.entries import Said
from duplexforge.downloading.notes import SeedReport
from duplexforge.downloading.remote import Reference, Remote, feed_task
from duplexforge.errors import DuplexforgeError, InputError, RetryLater, UsageError
from duplexforge.layout import safe_name
from duplexforge.records import DownloadTask
from tests.unit.downloading.conftest import Site
from tests.unit.downloading.test_feeds import feed, item
from tests.unit.downloading.test_sources import SETTINGS

SAID = Said("de", "CC0")


def reading(settings: DownloadSettings = SETTINGS) -> Remote:
    """A reader of one remote."""
    return Remote(SAID, SeedReport(), settings)


def error_of(where: str, settings: DownloadSettings = SETTINGS) -> DuplexforgeError:
    """The error that reading ends in."""
    with pytest.raises(DuplexforgeError) as caught:
        list(reading(settings).items(where))
    return caught.value


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("files/anything.mp3", "item"),
        ("typed/look.xml?application/rss+xml", "feed"),
        ("typed/look.xml?application/octet-stream", "feed"),
        ("typed/look.opml?text/x-opml", "opml"),
        ("page", "item"),
        ("status/500", "item"),
    ],
)
def test_an_address_is_what_the_server_says(site: Site, path: str, kind: str) -> None:
    (site.root / "look.xml").write_bytes(feed(item("https://a.example/1.mp3")))
    (site.root / "look.opml").write_bytes(b'<opml><body><outline xmlUrl="https://a.example/f"/></body></opml>')
    if path == "status/500":
        with pytest.raises(RetryLater):
            reading().look(site.url(path))
    else:
        assert reading().look(site.url(path))[0] == kind


@pytest.mark.parametrize("url", ["https://soundcloud.com/some/sets/things", "https://www.youtube.com/@someone"])
def test_lists_are_known_without_a_request(url: str) -> None:
    assert reading().look(url) == ("list", b"")


def test_a_feed_without_an_end_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (site.root / "long.xml").write_bytes(feed(*(item(f"https://a.example/{number}.mp3") for number in range(100))))
    monkeypatch.setattr(remote, "MAX_DOCUMENT", 1000)
    for where in (site.url("files/long.xml"), site.url("huge.mp3")):
        assert error_of(where).reason in ("too_large", "network")
    with pytest.raises(InputError) as caught:
        reading().look(site.url("files/long.xml"))
    assert caught.value.reason == "too_large"


def test_a_feed_that_drips_is_left_for_later(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "WINDOW", 0.2)
    error = error_of(site.url("drip.mp3"))
    assert isinstance(error, RetryLater)
    assert error.reason == "network"


@pytest.mark.parametrize(
    ("where", "kind", "reason"),
    [("missing.xml", UsageError, "usage"), ("ftp://a.example/f", UsageError, "usage"),
     ("http://169.254.169.254/feed", InputError, "refused"), ("http://[bad", InputError, "refused"),
     ("http://nowhere.invalid/feed", RetryLater, "network")],
)  # fmt: skip
def test_what_cannot_be_read(where: str, kind: type[DuplexforgeError], reason: str) -> None:
    error = error_of(where, DownloadSettings(socket_timeout=2.0))
    assert isinstance(error, kind)
    assert error.reason == reason


def test_a_redirect_does_not_lead_inside(site: Site) -> None:
    (site.root / "moved.xml").write_bytes(feed(item("https://a.example/1.mp3")))
    assert [task.url for task in reading().items(site.url("redirect/moved.xml"))] == ["https://a.example/1.mp3"]
    assert error_of(site.url("redirect-to-file")).reason == "refused"


def test_a_feed_that_is_kept_is_a_task() -> None:
    url = "https://www.feeds.example/show.xml"
    task = feed_task(Reference(url, Said("de", "CC0", "My shows"), "Show"), None)
    assert safe_name(task.id) == task.episode_id
    assert task.id.startswith("feed-")
    assert (task.kind, task.url, task.source, task.title, task.origins) == ("feed", url, "My-shows", "Show", [url])
    assert DownloadTask.model_validate_json(task.to_bytes()) == task
    same = feed_task(Reference("http://feeds.example/show.xml", SAID), None)
    other = feed_task(Reference(url, SAID), "round 2")
    assert task.id == same.id != other.id
    with pytest.raises(InputError):
        feed_task(Reference("file:///etc/passwd", SAID), None)


def test_a_feed_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "own.xml").write_bytes(feed(item("https://a.example/1.mp3")))
    assert [task.licence for task in reading().items(str(tmp_path / "own.xml"))] == ["CC0"]
