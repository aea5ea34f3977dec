"""The whole chain as a cluster runs it: S3, SQS and a Hub behind real clients, several pods of each role, ``kill -9``.

What comes out must be, row by row and byte by byte, what ``duplexforge run`` makes of the same feed on one machine.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pyarrow.parquet as pq
import pytest

from duplexforge import config
from duplexforge.layout import Layout
from duplexforge.storage import Store, open_store
from tests.e2e import corpus
from tests.e2e.pods import COMMAND, HANG_GUARD, Deployment, wait_until
from tests.servers.proxy_client import Proxy
from tests.servers.s3_client import Process, S3Server
from tests.unit.uploading.conftest import TOKEN, HubProcess

pytestmark = pytest.mark.slow

EPISODES = 10
PODS = {"download": 3, "process": 2, "upload": 2}
SEED = 20261121
# Kills of a role's pods: one at the first lease, one after so many commits each.
MARKS = (2, 5)
STRIKES = 1 + len(MARKS)
_FEED = """<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:podcast="https://podcastindex.org/namespace/1.0"><channel><title>chain</title>
<language>en</language><podcast:guid>chain-test</podcast:guid><copyright>CC0</copyright>%s</channel></rss>"""

Rows = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A site with a feed of ten episodes of real speech; yields the feed's address."""
    root = tmp_path_factory.mktemp("site")
    whole: dict[str, corpus.Samples] = {}
    items = []
    kinds = ["mp3", "m4a", "opus", "flac"]
    for number, (name, start, end) in enumerate(corpus.turns()[:EPISODES]):
        samples = whole.setdefault(name, corpus.demo_audio(name))
        file = f"episode-{number:02d}.{kinds[number % len(kinds)]}"
        corpus.encode(samples[int(start * corpus.RATE) : int(end * corpus.RATE)], root / file)
        items.append(
            f"<item><title>{escape(f'Episode {number} & more')}</title><guid>{number}</guid>"
            f'<enclosure url="{{base}}/files/{file}" type="audio/mpeg"/></item>'
        )
    (root / "feed.xml").write_text(_FEED % "".join(items))
    with Process("tests.servers.site", ["--root", str(root)]) as site:
        yield f"{site.url}/files/feed.xml"


@pytest.fixture(scope="module")
def expected(feed: str, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """The rows of the one-machine run."""
    out = tmp_path_factory.mktemp("one") / "out"
    done = subprocess.run(
        [*COMMAND, "run", feed, "--out", str(out), "--language", "en"], cwd=out.parent, capture_output=True, text=True,
        env=config.child_environment(ALLOW_PRIVATE_ADDRESSES="true"), timeout=HANG_GUARD,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = {path.relative_to(out / "dataset").as_posix(): path for path in (out / "dataset").rglob("*.*")}
    return published_rows({name: path.read_bytes() for name, path in files.items()})


def published_rows(files: dict[str, bytes]) -> Rows:
    """Rows by segment id: the parquet row and the checksum of the sample's audio. No id may come twice."""
    found: Rows = {}
    for name, body in sorted(files.items()):
        if not name.endswith(".parquet"):
            continue
        audio = _audio(files[name.removesuffix("parquet") + "tar"])
        for row in pq.read_table(io.BytesIO(body)).to_pylist():
            assert row["segment_id"] not in found, f"{row['segment_id']} is published twice"
            shard, key = row.pop("shard"), row["key"]
            assert shard == name.removesuffix("parquet") + "tar"
            found[row["segment_id"]] = {**row, "audio_bytes": audio.pop(key)}
        assert not audio, f"{name} lacks rows for {sorted(audio)}"
    return found


def _audio(tar: bytes) -> dict[str, str]:
    """Key of every sample → checksum of its audio."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as members:
        return {
            member.name.rsplit(".", 1)[0]: hashlib.sha256(members.extractfile(member).read()).hexdigest()  # type: ignore[union-attr]
            for member in members
            if not member.name.endswith(".json")
        }


def make_queue(endpoint: str, name: str) -> str:
    """A queue with a dead-letter queue on an SQS server; its URL."""
    import boto3

    client = boto3.client(
        "sqs",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="testtest",
    )
    with closing(client):
        dead = client.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
        arn = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "50"})
        return str(client.create_queue(QueueName=name, Attributes={"RedrivePolicy": redrive})["QueueUrl"])


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    """The Hub's stand-in, and a repository that is not there yet."""
    with Process("tests.servers.hub", ["--root", str(tmp_path / "hub"), "--token", TOKEN]) as process:
        yield HubProcess(process.url, "someone/speech")


@pytest.fixture
def proxies(s3_server: S3Server, moto_server: S3Server) -> Iterator[tuple[Proxy, Proxy]]:
    """What stands between the pods and their services: now and then an answer is lost, late, or an error."""
    with Proxy(s3_server.url) as store, Proxy(moto_server.url) as queue:
        for proxy, p in ((store, 0.01), (queue, 0.02)):
            proxy.arm("lost", times=10**6, p=p)
            proxy.arm("error", status=503, code="SlowDown", times=10**6, p=p)
            proxy.arm("slow", delay=0.5, times=10**6, p=p)
        yield store, queue


@pytest.fixture
def cloud(
    s3_server: S3Server, moto_server: S3Server, proxies: tuple[Proxy, Proxy], hub: HubProcess, tmp_path: Path
) -> Iterator[tuple[Deployment, Store]]:
    """A deployment on empty services, and a look into its bucket."""
    bucket = s3_server.fresh_bucket()
    settings = s3_server.settings(bucket)
    assert settings.access_key_id is not None
    assert settings.secret_access_key is not None
    variables = {
        "STORE_URL": f"s3://{bucket}",
        "R2_ENDPOINT_URL": proxies[0].url,
        "R2_ACCESS_KEY_ID": settings.access_key_id.get_secret_value(),
        "R2_SECRET_ACCESS_KEY": settings.secret_access_key.get_secret_value(),
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "testtest",
        "SQS_ENDPOINT_URL": proxies[1].url,
        "AWS_QUEUE_DOWNLOAD": make_queue(moto_server.url, f"download-{bucket}"),
        "SQS_QUEUE_URL": make_queue(moto_server.url, f"upload-{bucket}"),
        "HF_ENDPOINT": hub.url,
        "HF_REPO_ID": hub.repo,
        "HF_TOKEN": TOKEN,
        "SHARD_BYTES": "60000",
        "LEASE_SECONDS": "4",
        "RETRY_SECONDS": "0.2",
        # Each kill counts against whatever the pod held: a task that three of them strike is given up, by contract.
        "ATTEMPT_LIMIT": str(STRIKES + 2),
        "DRAIN_SECONDS": "20",
        "ALLOW_PRIVATE_ADDRESSES": "true",
    }
    deployment = Deployment(variables, tmp_path, random.Random(SEED))
    try:
        yield deployment, open_store(settings)
    finally:
        deployment.close()


class Stage:
    """A stage as the bucket shows it, without asking any pod."""

    def __init__(self, store: Store, stage: str, prefix: str, ending: str) -> None:
        self._store, self._layout, self._stage = store, Layout(), stage
        self._commits = (prefix, ending)

    def keys(self, prefix: str, ending: str = "") -> int:
        """How many keys there are."""
        return sum(meta.key.endswith(ending) for meta in self._store.list(prefix))

    def open(self) -> int:
        """Tasks that have not ended."""
        return self.keys(self._layout.queue_prefix(self._stage, "todo"))

    def held(self) -> int:
        """Leases, old ones too."""
        return self.keys(self._layout.queue_prefix(self._stage, "in_progress"))

    def commits(self) -> int:
        """Outputs that are committed."""
        return self.keys(*self._commits)


def storm(deployment: Deployment, role: str, name: str, stage: Stage) -> None:
    """Run pods of ``role`` until its queue is empty; one is killed at the first lease, and again as commits come."""
    for _ in range(PODS[role]):
        deployment.start(role)
    wait_until(stage.held, f"a lease of {role}")
    deployment.kill_one(role)
    for mark in MARKS:
        wait_until(lambda mark=mark: stage.commits() >= mark or not stage.open(), f"{mark} commits of {role}")
        if stage.open():
            deployment.kill_one(role)
    wait_until(lambda: not stage.open(), f"the {name} queue is empty", pause=0.5)
    deployment.stop(role)
    counts = deployment.stats(name)
    assert counts["failed"] == 0, f"{deployment.command('queue', 'dead', name).stdout}\n{deployment.words(role)}"


def test_the_chain_in_a_cluster_gives_the_rows_of_one_machine(
    feed: str, expected: Rows, cloud: tuple[Deployment, Store], hub: HubProcess, proxies: tuple[Proxy, Proxy]
) -> None:
    deployment, store = cloud
    deployment.command("seed", "download", feed, "--language", "en")
    storm(deployment, "download", "download", Stage(store, "download", "raw_audio/", ".json"))
    deployment.command("seed", "process")
    storm(deployment, "process", "processing", Stage(store, "processing", "processed/", "/manifest.json"))
    deployment.command("seed", "upload")
    storm(deployment, "upload", "upload", Stage(store, "upload", "tasks/upload_batches/", ".published.json"))

    assert deployment.kills >= 5, "the storm must have struck every role"
    files = hub.files()
    shards = [name for name in files if name.endswith(".tar")]
    assert len(shards) >= 3, "the batches must be several"
    assert published_rows(files) == expected
    assert len({row["episode_id"] for row in expected.values()}) == EPISODES
    # Seeding everything again finds nothing to do, and the whole is in order.
    for stage in ("download", "process", "upload"):
        arguments = [feed, "--language", "en"] if stage == "download" else []
        told = json.loads(deployment.command("seed", stage, *arguments, "--json").stdout)
        assert told.get("added", told.get("tasks")) == 0, told
    deployment.command("verify")
    secrets = [deployment.variables[name] for name in ("HF_TOKEN", "R2_SECRET_ACCESS_KEY")]
    logs = "".join(deployment.words(role) for role in PODS)
    assert not [secret for secret in secrets if secret in logs]
    faults = {name: sum(proxy.fired(name) for proxy in proxies) for name in ("lost", "error", "slow")}
    assert all(faults.values()), f"the network must have failed in every way: {faults}"
    print(f"\n{EPISODES} episodes, {len(expected)} segments, {len(shards)} shards, {deployment.kills} kills, {faults}")
