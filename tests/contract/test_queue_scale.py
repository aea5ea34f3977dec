"""A hundred thousand tasks: they list in pages, a claim costs one page, and memory does not grow with the queue."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.config import QueueSettings
from duplexforge.layout import Layout, hashed_id
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.queues.states import by_task
from duplexforge.records import ProcessTask
from duplexforge.storage import PAGE, Store, open_store
from tests.servers.s3_client import ROOT, S3Server

MANY = 100_000
KEYS = Layout()


def open_queue(store: Store, seed: int = 0) -> PrefixQueue[ProcessTask]:
    settings = QueueSettings(_env_file=None)
    return PrefixQueue(store, KEYS, "processing", ProcessTask, settings, rng=random.Random(seed))


def task(name: str) -> ProcessTask:
    return ProcessTask(id=name, episode_id=name, audio_key=f"raw_audio/en/s/{name}.mp3")


@pytest.fixture(scope="module")
def full_bucket(s3_server: S3Server) -> str:
    """A bucket with MANY waiting tasks, put there without a request each."""
    bucket = s3_server.fresh_bucket()
    bodies = {KEYS.todo("processing", one): task(one).to_bytes().decode() for one in ids(MANY)}
    s3_server.load(bucket, bodies)
    return bucket


def ids(count: int) -> list[str]:
    return [hashed_id("pod", str(number)) for number in range(count)]


def test_a_hundred_thousand_tasks_list_in_pages(s3_server: S3Server, full_bucket: str) -> None:
    bucket = s3_server.copy(full_bucket)
    queue = open_queue(open_store(s3_server.settings(bucket)))
    stats = queue.stats()
    assert (stats.waiting, stats.open) == (MANY, MANY)
    # One page of leases, one of each kind of end, and the tasks; the clock is read once.
    assert s3_server.requests(bucket)["list"] == MANY // PAGE + 3


def test_a_claim_costs_pages_not_the_queue(s3_server: S3Server, full_bucket: str) -> None:
    bucket = s3_server.copy(full_bucket)
    settings = s3_server.settings(bucket)
    queues = [open_queue(open_store(settings), seed) for seed in range(8)]
    leases = [lease for _ in range(20) for queue in queues if (lease := queue.claim())]
    assert len({lease.task_id for lease in leases}) == 160
    requests = s3_server.requests(bucket)
    assert requests["list"] <= 8 * 4
    # A lease each, the clocks, and hardly a claim in vain.
    assert requests["put"] <= 160 + 8 + 16


def test_putting_again_puts_nothing(s3_server: S3Server, full_bucket: str) -> None:
    bucket = s3_server.copy(full_bucket)
    queue = open_queue(open_store(s3_server.settings(bucket)))
    names = [*ids(MANY)[: 3 * PAGE], "new-1", "new-2"]
    assert queue.put_many(task(name) for name in names) == 2
    assert s3_server.requests(bucket)["put"] == 2


_CHILD = """
import json, resource, sys
from duplexforge.config import QueueSettings, StoreSettings
from duplexforge.layout import Layout
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.records import ProcessTask
from duplexforge.storage import open_store
store = open_store(StoreSettings(_env_file=None, **json.loads(sys.argv[1])))
queue = PrefixQueue(store, Layout(), "processing", ProcessTask, QueueSettings(_env_file=None))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
stats, swept = queue.stats(), queue.sweep()
assert queue.claim()
print(json.dumps([stats.waiting, swept, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024]))
"""


def looked_at(settings: dict[str, object]) -> list[float]:
    """Tasks waiting, mended, and MiB that a process took for counting, sweeping and claiming."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, json.dumps(settings)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    told: list[float] = json.loads(done.stdout)
    return told


def test_counting_and_sweeping_are_flat_in_memory(s3_server: S3Server, full_bucket: str) -> None:
    settings = {
        "store_url": f"s3://{s3_server.copy(full_bucket)}", "endpoint": s3_server.url, "aws_region": "us-east-1",
        "access_key_id": s3_server.access_key, "secret_access_key": "test-secret-key",
    }  # fmt: skip
    waiting, mended, mib = looked_at(settings)
    assert (waiting, mended) == (MANY, 0)
    # The ids alone would take about ten.
    assert mib < 8


STATES = st.dictionaries(
    st.sampled_from(["todo", "failed", "completed"]), st.sets(st.from_regex(r"[a-c.-]{0,3}[a-c]", fullmatch=True))
)


@given(listings=STATES)
def test_states_meet_whatever_ids_look_like(listings: dict[str, set[str]]) -> None:
    in_key_order = {state: sorted(names, key=lambda one: f"{one}.task") for state, names in listings.items()}
    wanted = {
        name: {state for state, names in listings.items() if name in names}
        for names in listings.values()
        for name in names
    }
    told = list(by_task(in_key_order))
    assert dict(told) == wanted
    assert len(told) == len(wanted)
