"""The checkpoint of one episode in the store: what an attempt that was stopped leaves to the next one.

It lies among the tasks, under a key that carries the configuration and the audio, and goes when the episode is
committed. It is a saving and nothing else: a store that fails here costs work, never a task.
"""

from __future__ import annotations

from contextlib import suppress

from duplexforge.errors import StoreError
from duplexforge.storage import Store


class Checkpoint:
    """``Emilia.checkpoints.Checkpoints`` on a store. With ``look`` there may be one of an earlier attempt; ``every`` is
    the seconds of work after which another one is worth its request.
    """

    def __init__(self, store: Store, key: str, every: float, *, look: bool) -> None:
        self.every = every
        self._store, self._key = store, key
        self._there = look

    def load(self) -> bytes | None:
        """What an earlier attempt found, or None."""
        if not self._there:
            return None
        with suppress(StoreError):
            found = self._store.find(self._key)
            self._there = found is not None
            return found
        return None

    def save(self, content: bytes) -> None:
        """Replace it."""
        with suppress(StoreError):
            self._store.put(self._key, content)
            self._there = True

    def delete(self) -> None:
        """Remove it, now that nobody needs it."""
        if self._there:
            with suppress(StoreError):
                self._store.delete(self._key)
