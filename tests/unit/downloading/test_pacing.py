"""Budgets and pauses that many pods share, on a real store, by a clock that the test sets."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from duplexforge.config import StoreSettings
from duplexforge.downloading.pacing import HOUR, LONGEST_PAUSE, Pacing
from duplexforge.errors import Preempted, Throttled
from duplexforge.layout import Layout
from duplexforge.records import Pause
from duplexforge.storage import Store, open_store
from tests.servers.s3_client import S3Server

START = 1_800_000_000.0


class Clock:
    """The store's clock, for pods and sleeps alike: who sleeps moves it on."""

    def __init__(self, time: float = START) -> None:
        self.time = time
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """The time."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            self.time += seconds


def memory() -> Store:
    """A store that forgets."""
    return open_store(StoreSettings(store_url="memory://"))


def pod(store: Store, clock: Clock, egress: str = "default") -> Pacing:
    """One pod's view of the shared pacing."""
    return Pacing(store, Layout(), egress, clock=clock, sleep=clock.sleep)


def test_a_slot_is_waited_for_and_a_far_one_sends_the_task_back() -> None:
    store, clock = memory(), Clock()
    one = pod(store, clock)
    starts = []
    for _ in range(3):
        one.take("site-youtube", 300)
        starts.append(clock.time)
    assert starts == pytest.approx([START, START + 12, START + 24], abs=0.3)
    two = pod(store, clock)
    # The slots of the next half minute: two more are free, then none.
    two.take("site-youtube", 300)
    clock.time = starts[-1]
    two.take("site-youtube", 300)
    clock.time = starts[-1]
    with pytest.raises(Throttled) as caught:
        two.take("site-youtube", 300)
    assert caught.value.reason == "budget"
    assert caught.value.after == pytest.approx(42)


def test_tasks_that_are_sent_back_stand_in_a_line() -> None:
    store, clock = memory(), Clock()
    one = pod(store, clock)
    for _ in range(3):
        one.take("s", 300)
    clock.time = START
    after = []
    for _ in range(4):
        with pytest.raises(Throttled) as caught:
            one.take("s", 300)
        after.append(caught.value.after)
    assert after == pytest.approx([42, 54, 66, 78])


@settings(max_examples=30, deadline=None)
@given(
    per_hour=st.sampled_from([1, 7, 60, 300, 3600, 50_000]),
    moves=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 400)), min_size=1, max_size=40),
)
def test_no_hour_sees_more_than_its_budget(per_hour: int, moves: list[tuple[int, float]]) -> None:
    store, clock = memory(), Clock()
    pods = [pod(store, clock) for _ in range(4)]
    hours: Counter[int] = Counter()
    for number, pause in moves:
        clock.sleep(pause)
        try:
            pods[number].take("s", per_hour)
        except Throttled:
            continue
        hours[int(clock.time // HOUR)] += 1
        slots = [meta.key for meta in store.list(f"tasks/pacing/default/s/slots-{per_hour}/")]
        assert len(slots) == len(set(slots))
    assert all(count <= per_hour for count in hours.values())


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_pods_at_the_same_moment_get_different_slots(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    where = StoreSettings(store_url=f"file://{tmp_path}")
    if kind == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        where = server.settings(server.fresh_bucket())
    got: list[float] = []
    sent_back: list[float | None] = []

    def work() -> None:
        clock = Clock()
        try:
            pod(open_store(where), clock).take("s", 3600)
        except Throttled as error:
            sent_back.append(error.after)
        else:
            got.append(round(clock.time))

    threads = [threading.Thread(target=work) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Thirty-one slots are near: each is taken once, by whoever created it.
    assert len(got) == len(set(got)) == 31
    assert len(sent_back) == 9
    assert len(list(open_store(where).list("tasks/pacing/default/s/slots-3600/"))) == 31


def test_old_slots_are_swept() -> None:
    store, clock = memory(), Clock()
    one = pod(store, clock)
    prefix = "tasks/pacing/default/s/slots-3600/"
    for _ in range(200):
        one.take("s", 3600)
    assert len(list(store.list(prefix))) == 200
    clock.sleep(3 * HOUR)
    for _ in range(60):
        one.take("s", 3600)
    keys = [int(meta.key.rpartition("/")[2]) for meta in store.list(prefix)]
    assert min(keys) >= int(clock.time) - 2 * HOUR - 60
    assert len(keys) == 60


def test_egresses_and_sites_have_budgets_of_their_own() -> None:
    store, clock = memory(), Clock()
    for egress, site in (("one", "s"), ("one", "t"), ("two", "s")):
        pod(store, clock, egress).take(site, 1)
    with pytest.raises(Throttled):
        pod(store, clock, "two").take("s", 1)


def test_a_stop_ends_the_wait() -> None:
    store, clock = memory(), Clock()
    one = pod(store, clock)
    one.take("s", 300)
    with pytest.raises(Preempted):
        one.take("s", 300, lambda: clock.time > START + 3)
    assert clock.time == pytest.approx(START + 3, abs=0.5)


# -- pauses ----------------------------------------------------------------------------------------------------------


def test_a_pause_holds_for_all_pods_and_ends() -> None:
    store, clock = memory(), Clock()
    one, two = pod(store, clock), pod(store, clock)
    assert one.left("s") == two.left("s") == 0
    assert one.pause("s", "bot_check", first=900) == 900
    assert two.left("s") == 900
    assert two.left("t") == pod(store, clock, "other").left("s") == 0
    assert REGISTRY.get_sample_value("duplexforge_paused_sites") == 0  # the last that looked sees none
    assert two.left("s") == 900
    clock.sleep(899)
    assert two.left("s") == pytest.approx(1)
    clock.sleep(1)
    assert two.left("s") == one.left("s") == 0


def test_many_that_are_turned_away_at_once_are_one_incident() -> None:
    store, clock = memory(), Clock()
    pods = [pod(store, clock) for _ in range(5)]
    assert [one.pause("s", "bot_check", first=900) for one in pods] == [900] * 5
    clock.sleep(100)
    # An item that began before the pause and ends in it says nothing new.
    assert pods[3].pause("s", "bot_check", first=900) == pytest.approx(800)
    assert len(list(store.list("tasks/pacing/default/s/pauses/"))) == 1


def test_trouble_that_comes_back_doubles_the_pause_up_to_six_hours() -> None:
    store, clock = memory(), Clock()
    lengths = []
    for _ in range(8):
        lengths.append(pod(store, clock).pause("s", "bot_check", first=900))
        clock.sleep(lengths[-1] + 10)
    assert lengths == [900, 1800, 3600, 7200, 14400, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    # Left alone for longer than it was paused, it is as on the first day.
    clock.sleep(LONGEST_PAUSE + 1)
    assert pod(store, clock).pause("s", "bot_check", first=900) == 900


def test_the_servers_own_word_decides() -> None:
    store, clock = memory(), Clock()
    one = pod(store, clock)
    assert one.pause("s", "throttled", first=60, seconds=7) == 7
    # A longer one extends it, a shorter one does not cut it short.
    assert one.pause("s", "throttled", first=60, seconds=100) == 100
    assert one.pause("s", "throttled", first=60, seconds=3) == 100
    clock.sleep(101)
    assert one.pause("s", "throttled", first=60, seconds=10**9) == LONGEST_PAUSE


class Slow(Pacing):
    """A pod whose first look was before another pod's pause."""

    looked = False

    def _last(self, site: str) -> tuple[int, Pause] | None:
        if self.looked:
            return super()._last(site)
        self.looked = True
        return None


def test_a_pod_that_lost_the_race_heeds_the_winner() -> None:
    store, clock = memory(), Clock()
    pod(store, clock).pause("s", "bot_check", first=900)
    slow = Slow(store, Layout(), "default", clock=clock)
    assert slow.pause("s", "bot_check", first=60) == 900
    assert len(list(store.list("tasks/pacing/default/s/pauses/"))) == 1


def test_pauses_do_not_pile_up() -> None:
    store, clock = memory(), Clock()
    for _ in range(20):
        pod(store, clock).pause("s", "throttled", first=60, seconds=5)
        clock.sleep(6)
    assert len(list(store.list("tasks/pacing/default/s/pauses/"))) <= 6


@given(st.lists(st.tuples(st.booleans(), st.floats(1, 50_000)), max_size=25))
@settings(max_examples=50, deadline=None)
def test_a_pause_is_never_cut_short(moves: list[tuple[bool, float]]) -> None:
    store, clock = memory(), Clock()
    one, two, until = pod(store, clock), pod(store, clock), 0.0
    for own_word, seconds in moves:
        left = one.pause("s", "x", first=60, seconds=seconds if own_word else None)
        assert 0 < left <= LONGEST_PAUSE
        assert clock.time + left >= until - 1e-3
        until = clock.time + left
        assert two.left("s") == pytest.approx(left)
        clock.sleep(seconds / 2)
