"""Connections that break off at any byte: what arrives is the file, whole and of one version, or nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duplexforge.downloading import resume
from duplexforge.downloading.direct import NO_PARTIALS, fetch_direct
from duplexforge.downloading.guard import Guard
from duplexforge.downloading.resume import Partial, Partials, validator_of
from duplexforge.downloading.watch import Watch
from duplexforge.downloading.web import Route
from duplexforge.errors import DuplexforgeError, InputError, Preempted, RetryLater
from tests.unit.downloading.conftest import Site

ROUTE = Route(2.0, Guard("127.0.0.1"))
_count = iter(range(10**6))


def resumed(site: Site, folder: Path, **words: Any) -> bytes:
    """What a fetch of the tone brings from a server that breaks off as ``words`` say; its counters begin anew."""
    return fetched(address(site, **words), folder)


def address(site: Site, **words: Any) -> str:
    """An address of the tone that nobody asked for yet."""
    query = "&".join(f"{name}={value}" for name, value in words.items())
    return site.url(f"resume/tone.mp3?{query}&n={next(_count)}")


def fetched(url: str, folder: Path, *, partials: Partials = NO_PARTIALS, watch: Watch | None = None) -> bytes:
    """The bytes of an address."""
    folder.mkdir(exist_ok=True)
    item = fetch_direct(url, folder, route=ROUTE, watch=watch or Watch(10**9), partials=partials)
    assert item is not None
    return item.path.read_bytes()


class Tone(bytes):
    """The file as it is; hypothesis need not print it."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


@pytest.fixture(scope="module")
def tone(site: Site) -> bytes:
    """The file as it is."""
    return Tone((site.root / "tone.mp3").read_bytes())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), tag=st.sampled_from(["etag", "date"]))
def test_any_cuts_are_mended_within_one_attempt(site: Site, tone: bytes, tmp_path: Path, data: Any, tag: str) -> None:
    cuts = data.draw(st.lists(st.integers(1, 2000), max_size=4))
    assert resumed(site, tmp_path, cuts=",".join(map(str, cuts)), tag=tag) == tone


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cut=st.integers(0, 4000),
    tag=st.sampled_from(["etag", "date", "weak", "none", "fresh", "changing"]),
    ranges=st.sampled_from(["yes", "no"]),
)
def test_no_mixed_file_ever(site: Site, tone: bytes, tmp_path: Path, cut: int, tag: str, ranges: str) -> None:
    try:
        got: bytes | str = resumed(site, tmp_path, cuts=cut, tag=tag, ranges=ranges)
    except RetryLater as error:
        got = error.reason
    if cut == 0 or tag in ("weak", "none", "fresh"):
        # Nothing to go on with: no byte, or no way to know the version.
        assert got == "network"
    else:
        assert got == (bytes(255 - byte for byte in tone) if tag == "changing" else tone)


def test_the_next_attempt_goes_on_where_the_last_ended(site: Site, tone: bytes, tmp_path: Path) -> None:
    partials = Partials(tmp_path / "kept", 5)
    url = address(site, cuts="1000,0")
    with pytest.raises(RetryLater):
        fetched(url, tmp_path / "one", partials=partials)
    assert sorted(path.stat().st_size for path in (tmp_path / "kept").glob("*.part")) == [1000]
    assert fetched(url, tmp_path / "two", partials=partials) == tone
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_file_that_changed_meanwhile_is_fetched_anew(site: Site, tone: bytes, tmp_path: Path) -> None:
    partials = Partials(tmp_path / "kept", 5)
    url = address(site, cuts="1000,0", tag="changing")
    with pytest.raises(RetryLater):
        fetched(url, tmp_path / "one", partials=partials)
    assert fetched(url, tmp_path / "two", partials=partials) == bytes(255 - byte for byte in tone)


def test_a_stop_keeps_what_is_here_and_a_refusal_does_not(site: Site, tone: bytes, tmp_path: Path) -> None:
    partials = Partials(tmp_path / "kept", 5)
    url = address(site)
    with pytest.raises(Preempted):
        fetched(url, tmp_path / "one", partials=partials, watch=Watch(10**9, lambda: True))
    assert len(list((tmp_path / "kept").glob("*.part"))) == 1
    with pytest.raises(InputError):
        fetched(url, tmp_path / "two", partials=partials, watch=Watch(10))
    assert list((tmp_path / "kept").iterdir()) == []


def test_connections_that_bring_nothing_are_not_made_for_ever(site: Site, tmp_path: Path) -> None:
    url = address(site, cuts=",".join(["0"] * 50))
    with pytest.raises(RetryLater):
        fetched(url, tmp_path)
    assert site.asked(url.removeprefix(site.base + "/")) == 1
    url = address(site, cuts=",".join(["1"] * 50))
    with pytest.raises(RetryLater):
        fetched(url, tmp_path)
    assert site.asked(url.removeprefix(site.base + "/")) == 6


@pytest.mark.parametrize("damage", ["grown", "cut", "rubbish", "other", "gone"])
def test_a_kept_file_that_is_not_as_it_was_is_not_used(tmp_path: Path, damage: str) -> None:
    kept = tmp_path / "kept"
    partials = Partials(kept, 5)
    path = tmp_path / "item"
    path.write_bytes(b"x" * 100)
    partials.keep("http://a/b", Partial(path, '"v"', 1000))
    (part,), (notes,) = kept.glob("*.part"), kept.glob("*.json")
    if damage == "grown":
        part.write_bytes(b"x" * 101)
    elif damage == "cut":
        part.write_bytes(b"")
    elif damage == "rubbish":
        notes.write_bytes(b"\xff{")
    elif damage == "other":
        notes.write_text(notes.read_text().replace('"url": "', '"url": "0'))
    else:
        notes.unlink()
    found = partials.take("http://a/b", path)
    assert (found.size, found.validator, found.request_headers()) == (0, None, {})


def test_two_versions_of_a_file_are_kept_apart(tmp_path: Path) -> None:
    partials, path = Partials(tmp_path / "kept", 5), tmp_path / "item"
    for version in (b"one", b"two"):
        path.write_bytes(version)
        partials.keep("http://a/b", Partial(path, f'"{version.decode()}"', 10))
    found = partials.take("http://a/b", path)
    assert found.validator == f'"{path.read_bytes().decode()}"'
    other = partials.take("http://a/b", tmp_path / "second")
    assert other.validator == f'"{(tmp_path / "second").read_bytes().decode()}"'
    assert other.validator != found.validator
    assert partials.take("http://a/b", path).size == 0


def test_what_is_kept_is_bounded_in_number_and_age(tmp_path: Path) -> None:
    kept, path = tmp_path / "kept", tmp_path / "item"
    partials = Partials(kept, 3)
    for number in range(6):
        path.write_bytes(b"x" * (number + 1))
        partials.keep(f"http://a/{number}", Partial(path, '"v"', None))
        os.utime(sorted(kept.glob("*.part"), key=lambda one: one.stat().st_size)[-1], (time.time() - 100 + number,) * 2)
    assert sorted(one.stat().st_size for one in kept.glob("*.part")) == [4, 5, 6]
    assert len(list(kept.glob("*.json"))) == 3
    for part in kept.glob("*.part"):
        os.utime(part, (time.time() - 100_000,) * 2)
    path.write_bytes(b"x" * 9)
    partials.keep("http://a/new", Partial(path, '"v"', None))
    assert [one.stat().st_size for one in kept.glob("*.part")] == [9]


def test_a_folder_that_is_not_ours_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    (tmp_path / "file").touch()
    path = tmp_path / "item"
    monkeypatch.setattr(resume.os, "getuid", lambda: 987_654)
    for name in ("link", "file", "there"):
        path.write_bytes(b"x")
        Partials(tmp_path / name, 5).keep("http://a/b", Partial(path, '"v"', None))
        assert path.exists()
    assert list((tmp_path / "there").iterdir()) == []


DATE = "Sat, 21 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"ETag": '"abc"'}, '"abc"'),
        ({"ETag": 'W/"abc"'}, None),
        ({"ETag": "abc"}, None),
        ({"ETag": '"'}, None),
        ({"Last-Modified": "Sat, 21 Nov 2026 11:00:00 GMT", "Date": DATE}, "Sat, 21 Nov 2026 11:00:00 GMT"),
        ({"Last-Modified": "Sat, 21 Nov 2026 11:59:30 GMT", "Date": DATE}, None),
        ({"Last-Modified": "Sat, 21 Nov 2026 11:00:00 GMT"}, None),
        ({"Last-Modified": "soon", "Date": DATE}, None),
        (
            {"ETag": 'W/"a"', "Last-Modified": "Sat, 21 Nov 2026 11:00:00 GMT", "Date": DATE},
            "Sat, 21 Nov 2026 11:00:00 GMT",
        ),
        ({}, None),
    ],
)
def test_validators(headers: dict[str, str], validator: str | None) -> None:
    assert validator_of(headers) == validator


@pytest.mark.parametrize(
    ("headers", "good"),
    [
        ({"Content-Range": "bytes 100-999/1000", "ETag": '"v"'}, True),
        ({"Content-Range": "bytes 100-999/*"}, True),
        ({"Content-Range": "bytes 100-999/1001"}, False),
        ({"Content-Range": "bytes 0-999/1000"}, False),
        ({"Content-Range": "bytes 101-999/1000"}, False),
        ({"Content-Range": "bytes 100-999/1000", "ETag": '"w"'}, False),
        ({"Content-Range": "bytes 100-999/1000", "Content-Encoding": "gzip"}, False),
        ({"Content-Range": "rubbish"}, False),
        ({}, False),
    ],
)
def test_only_the_rest_of_the_same_file_goes_on(tmp_path: Path, headers: dict[str, str], *, good: bool) -> None:
    path = tmp_path / "item"
    path.write_bytes(b"x" * 100)
    assert Partial(path, '"v"', 1000).continues(headers) == good


def test_an_error_of_the_server_leaves_the_partial_alone(site: Site, tmp_path: Path) -> None:
    partials, path = Partials(tmp_path / "kept", 5), tmp_path / "item"
    path.write_bytes(b"x" * 100)
    url = site.url("status/500")
    partials.keep(url, Partial(path, '"v"', 1000))
    with pytest.raises(DuplexforgeError):
        fetched(url, tmp_path / "one", partials=partials)
    assert [one.stat().st_size for one in (tmp_path / "kept").glob("*.part")] == [100]
