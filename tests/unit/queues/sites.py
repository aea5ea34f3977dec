"""An SQS queue under test: our stand-in, a store in memory, and one clock for both that the test turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from duplexforge.config import QueueSettings
from duplexforge.layout import Layout, name_of
from duplexforge.queues.sqs import SqsQueue
from duplexforge.queues.sqs_client import Channel
from duplexforge.queues.sqs_lease import SqsLease
from duplexforge.records import DownloadTask, Task, UploadTask
from tests.contract.test_queue_machine import ClockedStore
from tests.servers.sqs_client import SqsServer

LEASE = 30.0
MODELS: dict[str, type[Task]] = {"download": DownloadTask, "upload": UploadTask}


@dataclass
class SqsSite:
    """One queue; ``open`` gives one more worker's view of it."""

    server: SqsServer
    url: str
    store: ClockedStore = field(default_factory=ClockedStore)
    layout: Layout = field(default_factory=Layout)
    stage: str = "download"

    def __post_init__(self) -> None:
        self.channel = Channel(self.url, self.server.settings(), attempts=3)

    def open(
        self,
        *,
        reconcile: float = 0.0,
        hold: float = 42300.0,
        name: Callable[[Any], str] | None = None,
        retry: float = 0.0,
        channel: Channel | None = None,
    ) -> SqsQueue[Any]:
        """A worker's queue."""
        wanted = QueueSettings(_env_file=None, lease_seconds=LEASE, retry_seconds=retry)
        return SqsQueue(
            self.store, self.layout, self.stage, MODELS[self.stage], wanted,
            channel=channel or self.channel, name=name, reconcile_seconds=reconcile,
            hold_seconds=hold, shortest_poll=0.0,
        )  # fmt: skip

    def advance(self, seconds: float) -> None:
        """Turn both clocks."""
        self.store.clock += seconds
        self.server.control(self.url, advance=seconds)

    def by_hand(self, body: str, **attributes: str) -> None:
        """Send a body as somebody else would."""
        told = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        self.server.plain().send_message(QueueUrl=self.url, MessageBody=body, MessageAttributes=told)

    def messages(self) -> list[dict[str, Any]]:
        """What is in the queue."""
        return self.server.messages(self.url)

    def dead_letters(self) -> list[dict[str, Any]]:
        """What is in the dead-letter queue."""
        return self.server.messages(f"{self.url}-dead")

    def ids(self, state: str) -> list[str]:
        """Tasks by state in the store."""
        return [name_of(meta.key) for meta in self.store.list(self.layout.queue_prefix(self.stage, state))]


def task(name: str, **fields: Any) -> DownloadTask:
    """A download."""
    return DownloadTask(id=name, episode_id=name, url=f"https://example.org/{name}.mp3", **fields)


def claimed(queue: SqsQueue[Any]) -> SqsLease[Any]:
    """The next lease, which must be there."""
    lease = queue.claim()
    assert lease is not None, "no task came"
    return lease
