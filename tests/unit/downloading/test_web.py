"""Real downloads from a real server, through the real yt-dlp where that is the way: what arrives and what fails how."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import requests

from duplexforge.config import DownloadSettings
from duplexforge.downloading.fetch import Ways, fetch_item
from duplexforge.downloading.guard import Guard
from duplexforge.downloading.identity import source_word
from duplexforge.downloading.item import Item
from duplexforge.downloading.plan import Choice, seed
from duplexforge.downloading.public import public_url
from duplexforge.downloading.selection import Screen
from duplexforge.downloading.site import _refuse, extractor_of, fetch_site
from duplexforge.downloading.sources import Reading
from duplexforge.downloading.watch import Watch
from duplexforge.downloading.web import request
from duplexforge.errors import DuplexforgeError, InputError, Preempted, RetryLater, Throttled
from duplexforge.records import DownloadTask
from tests.unit.downloading.conftest import Place, Site, settings_with
from tests.unit.downloading.test_feeds import feed, item

PAGE = "<!doctype html><html><head><title>My show</title></head><body>{}</body></html>"


READING = Reading(settings_with())
CHOICE = Choice(screen=Screen(allow="127.0.0.1"))


def queue_url(place: Place, url: str, name: str = "url-1") -> None:
    """Put one address into the queue, unasked."""
    task = DownloadTask(id=name, episode_id=name, url=url, language="en", source="test", attempt_limit=1)
    place.queue.put(task)


@pytest.fixture(scope="module")
def drained(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A store in which every path of the two tables below was tried, in one run of one worker."""
    (site.root / "episode").write_bytes((site.root / "tone.m4a").read_bytes())
    (site.root / "seen.json").write_text("{}")
    for name in ("list.m3u8", "list.mp3"):
        (site.root / name).write_text(f"#EXTM3U\n#EXTINF:1,\nfile://{site.root}/tone.ts\n#EXT-X-ENDLIST\n")
    for name in ("rubbish", "rubbish.mp3"):
        (site.root / name).write_bytes(bytes(range(256)) * 8)
    (site.root / "page.html").write_text(PAGE.format('<audio src="{base}/files/tone.mp3"></audio>'))
    (site.root / "two.html").write_text(PAGE.format('<audio src="tone.mp3"></audio><audio src="tone.m4a"></audio>'))
    (site.root / "local.html").write_text(PAGE.format(f'<audio src="file://{site.root}/tone.mp3"></audio>'))
    place = Place(tmp_path_factory.mktemp("drained") / "store")
    for path, _ in [*KEPT, *FAILED]:
        queue_url(place, site.url(path), name_for(path))
    place.drain(max_bytes=10**9)
    return place


def name_for(path: str) -> str:
    """The id under which a path is tried."""
    return source_word(path, "x")


KEPT = [
    # As they are, by their name.
    ("files/tone.mp3", "mp3"), ("files/tone.m4a", "m4a"), ("files/tone.opus", "opus"), ("files/tone.wav", "wav"),
    ("files/tone.flac", "flac"), ("files/tone.webm", "webm"), ("files/tone.mp3?token=1.html", "mp3"),
    ("typed/tone.mp3?", "mp3"), ("typed/tone.m4a?audio/x-m4a", "m4a"), ("redirect/tone.m4a", "m4a"),
    ("chunked/tone.mp3", "mp3"), ("gzip/tone.mp3", "mp3"),
    # By content type, by content.
    ("typed/episode?audio/mp4", "m4a"), ("typed/episode?application/octet-stream", "m4a"), ("typed/episode?", "m4a"),
]  # fmt: skip
FAILED = [
    ("status/404", "gone"), ("status/410", "gone"), ("status/401", "denied"), ("status/403", "denied"),
    ("status/451", "geo"), ("status/500", "network"),
    ("html.mp3", "not_audio"), ("page", "not_audio"), ("empty.mp3", "empty"), ("cut/tone.mp3", "network"),
    ("cut-chunked/tone.mp3", "network"), ("loop", "gone"), ("redirect-to-file", "refused"), ("huge.mp3", "too_large"),
    ("files/seen.json", "not_audio"), ("files/list.m3u8", "unsupported"), ("typed/list.mp3?audio/mpeg", "unsupported"),
    ("typed/list.mp3?application/octet-stream", "unsupported"), ("files/rubbish", "not_audio"),
    ("files/two.html", "playlist"), ("files/local.html", "unsupported"), ("files/mute.mkv", "not_audio"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "extension"), KEPT)
def test_plain_audio_is_kept_as_it_is(drained: Place, site: Site, path: str, extension: str) -> None:
    record = drained.records()[f"raw_audio/en/test/{name_for(path)}.json"]
    assert record.audio_key == f"raw_audio/en/test/{name_for(path)}.{extension}"
    assert record.url == public_url(site.url(path))
    assert record.duration == pytest.approx(1.0, abs=0.1)
    name = path.partition("?")[0].rpartition("/")[2]
    assert drained.store.get(record.audio_key) == (site.root / name).read_bytes()


@pytest.mark.parametrize(("path", "reason"), FAILED)
def test_failures_are_told_apart(drained: Place, path: str, reason: str) -> None:
    assert drained.failures()[name_for(path)].reason == reason


def test_nothing_of_a_failure_is_in_the_store(drained: Place) -> None:
    assert len(drained.records()) == len(KEPT)
    assert len(list(drained.store.list(drained.layout.raw))) == 2 * len(KEPT)
    assert len(drained.failures()) == len(FAILED)


def test_videos_and_odd_containers_become_m4a(place: Place, site: Site) -> None:
    names = ("talk.mkv", "tone.ts", "tone.aiff")
    for name in names:
        queue_url(place, site.url(f"files/{name}"), name)
    assert place.drain().completed == len(names)
    for record in place.records().values():
        assert record.audio_key.endswith(".m4a")
        assert record.duration == pytest.approx(1.0, abs=0.15)


def test_a_page_with_audio_in_it(place: Place, site: Site, drained: Place) -> None:
    queue_url(place, site.url("files/page.html"))
    place.drain()
    record = place.record()
    assert record.audio_key.endswith("url-1.mp3")
    assert (record.title or "").startswith("My show")
    assert (record.extractor, record.page_url) == ("html5", site.url("files/page.html"))
    assert place.store.get(record.audio_key) == (site.root / "tone.mp3").read_bytes()


def test_a_rubbish_file_that_claims_to_be_audio_is_left_to_processing(place: Place, site: Site, drained: Place) -> None:
    queue_url(place, site.url("files/rubbish.mp3"))
    place.drain()
    assert place.record().duration is None


def fetch(url: str, folder: Path, place: Place, **settings: Any) -> Exception:
    """The error that a fetch ends in."""
    task = DownloadTask(id="x", episode_id="x", url=url)
    with pytest.raises(DuplexforgeError) as caught:
        place.step(**settings).fetch(task, folder)
    return caught.value


def test_retry_after_is_heeded(place: Place, site: Site, tmp_path: Path) -> None:
    for path in ("status/429", "status/503"):
        error = fetch(site.url(path), tmp_path, Place(tmp_path / path))
        assert isinstance(error, Throttled)
        assert (error.reason, error.after) == ("throttled", pytest.approx(7.0, abs=0.5))


def test_silence_and_closed_ports_are_tried_again(place: Place, site: Site, tmp_path: Path) -> None:
    for url in (site.url("hang/tone.mp3"), "http://127.0.0.1:9/a.mp3", "http://does-not-exist.invalid/a.mp3"):
        error = fetch(url, tmp_path, place, socket_timeout=0.3)
        assert isinstance(error, RetryLater)
        assert error.reason == "network"


def test_a_body_larger_than_allowed_ends_early(place: Place, site: Site, tmp_path: Path) -> None:
    for path in ("files/tone.wav", "chunked/tone.wav"):
        error = fetch(site.url(path), tmp_path, place, max_bytes=5000)
        assert isinstance(error, InputError)
        assert error.reason == "too_large"


def test_a_dripping_server_does_not_hold_up_a_stop(place: Place, site: Site, tmp_path: Path) -> None:
    asked: list[int] = []

    def stopping() -> bool:
        asked.append(1)
        return len(asked) > 3

    step = place.step()
    step.stop_when(stopping)
    with pytest.raises(Preempted):
        step.fetch(DownloadTask(id="x", episode_id="x", url=site.url("drip.mp3")), tmp_path)
    assert len(asked) == 4


def test_one_request_is_enough_for_plain_audio(place: Place, site: Site) -> None:
    path = "files/tone.mp3?once"
    queue_url(place, site.url(path))
    place.drain()
    assert site.asked(path) == 1


def test_a_feed_from_seed_to_record(place: Place, site: Site) -> None:
    items = [
        item("{base}/files/tone.mp3", guid="1"),
        item("{base}/files/tone.m4a", guid="2"),
        item("{base}/gone.mp3", guid="3"),
    ]
    (site.root / "whole.xml").write_bytes(feed(*items, item("file:///etc/passwd", guid="4")))
    report = seed(place.queue, [site.url("files/whole.xml")], reading=READING, choice=CHOICE)
    assert (report.added, len(report.refused)) == (3, 1)
    tally = place.drain()
    assert (tally.completed, tally.failed) == (2, 1)
    assert place.failure().reason == "gone"
    assert {record.language for record in place.records().values()} == {"de"}
    assert {record.uploader for record in place.records().values()} == {"Show"}
    assert seed(place.queue, [site.url("files/whole.xml")], reading=READING, choice=CHOICE).added == 0


def test_cluster_workers_take_no_file_urls(tmp_path: Path, place: Place, tones: Path) -> None:
    for url in ((tones / "tone.mp3").as_uri(), f" FILE://{tones}/tone.mp3"):
        assert fetch(url, tmp_path, place, allow_file_urls=False).args[0].startswith("file URLs are not allowed")


# -- yt-dlp ----------------------------------------------------------------------------------------------------------


def test_sites_are_known_by_name_and_plain_addresses_are_not() -> None:
    assert extractor_of("https://www.youtube.com/watch?v=dQw4w9WgXcQ") == "youtube"
    assert extractor_of("https://www.youtube.com/@somebody") == "youtube"
    assert extractor_of("https://cdn.example.org/a.mp3") is None


def take(url: str, folder: Path, watch: Watch, **settings: Any) -> Item:
    """What yt-dlp makes of an address of the test site."""
    wanted = settings_with(**settings)
    return fetch_site(url, folder, wanted, guard=Guard(wanted.allow_private_addresses), watch=watch)


@pytest.mark.parametrize(
    ("path", "kind", "reason"),
    [
        ("status/404", InputError, "gone"),
        ("status/429", Throttled, "throttled"),
        ("status/500", RetryLater, "network"),
        ("page", InputError, "not_audio"),
        ("empty.mp3", InputError, "empty"),
        ("cut/tone.mp3", RetryLater, "network"),
        ("cut-chunked/tone.mp3", RetryLater, "network"),
        ("redirect-to-file", InputError, "unsupported"),
    ],
)
def test_what_yt_dlp_says_becomes_ours(
    site: Site, tmp_path: Path, path: str, kind: type[DuplexforgeError], reason: str
) -> None:
    with pytest.raises(DuplexforgeError) as caught:
        take(site.url(path), tmp_path, Watch(10**9))
    assert isinstance(caught.value, kind)
    assert caught.value.reason == reason
    if isinstance(caught.value, Throttled):
        assert caught.value.after == 7.0


def test_yt_dlp_is_held_to_the_limits_too(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InputError) as large:
        take(site.url("files/tone.wav"), tmp_path, Watch(5000))
    assert large.value.reason == "too_large"
    with pytest.raises(Preempted):
        take(site.url("files/tone.wav"), tmp_path, Watch(10**9, lambda: True))
    gc.collect()  # a file that yt-dlp left open would be told of now


def test_yt_dlp_works_in_a_folder_of_any_name(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "100% %(title)s {x}"
    folder.mkdir()
    found = take(site.url("files/tone.mp3"), folder, Watch(10**9))
    assert found.path == folder / "item.mp3"


@pytest.mark.parametrize(
    ("info", "reason"),
    [({"is_live": True}, "live"), ({"live_status": "is_upcoming"}, "live"), ({"_type": "playlist"}, "playlist"),
     ({"filesize": 10**10}, "too_large"), ({"duration": 9.5}, "too_short"), ({"duration": 101}, "too_long"),
     ({"protocol": "rtmp"}, "unsupported"), ({"requested_formats": [{}, {"protocol": "websocket_frag"}]}, "unsupported")],
)  # fmt: skip
def test_what_is_no_finished_recording_is_refused_before_its_download(info: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError) as caught:
        _refuse(info, Watch(10**9, shortest=10, longest=100))
    assert caught.value.reason == reason


def test_an_answer_is_closed_after_its_block(site: Site) -> None:
    with request(site.url("files/tone.mp3"), 2.0, guard=Guard("127.0.0.1")) as response:
        assert isinstance(response, requests.Response)
        raw = response.raw
    assert raw.closed


def test_settings_of_the_role_are_the_only_door_to_files(place: Place, tones: Path, tmp_path: Path) -> None:
    task = DownloadTask(id="x", episode_id="x", url=(tones / "tone.mp3").as_uri())
    assert fetch_item(task, tmp_path, Ways.of(DownloadSettings(allow_file_urls=True))).extension == "mp3"
    with pytest.raises(InputError):
        fetch_item(task, tmp_path, Ways.of(DownloadSettings()))
