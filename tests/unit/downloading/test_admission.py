"""Who is let in: opt-outs, licences, robots.txt; and what of an address may stand in a record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.downloading.admission import Admission
from duplexforge.downloading.guard import Guard
from duplexforge.downloading.item import Item
from duplexforge.downloading.public import public_url
from duplexforge.downloading.robots import Robots
from duplexforge.downloading.web import Route
from duplexforge.errors import InputError, RetryLater
from duplexforge.records import DownloadTask
from tests.unit.downloading.conftest import Place, Site, settings_with
from tests.unit.downloading.test_web import queue_url

ROUTE = Route(2.0, Guard("127.0.0.1"))


def admission(place: Place, **settings: object) -> Admission:
    """The admission of one process."""
    return Admission(place.store, place.layout, settings_with(**settings), ROUTE)


def task(url: str = "https://a.example/x.mp3", **fields: object) -> DownloadTask:
    """A task."""
    return DownloadTask(**{"id": "url-1", "episode_id": "url-1", "url": url, **fields})


def test_who_opted_out_is_not_fetched(place: Place, site: Site) -> None:
    place.store.put(place.layout.opt_out(), b"# owners who wrote to us\nurl-9\nother.example\n")
    queue_url(place, site.url("files/tone.mp3?opted"), "url-9")
    queue_url(place, site.url("files/tone.m4a"), "url-8")
    queue_url(place, "https://sub.other.example/a.mp3", "url-7")
    place.drain()
    assert {ended.id: ended.reason for ended in place.failures().values()} == {
        "url-9": "opted_out",
        "url-7": "opted_out",
    }
    assert [record.episode_id for record in place.records().values()] == ["url-8"]
    assert site.asked("files/tone.mp3?opted") == 0


@pytest.mark.parametrize(
    ("stated", "told", "good"),
    [
        ("CC BY 4.0", None, True),
        (None, "https://creativecommons.org/licenses/by/4.0/", True),
        ("All rights reserved", "CC BY 4.0", False),
        (None, "All rights reserved", False),
        (None, None, False),
        ("CC0", None, True),
    ],
)
def test_licences(place: Place, stated: str | None, told: str | None, *, good: bool) -> None:
    gate = admission(place, allowed_licences="cc-by, cc0")
    item = Item(Path("x"), "mp3", licence=told)

    def admit(gate: Admission) -> None:
        gate.before(task(licence=stated))
        gate.after(task(licence=stated), item)

    admit(admission(place))
    if good:
        admit(gate)
        return
    with pytest.raises(InputError) as caught:
        admit(gate)
    assert caught.value.reason == "licence"


# -- robots.txt ------------------------------------------------------------------------------------------------------


@pytest.fixture
def rules(site: Site) -> Iterator[Path]:
    """The site's robots.txt, removed afterwards."""
    yield site.root / "robots.txt"
    for name in ("robots.txt", "robots.status"):
        (site.root / name).unlink(missing_ok=True)


def test_a_host_that_wants_no_visitors_is_left_alone(place: Place, site: Site, rules: Path) -> None:
    rules.write_text("User-agent: *\nAllow: /\n\nUser-agent: duplexforge\nDisallow: /files/\n")
    queue_url(place, site.url("files/tone.mp3?robots"))
    assert place.drain(respect_robots=True).failed == 1
    assert place.failure().reason == "robots"
    assert site.asked("files/tone.mp3?robots") == 0


def test_robots_are_a_switch(place: Place, site: Site, rules: Path) -> None:
    rules.write_text("User-agent: *\nDisallow: /\n")
    queue_url(place, site.url("files/tone.mp3"))
    assert place.drain().completed == 1


def test_rules_are_asked_for_once_a_host(site: Site, rules: Path) -> None:
    rules.write_text("User-agent: *\nDisallow: /private/\n")
    robots, before = Robots(ROUTE), site.asked("robots.txt")
    for number in range(5):
        robots.check(site.url(f"files/{number}"))
    with pytest.raises(InputError):
        robots.check(site.url("private/x"))
    assert site.asked("robots.txt") == before + 1


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_host_without_rules_allows(site: Site, rules: Path, status: int) -> None:
    rules.with_suffix(".status").write_text(str(status))
    Robots(ROUTE).check(site.url("files/x"))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_host_in_trouble_is_asked_again_later(site: Site, rules: Path, status: int) -> None:
    rules.with_suffix(".status").write_text(str(status))
    with pytest.raises(RetryLater):
        Robots(ROUTE).check(site.url("files/x"))


def test_rules_are_fetched_through_the_guard(site: Site) -> None:
    with pytest.raises(InputError) as caught:
        Robots(Route(2.0, Guard())).check(site.url("files/x"))
    assert caught.value.reason == "refused"


@given(st.binary(max_size=2000))
def test_any_rules_are_read(site: Site, body: bytes) -> None:
    (site.root / "robots.txt").write_bytes(body)
    try:
        Robots(ROUTE).check(site.url("files/x"))
    except InputError as error:
        assert error.reason == "robots"  # noqa: PT017 - both are right, depending on the bytes
    finally:
        (site.root / "robots.txt").unlink()


# -- addresses in records --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://a.example/x.mp3", "https://a.example/x.mp3"),
        ("https://a.example/x.mp3?b=%20c&empty=", "https://a.example/x.mp3?b=%20c&empty="),
        ("https://www.youtube.com/watch?v=dQw4w9WgXcQ", "https://www.youtube.com/watch?v=dQw4w9WgXcQ"),
        ("https://a.example/x?X-Amz-Signature=s&X-Amz-Date=d&id=7", "https://a.example/x?id=7"),
        ("https://a.example/x?Policy=p&Key-Pair-Id=k&Signature=s", "https://a.example/x"),
        ("https://a.example/x?sv=1&sig=s&se=2&sr=b&sp=r", "https://a.example/x"),
        ("https://a.example/x?access_token=t&episode=1#f", "https://a.example/x?episode=1"),
        ("https://me:word@a.example/x?y=1", "https://a.example/x?y=1"),
    ],
)
def test_what_signs_an_address_stays_out_of_records(url: str, public: str) -> None:
    assert public_url(url) == public


def test_a_record_carries_no_signature(place: Place, site: Site) -> None:
    queue_url(place, site.url("files/tone.mp3?episode=4&X-Amz-Signature=s3cret&token=s3cret"))
    place.drain()
    body = place.store.get(next(iter(place.records()))).decode()
    assert "s3cret" not in body
    assert place.record().url == site.url("files/tone.mp3?episode=4")
