"""What a place for data sets can do, and how it refuses.

Publishing is repeatable. A shard that is there already, byte for byte, is left alone; another shard under the same name
is somebody else's data and is not overwritten unless the target was opened with ``replace``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from duplexforge.errors import ConfigError
from duplexforge.records import FileEntry
from duplexforge.uploading.shard import Beat, Shard

Card = Callable[[], str]


class Target(Protocol):
    """A place for shards. ``card`` renders the card from the ledger as it is when called."""

    name: str

    def publish(self, shard: Shard, card: Card, beat: Beat) -> str | None:
        """Put tar, parquet and card there; returns the commit's id where there is such a thing.

        Raises ConfigError when no shard would be taken (a wrong token, somebody else's data), RetryLater when this
        was not the time.
        """

    def refresh(self, card: Card) -> None:
        """Bring the card up to date with the ledger."""

    def files(self) -> Iterator[FileEntry]:
        """Every file below ``data/``, names relative to the data set."""


def occupied(name: str, where: str) -> ConfigError:
    """The error of a place that holds another shard under our name."""
    message = f"{where} holds another {name}: publish to a data set of its own, or take that file away first"
    return ConfigError(message, reason="occupied")
