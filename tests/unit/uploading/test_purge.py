"""Purging: what is taken out is in no published byte afterwards and never comes back, wherever the purge was killed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from webdataset import tariterators

from duplexforge.errors import InputError, UsageError
from duplexforge.records import AudioRecord, Purged, UploadTask, parse
from duplexforge.storage import Store
from duplexforge.uploading.ledger import Ledger
from duplexforge.uploading.plan import seed_uploads
from duplexforge.uploading.purge import PurgePlan, purge
from duplexforge.uploading.role import UploadStep
from duplexforge.uploading.targets import LocalTarget
from duplexforge.uploading.verify import verify_all, verify_folder
from tests.unit.uploading.conftest import HubProcess, Site, make_site
from tests.unit.uploading.corpus import Dead, NoLedger, put_episode
from tests.unit.uploading.test_dataset import opened
from tests.unit.uploading.test_hub import target
from tests.unit.uploading.test_local import Steady, seeded, tree

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def purged(site: Site, out: Path, *episodes: str, **options: Any) -> PurgePlan:
    """Purge from a folder."""
    scratch = out.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return purge(site.store, site.layout, LocalTarget(out, replace=True), episodes, scratch, **options)


def published(site: Site, out: Path, *, episodes: int = 4, per_shard: int = 2) -> None:
    """A published folder of ``per_shard`` episodes a shard."""
    for number in range(episodes):
        put_episode(site.store, site.layout, f"e{number}", segments=3, audio_key=f"raw_audio/en/feed/e{number}.mp3")
        put_raw(site, f"e{number}")
    size = sum(
        meta.size for meta in site.store.list(site.layout.episode("en", "e0")) if meta.key.endswith(".mp3")
    )  # fmt: skip
    seed_uploads(site.store, site.layout, site.queue(), shard_bytes=size * per_shard)
    assert site.worker(LocalTarget(out)).run().failed == 0


def put_raw(site: Site, episode: str) -> None:
    """The download of an episode."""
    record = AudioRecord(
        episode_id=episode, language="en", source="feed", audio_key=f"raw_audio/en/feed/{episode}.mp3", url="https://x",
        sha256="0" * 64, size=3, collected_at="then",
    )  # fmt: skip
    site.store.put(record.audio_key, b"mp3")
    site.store.put(site.layout.raw_record("en", "feed", episode), record.to_bytes())


def nowhere(files: dict[str, bytes], episode: str) -> bool:
    """Whether no published byte names the episode. Parquet pages are compressed, so they are read, not searched."""
    named = [name for name, body in files.items() if f"{episode}_0".encode() in body]
    for name, body in files.items():
        if name.endswith(".parquet"):
            rows = pq.read_table(io.BytesIO(body)).to_pylist()
            named += [name for row in rows if row["episode_id"] == episode]
    return named == []


def test_an_episode_leaves_its_shard(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    published(site, out)
    before = tree(out)
    frozen = site.store.get(site.layout.batch("en-000000"))
    assert not nowhere(before, "e1")
    plan = purged(site, out, "e1", reason="asked\nfor it")
    after = tree(out)
    assert (plan.shards, plan.samples, plan.unknown) == (["data/en/train-000000"], 3, [])
    assert nowhere(after, "e1")
    other = {name for name in before if "train-000001" in name}
    assert {name: after[name] for name in other} == {name: before[name] for name in other}
    assert site.store.get(site.layout.batch("en-000000")) == frozen
    assert verify_all(LocalTarget(out), site.store, site.layout, site.queue()) == []
    assert [entry.episodes for entry in Ledger(site.store, site.layout).entries()] == [["e0"], ["e2", "e3"]]
    record = parse(Purged, site.store.get(site.layout.purged("e1")), "record")
    assert (record.episode_id, record.reason) == ("e1", "asked for it")
    assert site.store.get(site.layout.opt_out()) == b"e1  # purged: asked for it\n"


def test_it_does_not_come_back(memory: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    published(memory, out)
    purged(memory, out, "e1", "e9")
    put_episode(memory.store, memory.layout, "e9")
    put_episode(memory.store, memory.layout, "e5")
    plan = seed_uploads(memory.store, memory.layout, memory.queue(), shard_bytes=1)
    assert (plan.episodes, plan.left_out) == (1, {"purged": 1})
    memory.worker(LocalTarget(out)).run()
    assert nowhere(tree(out), "e1")
    assert nowhere(tree(out), "e9")
    assert not nowhere(tree(out), "e5")
    assert verify_all(LocalTarget(out), memory.store, memory.layout, memory.queue()) == []


def test_purging_again_changes_nothing(memory: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    published(memory, out)
    purged(memory, out, "e1")
    before, lists = tree(out), memory.store.get(memory.layout.opt_out())
    plan = purged(memory, out, "e1")
    assert (plan.shards, plan.samples) == ([], 0)
    assert tree(out) == before
    assert memory.store.get(memory.layout.opt_out()) == lists


def test_the_list_of_others_is_kept(memory: Site, tmp_path: Path) -> None:
    memory.store.put(memory.layout.opt_out(), b"# ours\nexample.org\ne2 # already\nno newline")
    published(memory, tmp_path / "out")
    purged(memory, tmp_path / "out", "e2", "e3")
    said = memory.store.get(memory.layout.opt_out())
    assert said == b"# ours\nexample.org\ne2 # already\nno newline\ne3  # purged\n"


def test_a_dry_run_writes_nothing(memory: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    published(memory, out)
    before, objects = tree(out), sorted(meta.key for meta in memory.store.list(""))
    plan = purged(memory, out, "e1", "e9", delete_audio=True, dry_run=True)
    assert (plan.shards, plan.unknown) == (["data/en/train-000000"], ["e9"])
    assert plan.deleted == 7  # three segments, their list, the manifest, the raw audio and its record
    assert "would be" in plan.to_text()
    assert json.loads(json.dumps(plan.to_json()))["dry_run"] is True
    assert tree(out) == before
    assert sorted(meta.key for meta in memory.store.list("")) == objects


def test_the_audio_goes_too(memory: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    published(memory, out)
    put_raw(memory, "e7")  # downloaded, never processed
    put_episode(memory.store, memory.layout, "e8", audio_key="elsewhere/e8.mp3")
    memory.store.put("elsewhere/e8.mp3", b"not ours")
    plan = purged(memory, out, "e1", "e7", "e8", delete_audio=True)
    assert (plan.deleted, plan.kept) == (7 + 2 + 5, ["elsewhere/e8.mp3"])
    left = [meta.key for meta in memory.store.list("")]
    assert not [key for key in left if "e1" in key.split("/")[-1] and "purged" not in key]
    assert not [key for key in left if "e7" in key and "purged" not in key]
    assert "elsewhere/e8.mp3" in left
    assert "was left there" in plan.to_text()
    assert verify_all(LocalTarget(out), memory.store, memory.layout, memory.queue()) == []


def test_a_shard_that_loses_everything_stays_as_an_empty_one(memory: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    published(memory, out, episodes=3, per_shard=1)
    purged(memory, out, "e0", "e2")
    assert verify_all(LocalTarget(out), memory.store, memory.layout, memory.queue()) == []
    configs, found = opened(out, tmp_path / "cache", "en")
    assert configs == ["en"]
    assert sorted(key for _, key, *_ in found) == [f"e1_{number:06d}" for number in range(3)]
    assert len(list((out / "data/en").glob("*.tar"))) == 3
    from datasets import load_dataset

    rows = load_dataset("parquet", data_files=str(out / "data/*/*.parquet"), cache_dir=str(tmp_path / "rows"))
    assert rows["train"].num_rows == 3
    put_episode(memory.store, memory.layout, "f")
    seed_uploads(memory.store, memory.layout, memory.queue(), shard_bytes=1)
    memory.worker(LocalTarget(out)).run()
    assert (out / "data/en/train-000003.tar").exists()


def test_webdataset_reads_past_an_empty_shard(memory: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    published(memory, out, episodes=2, per_shard=1)
    purged(memory, out, "e0")
    keys = []
    for path in sorted((out / "data/en").glob("*.tar")):
        with path.open("rb") as file:
            members = tariterators.tar_file_expander([{"url": path.name, "stream": file}])
            keys += [sample["__key__"] for sample in tariterators.group_by_keys(members)]
    assert keys == [f"e1_{number:06d}" for number in range(3)]


def test_a_batch_that_is_not_published_yet(memory: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    seeded(memory, episodes=3, shard_bytes=10**9)
    plan = purged(memory, out, "e1")
    assert (plan.planned, plan.shards) == (["en-000000"], [])
    assert memory.worker(LocalTarget(out)).run().completed == 1
    assert nowhere(tree(out), "e1")
    assert verify_all(LocalTarget(out), memory.store, memory.layout, memory.queue()) == []


def test_a_shard_that_was_built_before_the_purge_is_not_published(memory: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    seeded(memory, episodes=2, shard_bytes=10**9)

    class Meanwhile(LocalTarget):
        """A folder for which somebody purges while a shard is on its way."""

        def send(self, shard: Any, beat: Any) -> Any:
            sent = super().send(shard, beat)
            if "e1" in shard.record.episodes:
                (tmp_path / "scratch").mkdir(exist_ok=True)
                mine = LocalTarget(out, replace=True)
                purge(memory.store, memory.layout, mine, ["e1"], tmp_path / "scratch")
            return sent

    tally = memory.worker(Meanwhile(out)).run()
    assert tally.failed == 0
    assert nowhere(tree(out), "e1")
    assert verify_all(LocalTarget(out), memory.store, memory.layout, memory.queue()) == []


def test_a_shard_of_which_only_the_data_set_knows(memory: Site, tmp_path: Path) -> None:
    """An uploader published and died before its ledger entry; then its episode is purged."""
    out = tmp_path / "out"
    seeded(memory, episodes=2, shard_bytes=10**9)
    dying = make_site(NoLedger(memory.store.url, memory.store._backend))
    with pytest.raises(Dead):
        dying.worker(LocalTarget(out)).run()
    assert not nowhere(tree(out), "e1")
    plan = purged(memory, out, "e1")
    assert plan.shards == ["data/en/train-000000"]
    assert nowhere(tree(out), "e1")
    for meta in list(memory.store.list(memory.layout.queue_prefix("upload", "in_progress"))):
        memory.store.delete(meta.key)
    assert memory.worker(LocalTarget(out)).run().failed == 0
    assert verify_all(LocalTarget(out), memory.store, memory.layout, memory.queue()) == []


class Dying(Store):
    """A store whose purger dies before its ``lives``-th write."""

    lives = 0

    def _spend(self) -> None:
        if self.lives == 0:
            raise Dead
        self.lives -= 1

    def put(self, key: str, body: bytes) -> None:
        if "/.probe/" not in key:
            self._spend()
        super().put(key, body)

    def put_if_absent(self, key: str, body: bytes) -> bool:
        self._spend()
        return super().put_if_absent(key, body)


@pytest.mark.parametrize("lives", range(8))
def test_killed_at_any_write_and_purged_again(memory: Site, tmp_path: Path, lives: int) -> None:
    out = tmp_path / "out"
    published(memory, out, per_shard=1)
    dying = Dying(memory.store.url, memory.store._backend)
    dying.lives = lives
    try:
        purged(make_site(dying), out, "e1", "e3")
    except Dead:
        assert lives < 7
    # What a killed purger leaves is a turn that runs out.
    for meta in list(memory.store.list(f"{memory.layout.tasks}upload_committer/")):
        memory.store.delete(meta.key)
    purged(memory, out, "e1", "e3")
    assert nowhere(tree(out), "e1")
    assert nowhere(tree(out), "e3")
    assert verify_all(LocalTarget(out), memory.store, memory.layout, memory.queue()) == []


def test_verify_sees_a_purge_that_was_not_finished(memory: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    published(memory, out)
    memory.store.put(memory.layout.purged("e1"), Purged(episode_id="e1", purged_at="now").to_bytes())
    said = "\n".join(verify_folder(out, memory.store, memory.layout))
    assert "the episode e1 is purged but still in data/en/train-000000" in said


def test_the_others_must_still_be_there(memory: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    published(memory, out)
    memory.store.delete(memory.layout.manifest("en", "e0"))
    with pytest.raises(InputError, match="e0"):
        purged(memory, out, "e1")


@pytest.mark.parametrize("name", ["../up", "", "a/b", "x" * 300])
def test_what_is_no_episode_id(memory: Site, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no episode id"):
        purged(memory, tmp_path / "out", name)
    assert memory.store.find(memory.layout.opt_out()) is None


def test_on_the_hub_in_one_commit(memory: Site, hub: HubProcess, tmp_path: Path) -> None:
    seeded(memory, episodes=6, shard_bytes=1)
    memory.worker(target(hub), lanes=3, wait_seconds=5.0).run()
    before = len(hub.commits())
    assert before < 6
    hub.arm("lost", "commit")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    replacing = target(hub, replace=True, patience=30.0)
    plan = purge(memory.store, memory.layout, replacing, ["e1", "e4"], scratch)
    assert plan.shards == ["data/en/train-000001", "data/en/train-000004"]
    assert len(hub.commits()) == before + 1
    assert plan.commit == hub.commits()[-1]["oid"]
    assert nowhere(hub.files(), "e1")
    assert nowhere(hub.files(), "e4")
    assert verify_all(target(hub), memory.store, memory.layout, memory.queue()) == []


def test_a_task_of_a_purged_batch_is_done(memory: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    published(memory, out, episodes=2)
    purged(memory, out, "e0", "e1")
    step = UploadStep(memory.store, memory.layout, LocalTarget(out))
    task = UploadTask(id="en-000000", batch_key=memory.layout.batch("en-000000"))
    assert step.done(task)
    scratch = tmp_path / "again"
    scratch.mkdir()
    result = step.work(task, step.fetch(task, scratch), "a1-x", Steady())
    assert result == {"outcome": "published by another attempt"}
