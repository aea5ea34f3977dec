"""Feed tasks: a worker reads the feed and puts its items, again and again without a second of any."""

from __future__ import annotations

from pathlib import Path

import pytest

from duplexforge.downloading.expand import expand
from duplexforge.downloading.optout import OptOut
from duplexforge.downloading.plan import Choice, Defaults, seed
from duplexforge.downloading.selection import Screen
from duplexforge.downloading.sources import Reading
from duplexforge.errors import DuplexforgeError, InputError, Preempted, RetryLater
from duplexforge.records import DownloadTask, Selection
from tests.unit.downloading.conftest import Place, Site
from tests.unit.downloading.test_feeds import feed, item
from tests.unit.downloading.test_sources import SETTINGS

DEFER = Reading(SETTINGS, defer=True)
HERE = Screen(allow="127.0.0.1")


def deferred(
    place: Place, *sources: str, licences: tuple[str, ...] = (), defaults: Defaults | None = None
) -> list[DownloadTask]:
    """Seed feeds as tasks; the tasks."""
    choice = Choice(screen=HERE, licences=licences)
    seed(place.queue, sources, reading=DEFER, choice=choice, defaults=defaults)
    return waiting(place)


def waiting(place: Place) -> list[DownloadTask]:
    """All tasks of the queue, by id."""
    keys = [meta.key for meta in place.store.list(place.layout.queue_prefix("download", "todo"))]
    return [DownloadTask.model_validate_json(place.store.get(key)) for key in keys]


def items_of(place: Place) -> list[DownloadTask]:
    """The tasks that are no feeds."""
    return [task for task in waiting(place) if task.kind == "item"]


def served(site: Site, *items: str, name: str = "deferred.xml") -> str:
    """The address of a feed on the site."""
    (site.root / name).write_bytes(feed(*items))
    return site.url(f"files/{name}")


def test_a_list_of_feeds_becomes_feed_tasks_and_nothing_is_fetched(place: Place, site: Site, tmp_path: Path) -> None:
    urls = [site.url(f"files/unread-{number}.xml") for number in range(20)]
    (tmp_path / "feeds.csv").write_text("feed_url,language\n" + "".join(f"{url},pt-BR\n" for url in [*urls, urls[0]]))
    said = Defaults("en", "CC0")
    report = seed(place.queue, [str(tmp_path / "feeds.csv")], reading=DEFER, choice=Choice(screen=HERE), defaults=said)
    assert (report.found, report.added, report.repeated) == (21, 20, 1)
    tasks = waiting(place)
    assert {task.url for task in tasks} == set(urls)
    assert {(task.kind, task.language, task.licence, task.id[:5]) for task in tasks} == {("feed", "pt", "CC0", "feed-")}
    assert site.asked("files/unread-0.xml") == 0


def test_its_items_are_put_with_what_was_said_of_the_feed(place: Place, site: Site) -> None:
    url = served(
        site, item("https://a.example/1.mp3", guid="1"), item("file:///etc/passwd"), item("https://a.example/2.mp3")
    )
    (task,) = deferred(place, f"rss:{url}", defaults=Defaults("en", "CC0", "mine", 7, only_audio=True))
    assert expand(task, place.queue, SETTINGS) == {"items": 2, "added": 2, "left_out": {"refused": 1}}
    first, second = items_of(place)
    for one in (first, second):
        assert (one.language, one.licence, one.source, one.attempt_limit) == ("en", "CC0", "mine", 7)
        assert one.only_audio
        assert one.origins is not None
        assert url in one.origins
    assert {task.url for task in (first, second)} == {"https://a.example/1.mp3", "https://a.example/2.mp3"}


def test_the_items_are_those_of_reading_it_at_once(place: Place, site: Site, tmp_path: Path) -> None:
    url = served(site, *(item(f"https://a.example/{number}.mp3") for number in range(12)))
    other = Place(tmp_path / "other")
    seed(other.queue, [url], reading=Reading(SETTINGS))
    (task,) = deferred(place, url)
    expand(task, place.queue, SETTINGS)
    assert [one.id for one in items_of(place)] == [one.id for one in waiting(other)]


def test_expanding_again_adds_only_what_is_new(place: Place, site: Site) -> None:
    items = [item(f"https://a.example/{number}.mp3", guid=str(number)) for number in range(100)]
    (task,) = deferred(place, f"rss:{served(site, *items)}")
    assert expand(task, place.queue, SETTINGS)["added"] == 100
    with place.queue.claim() or pytest.fail("nothing to claim") as lease:
        lease.complete()
    served(site, *items, item("https://a.example/new.mp3"), items[0])
    assert expand(task, place.queue, SETTINGS) == {"items": 101, "added": 1, "left_out": {}}


def test_a_round_makes_a_known_feed_new(place: Place, site: Site) -> None:
    url = f"rss:{served(site, item('https://a.example/1.mp3'))}"
    assert len(deferred(place, url)) == len(deferred(place, url)) == 1
    later = Reading(SETTINGS, defer=True, round="2026-12")
    assert seed(place.queue, [url], reading=later, choice=Choice(screen=HERE)).added == 1
    assert seed(place.queue, [url], reading=later, choice=Choice(screen=HERE)).added == 0
    assert {task.round for task in waiting(place)} == {None, "2026-12"}


def test_limits_and_licences_travel_with_the_feed(place: Place, site: Site, tmp_path: Path) -> None:
    free = "<copyright>CC BY 4.0</copyright></item>"
    items = [item(f"https://a.example/{number}.mp3").replace("</item>", free) for number in range(5)]
    url = served(
        site, item("https://a.example/c.mp3").replace("</item>", "<copyright>(c) A</copyright></item>"), *items
    )
    (tmp_path / "sources.yaml").write_text(f"- source: rss:{url}\n  max_items: 3\n")
    (task,) = deferred(place, str(tmp_path / "sources.yaml"), licences=("cc-by",))
    assert task.selection == Selection(max_items=3, licences=["cc-by"])
    assert expand(task, place.queue, SETTINGS) == {
        "items": 3,
        "added": 3,
        "left_out": {"licence": 1, "beyond_max_items": 1},
    }


def test_opt_outs_and_private_addresses_hold_here_too(place: Place, site: Site) -> None:
    urls = ["https://a.example/1.mp3", "https://b.example/1.mp3", "http://10.0.0.1/1.mp3", "http://0x0a000001/2.mp3"]
    (task,) = deferred(place, f"rss:{served(site, *(item(url) for url in urls))}")
    opted = OptOut()
    opted.add(["b.example"])
    found = expand(task, place.queue, SETTINGS, opt_out=opted)
    assert found == {"items": 1, "added": 1, "left_out": {"opt_out": 1, "refused": 2}}


@pytest.mark.parametrize(
    ("path", "kind", "reason"),
    [("status/404", InputError, "gone"), ("status/503", RetryLater, "throttled"), ("page", InputError, "bad_feed"),
     ("redirect-to-file", InputError, "refused")],
)  # fmt: skip
def test_a_feed_that_cannot_be_had_is_an_error(
    place: Place, site: Site, path: str, kind: type[DuplexforgeError], reason: str
) -> None:
    (task,) = deferred(place, f"rss:{site.url(path)}")
    with pytest.raises(kind) as caught:
        expand(task, place.queue, SETTINGS)
    assert caught.value.reason == reason
    assert items_of(place) == []


def test_an_expansion_that_is_broken_off_is_done_again(place: Place, site: Site) -> None:
    (task,) = deferred(
        place, f"rss:{served(site, *(item(f'https://a.example/{number}.mp3') for number in range(200)))}"
    )

    def stop() -> None:
        raise Preempted("the worker stops")

    with pytest.raises(Preempted):
        expand(task, place.queue, SETTINGS, beat=stop)
    had = len(items_of(place))
    assert 0 < had < 200
    assert expand(task, place.queue, SETTINGS) == {"items": 200, "added": 200 - had, "left_out": {}}
