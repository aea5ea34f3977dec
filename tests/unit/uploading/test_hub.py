"""The real client of the Hub against the stand-in: one commit a batch, whatever answers are lost or refused."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import huggingface_hub
import pytest

from duplexforge import log
from duplexforge.errors import ConfigError, LeaseLost, Preempted, RetryLater
from duplexforge.records import UploadTask
from duplexforge.uploading.card import render
from duplexforge.uploading.ledger import Ledger
from duplexforge.uploading.role import UploadStep, refresh_card, republish
from duplexforge.uploading.targets import HubTarget
from duplexforge.uploading.verify import verify_target
from tests.unit.uploading.conftest import TOKEN, HubProcess, Site, make_site
from tests.unit.uploading.corpus import Dead, NoLedger
from tests.unit.uploading.test_local import Steady, seeded

# The client hands files to its HTTP library in a way that this one calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

STEM = "data/en/train-000000"


def target(hub: HubProcess, token: str | None = TOKEN, *, replace: bool = False) -> HubTarget:
    """A target as a fresh process has it."""
    return HubTarget(hub.repo, token=token, endpoint=hub.url, replace=replace)


class Uploader:
    """One attempt at the first batch, outside a worker."""

    def __init__(self, site: Site, hub: HubProcess, scratch: Path, progress: Steady | None = None) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self.site, self.hub, self.scratch, self.progress = site, hub, scratch, progress or Steady()

    def run(self) -> dict[str, object]:
        """Do it."""
        step = UploadStep(self.site.store, self.site.layout, target(self.hub))
        task = UploadTask(id="en-000000", batch_key=self.site.layout.batch("en-000000"))
        return step.work(task, step.fetch(task, self.scratch), "a1-x", self.progress)


def test_one_commit_a_batch(memory: Site, hub: HubProcess) -> None:
    seeded(memory, episodes=2)
    assert memory.worker(target(hub)).run().completed == 2
    commits = hub.commits()
    titles = sorted(commit["title"] for commit in commits)
    assert titles == [f"Add data/en/train-{number:06d} (3 segments, 0.75 hours)" for number in range(2)]
    assert hub.state()["visibility"][hub.repo] == "private"
    entries = Ledger(memory.store, memory.layout).entries()
    assert {entry.commit for entry in entries} == {commit["oid"] for commit in commits}
    files = hub.files()
    assert set(files) == {f"{entry.shard}.{end}" for entry in entries for end in ("tar", "parquet")} | {"README.md"}
    assert files["README.md"].decode() == render(entries)
    assert verify_target(target(hub), memory.store, memory.layout) == []


def test_a_slow_file_keeps_showing_progress(memory: Site, hub: HubProcess, tmp_path: Path) -> None:
    seeded(memory, episodes=1)
    beats: list[str] = []

    class Watched(Steady):
        def beat(self, what: str = "", fraction: float = 0.0) -> None:
            beats.append(what)

    Uploader(memory, hub, tmp_path, Watched()).run()
    assert beats.count("sending") > 2
    assert "commit" in beats


@pytest.mark.parametrize("error", [LeaseLost("taken"), Preempted("stop")])
def test_a_stop_while_a_file_is_sent(memory: Site, hub: HubProcess, tmp_path: Path, error: Exception) -> None:
    seeded(memory, episodes=1)

    class Stopped(Steady):
        def beat(self, what: str = "", fraction: float = 0.0) -> None:
            if what == "sending":
                raise error

    with pytest.raises(type(error)):
        Uploader(memory, hub, tmp_path, Stopped()).run()
    assert hub.commits() == []


@pytest.mark.parametrize("fault", ["lost", "lost-500"])
def test_an_answer_lost_after_success(memory: Site, hub: HubProcess, tmp_path: Path, fault: str) -> None:
    seeded(memory, episodes=1)
    hub.arm(fault, "commit")
    Uploader(memory, hub, tmp_path).run()
    commits = hub.commits()
    assert len(commits) == 1
    assert Ledger(memory.store, memory.layout).entries()[0].commit == commits[0]["oid"]


@pytest.mark.parametrize("fault", ["409", "412"])
def test_the_head_moved(memory: Site, hub: HubProcess, tmp_path: Path, fault: str) -> None:
    seeded(memory, episodes=1)
    hub.arm(fault, "commit", count=2)
    Uploader(memory, hub, tmp_path).run()
    assert len(hub.commits()) == 1
    assert verify_target(target(hub), memory.store, memory.layout) == []


@pytest.mark.parametrize(
    ("fault", "where", "after"),
    [
        ("429", "create", 7.0), ("429", "head", 60.0), ("429", "commit", 7.0), ("503", "commit", 5.0),
        ("500", "commit", None), ("drop", "commit", None), ("drop", "head", None), ("429", "paths", 3.0),
        ("422", "verify", None), ("403", "put", None),
    ],
)  # fmt: skip
def test_not_now_waits_as_told_and_then_succeeds(
    memory: Site, hub: HubProcess, tmp_path: Path, fault: str, where: str, after: float | None
) -> None:
    seeded(memory, episodes=1)
    hub.arm(fault, where, retry_after=int(after) if after else None)
    uploader = Uploader(memory, hub, tmp_path)
    with pytest.raises(RetryLater) as caught:
        uploader.run()
    assert (caught.value.reason, caught.value.after) == ("hub", after)
    assert "c0ffee" not in str(caught.value)
    assert Ledger(memory.store, memory.layout).entries() == []
    uploader.run()
    assert len(hub.commits()) == 1
    assert verify_target(target(hub), memory.store, memory.layout) == []


@pytest.mark.parametrize("where", ["put", "preupload"])
def test_what_the_client_repeats_by_itself(memory: Site, hub: HubProcess, tmp_path: Path, where: str) -> None:
    seeded(memory, episodes=1)
    hub.arm("500", where)
    Uploader(memory, hub, tmp_path).run()
    assert verify_target(target(hub), memory.store, memory.layout) == []


@pytest.mark.parametrize(
    ("fault", "where"), [("403", "create"), ("401", "create"), ("403", "commit"), ("403", "batch")]
)
def test_a_refused_token_stops_the_worker(memory: Site, hub: HubProcess, fault: str, where: str) -> None:
    seeded(memory, episodes=1)
    hub.arm(fault, where)
    with pytest.raises(ConfigError, match="token"):
        memory.worker(target(hub)).run()
    assert memory.queue().stats().waiting == 1
    assert memory.worker(target(hub)).run().completed == 1


@pytest.mark.parametrize("token", [None, "hf_thewrongtoken"])
def test_a_missing_or_wrong_token(memory: Site, hub: HubProcess, tmp_path: Path, token: str | None) -> None:
    with pytest.raises(ConfigError, match="HF_TOKEN"):
        target(hub, token).refresh(lambda: "---\n---\n")


def test_a_crash_between_commit_and_ledger(memory: Site, hub: HubProcess, tmp_path: Path) -> None:
    seeded(memory, episodes=1)
    dying = make_site(NoLedger(memory.store.url, memory.store._backend))
    with pytest.raises(Dead):
        Uploader(dying, hub, tmp_path / "one").run()
    assert len(hub.commits()) == 1
    result = Uploader(memory, hub, tmp_path / "two").run()
    assert result["shard"] == STEM
    assert len(hub.commits()) == 1
    assert verify_target(target(hub), memory.store, memory.layout) == []


def test_two_uploaders_on_one_batch(memory: Site, hub: HubProcess, tmp_path: Path) -> None:
    seeded(memory, episodes=1)
    uploaders = [Uploader(memory, hub, tmp_path / str(number)) for number in range(4)]
    threads = [threading.Thread(target=uploader.run) for uploader in uploaders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([commit for commit in hub.commits() if commit["title"].startswith("Add")]) == 1
    assert verify_target(target(hub), memory.store, memory.layout) == []


def test_many_uploaders_and_one_card(memory: Site, hub: HubProcess) -> None:
    seeded(memory, episodes=6)
    workers = [memory.worker(target(hub)) for _ in range(3)]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(worker.tally.completed for worker in workers) == 6
    entries = Ledger(memory.store, memory.layout).entries()
    assert hub.files()["README.md"].decode() == render(entries)
    assert len([commit for commit in hub.commits() if commit["title"].startswith("Add")]) == 6
    assert verify_target(target(hub), memory.store, memory.layout) == []


def test_the_card_alone(memory: Site, hub: HubProcess) -> None:
    seeded(memory, episodes=1)
    memory.worker(target(hub)).run()
    refresh_card(memory.store, memory.layout, target(hub))
    assert len(hub.commits()) == 1
    target(hub).refresh(lambda: "---\nlicense: mit\n---\n")
    refresh_card(memory.store, memory.layout, target(hub))
    assert [commit["title"] for commit in hub.commits()[1:]] == ["Bring the card up to date"] * 2
    assert hub.files()["README.md"].decode() == render(Ledger(memory.store, memory.layout).entries())


def test_another_shard_under_our_name_is_not_overwritten(
    memory: Site, site: Site, hub: HubProcess, tmp_path: Path
) -> None:
    seeded(memory, episodes=1)
    seeded(site, episodes=2, shard_bytes=10**9)
    Uploader(memory, hub, tmp_path / "one").run()
    with pytest.raises(ConfigError, match="another"):
        Uploader(site, hub, tmp_path / "two").run()
    assert len(hub.commits()) == 1
    said = "\n".join(verify_target(target(hub), site.store, site.layout))
    assert f"{STEM}.tar is in the data set but not in the ledger" in said


def test_the_token_is_nowhere(memory: Site, hub: HubProcess, tmp_path: Path) -> None:
    seeded(memory, episodes=2)
    written = io.StringIO()
    log.setup(level="DEBUG", stream=written)
    try:
        hub.arm("429", "head", retry_after=0)
        hub.arm("403", "put")
        hub.arm("412", "commit")
        assert memory.worker(target(hub)).run().completed == 2
        log.get("test").warning("about to say it", token=TOKEN)
    finally:
        log.setup(level="WARNING")
    assert "task not done" in written.getvalue()
    assert TOKEN not in written.getvalue()
    assert "c0ffee" not in written.getvalue()
    assert TOKEN.encode() not in memory.everything()
    assert all(TOKEN.encode() not in body for body in hub.files().values())
    assert TOKEN not in repr(vars(target(hub))["name"])


def test_a_damaged_shard_is_replaced(memory: Site, hub: HubProcess, tmp_path: Path) -> None:
    seeded(memory, episodes=1)
    Uploader(memory, hub, tmp_path / "one").run()
    before = hub.files()
    odd = huggingface_hub.CommitOperationAdd(f"{STEM}.tar", b"not what the ledger says")
    api = huggingface_hub.HfApi(endpoint=hub.url, token=TOKEN)
    api.create_commit(hub.repo, [odd], commit_message="damage", repo_type="dataset")
    assert f"{STEM}.tar has 24 bytes" in "\n".join(verify_target(target(hub), memory.store, memory.layout))
    republish(memory.store, memory.layout, target(hub, replace=True), "en-000000", tmp_path / "one")
    assert hub.files() == before
    assert verify_target(target(hub), memory.store, memory.layout) == []
