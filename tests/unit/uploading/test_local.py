"""The upload role on a local folder: exact through crashes, races and refusals; ``verify`` finds every damage."""

from __future__ import annotations

import shutil
import tarfile
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from duplexforge.errors import ConfigError, InputError
from duplexforge.records import Ended, LedgerEntry, UploadTask, parse
from duplexforge.uploading.ledger import Ledger
from duplexforge.uploading.plan import seed_uploads
from duplexforge.uploading.role import UploadStep, refresh_card, republish
from duplexforge.uploading.shard import write_parquet
from duplexforge.uploading.targets import LocalTarget
from duplexforge.uploading.verify import verify_folder
from tests.unit.uploading.conftest import Site, make_site
from tests.unit.uploading.corpus import Dead, NoLedger, measured, put_episode


def seeded(site: Site, *, episodes: int = 3, shard_bytes: int = 1) -> Site:
    """A site with planned batches: one an episode, unless ``shard_bytes`` says otherwise."""
    for number in range(episodes):
        put_episode(site.store, site.layout, f"e{number}", segments=3, changes=[{}, measured(1)])
    seed_uploads(site.store, site.layout, site.queue(), shard_bytes=shard_bytes)
    return site


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_everything_is_published_once(site: Site, tmp_path: Path) -> None:
    seeded(site)
    put_episode(site.store, site.layout, "f0", language="fr")
    seed_uploads(site.store, site.layout, site.queue(), shard_bytes=1)
    out = tmp_path / "out"
    tally = site.worker(LocalTarget(out)).run()
    assert (tally.completed, tally.failed) == (4, 0)
    names = {f"data/en/train-{number:06d}" for number in range(3)} | {"data/fr/train-000000"}
    plots = {f"plots/{name}.png" for name in ("hours", "durations", "dnsmos")}
    assert set(tree(out)) == {f"{name}.{end}" for name in names for end in ("tar", "parquet")} | plots | {"README.md"}
    assert verify_folder(out, site.store, site.layout) == []
    entries = Ledger(site.store, site.layout).entries()
    assert [entry.batch for entry in entries] == ["en-000000", "en-000001", "en-000002", "fr-000000"]
    assert {entry.target for entry in entries} == {"folder"}
    assert sum(entry.samples for entry in entries) == 12


def test_running_again_changes_nothing(memory: Site, tmp_path: Path) -> None:
    seeded(memory)
    out = tmp_path / "out"
    memory.worker(LocalTarget(out)).run()
    before = tree(out)
    seed_uploads(memory.store, memory.layout, memory.queue(), shard_bytes=1)
    assert memory.worker(LocalTarget(out)).run().completed == 0
    assert tree(out) == before


def test_a_crash_between_publishing_and_ledger(site: Site, tmp_path: Path) -> None:
    seeded(site, episodes=1)
    out = tmp_path / "out"
    dying = make_site(NoLedger(site.store.url, site.store._backend))
    with pytest.raises(Dead):
        dying.worker(LocalTarget(out)).run()
    before = tree(out)
    assert Ledger(site.store, site.layout).entries() == []
    # The dead worker's lease runs out.
    for meta in list(site.store.list(site.layout.queue_prefix("upload", "in_progress"))):
        site.store.delete(meta.key)
    assert site.worker(LocalTarget(out)).run().completed == 1
    assert tree(out) == before
    assert verify_folder(out, site.store, site.layout) == []


def test_a_crash_between_ledger_and_completion(memory: Site, tmp_path: Path) -> None:
    seeded(memory, episodes=1)
    task = UploadTask(id="en-000000", batch_key=memory.layout.batch("en-000000"))
    work_once(memory, task, tmp_path / "out", tmp_path / "scratch")
    assert UploadStep(memory.store, memory.layout, LocalTarget(tmp_path / "out")).done(task)
    tally = memory.worker(LocalTarget(tmp_path / "out")).run()
    assert (tally.skipped, tally.completed) == (1, 0)
    assert verify_folder(tmp_path / "out", memory.store, memory.layout) == []


class Steady:
    """Progress that nobody watches."""

    def beat(self, what: str = "", fraction: float = 0.0) -> None:
        """Go on."""

    def wait(self, what: str = "", fraction: float = 0.0) -> None:
        """Go on waiting."""

    def check_lease(self) -> None:
        """Ours."""


def work_once(site: Site, task: UploadTask, out: Path, scratch: Path) -> dict[str, object]:
    """Do a task outside a worker."""
    scratch.mkdir(parents=True)
    step = UploadStep(site.store, site.layout, LocalTarget(out))
    return step.work(task, step.fetch(task, scratch), "a1-x", Steady())


def test_two_uploaders_on_one_batch(memory: Site, tmp_path: Path) -> None:
    seeded(memory, episodes=1)
    task = UploadTask(id="en-000000", batch_key=memory.layout.batch("en-000000"))
    results: list[dict[str, object]] = []

    def run(name: str) -> None:
        results.append(work_once(memory, task, tmp_path / "out", tmp_path / name))

    threads = [threading.Thread(target=run, args=(f"scratch-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("shard" in result for result in results) == 1
    assert sum(result.get("outcome") == "published by another attempt" for result in results) == 3
    published = sorted(name for name in tree(tmp_path / "out") if name.startswith("data/"))
    assert published == ["data/en/train-000000.parquet", "data/en/train-000000.tar"]
    assert verify_folder(tmp_path / "out", memory.store, memory.layout) == []


def test_many_uploaders_and_one_card(memory: Site, tmp_path: Path) -> None:
    seeded(memory, episodes=12)
    workers = [memory.worker(LocalTarget(tmp_path / "out")) for _ in range(4)]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(worker.tally.completed for worker in workers) == 12
    assert verify_folder(tmp_path / "out", memory.store, memory.layout) == []


def test_a_bad_episode_fails_its_batch_and_publishes_nothing_of_it(memory: Site, tmp_path: Path) -> None:
    seeded(memory, episodes=2)
    memory.store.put(memory.layout.attempt("en", "e0", "a1-nonce") + "e0_000001.mp3", b"something else")
    tally = memory.worker(LocalTarget(tmp_path / "out")).run()
    assert (tally.completed, tally.failed) == (1, 1)
    dead = next(memory.queue().dead())
    assert (dead.reason, "e0_000001.mp3" in (dead.message or "")) == ("shard_input", True)
    assert "data/en/train-000000.tar" not in tree(tmp_path / "out")


def test_a_task_for_no_batch(memory: Site, tmp_path: Path) -> None:
    queue = memory.queue()
    queue.put(UploadTask(id="gone", batch_key=memory.layout.batch("en-000000")))
    queue.put(UploadTask(id="odd", batch_key="raw_audio/x.mp3"))
    assert memory.worker(LocalTarget(tmp_path / "out")).run().failed == 2
    assert {record.id: record.reason for record in queue.dead()} == {"gone": "input_missing", "odd": "bad_record"}


def test_another_shard_under_our_name_is_not_overwritten(memory: Site, tmp_path: Path) -> None:
    seeded(memory, episodes=1)
    out = tmp_path / "out"
    (out / "data/en").mkdir(parents=True)
    (out / "data/en/train-000000.tar").write_bytes(b"somebody's work")
    with pytest.raises(ConfigError, match="holds another data/en/train-000000"):
        memory.worker(LocalTarget(out)).run()
    assert (out / "data/en/train-000000.tar").read_bytes() == b"somebody's work"
    # The worker stopped and the task waits: the service is wrong, not the batch.
    assert memory.queue().stats().waiting == 1


def test_a_folder_that_cannot_be_written(memory: Site, tmp_path: Path) -> None:
    seeded(memory, episodes=1)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ConfigError, match="cannot write"):
        memory.worker(LocalTarget(tmp_path / "out")).run()


def test_left_overs_of_a_killed_uploader_go(memory: Site, tmp_path: Path) -> None:
    seeded(memory, episodes=1)
    folder = tmp_path / "out/data/en"
    folder.mkdir(parents=True)
    (folder / ".train-000000.tar.dead.part").write_bytes(b"half")
    memory.worker(LocalTarget(tmp_path / "out")).run()
    assert verify_folder(tmp_path / "out", memory.store, memory.layout) == []


def test_the_card_is_brought_up_to_date(memory: Site, tmp_path: Path) -> None:
    seeded(memory, episodes=2)
    out = tmp_path / "out"
    memory.worker(LocalTarget(out)).run()
    whole = (out / "README.md").read_bytes()
    (out / "README.md").write_text("old")
    assert verify_folder(out, memory.store, memory.layout) == ["README.md does not say what the ledger says"]
    refresh_card(memory.store, memory.layout, LocalTarget(out))
    assert (out / "README.md").read_bytes() == whole


def test_the_record_of_the_task(memory: Site, tmp_path: Path) -> None:
    seeded(memory, episodes=1)
    memory.worker(LocalTarget(tmp_path / "out")).run()
    key = memory.layout.completed("upload", "en-000000")
    ended = parse(Ended, memory.store.get(key), key)
    assert (ended.result["shard"], ended.result["samples"]) == ("data/en/train-000000", 3)
    entry = parse(LedgerEntry, memory.store.get(memory.layout.ledger("en-000000")), "ledger")
    assert (entry.sha256, entry.episodes) == (ended.result["sha256"], ["e0"])
    assert b"nonce" not in memory.store.get(memory.layout.ledger("en-000000"))


# -- verify ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, Path]:
    """A store and its published folder, made once; tests damage copies of the folder."""
    from duplexforge.config import StoreSettings
    from duplexforge.storage import open_store

    site = make_site(open_store(StoreSettings(_env_file=None, store_url="memory://")))
    out = tmp_path_factory.mktemp("published") / "out"
    site_ = seeded(site, episodes=2, shard_bytes=10**9)
    site_.worker(LocalTarget(out)).run()
    return site_, out


SHARD = "data/en/train-000000"


def damaged(published: tuple[Site, Path], tmp_path: Path) -> tuple[Path, Path, Path]:
    """A copy of the folder, its tar and its parquet file."""
    folder = tmp_path / "copy"
    shutil.copytree(published[1], folder)
    return folder, folder / f"{SHARD}.tar", folder / f"{SHARD}.parquet"


def rewrite(tar: Path, *, drop: str = "", twice: str = "", last: str = "") -> None:
    """Write a tar again without a member, with one twice, or with one moved to the end."""
    with tarfile.open(tar) as old:
        members = [(member, (old.extractfile(member) or pytest.fail("odd")).read) for member in old.getmembers()]
        bodies = [(member, read()) for member, read in members]
    bodies = [one for one in bodies if one[0].name != drop]
    bodies += [one for one in bodies if one[0].name == twice]
    bodies = [one for one in bodies if one[0].name != last] + [one for one in bodies if one[0].name == last]
    with tarfile.open(tar, "w") as new:
        for member, body in bodies:
            import io

            new.addfile(member, io.BytesIO(body))


def problems(published: tuple[Site, Path], folder: Path) -> str:
    """What verify says."""
    site, _ = published
    return "\n".join(verify_folder(folder, site.store, site.layout))


def test_verify_is_content_with_what_is_whole(published: tuple[Site, Path], tmp_path: Path) -> None:
    assert problems(published, published[1]) == ""


@pytest.mark.parametrize("member", ["e0_000001.mp3", "e1_000002.json"])
def test_verify_finds_a_flipped_bit(published: tuple[Site, Path], tmp_path: Path, member: str) -> None:
    folder, tar, _ = damaged(published, tmp_path)
    with tarfile.open(tar) as opened:
        where = opened.getmember(member).offset_data
    body = bytearray(tar.read_bytes())
    body[where + 20] ^= 0x10
    tar.write_bytes(body)
    said = problems(published, folder)
    assert f"{member} in {SHARD}.tar is not what its manifest says" in said
    assert "does not have the checksum in the ledger" in said


def test_verify_finds_missing_double_and_moved_members(published: tuple[Site, Path], tmp_path: Path) -> None:
    folder, tar, _ = damaged(published, tmp_path)
    rewrite(tar, drop="e1_000001.mp3")
    assert f"{SHARD}.tar lacks e1_000001.mp3" in problems(published, folder)
    rewrite(tar, twice="e0_000000.json")
    assert f"{SHARD}.tar holds e0_000000.json twice" in problems(published, folder)
    rewrite(tar, last="e0_000002.mp3")
    assert "are not in order" in problems(published, folder)


@pytest.mark.parametrize("keep", [0, 100, 700, 0.5])
def test_verify_finds_a_truncated_tar(published: tuple[Site, Path], tmp_path: Path, keep: float) -> None:
    folder, tar, _ = damaged(published, tmp_path)
    body = tar.read_bytes()
    tar.write_bytes(body[: int(keep * len(body)) if isinstance(keep, float) else keep])
    said = problems(published, folder)
    assert f"{SHARD}.tar lacks" in said
    assert f"{SHARD}.tar has" in said


def test_verify_finds_wrong_parquet(published: tuple[Site, Path], tmp_path: Path) -> None:
    folder, _, parquet = damaged(published, tmp_path)
    rows = pq.read_table(parquet).to_pylist()
    write_parquet([*rows[:2], {**rows[2], "text": "other"}, *rows[3:]], parquet)
    assert "the row of e0_000002" in problems(published, folder)
    write_parquet(rows[:-1], parquet)
    assert "has 5 rows, its episodes have 6 segments" in problems(published, folder)
    pq.write_table(pq.read_table(parquet).drop_columns(["flags"]), parquet)
    assert "other columns" in problems(published, folder)
    parquet.write_bytes(b"PAR1 not really")
    assert "cannot be read" in problems(published, folder)


def test_verify_finds_missing_and_foreign_files(published: tuple[Site, Path], tmp_path: Path) -> None:
    folder, tar, parquet = damaged(published, tmp_path)
    tar.rename(folder / "data/en/train-000009.tar")
    parquet.unlink()
    (folder / "README.md").unlink()
    said = problems(published, folder)
    assert f"{SHARD}.tar is in the ledger but not in the data set" in said
    assert f"{SHARD}.parquet is in the ledger but not in the data set" in said
    assert "data/en/train-000009.tar is in the data set but not in the ledger" in said
    assert "README.md does not say" in said


def test_verify_finds_what_the_source_no_longer_says(tmp_path: Path, memory: Site) -> None:
    seeded(memory, episodes=2)
    out = tmp_path / "out"
    memory.worker(LocalTarget(out)).run()
    memory.store.delete(memory.layout.manifest("en", "e0"))
    memory.store.delete(memory.layout.ledger("en-000001"))
    # Somebody wrote a batch by hand that takes an episode a second time.
    memory.store.put(memory.layout.batch("en-000002"), memory.store.get(memory.layout.batch("en-000001")))
    said = "\n".join(verify_folder(out, memory.store, memory.layout))
    assert "cannot be compared with its source" in said
    assert "the batch en-000001 is planned but not published" in said
    assert "the episode e1 stands in 2 batches" in said
    assert "data/en/train-000001.tar is in the data set but not in the ledger" in said


def test_a_damaged_shard_is_made_again(memory: Site, tmp_path: Path) -> None:
    seeded(memory, episodes=2)
    out = tmp_path / "out"
    memory.worker(LocalTarget(out)).run()
    before = tree(out)
    (out / f"{SHARD}.tar").write_bytes(b"cut")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(ConfigError):
        republish(memory.store, memory.layout, LocalTarget(out), ["en-000000"], scratch)
    republish(memory.store, memory.layout, LocalTarget(out, replace=True), ["en-000000"], scratch)
    assert tree(out) == before
    assert verify_folder(out, memory.store, memory.layout) == []
    with pytest.raises(InputError):
        republish(memory.store, memory.layout, LocalTarget(out, replace=True), ["en-000009"], scratch)
