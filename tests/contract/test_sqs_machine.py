"""The state machine of the prefix queue, on SQS: the same reference model, with a server that delivers twice and in disorder."""

from __future__ import annotations

import random
from contextlib import ExitStack
from typing import ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from duplexforge.config import QueueSettings
from duplexforge.layout import Layout
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.queues.sqs import SqsQueue
from duplexforge.queues.sqs_client import Channel
from duplexforge.records import ProcessTask
from tests.contract.test_queue_machine import LEASE, NAMES, QueueMachine
from tests.servers.s3_client import Process
from tests.servers.sqs_client import SqsServer, name_of


class SqsMachine(QueueMachine):
    """Everything that the prefix queue's machine does, and what only SQS can do to it."""

    server: ClassVar[SqsServer]

    def __init__(self) -> None:
        self.channel = Channel(self.server.fresh_queue(), self.server.settings())
        super().__init__()

    def _open(self, seed: int) -> PrefixQueue[ProcessTask]:
        wanted = QueueSettings(_env_file=None, lease_seconds=LEASE, retry_seconds=0.0)
        return SqsQueue(
            self.store, Layout(), "processing", ProcessTask, wanted,
            channel=self.channel, reconcile_seconds=0.0, shortest_poll=0.0, rng=random.Random(seed),
        )  # fmt: skip

    @rule(seconds=st.sampled_from([1.0, LEASE / 2, LEASE + 1]))
    def time_passes(self, seconds: float) -> None:
        self.store.clock += seconds
        self.server.control(self.channel.url, advance=seconds)

    @rule(twice=st.sampled_from([0.0, 0.5]), again=st.sampled_from([0.0, 0.5]), seed=st.integers(0, 9))
    def sqs_has_a_mood(self, twice: float, again: float, seed: int) -> None:
        """Messages come twice, or again after they were deleted, in any order."""
        self.server.control(self.channel.url, twice=twice, again=again, disorder=True, seed=seed)

    @rule(name=st.sampled_from(NAMES))
    def sent_by_hand(self, name: str) -> None:
        """Somebody sends a message for a task that is known; that is no new task."""
        if name in self.model:
            told = {"task": {"DataType": "String", "StringValue": name}}
            body = ProcessTask(id=name, episode_id=name, audio_key="other").model_dump_json()
            self.server.plain().send_message(QueueUrl=self.channel.url, MessageBody=body, MessageAttributes=told)

    @rule()
    def messages_are_lost(self) -> None:
        """As when they grew older than the queue keeps them."""
        self.server.control(self.channel.url, purge=True)

    def teardown(self) -> None:
        """As for the prefix queue; then nothing is left in SQS either."""
        self.server.control(self.channel.url, twice=0.0, again=0.0, advance=LEASE + 1, disarm=name_of(self.channel.url))
        super().teardown()
        self.server.control(self.channel.url, advance=LEASE + 1)
        queue = self._open(8)
        assert queue.claim() is None
        queue.close()
        assert self.server.messages(self.channel.url) == []


class TestSqsMachine(SqsMachine.TestCase):  # type: ignore[misc, name-defined]
    """Starts the server once for all examples."""

    settings = settings(
        max_examples=15,
        stateful_step_count=30,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    _stack: ClassVar[ExitStack]

    @classmethod
    def setUpClass(cls) -> None:
        cls._stack = ExitStack()
        SqsMachine.server = SqsServer(cls._stack.enter_context(Process("tests.servers.sqs")).url)

    @classmethod
    def tearDownClass(cls) -> None:
        cls._stack.close()
