"""Fixtures that many tests share: servers, started once a session, and quiet logging."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Iterator
from typing import TextIO, cast

import pytest

from duplexforge import log
from tests.servers.s3_client import Process, S3Server
from tests.servers.sqs_client import SqsServer


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Ctrl-C reaches the programs that tests start, also when the tests are a shell's background job, where it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class _Stderr(io.TextIOBase):
    """The standard error of this moment, which pytest exchanges for each test."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


@pytest.fixture(scope="session", autouse=True)
def _logging_of_fixtures() -> None:
    """What fixtures of many tests say goes there too."""
    log.setup(level="WARNING", stream=cast(TextIO, _Stderr()), json_lines=True)


@pytest.fixture(autouse=True)
def _logging() -> None:
    """Retries and warnings go through structlog to the captured stderr, as in production.

    For each test anew: a command that a test ran in this process has set it up for a stream that is closed by now.
    """
    log.setup(level="WARNING", stream=cast(TextIO, _Stderr()), json_lines=True)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """Our S3 server: atomic per key, counts requests, takes faults."""
    with Process("tests.servers.s3") as process:
        yield S3Server(process.url)


@pytest.fixture(scope="session")
def moto_server() -> Iterator[S3Server]:
    """moto's S3: an independent implementation, for shape only."""
    with Process("tests.servers.moto") as process:
        yield S3Server(process.url)


@pytest.fixture(scope="session")
def moto_sqs(moto_server: S3Server) -> SqsServer:
    """moto's SQS: an independent implementation. It never delivers twice by itself."""
    return SqsServer(moto_server.url)


@pytest.fixture(scope="session")
def sqs_server() -> Iterator[SqsServer]:
    """Our SQS server: with a clock to turn, and faults."""
    with Process("tests.servers.sqs") as process:
        yield SqsServer(process.url)


@pytest.fixture(scope="session")
def localstack_server() -> Iterator[S3Server]:
    """LocalStack's S3 in a process of its own, for the slow tests: ``make .venv-localstack/.ready`` installs it."""
    with Process("tests.servers.localstack") as process:
        yield S3Server(process.url)


@pytest.fixture(scope="session")
def localstack_sqs(localstack_server: S3Server) -> SqsServer:
    """LocalStack's SQS."""
    return SqsServer(localstack_server.url)
