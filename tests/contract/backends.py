"""The table of backends that the contract suites run on; a new store or queue joins by one line here."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from duplexforge.config import QueueSettings, StoreSettings
from duplexforge.layout import Layout
from duplexforge.queues.base import TaskQueue
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.queues.sqs import SqsQueue
from duplexforge.queues.sqs_client import Channel
from duplexforge.records import ProcessTask
from duplexforge.storage import Store, open_store
from tests.servers.s3_client import S3Server
from tests.servers.sqs_client import SqsServer


def folder_settings(folder: Path) -> StoreSettings:
    """A store in a folder, whatever the environment says."""
    return StoreSettings(_env_file=None, store_url=f"file://{folder}")


def _local(request: pytest.FixtureRequest) -> StoreSettings:
    folder: Path = request.getfixturevalue("tmp_path")
    return folder_settings(folder / "store")


def _memory(request: pytest.FixtureRequest) -> StoreSettings:
    return StoreSettings(_env_file=None, store_url="memory://")


def _s3(request: pytest.FixtureRequest) -> StoreSettings:
    server: S3Server = request.getfixturevalue("s3_server")
    return server.settings(server.fresh_bucket())


def _moto(request: pytest.FixtureRequest) -> StoreSettings:
    server: S3Server = request.getfixturevalue("moto_server")
    bucket = server.fresh_bucket()
    urllib.request.urlopen(urllib.request.Request(f"{server.url}/{bucket}", method="PUT")).close()
    return server.settings(bucket)


def _localstack(request: pytest.FixtureRequest) -> StoreSettings:
    server: S3Server = request.getfixturevalue("localstack_server")
    bucket = server.fresh_bucket()
    urllib.request.urlopen(urllib.request.Request(f"{server.url}/{bucket}", method="PUT")).close()
    return server.settings(bucket)


STORES: dict[str, Callable[[pytest.FixtureRequest], StoreSettings]] = {
    "local": _local,
    "memory": _memory,
    "s3": _s3,
    "moto": _moto,
    "localstack": _localstack,
}
# moto checks and then writes without a lock, so it may not judge who wins.
ATOMIC = ("local", "memory", "s3", "localstack")


def marked(names: Iterable[str]) -> list[Any]:
    """Names of backends as parameters; those on LocalStack, which has an environment of its own, are slow."""
    return [pytest.param(name, marks=pytest.mark.slow) if "localstack" in name else name for name in names]


@dataclass
class QueueSite:
    """Where a queue under test lives; ``open`` gives one more worker's view of it.

    ``lease`` is the shortest lease that is sure to hold for a moment; ages are told no finer than ``blur`` seconds.
    """

    open: Callable[..., TaskQueue[ProcessTask]]
    lease: float
    blur: float
    store: Store
    layout: Layout = field(default_factory=Layout)


def _prefix(store: Store, lease: float, blur: float) -> QueueSite:
    layout = Layout()

    def open_queue(**changes: float) -> TaskQueue[ProcessTask]:
        fields = {"lease_seconds": 60.0, "retry_seconds": 0.0, **changes}
        return PrefixQueue(store, layout, "processing", ProcessTask, QueueSettings(_env_file=None, **fields))

    return QueueSite(open_queue, lease, blur, store, layout)


def _prefix_on(name: str, lease: float, blur: float) -> Callable[[pytest.FixtureRequest], QueueSite]:
    return lambda request: _prefix(open_store(STORES[name](request)), lease, blur)


def sqs_site(server: SqsServer, store: Store, blur: float) -> QueueSite:
    """A queue of its own on a server that speaks SQS; whoever is idle looks at once for tasks without a message."""
    layout = Layout()
    channel = Channel(server.fresh_queue(), server.settings())

    def open_queue(**changes: float) -> TaskQueue[ProcessTask]:
        fields = {"lease_seconds": 60.0, "retry_seconds": 0.0, **changes}
        wanted = QueueSettings(_env_file=None, **fields)
        return SqsQueue(
            store, layout, "processing", ProcessTask, wanted,
            channel=channel, reconcile_seconds=0.0, shortest_poll=0.0,
        )  # fmt: skip

    # SQS hides messages for whole seconds, LocalStack for almost one more.
    return QueueSite(open_queue, 2.0, blur, store, layout)


def _sqs_on(fixture: str, store: str, blur: float = 1.1) -> Callable[[pytest.FixtureRequest], QueueSite]:
    return lambda request: sqs_site(request.getfixturevalue(fixture), open_store(STORES[store](request)), blur)


# S3 tells modification times in whole seconds, so leases there cannot be judged as finely.
QUEUES: dict[str, Callable[[pytest.FixtureRequest], QueueSite]] = {
    "prefix-local": _prefix_on("local", 0.5, 0.1),
    "prefix-memory": _prefix_on("memory", 0.5, 0.1),
    "prefix-s3": _prefix_on("s3", 2.0, 1.1),
    "sqs": _sqs_on("sqs_server", "memory"),
    "sqs-moto": _sqs_on("moto_sqs", "s3"),
    "sqs-localstack": _sqs_on("localstack_sqs", "localstack", 2.1),
}
