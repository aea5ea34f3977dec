"""Two upload processes race for twenty shards while the Hub refuses, fails and forgets to answer, at random times."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from webdataset import tariterators

from duplexforge import config
from duplexforge.config import StoreSettings
from duplexforge.storage import open_store
from duplexforge.uploading.ledger import Ledger
from duplexforge.uploading.plan import seed_uploads
from duplexforge.uploading.verify import verify_folder
from tests.unit.uploading.conftest import TOKEN, HubProcess, Site, make_site
from tests.unit.uploading.corpus import measured, put_episode
from tests.unit.uploading.test_dataset import opened

FAULTS = {
    "create": ["429", "500"],
    "head": ["429", "500", "drop"],
    "paths": ["429", "500", "drop"],
    "preupload": ["429", "500"],
    "batch": ["429", "500"],
    "put": ["500", "drop", "lost"],
    "part": ["500", "drop"],
    "complete": ["500", "lost-500"],
    "verify": ["500"],
    "commit": ["429", "500", "409", "412", "lost", "lost-500", "drop"],
}
# What the first commits meet for sure, in an order that the seed decides.
DECK = ["429", "500", "409", "lost"]


def uploader(site: Site, hub: HubProcess, *command: str, lease: float = 30) -> subprocess.Popen[str]:
    """A process as a pod starts it."""
    environment = config.child_environment(
        HF_ENDPOINT=hub.url, HF_REPO_ID=hub.repo, HF_TOKEN=TOKEN, UPLOADS_AT_ONCE="4", COMMIT_SECONDS="3",
        RETRY_SECONDS="1", LEASE_SECONDS=str(lease), STORE_URL=site.store.url,
    )  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "duplexforge", *command],
        env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def race(site: Site, hub: HubProcess, seed: int, *, chunk: int, luck: int = 0) -> dict[str, Any]:
    """Two uploaders until the queue is empty; what the Hub saw. ``luck`` of the first commits meet nothing."""
    hub.control({"chunk": chunk})
    hub.control({"random": seed, "share": 0.06, "faults": FAULTS, "deck": {"commit": [*DECK, *[""] * luck]}})
    before = len(hub.state()["met"])
    processes = [uploader(site, hub, "upload", "--drain") for _ in range(2)]
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert TOKEN not in "".join(said)
    state = hub.state()
    hub.control({"clear": True})
    return {**state, "met": state["met"][before:]}


def fetched(hub: HubProcess, folder: Path) -> Path:
    """The published files in a folder, as a download of the repository leaves them."""
    for name, body in hub.files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    return folder


def check(site: Site, hub: HubProcess, state: dict[str, Any], folder: Path, shards: int) -> None:
    """Every shard once, in fewer commits than shards, with the bytes that its manifests say."""
    added: Counter[str] = Counter()
    commits = state["commits"][hub.repo]
    for old, new in itertools.pairwise(commits):
        changed = {path for path, one in new["files"].items() if old["files"].get(path) != one}
        added.update(path for path in changed if path.startswith("data/"))
    entries = Ledger(site.store, site.layout).entries()
    assert len(entries) == shards
    assert added == {f"{entry.shard}.{end}": 1 for entry in entries for end in ("tar", "parquet")}
    adding = [commit for commit in commits if commit["title"].startswith("Add")]
    assert len(adding) < shards
    assert {entry.commit for entry in entries} <= {commit["oid"] for commit in commits}
    met = Counter(state["met"])
    assert all(met[f"commit {name}"] for name in DECK)
    print(f"\n{shards} shards in {len(adding)} commits, {sum(met.values())} faults: {dict(sorted(met.items()))}")
    assert verify_folder(fetched(hub, folder), site.store, site.layout) == []


def verified(site: Site, hub: HubProcess) -> list[str]:
    """What ``publish --verify`` says."""
    process = uploader(site, hub, "publish", "--verify", "--json")
    said, complaints = process.communicate()
    assert process.returncode == (65 if json.loads(said) else 0), complaints
    return list(json.loads(said))


def racing_site(folder: Path, episodes: int, segments: int) -> Site:
    """A folder store with one planned batch an episode."""
    site = make_site(open_store(StoreSettings(_env_file=None, store_url=f"file://{folder}")))
    for number in range(episodes):
        put_episode(site.store, site.layout, f"e{number:02d}", segments=segments, changes=[{}, measured(1)])
    seed_uploads(site.store, site.layout, site.queue(), shard_bytes=1)
    return site


def test_two_processes_and_six_shards(hub: HubProcess, tmp_path: Path) -> None:
    site = racing_site(tmp_path / "store", 6, 4)
    processes = [uploader(site, hub, "upload", "--drain") for _ in range(2)]
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert len(Ledger(site.store, site.layout).entries()) == 6
    assert verify_folder(fetched(hub, tmp_path / "out"), site.store, site.layout) == []
    assert verified(site, hub) == []


@pytest.mark.parametrize("moment", ["put", "commit"])
def test_an_uploader_that_is_killed(hub: HubProcess, tmp_path: Path, moment: str) -> None:
    """SIGKILL at the first request of a kind; another process goes on when the leases have run out."""
    site = racing_site(tmp_path / "store", 4, 3)
    before = hub.state()["requests"].count(moment)
    with uploader(site, hub, "upload", "--drain", lease=2) as process:
        while hub.state()["requests"].count(moment) == before:
            assert process.poll() is None
        process.kill()
    with uploader(site, hub, "upload", "--drain", lease=2) as process:
        said = process.communicate()[1]
    assert process.returncode == 0, said
    assert len(Ledger(site.store, site.layout).entries()) == 4
    assert verify_folder(fetched(hub, tmp_path / "out"), site.store, site.layout) == []
    assert verified(site, hub) == []


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_a_hub_in_a_bad_mood(hub: HubProcess, tmp_path: Path, seed: int) -> None:
    site = racing_site(tmp_path / "store", 8, 3)
    state = race(site, hub, seed, chunk=4000)
    check(site, hub, state, tmp_path / "out", 8)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2026])
def test_twenty_thousand_segments_in_twenty_shards(hub: HubProcess, tmp_path: Path, seed: int) -> None:
    site = racing_site(tmp_path / "store", 20, 1000)
    state = race(site, hub, seed, chunk=1 << 20, luck=2)
    check(site, hub, state, tmp_path / "out", 20)
    assert verified(site, hub) == []
    configs, found = opened(tmp_path / "out", tmp_path / "cache", "en")
    assert configs == ["en"]
    assert len({key for _, key, *_ in found}) == len(found) == 20_000
    keys: list[str] = []
    for path in sorted((tmp_path / "out/data/en").glob("*.tar")):
        with path.open("rb") as file:
            members = tariterators.tar_file_expander([{"url": path.name, "stream": file}])
            keys += [sample["__key__"] for sample in tariterators.group_by_keys(members) if sample["mp3"]]
        with tarfile.open(path) as tar:
            assert len(tar.getnames()) == 2000
    assert sorted(keys) == sorted(key for _, key, *_ in found)
