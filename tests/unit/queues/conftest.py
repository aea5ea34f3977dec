"""A fresh SQS queue for each test."""

from __future__ import annotations

import pytest

from tests.servers.sqs_client import SqsServer
from tests.unit.queues.sites import SqsSite


@pytest.fixture
def site(sqs_server: SqsServer) -> SqsSite:
    """A queue with a dead-letter queue, which SQS itself uses after a thousand receives."""
    return SqsSite(sqs_server, sqs_server.fresh_queue(receives=1000))
