"""The contract of the object store, on every kind of store."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duplexforge.errors import ConfigError, InputError
from duplexforge.storage import Store, open_store
from tests.contract.backends import ATOMIC, STORES, folder_settings, marked


@pytest.fixture(params=marked(STORES))
def store(request: pytest.FixtureRequest) -> Store:
    return open_store(STORES[request.param](request))


@pytest.fixture(params=marked(ATOMIC))
def atomic_store(request: pytest.FixtureRequest) -> Store:
    return open_store(STORES[request.param](request))


def test_put_if_absent_creates_once_and_keeps_the_first(store: Store) -> None:
    assert store.put_if_absent("tasks/a", b"first") is True
    assert store.put_if_absent("tasks/a", b"second") is False
    assert store.put_if_absent("tasks/a", b"first") is False
    assert store.get("tasks/a") == b"first"


def test_one_of_many_racing_writers_wins(atomic_store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        for number in range(20):
            bodies = [f"{number}-{writer}".encode() for writer in range(16)]
            won = list(pool.map(lambda body, key=f"race/{number}": atomic_store.put_if_absent(key, body), bodies))
            winners = [body for body, mine in zip(bodies, won, strict=True) if mine]
            assert winners == [atomic_store.get(f"race/{number}")]


def test_missing_objects(store: Store, tmp_path: Path) -> None:
    assert store.find("no/such") is None
    assert store.head("no/such") is None
    with pytest.raises(FileNotFoundError):
        store.get("no/such")
    with pytest.raises(FileNotFoundError):
        store.download("no/such", tmp_path / "file")
    assert list(store.list("no/such/")) == []
    assert store.folders("no/such/") == []


def test_put_replaces_and_head_tells(store: Store) -> None:
    store.put("a/b", b"one")
    before = store.head("a/b")
    store.put("a/b", b"three")
    after = store.head("a/b")
    assert store.get("a/b") == b"three"
    assert before
    assert after
    assert (before.size, after.size, after.key) == (3, 5, "a/b")
    assert before.etag != after.etag
    assert abs(after.modified - time.time()) < 60


@pytest.mark.parametrize("body", [b"", b"\x00", bytes(range(256)) * 33, "ü\r\n".encode()])
def test_bodies_come_back_byte_for_byte(store: Store, body: bytes, tmp_path: Path) -> None:
    store.put("bodies/put", body)
    store.put_if_absent("bodies/created", body)
    assert store.get("bodies/put") == store.get("bodies/created") == body
    assert store.download("bodies/put", tmp_path / "file") == hashlib.sha256(body).hexdigest()
    assert (tmp_path / "file").read_bytes() == body


@pytest.mark.parametrize(
    "key",
    [
        "a b",
        "a+b",
        "ünï-日本",
        "100%",
        "a%20b",
        "x=y&z?",
        "~a",
        ".hid",
        "..a",
        "(1)'!",
        "a;b,c@:$",
        "p#x",
        'a"<>b',
        "A",
    ],
)
def test_odd_keys_are_kept_exactly(store: Store, key: str) -> None:
    name = f"odd/{key}.task"
    assert store.put_if_absent(name, b"x") is True
    assert store.put_if_absent(name, b"y") is False
    assert [meta.key for meta in store.list("odd/")] == [name]
    assert store.find(name) == b"x"
    store.delete(name)
    assert store.find(name) is None


@pytest.mark.parametrize("key", ["a//b", "a/../b", "a/./b", "/a//", "line\nbreak", "nul\0"])
def test_impossible_keys_are_the_inputs_fault(store: Store, key: str) -> None:
    for request in (lambda: store.put(key, b"x"), lambda: store.put_if_absent(key, b"x"), lambda: store.find(key)):
        with pytest.raises(InputError) as refused:
            request()
        assert refused.value.reason == "bad_key"


def test_a_folder_refuses_names_it_keeps_for_itself(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        open_store(folder_settings(tmp_path)).put("a#1", b"x")


def fill(store: Store, keys: list[str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, b"x"), keys))


def test_list_in_key_order_within_the_prefix_only(store: Store) -> None:
    keys = ["l/b", "l/a", "l/a.b", "l/aa/z", "l/B", "l/_", "l/-", "lx/a", "l.x", "k/a"]
    fill(store, keys)
    inside = sorted(key for key in keys if key.startswith("l/"))
    assert [meta.key for meta in store.list("l/")] == inside
    assert [meta.key for meta in store.list("l/", after="l/a")] == [key for key in inside if key > "l/a"]
    assert [meta.key for meta in store.list("l/", after="l/a0")] == [key for key in inside if key > "l/a0"]
    assert list(store.list("l/", after="l/zz")) == []
    assert {meta.size for meta in store.list("l/")} == {1}


def test_pages_of_a_thousand(store: Store) -> None:
    keys = [f"p/{number:05d}" for number in range(1_205)]
    fill(store, keys)
    pages = [[meta.key for meta in page] for page in store.pages("p/")]
    assert [len(page) for page in pages] == [1000, 205]
    assert [key for page in pages for key in page] == keys
    assert [meta.key for meta in store.list("p/", after="p/00002")] == keys[3:]
    store.delete(keys)
    assert list(store.list("p/")) == []


def test_folders(store: Store) -> None:
    fill(store, ["f/en/a/x", "f/en/b", "f/de/c", "f/plain", "g/x"])
    assert sorted(store.folders("f/")) == ["f/de/", "f/en/"]
    assert store.folders("f/en/") == ["f/en/a/"]
    assert {"f/", "g/"} <= set(store.folders(""))


def test_delete_of_missing_and_of_many(store: Store) -> None:
    store.delete("d/none")
    store.delete([])
    fill(store, ["d/1", "d/3", "d/5"])
    store.delete([f"d/{number}" for number in range(5)])
    assert [meta.key for meta in store.list("d/")] == ["d/5"]


def test_upload_and_download(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "big.bin"
    file.write_bytes(hashlib.sha256(b"seed").digest() * 400_000)
    assert store.upload(file, "u/big.bin") is True
    assert store.download("u/big.bin", tmp_path / "back") == hashlib.sha256(file.read_bytes()).hexdigest()
    assert store.upload(file, "u/once", absent=True) is True
    assert store.upload(file, "u/once", absent=True) is False
    with pytest.raises(FileNotFoundError):
        store.upload(tmp_path / "missing", "u/missing")


def test_send_folder_names_every_file(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    (folder / "b.json").write_bytes(b"{}")
    (folder / "a.mp3").write_bytes(b"")
    (folder / "deep" / "c").write_bytes(b"ccc")
    entries = store.send_folder(folder, "s/attempt/")
    assert [(entry.name, entry.size) for entry in entries] == [("a.mp3", 0), ("b.json", 2), ("deep/c", 3)]
    assert entries[2].sha256 == hashlib.sha256(b"ccc").hexdigest()
    assert [meta.key for meta in store.list("s/")] == ["s/attempt/a.mp3", "s/attempt/b.json", "s/attempt/deep/c"]


def test_now_is_the_stores_clock_and_never_goes_back(store: Store) -> None:
    told = [store.now() for _ in range(200)]
    assert told == sorted(told)
    assert abs(told[0] - time.time()) < 2.5
    store.put("clock/a", b"x")
    meta = store.head("clock/a")
    assert meta
    assert abs(store.now() - meta.modified) < 2.5


def test_now_read_again_does_not_go_back(store: Store) -> None:
    told = []
    for _ in range(5):
        told.append(store.now())
        store.clock_seconds = 0.0
    assert told == sorted(told)


def test_probe_accepts_and_leaves_nothing(store: Store) -> None:
    store.probe()
    assert list(store.list("tasks/.probe/")) == []


def test_stores_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for url in (f"file://{tmp_path}/file/below", "ftp://x", "s3://", "nonsense"):
        with pytest.raises(ConfigError):
            open_store(folder_settings(tmp_path).model_copy(update={"store_url": url}))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.sets(st.from_regex(r"[abcXYZ019._-]{0,5}[abcXYZ019_-]", fullmatch=True), max_size=12))
def test_listing_agrees_with_sorting(tmp_path_factory: pytest.TempPathFactory, names: set[str]) -> None:
    for store in (open_store(folder_settings(tmp_path_factory.mktemp("s"))), open_store(STORES["memory"](None))):  # type: ignore[arg-type]
        keys = sorted(f"h/{name}" for name in names)
        for key in keys:
            store.put(key, b"")
        assert [meta.key for meta in store.list("h/")] == keys
        for key in keys:
            assert [meta.key for meta in store.list("h/", after=key)] == [one for one in keys if one > key]
