"""The real client of the Hub against the stand-in: one commit a batch, whatever answers are lost or refused."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import huggingface_hub
import pytest

from duplexforge import log
from duplexforge.errors import ConfigError, LeaseLost, Preempted, RetryLater, Throttled
from duplexforge.records import UploadTask
from duplexforge.uploading.card import is_current, render_all
from duplexforge.uploading.ledger import Ledger
from duplexforge.uploading.role import UploadStep, refresh_card, republish
from duplexforge.uploading.targets import HubTarget
from duplexforge.uploading.verify import verify_all, verify_target
from duplexforge.worker import Worker
from tests.unit.uploading.conftest import TOKEN, HubProcess, Site, make_site
from tests.unit.uploading.corpus import Dead, NoLedger
from tests.unit.uploading.test_local import Steady, seeded

# The client hands files to its HTTP library in a way that this one calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

STEM = "data/en/train-000000"


def target(hub: HubProcess, token: str | None = TOKEN, *, replace: bool = False, patience: float = 0.0) -> HubTarget:
    """A target as a fresh process has it; without patience it says at once what the Hub asks for."""
    return HubTarget(hub.repo, token=token, endpoint=hub.url, replace=replace, patience=patience)


class Uploader:
    """One attempt at the first batch, outside a worker."""

    def __init__(
        self,
        site: Site,
        hub: HubProcess,
        scratch: Path,
        progress: Steady | None = None,
        *,
        patience: float = 0.0,
    ) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self.site, self.hub, self.scratch, self.progress = site, hub, scratch, progress or Steady()
        self.patience = patience

    def run(self) -> dict[str, object]:
        """Do it."""
        step = UploadStep(self.site.store, self.site.layout, target(self.hub, patience=self.patience))
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
    shards = {f"{entry.shard}.{end}" for entry in entries for end in ("tar", "parquet")}
    plots = {f"plots/{name}.png" for name in ("hours", "durations", "dnsmos")}
    assert set(files) == shards | plots | {"README.md"}
    assert {name: files[name] for name in plots | {"README.md"}} == render_all(entries)
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
        target(hub, token).refresh(lambda: {"README.md": b"---\n---\n"})


# -- many shards, one commit -------------------------------------------------------------------------------------------


def test_lanes_share_a_commit(memory: Site, hub: HubProcess) -> None:
    seeded(memory, episodes=4)
    assert memory.worker(target(hub), lanes=4, wait_seconds=30.0).run().completed == 4
    commits = hub.commits()
    assert [commit["title"] for commit in commits] == ["Add 4 shards (12 segments, 3.00 hours)"]
    assert {entry.commit for entry in Ledger(memory.store, memory.layout).entries()} == {commits[0]["oid"]}
    assert verify_all(target(hub), memory.store, memory.layout, memory.queue()) == []


def test_a_commit_holds_no_more_shards_than_told(memory: Site, hub: HubProcess) -> None:
    seeded(memory, episodes=5)
    step = UploadStep(memory.store, memory.layout, target(hub), lanes=5, most=2, wait_seconds=30.0)
    worker = Worker(memory.queue(), step, memory.settings, drain=True, lanes=5)
    assert worker.run().completed == 5
    added = [commit["title"] for commit in hub.commits() if commit["title"].startswith("Add")]
    assert len(added) >= 3
    assert not [title for title in added if title.startswith(("Add 3", "Add 4", "Add 5"))]


def test_what_is_there_of_a_group_is_not_committed_again(memory: Site, hub: HubProcess, tmp_path: Path) -> None:
    seeded(memory, episodes=3)
    dying = make_site(NoLedger(memory.store.url, memory.store._backend))
    with pytest.raises(Dead):
        Uploader(dying, hub, tmp_path).run()
    for meta in list(memory.store.list(f"{memory.layout.tasks}upload_committer/")):
        memory.store.delete(meta.key)
    memory.worker(target(hub), lanes=3, wait_seconds=30.0).run()
    titles = [commit["title"] for commit in hub.commits()]
    assert titles == [f"Add {STEM} (3 segments, 0.75 hours)", "Add 2 shards (6 segments, 1.50 hours)"]
    assert verify_all(target(hub), memory.store, memory.layout, memory.queue()) == []


def test_large_files_go_in_parts(memory: Site, hub: HubProcess, tmp_path: Path) -> None:
    seeded(memory, episodes=2, shard_bytes=10**9)
    hub.control({"chunk": 4000})
    hub.arm("500", "part")
    hub.arm("drop", "complete")
    before = len(hub.state()["requests"])
    Uploader(memory, hub, tmp_path).run()
    asked = hub.state()["requests"][before:]
    size = Ledger(memory.store, memory.layout).entries()[0].size
    assert asked.count("part") >= -(-size // 4000) + 1
    assert asked.count("complete") >= 2
    assert verify_target(target(hub), memory.store, memory.layout) == []


# -- a Hub that has no time, no room or another opinion ----------------------------------------------------------------


def test_a_hub_without_time_is_waited_for_where_the_shard_is(memory: Site, hub: HubProcess, tmp_path: Path) -> None:
    seeded(memory, episodes=1)
    hub.arm("429", "head", retry_after=1)
    hub.arm("503", "commit", retry_after=0)
    hub.arm("drop", "paths")
    beats: list[str] = []

    class Watched(Steady):
        def beat(self, what: str = "", fraction: float = 0.0) -> None:
            beats.append(what)

    Uploader(memory, hub, tmp_path, Watched(), patience=60.0).run()
    assert len(hub.commits()) == 1
    assert "commit: the Hub asks for time" in beats
    assert verify_target(target(hub), memory.store, memory.layout) == []


@pytest.mark.parametrize(("fault", "where"), [("503", "head"), ("drop", "head"), ("429", "commit"), ("500", "create")])
def test_an_outage_uses_up_no_attempt(memory: Site, hub: HubProcess, fault: str, where: str) -> None:
    seeded(memory, episodes=1)
    hub.arm(fault, where, count=9)
    tally = memory.worker(target(hub)).run()
    assert (tally.completed, tally.failed, tally.released) == (1, 0, 9)


def test_files_that_never_arrive_whole_use_up_the_attempts(memory: Site, hub: HubProcess) -> None:
    seeded(memory, episodes=1)
    hub.arm("400", "put", count=99)
    tally = memory.worker(target(hub)).run()
    assert (tally.completed, tally.failed, tally.retried) == (0, 1, 2)


def test_the_rate_limit_header_is_heeded(memory: Site, hub: HubProcess, tmp_path: Path) -> None:
    seeded(memory, episodes=1)
    hub.arm("429", "head", headers={"RateLimit": '"api";r=0;t=17'})
    with pytest.raises(Throttled) as caught:
        Uploader(memory, hub, tmp_path).run()
    assert caught.value.after == 17.0


@pytest.mark.parametrize(
    ("fault", "where", "says"),
    [
        ("403", "commit", "Private repository storage limit reached, please upgrade your plan"),
        ("403", "preupload", "You have exceeded your storage quota"),
        ("402", "commit", "Payment required"),
        ("full", "batch", ""),
    ],
)
def test_no_room_stops_the_worker_and_says_what_to_do(
    memory: Site, hub: HubProcess, fault: str, where: str, says: str
) -> None:
    seeded(memory, episodes=1)
    hub.arm(fault, where, says=says)
    with pytest.raises(ConfigError, match="free or buy storage") as caught:
        memory.worker(target(hub)).run()
    assert caught.value.reason == "quota"
    assert "c0ffee" not in str(caught.value)
    assert memory.queue().stats().waiting == 1
    assert memory.worker(target(hub)).run().completed == 1


def test_a_commit_that_is_not_shown_is_not_believed(memory: Site, hub: HubProcess, tmp_path: Path) -> None:
    seeded(memory, episodes=1)
    hub.arm("empty", "paths", count=2)
    uploader = Uploader(memory, hub, tmp_path)
    with pytest.raises(RetryLater, match="does not show") as caught:
        uploader.run()
    assert caught.value.reason == "not_shown"
    assert Ledger(memory.store, memory.layout).entries() == []
    uploader.run()
    assert len(hub.commits()) == 1


def test_a_commit_that_is_not_there_yet_is_no_missing_repository(memory: Site, hub: HubProcess, tmp_path: Path) -> None:
    seeded(memory, episodes=1)
    hub.arm("404", "paths", headers={"X_Error_Code": "RevisionNotFound"})
    with pytest.raises(RetryLater):
        Uploader(memory, hub, tmp_path / "one").run()
    hub.arm("404", "paths", headers={"X_Error_Code": "RepoNotFound"})
    with pytest.raises(ConfigError, match="HF_REPO_ID"):
        Uploader(memory, hub, tmp_path / "two").run()


def test_verify_reads_the_card_of_the_hub(memory: Site, hub: HubProcess) -> None:
    seeded(memory, episodes=1)
    assert target(hub).card() is None
    memory.worker(target(hub)).run()
    target(hub).refresh(lambda: {"README.md": b"---\nlicense: mit\n---\n"})
    said = verify_target(target(hub), memory.store, memory.layout)
    assert said == ["README.md does not say what the ledger says"]


# -- crashes and races -------------------------------------------------------------------------------------------------


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
    assert hub.files()["README.md"] == render_all(entries)["README.md"]
    assert len([commit for commit in hub.commits() if commit["title"].startswith("Add")]) == 6
    assert verify_target(target(hub), memory.store, memory.layout) == []


def test_the_card_alone(memory: Site, hub: HubProcess) -> None:
    seeded(memory, episodes=1)
    memory.worker(target(hub)).run()
    refresh_card(memory.store, memory.layout, target(hub))
    assert len(hub.commits()) == 1
    target(hub).refresh(lambda: {"README.md": b"---\nlicense: mit\n---\n"})
    refresh_card(memory.store, memory.layout, target(hub))
    assert [commit["title"] for commit in hub.commits()[1:]] == ["Bring the card up to date"] * 2
    assert is_current(hub.files()["README.md"].decode(), Ledger(memory.store, memory.layout).entries())


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
    republish(memory.store, memory.layout, target(hub, replace=True), ["en-000000"], tmp_path / "one")
    assert hub.files() == before
    assert verify_target(target(hub), memory.store, memory.layout) == []
