"""Rates, keys, pages and guests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.serving.limits import Bucket, Full, Guests, Keys, offered, origin_fits


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(
    st.floats(1, 1000),
    st.floats(0.1, 10),
    st.lists(st.tuples(st.floats(0, 5), st.floats(0, 50)), max_size=60),
)
def test_whoever_waits_as_told_gets_the_rate_and_one_burst(
    rate: float, burst: float, takes: list[tuple[float, float]]
) -> None:
    clock = Clock()
    bucket = Bucket(rate, burst, clock)
    taken = 0.0
    for pause, amount in takes:
        clock.now += pause
        wait = bucket.take(amount)
        assert wait >= 0
        clock.now += wait
        taken += amount
        assert taken <= rate * (clock.now + burst) * (1 + 1e-9) + 1e-6


def test_a_pace_below_the_rate_never_waits() -> None:
    clock = Clock()
    bucket = Bucket(10, 1, clock)
    for _ in range(1000):
        clock.now += 0.1
        assert bucket.take(1) == pytest.approx(0, abs=1e-9)


def test_keys_open_and_tell_apart_without_showing_themselves() -> None:
    keys = Keys(["canary-one", "canary-two"])
    one, two = keys.owner("canary-one"), keys.owner("canary-two")
    assert one
    assert two
    assert one != two
    assert "canary" not in one + two
    assert keys.owner("canary-on") is None
    assert keys.owner("") is None
    assert keys.owner(None) is None
    assert not Keys([])


@pytest.mark.parametrize(
    ("header", "names", "key"),
    [
        ("Bearer abc", (), "abc"),
        ("bearer  abc ", (), "abc"),
        ("Basic abc", (), None),
        ("Bearer ", (), None),
        ("", ("realtime", "openai-insecure-api-key.abc"), "abc"),
        ("", ("duplexforge", "bearer.a.b"), "a.b"),
        ("Bearer abc", ("bearer.other",), "abc"),
        ("", ("duplexforge",), None),
    ],
)
def test_where_a_key_is_found(header: str, names: tuple[str, ...], key: str | None) -> None:
    assert offered({"authorization": header} if header else {}, names) == key


@pytest.mark.parametrize(
    ("origin", "host", "allowed", "listens", "fits"),
    [
        (None, "a:8000", (), "0.0.0.0", True),
        ("http://a:8000", "a:8000", (), "0.0.0.0", True),
        ("http://A:8000/", "a:8000", (), "0.0.0.0", True),
        ("http://evil", "a:8000", (), "0.0.0.0", False),
        ("null", "a:8000", (), "0.0.0.0", False),
        ("https://app.example", "a:8000", ("https://app.example",), "0.0.0.0", True),
        ("https://evil", "a:8000", ("*",), "0.0.0.0", True),
        ("http://localhost:8000", "localhost:8000", (), "127.0.0.1", True),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", (), "127.0.0.1", True),
        ("http://[::1]:8000", "[::1]:8000", (), "::1", True),
        ("http://evil:8000", "evil:8000", (), "127.0.0.1", False),
        ("http://evil:8000", "evil:8000", ("http://evil:8000",), "127.0.0.1", True),
    ],
)
def test_which_pages_may(origin: str | None, host: str, allowed: tuple[str, ...], listens: str, fits: bool) -> None:
    headers = {"host": host} | ({"origin": origin} if origin else {})
    assert origin_fits(headers, allowed, listens=listens) is fits


def test_guests_are_counted_by_owner() -> None:
    guests = Guests(2)
    guests.enter("a")
    guests.enter("a")
    guests.enter("b")
    with pytest.raises(Full) as full:
        guests.enter("a")
    assert full.value.reason == "per_key"
    guests.leave("a")
    guests.enter("a")
    for _ in range(100):
        Guests(0).enter("a")
