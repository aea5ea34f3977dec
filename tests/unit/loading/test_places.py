"""The same items from a folder, a store and the Hub, fetched late, checked once, and errors in one sentence."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duplexforge import config
from duplexforge.config import StoreSettings
from duplexforge.errors import ConfigError, InputError, RetryLater, Throttled
from duplexforge.loading import kept, places
from duplexforge.loading.dataset import DuplexDataset, easy_load
from duplexforge.loading.schema import MANIFEST
from duplexforge.storage import Store
from tests.duplex.folder import MadeFolder, seal, write_folder
from tests.servers.s3_client import Process
from tests.unit.loading.conftest import Bucket, bodies

config.quiet_libraries()

TOKEN = "hf_testtokenthatmustnotleak"


def _same(mine: DuplexDataset, small: MadeFolder) -> None:
    for one, other in zip(mine, easy_load(small.folder), strict=True):
        for name in ("input_sequence", "input_audios", "target_audios", "speaker_embedding"):
            np.testing.assert_array_equal(one[name], other[name])  # type: ignore[literal-required]
        assert (one["session_id"], one["seq_id"]) == (other["session_id"], other["seq_id"])


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.arrow"))


# -- an object store ---------------------------------------------------------------------------------------------------


def test_from_a_store(bucket: Bucket, small: MadeFolder, tmp_path: Path) -> None:
    _same(easy_load(bucket.url, cache=tmp_path), small)
    _same(easy_load(f"{bucket.url}/", cache=tmp_path), small)


def test_files_of_a_store_are_fetched_late_and_once(
    bucket: Bucket, small: MadeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    download = Store.download
    monkeypatch.setattr(Store, "download", lambda self, key, path: fetched.append(key) or download(self, key, path))
    data = easy_load(bucket.url, cache=tmp_path)
    assert fetched == ["manifest.json", "format.json", "train/data-00000-of-00001.arrow"]
    data[-1]
    assert fetched[3:] == ["storage/data-00001-of-00002.arrow"]
    data[0]
    assert fetched[4:] == ["storage/data-00000-of-00002.arrow"]
    # Another process, or another run, finds them in the cache.
    _same(pickle.loads(pickle.dumps(data)), small)
    _same(easy_load(bucket.url, cache=tmp_path), small)
    assert [name for name in fetched[5:] if name != "manifest.json"] == []


def test_many_readers_fetch_a_file_once(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    download = Store.download
    monkeypatch.setattr(Store, "download", lambda self, key, path: fetched.append(key) or download(self, key, path))
    copies = [easy_load(bucket.url, cache=tmp_path) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda data: data[0], copies))
    assert fetched.count("storage/data-00000-of-00002.arrow") == 1


def test_other_bytes_in_a_store(bucket: Bucket, tmp_path: Path) -> None:
    url, store = bucket.url, bucket.store
    name = "storage/data-00000-of-00002.arrow"
    body = store.get(f"sets/one/{name}")
    store.put(f"sets/one/{name}", body[:-1] + bytes([body[-1] ^ 1]))
    data = easy_load(url, cache=tmp_path)
    with pytest.raises(InputError, match=f"{name} of {url} is not the file that its manifest names") as caught:
        data[0]
    assert caught.value.reason == "checksum"
    # Nothing of it is kept, so that it is well once the store is.
    assert _names(tmp_path) == [_kept_name(data, "train/data-00000-of-00001.arrow")]
    store.put(f"sets/one/{name}", body)
    assert data[0]["seq_id"] == 0
    store.delete("sets/one/storage/data-00001-of-00002.arrow")
    with pytest.raises(InputError, match=r"has no storage/data-00001-of-00002.arrow, which its manifest names"):
        data[-1]


def _kept_name(data: DuplexDataset, name: str) -> str:
    return next(f"{one.sha256}.arrow" for one in data.manifest.files if one.name == name)


def test_a_cut_off_file_in_the_cache_is_fetched_again(bucket: Bucket, small: MadeFolder, tmp_path: Path) -> None:
    list(easy_load(bucket.url, cache=tmp_path))
    for path in tmp_path.rglob("*.arrow"):
        path.write_bytes(path.read_bytes()[:50])
    _same(easy_load(bucket.url, cache=tmp_path), small)


def test_no_data_set_there_and_no_place_to_keep_it(bucket: Bucket, tmp_path: Path) -> None:
    url, store = bucket.url, bucket.store
    with pytest.raises(InputError, match=r"has no manifest.json"):
        easy_load(url.removesuffix("one") + "two", cache=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write to .*: name another folder with cache="):
        easy_load(url, cache=tmp_path / "file")
    store.delete(f"sets/one/{MANIFEST}")
    with pytest.raises(InputError, match="its build did not finish"):
        easy_load(url, cache=tmp_path)


# -- the Hub -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hub_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("hub")
    with Process("tests.servers.hub", ["--root", str(root), "--token", TOKEN]) as process:
        yield process.url
    import huggingface_hub

    huggingface_hub.close_session()


class Repository:
    """A repository of the stand-in."""

    def __init__(self, url: str) -> None:
        import huggingface_hub

        self.api = huggingface_hub.HfApi(endpoint=url, token=TOKEN)
        self.name = f"someone/talks-{uuid.uuid4().hex[:8]}"
        self.api.create_repo(self.name, repo_type="dataset")

    def put(self, files: dict[str, bytes]) -> str:
        """Commit files; the commit's id."""
        import huggingface_hub

        parts = [huggingface_hub.CommitOperationAdd(name, body) for name, body in files.items()]
        return str(self.api.create_commit(self.name, parts, commit_message="data", repo_type="dataset").oid)


@pytest.fixture
def repository(hub_url: str, monkeypatch: pytest.MonkeyPatch, small: MadeFolder) -> Repository:
    monkeypatch.setenv("HF_ENDPOINT", hub_url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    found = Repository(hub_url)
    found.put(bodies(small.folder))
    return found


@pytest.mark.parametrize("form", ["{}", "hf://{}", "hf://datasets/{}", "hf://{}@main"])
def test_from_the_hub(repository: Repository, small: MadeFolder, tmp_path: Path, form: str) -> None:
    _same(easy_load(form.format(repository.name), cache=tmp_path), small)


def test_from_a_folder_of_a_repository(repository: Repository, small: MadeFolder, tmp_path: Path) -> None:
    repository.put({f"second/{name}": body for name, body in bodies(small.folder).items()})
    _same(easy_load(f"hf://{repository.name}/second", cache=tmp_path), small)


def test_files_of_the_hub_are_fetched_late(repository: Repository, tmp_path: Path) -> None:
    data = easy_load(repository.name, cache=tmp_path)
    assert _names(tmp_path / "hub") == ["data-00000-of-00001.arrow"]
    data[-1]
    assert _names(tmp_path / "hub") == ["data-00000-of-00001.arrow", "data-00001-of-00002.arrow"]


def test_all_files_are_of_one_commit(repository: Repository, small: MadeFolder, tmp_path: Path) -> None:
    data = easy_load(repository.name, cache=tmp_path)
    first = data.place.name
    other = write_folder(tmp_path / "other", chunks=3, seed=11)
    commit = repository.put(bodies(other.folder))
    # Opened before the branch moved on: what it reads now still belongs together.
    _same(data, small)
    assert commit not in first
    _same(easy_load(repository.name, cache=tmp_path), other)
    _same(easy_load(f"hf://{repository.name}@{commit}", cache=tmp_path), other)
    _same(easy_load(repository.name, revision=first.partition("@")[2], cache=tmp_path), small)


def test_bytes_from_the_hub_are_hashed_once(
    repository: Repository, small: MadeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    file_entry = kept.file_entry
    monkeypatch.setattr(kept, "file_entry", lambda path, name: hashed.append(name) or file_entry(path, name))
    _same(easy_load(repository.name, cache=tmp_path), small)
    _same(easy_load(repository.name, cache=tmp_path), small)
    assert sorted(hashed) == sorted(name for name in bodies(small.folder) if name != MANIFEST)


def test_other_bytes_on_the_hub(repository: Repository, tmp_path: Path) -> None:
    repository.put({"storage/data-00000-of-00002.arrow": b"something else"})
    data = easy_load(repository.name, cache=tmp_path)
    with pytest.raises(InputError, match=r"storage/data-00000-of-00002\.arrow of hf://.* is not the file") as caught:
        data[0]
    assert caught.value.reason == "checksum"


def test_what_the_hub_does_not_have(repository: Repository, small: MadeFolder, hub_url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no revision 'v9'"):
        easy_load(repository.name, revision="v9", cache=tmp_path)
    with pytest.raises(ConfigError, match="the Hub shows no data set some--one/else"):
        easy_load("hf://some--one/else", cache=tmp_path)
    bare = Repository(hub_url)
    with pytest.raises(InputError, match=f"hf://{bare.name}@main has no manifest.json"):
        easy_load(bare.name, cache=tmp_path)
    bare.put({name: body for name, body in bodies(small.folder).items() if "storage" not in name})
    with pytest.raises(InputError, match=r"has no storage/data-00000-of-00002.arrow, which its manifest names"):
        easy_load(bare.name, cache=tmp_path)[0]


def test_a_token_that_is_refused_is_not_told(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_anothersecretthatisnotvalid")
    with pytest.raises(ConfigError, match="HF_TOKEN is a token that may read it") as caught:
        easy_load(repository.name, cache=tmp_path)
    assert "hf_another" not in str(caught.value)


def test_a_hub_that_is_not_there(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    # The client tries again for some twenty seconds.
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises((RetryLater, Throttled), match=f"the Hub did not give a file of {repository.name}"):
        easy_load(repository.name, cache=tmp_path)


# -- which place a word means ------------------------------------------------------------------------------------------


def test_a_folder_goes_before_a_repository(small: MadeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "someone" / "talks", sides=2, chunks=1, files=1)
    assert len(easy_load("someone/talks")) == 2
    assert isinstance(places.place_of("someone/other"), places.HubFolder)
    with pytest.raises(ConfigError, match="no folder"):
        places.place_of(Path("someone/other"))
    with pytest.raises(ConfigError, match="no folder"):
        places.place_of("a/b/c")


def test_the_store_is_the_one_that_was_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STORE_URL", "s3://another")
    place = places.place_of("s3://bucket/some/prefix/", cache=tmp_path)
    assert isinstance(place, places.StoreFolder)
    assert place.name == "s3://bucket/some/prefix"
    assert isinstance(place.settings, StoreSettings)


def test_a_note_is_no_more_than_a_note(tmp_path: Path) -> None:
    """A changed file is noticed though it was found good before, and a cache that cannot be written is no obstacle."""
    folder: Any = write_folder(tmp_path / "set", sides=2, chunks=1, files=1).folder
    entry = next(one for one in seal(folder).files if one.name == "format.json")
    path = folder / entry.name
    kept.compare(path, entry, "set", tmp_path / "cache")
    kept.compare(path, entry, "set", tmp_path / "set" / "format.json")
    path.write_bytes(path.read_bytes().replace(b"12.5", b"12.4"))
    with pytest.raises(InputError, match=r"format.json of set is not the file"):
        kept.compare(path, entry, "set", tmp_path / "cache")
