"""What a worker does with a site that throttles it, suspects it, or has become unreadable: on a real store and queue."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from prometheus_client import REGISTRY

from duplexforge.downloading.fetch import Ways
from duplexforge.downloading.pacing import Pacing
from duplexforge.downloading.role import DownloadStep
from duplexforge.downloading.suspicion import PATIENCE, Suspicion
from duplexforge.downloading.turns import Place as SitePlace
from duplexforge.downloading.turns import Turns, place_of
from duplexforge.errors import DuplexforgeError, InputError, RetryLater, SiteBroken, Throttled
from duplexforge.records import DownloadTask
from duplexforge.worker import Worker
from tests.unit.downloading.conftest import Place, Site, settings_with
from tests.unit.downloading.test_pacing import START, Clock

VIDEO = "https://www.youtube.com/watch?v=dQw4w9WgXcQ"


def turns(place: Place, clock: Clock, **settings: object) -> Turns:
    """Turns of one pod."""
    return Turns(
        Pacing(place.store, place.layout, "default", clock=clock, sleep=clock.sleep), settings_with(**settings)
    )


def outcome(turns: Turns, url: str, item: str, error: DuplexforgeError | None) -> DuplexforgeError | None:
    """What becomes of an item whose fetch ends in ``error``."""
    try:
        with turns.turn(url, item):
            if error is not None:
                raise error
    except DuplexforgeError as found:
        return found
    return None


def test_places() -> None:
    settings = settings_with(host_requests_per_hour=9)
    assert place_of(VIDEO, settings) == SitePlace("site-youtube", "youtube", 300)
    assert place_of("https://www.cdn.example/a.mp3", settings) == SitePlace("host-cdn.example", None, 9)
    assert place_of("https://cdn.example/page", settings_with()) == SitePlace("host-cdn.example", None, 0)


def test_a_bot_check_pauses_the_site_for_all_pods_and_no_other(place: Place) -> None:
    clock = Clock()
    one, two = turns(place, clock), turns(place, clock)
    first = outcome(one, VIDEO, "a", Throttled("not a bot?", reason="bot_check"))
    assert isinstance(first, Throttled)
    assert (first.reason, first.after) == ("bot_check", 900)
    second = outcome(two, VIDEO, "b", None)
    assert isinstance(second, Throttled)
    assert second.reason == "paused"
    assert 900 <= (second.after or 0) <= 1000
    assert outcome(two, "https://cdn.example/a.mp3", "c", None) is None
    clock.sleep(901)
    assert outcome(two, VIDEO, "b", None) is None
    again = outcome(one, VIDEO, "a", Throttled("not a bot?", reason="bot_check"))
    assert isinstance(again, Throttled)
    assert again.after == 1800


def test_retry_after_is_the_length_of_the_pause(place: Place) -> None:
    clock = Clock()
    found = outcome(turns(place, clock), "https://cdn.example/a.mp3", "a", Throttled("busy", after=7.0))
    assert isinstance(found, Throttled)
    assert found.after == 7
    # Without one a minute, doubled to a quarter of an hour at most: one odd item must not shut a host for hours.
    lengths = []
    for _ in range(6):
        found = outcome(turns(place, clock), "https://other.example/a.mp3", "a", Throttled("busy"))
        assert isinstance(found, Throttled)
        lengths.append(found.after)
        clock.sleep((found.after or 0) + 1)
    assert lengths == [60, 120, 240, 480, 900, 900]


def test_budgets_hold_sites_and_where_told_hosts(place: Place) -> None:
    clock = Clock()
    strict = turns(place, clock, site_requests_per_hour=1, host_requests_per_hour=1)
    for url in (VIDEO, "https://cdn.example/a.mp3"):
        assert outcome(strict, url, "a", None) is None
        found = outcome(strict, url, "b", None)
        assert isinstance(found, Throttled)
        assert found.reason == "budget"
    free = turns(place, clock)
    assert [outcome(free, "https://free.example/a.mp3", str(n), None) for n in range(5)] == [None] * 5
    assert clock.time == START


# -- broken extractors -----------------------------------------------------------------------------------------------


def site_error() -> RetryLater:
    """What no row of the tables knows."""
    return RetryLater("the site could not be read", reason="site")


def test_items_that_fail_alike_condemn_the_extractor(place: Place) -> None:
    mine = turns(place, Clock(), site_requests_per_hour=0)
    with structlog.testing.capture_logs() as logs:
        found = [outcome(mine, VIDEO, f"v{number}", site_error()) for number in range(PATIENCE)]
    # Until then each goes back uncounted, and so does the last: none of them is to blame.
    assert [type(one) for one in found] == [Throttled] * (PATIENCE - 1) + [SiteBroken]
    (alert,) = [entry for entry in logs if entry["event"] == "alert"]
    assert (alert["log_level"], alert["extractor"]) == ("error", "youtube")


def test_one_odd_item_is_no_broken_site() -> None:
    suspicion, error = Suspicion(), site_error()
    found = [suspicion.failed("youtube", "the same", error) for _ in range(3 * PATIENCE)]
    assert isinstance(found[0], Throttled)
    # Its second failure counts, or it would come back for ever.
    assert found[1:] == [error] * (3 * PATIENCE - 1)


def test_a_success_clears_the_row_and_proves_the_site() -> None:
    suspicion, error = Suspicion(), site_error()
    for _ in range(4):
        for number in range(PATIENCE - 1):
            suspicion.failed("youtube", f"v{number}", error)
        suspicion.worked("youtube")
    assert suspicion.failed("youtube", "new", error) is error
    assert isinstance(suspicion.failed("vimeo", "new", error), Throttled)


def test_a_site_that_worked_may_still_break() -> None:
    suspicion = Suspicion()
    suspicion.worked("youtube")
    found = [suspicion.failed("youtube", f"v{number}", site_error()) for number in range(PATIENCE)]
    assert [type(one) for one in found] == [RetryLater] * (PATIENCE - 1) + [SiteBroken]


def test_unknown_hosts_have_no_extractor_to_break(place: Place) -> None:
    mine, error = turns(place, Clock()), site_error()
    found = [outcome(mine, "https://x.example/page", f"v{number}", error) for number in range(2 * PATIENCE)]
    assert found == [error] * (2 * PATIENCE)


@pytest.mark.parametrize("error", [InputError("gone", reason="gone"), RetryLater("cut", reason="network")])
def test_other_errors_pass_as_they_are(place: Place, error: DuplexforgeError) -> None:
    mine = turns(place, Clock(), site_requests_per_hour=0)
    assert [outcome(mine, VIDEO, f"v{number}", error) for number in range(2 * PATIENCE)] == [error] * (2 * PATIENCE)


# -- through the worker ----------------------------------------------------------------------------------------------


class Scripted(DownloadStep):
    """The step with a site of its own behind it: what a fetch of a known site does is told by ``script``."""

    script: Callable[[DownloadTask], None]

    def fetch(self, task: DownloadTask, folder: Path) -> None:
        """One turn, and the script."""
        with self._turns.turn(task.url, task.id, self._stopping):
            self.script(task)


def test_a_broken_extractor_halts_the_worker_and_blames_no_task(place: Place) -> None:
    for number in range(PATIENCE + 3):
        place.queue.put(DownloadTask(id=f"yt-{number}", episode_id=f"yt-{number}", url=VIDEO, attempt_limit=1))
    pacing = Pacing(place.store, place.layout, "default")
    step = Scripted(place.store, place.layout, Ways.of(settings_with(site_requests_per_hour=0)), pacing=pacing)

    def script(task: DownloadTask) -> None:
        raise site_error()

    step.script = script  # type: ignore[method-assign]
    with pytest.raises(SiteBroken) as caught:
        Worker(place.queue, step, place.settings, drain=True).run()
    assert caught.value.exit_code == 75
    stats = place.queue.stats()
    assert (stats.open, stats.failed, stats.completed) == (PATIENCE + 3, 0, 0)
    leases = [json.loads(place.store.get(meta.key)) for meta in place.store.list("tasks/download_in_progress/")]
    assert all(lease["failures"] == 0 for lease in leases)


def test_a_throttled_site_is_left_alone_and_the_others_go_on(place: Place, site: Site) -> None:
    for name in ("status/429", "files/tone.mp3", "files/tone.m4a"):
        word = name.replace("/", "-")
        place.queue.put(DownloadTask(id=word, episode_id=word, url=site.url(name), language="en", attempt_limit=1))
    named = site.base.replace("127.0.0.1", "localhost") + "/files/tone.opus"
    place.queue.put(DownloadTask(id="other", episode_id="other", url=named, language="en", attempt_limit=1))
    before = REGISTRY.get_sample_value("duplexforge_throttles_total", {"reason": "throttled"}) or 0
    step = place.step(allow_private_addresses="127.0.0.1,::1")
    worker = Worker(place.queue, step, place.settings)
    thread = threading.Thread(target=worker.run)
    thread.start()

    def over() -> bool:
        """Whether the throttle was seen and the other host was not held up by it."""
        seen = REGISTRY.get_sample_value("duplexforge_throttles_total", {"reason": "throttled"}) or 0
        return seen > before and "other" in {record.episode_id for record in place.records().values()}

    for _ in range(400):
        if over():
            break
        time.sleep(0.05)
    worker.stop()
    thread.join(timeout=30)
    assert over()
    assert place.queue.stats().failed == 0
    # What is left of the throttled host waits uncounted.
    leases = [json.loads(place.store.get(meta.key)) for meta in place.store.list("tasks/download_in_progress/")]
    assert leases
    assert all(lease["failures"] == 0 for lease in leases)
