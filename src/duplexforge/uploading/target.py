"""What a place for data sets can do, and how it refuses.

Publishing is repeatable. A shard that is there already, byte for byte, is left alone; another shard under the same name
is somebody else's data and is not overwritten unless the target was opened with ``replace``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from duplexforge.errors import ConfigError
from duplexforge.records import FileEntry, LedgerEntry
from duplexforge.uploading.shard import Beat, Shard

Card = Callable[[], dict[str, bytes]]
"""Renders the card and its plots from the ledger as it is when called: bytes by path in the data set."""


class Sent(NamedTuple):
    """A shard whose bytes are where a commit can name them; ``files`` is the target's own. The local files may go."""

    record: LedgerEntry
    files: Any = None


def silent(_: str, __: float) -> None:
    """A beat that nobody feels."""


class Target(Protocol):
    """A place for shards.

    All raise ConfigError when no shard would be taken (a wrong token, no room, somebody else's data), Throttled when the
    place asks for time, RetryLater when this was not the time.
    """

    name: str

    def send(self, shard: Shard, beat: Beat) -> Sent:
        """Bring tar and parquet there, where nobody sees them before ``commit`` (a folder shows them at once)."""

    def commit(self, group: Sequence[Sent], card: Card, beat: Beat) -> str | None:
        """Publish sent shards and the card in one step, and look that they are there.

        Returns the id of a commit that holds them, where there is such a thing. What is there already stays.
        """

    def refresh(self, card: Card, beat: Beat = silent) -> None:
        """Bring the card up to date with the ledger."""

    def card(self) -> str | None:
        """The text of the card that is published; None when there is none."""

    def files(self) -> Iterator[FileEntry]:
        """Every file below ``data/``, names relative to the data set."""


def occupied(name: str, where: str) -> ConfigError:
    """The error of a place that holds another shard under our name."""
    message = f"{where} holds another {name}: publish to a data set of its own, or take that file away first"
    return ConfigError(message, reason="occupied")
