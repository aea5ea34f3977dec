"""The saved tally: the next one begins with it, and nothing about it can do harm."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import closing

import pytest
from test_status_tally import NOW, Records, failure, manifest

from duplexforge.config import StoreSettings
from duplexforge.layout import Layout
from duplexforge.status import saved
from duplexforge.status.overview import Done
from duplexforge.status.tally import Tally
from duplexforge.storage import Store, open_store
from tests.servers.s3_client import S3Server

KEYS = Layout()


@pytest.fixture
def store() -> Store:
    return open_store(StoreSettings(_env_file=None, store_url="memory://"))


@pytest.fixture
def tally() -> Iterator[Tally]:
    with closing(Tally()) as made:
        yield made


def filled(tally: Tally, count: int = 3) -> Records:
    records = Records(
        {f"{number}": manifest(f"{number}", 2.0, language="dé") for number in range(count)},
        {"tasks/download_failed/x.task": ("e", failure("x"))},
    )
    records.bring(tally)
    return records


def test_the_next_one_begins_where_this_one_ended(store: Store, tally: Tally) -> None:
    records = filled(tally)
    assert saved.save(tally, store, KEYS, worth=1)
    assert tally.unsaved == 0
    records.reads.clear()
    with closing(Tally()) as other:
        saved.load(other, store, KEYS)
        records.bring(other)
        assert other.done(NOW) == {"dé": Done(3, 6.0, 3, 6.0, 3, 6.0)}
        assert other.reasons() == tally.reasons()
        assert other.unsaved == 0
    assert not records.reads


def test_a_few_rows_are_not_worth_a_write(store: Store, tally: Tally) -> None:
    filled(tally)
    assert saved.save(tally, store, KEYS) is False
    assert list(store.list("tasks/")) == []


def test_nothing_saved_is_nothing_known(store: Store, tally: Tally) -> None:
    saved.load(tally, store, KEYS)
    assert tally.done(NOW) == {}


def test_another_prefix_has_another_tally(store: Store, tally: Tally) -> None:
    filled(tally)
    saved.save(tally, store, KEYS, worth=1)
    with closing(Tally()) as other:
        saved.load(other, store, Layout(processed="processed/v2/"))
        assert other.done(NOW) == {}


def lines(*rows: object) -> bytes:
    return gzip.compress("\n".join(json.dumps(row) for row in rows).encode())


HEAD = {"version": 1, "processed": "processed/"}
GOOD = ["episodes", "k", 1.0, "en", "ok", 1.0, "{}"]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"not gzip", gzip.compress(b""), gzip.compress(b"\xff\xfe"), gzip.compress(b"{"),
        lines({**HEAD, "version": 2}, GOOD), lines({**HEAD, "processed": "other/"}, GOOD), lines(HEAD, GOOD, 7),
        lines(HEAD, GOOD, ["nonsense"]), lines(HEAD, GOOD, ["episodes"]), lines(HEAD, GOOD)[:-9],
    ],
    # gzip's bytes hold the time: as names of tests they would differ from one process to the next.
    ids=range(11),
)  # fmt: skip
def test_a_damaged_one_is_ignored_whole(store: Store, tally: Tally, body: bytes) -> None:
    store.put(KEYS.tally(), body)
    saved.load(tally, store, KEYS)
    assert tally.done(NOW) == {}
    filled(tally)
    assert tally.done(NOW)["dé"].episodes == 3


def test_a_store_that_only_lets_us_read_is_no_reason_to_stop(s3_server: S3Server, tally: Tally) -> None:
    bucket = s3_server.fresh_bucket()
    store = open_store(s3_server.settings(bucket), attempts=1)
    filled(tally)
    s3_server.arm("error", match=bucket, method="PUT", code="AccessDenied")
    assert saved.save(tally, store, KEYS, worth=1) is False
    assert tally.unsaved == 4
    assert saved.save(tally, store, KEYS, worth=1) is True
