"""Channels and playlists: what of them becomes an entry, in a stream, whatever is dead in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.config import DownloadSettings
from duplexforge.downloading.entries import Said
from duplexforge.downloading.guard import Guard
from duplexforge.downloading.listing import described, entries, is_list, recordings
from duplexforge.downloading.notes import SeedReport
from duplexforge.downloading.site import opened
from duplexforge.downloading.site_options import site_options
from duplexforge.downloading.watch import Watch
from duplexforge.errors import DuplexforgeError, InputError, RetryLater
from tests.unit.downloading.conftest import Site
from tests.unit.downloading.recorded import CHANNEL, PLAYLIST, Pages, replay, tab, video
from tests.unit.downloading.test_feeds import feed, item
from tests.unit.downloading.test_sources import SETTINGS


@contextmanager
def reading(folder: Path, pages: Pages, url: str, notes: SeedReport) -> Iterator[Iterator[dict[str, Any]]]:
    """The recordings behind ``url`` in a real yt-dlp whose YouTube is ``pages``."""
    options = {**site_options(folder, DownloadSettings(), Watch(1), only_audio=True), "playlist_items": None}
    with opened(url, options, Guard()) as site:
        replay(site, pages)
        yield recordings(site, url, notes)


def listed(folder: Path, answers: dict[str, Any], url: str = CHANNEL) -> tuple[list[str], SeedReport]:
    """Titles and notes of a channel."""
    notes = SeedReport()
    with reading(folder, Pages(answers), url, notes) as found:
        return [entry["title"] for entry in found], notes


def gone(words: str) -> Exception:
    """An error as yt-dlp's extractors raise it."""
    from yt_dlp.utils import ExtractorError

    return ExtractorError(words, expected=True)


def test_a_channel_is_all_its_tabs(tmp_path: Path) -> None:
    answers = {
        CHANNEL: [tab("videos"), tab("shorts"), tab("streams")],
        f"{CHANNEL}/videos": [video(1), video(2)],
        f"{CHANNEL}/shorts": gone("This channel does not have a shorts tab: it does not exist"),
        f"{CHANNEL}/streams": [video(3, live_status="is_live"), video(4, live_status="was_live")],
    }
    titles, notes = listed(tmp_path, answers)
    assert titles == ["Talk 1", "Talk 2", "Talk 4"]
    assert notes.left_out == {"gone": 1, "live": 1}


def test_dead_closed_and_live_entries_are_counted(tmp_path: Path) -> None:
    found = [
        video(1), None, video(2, title="[Private video]"), video(3, title="[Deleted video]"),
        video(4, availability="subscriber_only"), video(5, live_status="is_upcoming"), video(6, is_live=True),
        video(7, availability="public"),
    ]  # fmt: skip
    titles, notes = listed(tmp_path, {PLAYLIST: found}, PLAYLIST)
    assert titles == ["Talk 1", "Talk 7"]
    assert notes.left_out == {"private": 1, "gone": 1, "members": 1, "live": 2}


def test_a_channel_is_read_no_further_than_needed(tmp_path: Path) -> None:
    pages = Pages({PLAYLIST: [video(number) for number in range(10_000)]})
    with reading(tmp_path, pages, PLAYLIST, SeedReport()) as found:
        assert len(list(islice(found, 5))) == 5
    assert pages.read == 5


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        ("This channel does not exist", InputError, "gone"),
        ("HTTP Error 429: Too Many Requests", RetryLater, "throttled"),
    ],
)
def test_a_list_that_breaks_is_an_error_after_what_came_before(
    tmp_path: Path, error: str, kind: type[DuplexforgeError], reason: str
) -> None:
    had: list[dict[str, Any]] = []

    def read() -> None:
        pages = Pages({PLAYLIST: [video(1), gone(error), video(2)]})
        with reading(tmp_path, pages, PLAYLIST, SeedReport()) as found:
            for entry in found:
                had.append(entry)

    with pytest.raises(kind) as caught:
        read()
    assert len(had) == 1
    assert caught.value.reason == reason


def test_a_throttled_tab_is_not_forgiven(tmp_path: Path) -> None:
    with pytest.raises(RetryLater):
        listed(tmp_path, {CHANNEL: [tab("videos")], f"{CHANNEL}/videos": gone("Too many requests, try again later")})


def test_lists_that_name_each_other_end(tmp_path: Path) -> None:
    titles, notes = listed(tmp_path, {CHANNEL: [tab("videos")], f"{CHANNEL}/videos": [video(1), tab("videos")]})
    assert set(titles) == {"Talk 1"}
    assert notes.left_out["playlist"] == 1


def test_a_redirect_to_a_list_is_followed(tmp_path: Path) -> None:
    titles, _ = listed(tmp_path, {CHANNEL: tab("videos"), f"{CHANNEL}/videos": [video(1)]})
    assert titles == ["Talk 1"]


def test_an_entry_becomes_a_task() -> None:
    task = Said("de").described(described(video(2)))
    assert (task.id, task.video_id) == ("yt-00000000002", "00000000002")
    assert task.url == "https://www.youtube.com/watch?v=00000000002"
    assert (task.title, task.uploader, task.duration) == ("Talk 2", "Someone", 120.0)
    assert (task.published, task.language) == ("2026-01-01", "de")
    assert task.origins == ["https://www.youtube.com/channel/UCsomeone"]


def test_what_is_not_stated_is_not_invented() -> None:
    assert described({"url": "https://a.example/1", "title": None, "upload_date": "20260301"}) == {
        "url": "https://a.example/1",
        "published": "2026-03-01",
    }


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(list(video(1))), st.none() | st.integers() | st.floats() | st.text() | st.booleans()
    )
)
def test_any_entry_is_a_task_or_refused(entry: dict[str, Any]) -> None:
    try:
        task = Said().described(described(entry))
    except InputError:
        return
    assert task.url.startswith("http")


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        (CHANNEL, True),
        ("https://www.youtube.com/channel/UCx/videos", True),
        (PLAYLIST, True),
        ("https://www.youtube.com/watch?list=PL1", True),
        ("https://www.youtube.com/watch?v=dQw4w9WgXcQ&list=PL1", False),
        ("https://soundcloud.com/some/sets/things", True),
        ("https://vimeo.com/76979871", False),
        ("https://a.example/page", False),
    ],
)
def test_a_list_is_known_by_its_address(url: str, answer: bool) -> None:
    assert is_list(url) is answer


def test_the_real_yt_dlp_lists_a_local_page(site: Site) -> None:
    # Its generic reader takes a feed for a playlist: the only list that it knows without a network.
    items = [item(f"https://a.example/{number}.mp3", title=f"T{number}") for number in range(3)]
    (site.root / "list.xml").write_bytes(feed(*items))
    notes = SeedReport()
    found = list(entries(site.url("files/list.xml"), SETTINGS, notes))
    assert [(entry["title"], described(entry)["url"]) for entry in found] == [
        (f"T{number}", f"https://a.example/{number}.mp3") for number in range(3)
    ]


def test_a_private_page_is_not_listed(site: Site) -> None:
    before = site.asked("files/never.xml")
    with pytest.raises(InputError) as caught:
        list(entries(site.url("files/never.xml"), DownloadSettings(), SeedReport()))
    assert caught.value.reason == "refused"
    assert site.asked("files/never.xml") == before == 0
