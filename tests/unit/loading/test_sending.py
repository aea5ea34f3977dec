"""Folders in a store: training folders and duplex data sets, whole or not there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from duplexforge.config import StoreSettings
from duplexforge.errors import InputError, UsageError
from duplexforge.layout import Layout
from duplexforge.loading import sending
from duplexforge.loading.places import StoreFolder
from duplexforge.loading.schema import DuplexManifest
from duplexforge.records import FileEntry, FolderRecord
from duplexforge.storage import Store, file_entry, open_store
from tests.contract.backends import STORES
from tests.servers.s3_client import S3Server

LAYOUT = Layout()


@pytest.fixture(params=["local", "memory", "s3"])
def store(request: pytest.FixtureRequest) -> Store:
    return open_store(STORES[request.param](request))


@pytest.fixture
def memory() -> Store:
    return open_store(StoreSettings(_env_file=None, store_url="memory://"))


def folder(path: Path, **files: str) -> Path:
    """A folder with these files; ``__`` stands for a folder in it."""
    for name, text in files.items():
        file = path / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path


def contents(path: Path) -> dict[str, str]:
    """What is in a folder."""
    return {name: file.read_text() for name, file in sending.names_in(path).items()}


# -- training folders ----------------------------------------------------------------------------------------------------


def test_a_training_folder_comes_back(store: Store, tmp_path: Path) -> None:
    source = folder(tmp_path / "in", manifest="rows", audio__a__1="x" * 5000, audio__b__1="y")
    sending.send_training(store, LAYOUT, source, "speech-1")
    out = tmp_path / "far" / "out"
    sending.fetch_training(store, LAYOUT, "speech-1", out)
    assert contents(out) == contents(source)
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_sending_again_sends_nothing_and_another_folder_is_refused(memory: Store, tmp_path: Path) -> None:
    source = folder(tmp_path / "in", manifest="rows", audio="x")
    first = sending.send_training(memory, LAYOUT, source, "s")
    there = [meta.key for meta in memory.list("training/")]
    assert sending.send_training(memory, LAYOUT, source, "s") == first
    folder(source, audio="y")
    with pytest.raises(UsageError, match="another training folder s: choose another name"):
        sending.send_training(memory, LAYOUT, source, "s")
    assert [meta.key for meta in memory.list("training/")] == there


def test_a_sender_who_comes_second_leaves_nothing(memory: Store, tmp_path: Path) -> None:
    source, other = folder(tmp_path / "in", a="1"), folder(tmp_path / "other", a="2")
    upload = memory.upload

    def meanwhile(path: Path, key: str, **more: bool) -> bool:
        memory.upload = upload  # type: ignore[method-assign]
        sending.send_training(memory, LAYOUT, other, "s")
        return upload(path, key, **more)

    memory.upload = meanwhile  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="another training folder"):
        sending.send_training(memory, LAYOUT, source, "s")
    assert len(list(memory.list("training/"))) == 2
    sending.fetch_training(memory, LAYOUT, "s", tmp_path / "out")
    assert contents(tmp_path / "out") == {"a": "2"}


def test_fetching_where_it_is_already_changes_nothing(memory: Store, tmp_path: Path) -> None:
    source = folder(tmp_path / "in", a="1", b__c="22")
    sending.send_training(memory, LAYOUT, source, "s")
    (tmp_path / "out").mkdir()
    sending.fetch_training(memory, LAYOUT, "s", tmp_path / "out")
    before = (tmp_path / "out" / "a").stat().st_ino
    sending.fetch_training(memory, LAYOUT, "s", tmp_path / "out")
    assert (tmp_path / "out" / "a").stat().st_ino == before
    (tmp_path / "out" / "b" / "c").unlink()
    with pytest.raises(UsageError, match=r"something else than s \(b/c\)"):
        sending.fetch_training(memory, LAYOUT, "s", tmp_path / "out")


def test_what_is_damaged_never_appears(memory: Store, tmp_path: Path) -> None:
    record = sending.send_training(memory, LAYOUT, folder(tmp_path / "in", a="1", b="2"), "s")
    memory.put(f"{record.folder}b", b"3")
    with pytest.raises(InputError, match="b is not what was sent"):
        sending.fetch_training(memory, LAYOUT, "s", tmp_path / "out")
    memory.delete(f"{record.folder}b")
    with pytest.raises(InputError, match="b is not in the store"):
        sending.fetch_training(memory, LAYOUT, "s", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_record_names_no_file_outside(memory: Store, tmp_path: Path) -> None:
    entry = FileEntry(name="../../x", size=1, sha256=hashlib.sha256(b"1").hexdigest())
    record = FolderRecord(folder="training/s/n/", files=[entry], committed_at="now")
    memory.put(LAYOUT.training_record("s"), record.to_bytes())
    with pytest.raises(InputError, match="names a file outside itself"):
        sending.fetch_training(memory, LAYOUT, "s", tmp_path / "deep" / "out")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["", "../x", "a/b", "é"])
def test_odd_names_are_refused(memory: Store, tmp_path: Path, name: str) -> None:
    source = folder(tmp_path / "in", a="1")
    for refused in (
        lambda: sending.send_training(memory, LAYOUT, source, name),
        lambda: sending.fetch_training(memory, LAYOUT, name, tmp_path / "out"),
        lambda: sending.send_duplex(memory, LAYOUT, duplex(tmp_path / "d", x="1"), name),
    ):
        with pytest.raises(UsageError, match="object key"):
            refused()


def test_nothing_and_nobody(memory: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="there is nothing in"):
        sending.send_training(memory, LAYOUT, tmp_path / "empty", "s")
    with pytest.raises(UsageError, match="there is no folder"):
        sending.send_training(memory, LAYOUT, tmp_path / "none", "s")
    with pytest.raises(UsageError, match="has no training folder s"):
        sending.fetch_training(memory, LAYOUT, "s", tmp_path / "out")


# -- duplex data sets ----------------------------------------------------------------------------------------------------


def duplex(path: Path, **files: str) -> Path:
    """A folder that looks like a duplex data set to whoever only moves it."""
    folder(path, **files)
    entries = [file_entry(file, name) for name, file in sorted(sending.names_in(path).items())]
    manifest = DuplexManifest(source="x", settings={}, totals={}, problems={}, files=entries)
    (path / "manifest.json").write_bytes(manifest.to_bytes())
    return path


def test_a_data_set_is_read_from_where_it_was_sent(s3_server: S3Server, tmp_path: Path) -> None:
    bucket = s3_server.fresh_bucket()
    store = open_store(s3_server.settings(bucket))
    source = duplex(tmp_path / "set", format="{}", storage__data="rows")
    assert sending.send_duplex(store, LAYOUT, source, "calls") is True
    assert sending.send_duplex(store, LAYOUT, source, "calls") is False
    place = StoreFolder(s3_server.settings(bucket, store_url=f"s3://{bucket}/duplex/calls"), tmp_path / "cache")
    body = place.manifest()
    assert body
    for entry in DuplexManifest.model_validate_json(body).files:
        assert place.path(entry).read_bytes() == (source / entry.name).read_bytes()


def test_another_data_set_of_that_name_is_refused(memory: Store, tmp_path: Path) -> None:
    sending.send_duplex(memory, LAYOUT, duplex(tmp_path / "one", a="1"), "calls")
    there = [meta.key for meta in memory.list("duplex/")]
    with pytest.raises(UsageError, match="another data set calls"):
        sending.send_duplex(memory, LAYOUT, duplex(tmp_path / "two", a="2"), "calls")
    assert [meta.key for meta in memory.list("duplex/")] == there


def test_a_data_set_that_its_manifest_does_not_tell_of_is_not_sent(memory: Store, tmp_path: Path) -> None:
    source = duplex(tmp_path / "one", a="1", b="2")
    (source / "b").write_text("3")
    with pytest.raises(InputError, match="duplex validate tells more"):
        sending.send_duplex(memory, LAYOUT, source, "calls")
    (source / "b").unlink()
    with pytest.raises(InputError, match="is not what its"):
        sending.send_duplex(memory, LAYOUT, source, "calls")
    (source / "manifest.json").unlink()
    with pytest.raises(UsageError, match="has no"):
        sending.send_duplex(memory, LAYOUT, source, "calls")
    assert not list(memory.list("duplex/"))


@pytest.mark.parametrize("body", [b"", b"[]", b'{"folder": 3}', b"{}"])
def test_a_place_without_a_pointer_is_as_before(tmp_path: Path, body: bytes) -> None:
    settings = StoreSettings(_env_file=None, store_url=f"file://{tmp_path}/set")
    folder(tmp_path / "set", a="1")
    (tmp_path / "set" / "manifest.json").write_bytes(body)
    place = StoreFolder(settings, tmp_path / "cache")
    assert place.manifest() == body
    assert place.path(file_entry(tmp_path / "set" / "a", "a")).read_text() == "1"


def test_the_manifest_keeps_what_it_said(memory: Store, tmp_path: Path) -> None:
    source = duplex(tmp_path / "set", a="1")
    sending.send_duplex(memory, LAYOUT, source, "calls")
    there = json.loads(memory.get("duplex/calls/manifest.json"))
    assert there.pop("folder").endswith("/")
    assert there == json.loads((source / "manifest.json").read_text())


def test_as_a_person_types_it(tmp_path: Path) -> None:
    import subprocess
    import sys

    source = folder(tmp_path / "in", manifest="rows", audio__1="x" * 3000)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "duplexforge", *words, "--store", f"file://{tmp_path}/store"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = run("data", "send", "in", "speech")
    assert (done.returncode, done.stdout) == (0, "speech: 2 files, 0.0 MB\n"), done.stderr
    done = run("data", "fetch", "speech", "--out", "out")
    assert (done.returncode, done.stdout) == (0, "out: 2 files, 0.0 MB\n"), done.stderr
    assert contents(tmp_path / "out") == contents(source)
    done = run("data", "fetch", "none", "--out", "other")
    assert done.returncode == 2
    assert "has no training folder none: duplexforge data send makes one" in done.stderr
