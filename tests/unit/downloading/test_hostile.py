"""A site that would use the worker as its way inside: nothing of it reaches an address that is not allowed.

The test site is on 127.0.0.1, which is allowed; a canary on 127.0.0.2 stands for everything inside. It only listens:
whether anybody ever connected is told by its backlog.
"""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from duplexforge.downloading import watch as pace
from duplexforge.downloading.fetch import Ways, fetch_item
from duplexforge.downloading.guard import Guard, PrivateAddress
from duplexforge.downloading.role import DownloadStep
from duplexforge.downloading.site import fetch_site
from duplexforge.downloading.watch import Watch
from duplexforge.downloading.web import Route, request
from duplexforge.errors import DuplexforgeError, InputError, RetryLater, Throttled
from duplexforge.records import DownloadTask
from tests.unit.downloading.conftest import Place, Site, settings_with
from tests.unit.downloading.test_guard import Names

PAGE = "<!doctype html><html><head><title>My show</title></head><body>{}</body></html>"


class Canary:
    """A port inside. ``contacted`` is asked once, at the end of a test."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.2", 0))
        self.port = self.server.getsockname()[1]

    def contacted(self) -> bool:
        """Whether anybody connected since the last question."""
        self.server.settimeout(0.05)
        try:
            self.server.accept()[0].close()
        except TimeoutError:
            return False
        return True

    def url(self, host: str = "127.0.0.2", path: str = "a.mp3") -> str:
        """An address of it."""
        return f"http://{host}:{self.port}/{path}"


@pytest.fixture
def canary() -> Iterator[Canary]:
    """A canary that nobody knows yet."""
    canary = Canary()
    yield canary
    canary.server.close()


def error_of(url: str, folder: Path, *, guard: Guard | None = None, **settings: Any) -> DuplexforgeError:
    """What a fetch of an address ends in."""
    task = DownloadTask(id="x", episode_id="x", url=url)
    with pytest.raises(DuplexforgeError) as caught:
        fetch_item(task, folder, Ways.of(settings_with(**settings), guard=guard))
    return caught.value


def site_error_of(url: str, folder: Path, *, guard: Guard | None = None) -> DuplexforgeError:
    """The same by way of yt-dlp alone."""
    wanted = settings_with()
    guard = guard or Guard(wanted.allow_private_addresses)
    with pytest.raises(DuplexforgeError) as caught:
        fetch_site(url, folder, wanted, guard=guard, watch=Watch(10**9))
    return caught.value


SPELLINGS = ["127.0.0.2", "127.2", "2130706434", "0x7f.0.0.2", "0177.0.0.2", "[::ffff:127.0.0.2]", "127.0.0.2."]


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_and_no_redirect_leads_inside(site: Site, tmp_path: Path, canary: Canary, host: str) -> None:
    for url in (
        canary.url(host),
        site.url(f"away?{canary.url(host)}"),
        site.url(f"away?{site.url('away')}?{canary.url(host)}"),
    ):
        for error in (error_of(url, tmp_path), site_error_of(url, tmp_path)):
            assert isinstance(error, InputError)
            assert error.reason == "refused"
    assert not canary.contacted()


def test_the_canary_would_have_sung(site: Site, tmp_path: Path, canary: Canary) -> None:
    for fail in (error_of, site_error_of):
        guard = Guard("127.0.0.0/8")
        error = fail(site.url(f"away?{canary.url()}"), tmp_path, guard=guard)
        assert error.reason == "network"
        assert canary.contacted()


def test_https_is_guarded_alike(site: Site, tmp_path: Path, canary: Canary) -> None:
    inside = f"https://127.0.0.2:{canary.port}/a.mp3"
    for url in (inside, site.url(f"away?{inside}")):
        for error in (error_of(url, tmp_path), site_error_of(url, tmp_path)):
            assert isinstance(error, PrivateAddress)
    assert not canary.contacted()
    # Allowed, it is asked for, and says nothing.
    assert error_of(inside, tmp_path, guard=Guard("127.0.0.2"), socket_timeout=0.3).reason == "network"
    assert canary.contacted()


def test_a_name_that_changes_its_mind_gains_nothing(site: Site, tmp_path: Path, canary: Canary) -> None:
    # The first answer is the site, the next ones the canary; the port is the site's, as the page may not choose it.
    port = int(site.base.rpartition(":")[2])
    with socket.create_server(("127.0.0.2", port)) as inside:
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        guard = Guard("127.0.0.1", resolve=names)
        url = f"http://rebind.example:{port}/files/tone.mp3"
        item = fetch_item(
            DownloadTask(id="x", episode_id="x", url=url), tmp_path, Ways.of(settings_with(), guard=guard)
        )
        assert item.path.read_bytes() == (site.root / "tone.mp3").read_bytes()
        assert names.asked == ["rebind.example"]
        for error in (error_of(url, tmp_path, guard=guard), site_error_of(url, tmp_path, guard=guard)):
            assert isinstance(error, PrivateAddress)
        inside.settimeout(0.05)
        with pytest.raises(TimeoutError):
            inside.accept()


@pytest.mark.parametrize("what", ["audio", "stream", "variant", "part", "key", "map"])
def test_pages_and_streams_that_name_what_is_inside(site: Site, tmp_path: Path, canary: Canary, what: str) -> None:
    inside = canary.url(path="a.ts")
    start, end = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n", "#EXTINF:1,\ntone.ts\n#EXT-X-ENDLIST\n"
    bodies = {
        "audio": "",
        "stream": "",
        "variant": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{canary.url(path='b.m3u8')}\n",
        "part": f"{start}#EXTINF:1,\n{inside}\n{end}",
        "key": f'{start}#EXT-X-KEY:METHOD=AES-128,URI="{inside}"\n{end}',
        "map": f'{start}#EXT-X-MAP:URI="{inside}"\n{end}',
    }
    (site.root / f"{what}.m3u8").write_text(bodies[what])
    source = {"audio": canary.url(), "stream": canary.url(path="x.m3u8")}.get(what, "{base}/files/" + f"{what}.m3u8")
    (site.root / f"{what}.html").write_text(PAGE.format(f'<video><source src="{source}"></video>'))
    error = error_of(site.url(f"files/{what}.html"), tmp_path)
    gc.collect()  # a file that yt-dlp left open would be told of now
    assert isinstance(error, InputError)
    assert error.reason == "refused"
    assert not canary.contacted()


def test_a_stream_of_the_sites_own_is_taken(site: Site, tmp_path: Path) -> None:
    (site.root / "own.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\ntone.ts\n#EXT-X-ENDLIST\n")
    (site.root / "own.html").write_text(PAGE.format('<video><source src="{base}/files/own.m3u8"></video>'))
    task = DownloadTask(id="x", episode_id="x", url=site.url("files/own.html"))
    item = fetch_item(task, tmp_path, Ways.of(settings_with()))
    assert item.path.stat().st_size >= (site.root / "tone.ts").stat().st_size * 0.9


HOSTILE = [
    ("away?http://127.0.0.2/a.mp3", InputError, "refused"),
    ("away?http://169.254.169.254/latest/meta-data/", InputError, "refused"),
    ("away?file:///etc/hostname", InputError, "refused"),
    ("away?ftp://127.0.0.2/a.mp3", InputError, "refused"),
    ("endless.mp3", InputError, "too_large"),
    ("html.mp3", InputError, "not_audio"),
    ("status/403", InputError, "denied"),
    ("status/429", Throttled, "throttled"),
    ("status/503", Throttled, "throttled"),
    ("hang/tone.mp3", RetryLater, "network"),
    ("drip.mp3", RetryLater, "network"),
]


@pytest.mark.parametrize(("path", "kind", "reason"), HOSTILE)
def test_a_hostile_site_is_told_apart(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, kind: type[DuplexforgeError], reason: str
) -> None:
    if "drip" in path:  # a minute of it is too long for a test
        monkeypatch.setattr(pace, "WINDOW", 0.2)
    error = error_of(site.url(path), tmp_path, socket_timeout=0.5, max_bytes=10**7 if "endless" in path else 10**10)
    assert isinstance(error, kind)
    assert error.reason == reason


def test_a_proxy_does_not_lead_round_the_guard(site: Site, canary: Canary) -> None:
    # The canary is the proxy: it may be asked for public names only.
    route = Route(0.3, Guard("127.0.0.1"), canary.url(path=""))
    for url in (canary.url(), "http://10.0.0.1/", "http://localhost.localdomain:1/"):
        with pytest.raises((PrivateAddress, RetryLater)), request(url, 0.3, guard=Guard(), proxy=route.proxy):
            pass
    assert not canary.contacted()
    with pytest.raises(RetryLater), route.get("http://cdn.example/a.mp3"):
        pass
    assert canary.contacted()


def test_yt_dlp_uses_the_proxy_too_and_its_password_stays_here(
    site: Site, tmp_path: Path, canary: Canary, place: Place
) -> None:
    proxy = f"http://me:s3cret-word@127.0.0.2:{canary.port}"
    step = DownloadStep(place.store, place.layout, Ways.of(settings_with(download_proxy=proxy, socket_timeout=0.3)))
    for url in ("http://cdn.example/page", "http://cdn.example/a.mp3"):
        with pytest.raises(RetryLater) as caught:
            step.fetch(DownloadTask(id="x", episode_id="x", url=url), tmp_path)
        assert "s3cret-word" not in str(caught.value)
        assert canary.contacted()
    with pytest.raises(RetryLater) as caught:
        fetch_site("http://cdn.example/page", tmp_path, settings_with(download_proxy=proxy, socket_timeout=0.3),
                   guard=Guard(), watch=Watch(10**9))  # fmt: skip
    assert canary.contacted()
    assert "s3cret-word" not in str(caught.value)
