"""Whose turn it is to commit to a data set: a lease in the store, so that uploaders do not make commits in vain.

The lease only saves work. What keeps two commits apart is their parent: the Hub refuses one that was made for another
head. So a lease that is lost, doubled or never given back costs some rounds and no data, and whoever has waited far too
long goes on without it.
"""

from __future__ import annotations

import json
import random
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from duplexforge import log
from duplexforge.layout import Layout, hashed_id
from duplexforge.storage import Store
from duplexforge.uploading.shard import Beat

LENGTH = 60.0
"""Seconds after which a lease that was not renewed is taken over, by the store's clock."""
_LOOK_SECONDS = (0.2, 0.6)
# Waiting costs nothing; but a clock that is wrong must not stop publishing for good.
_PATIENCE = 5


class Turns:
    """The turns of one process at one data set, named as its target is."""

    def __init__(self, store: Store, layout: Layout, target: str, *, length: float = LENGTH) -> None:
        readable = re.sub(r"[^A-Za-z0-9]+", "-", target).strip("-")[:80]
        self.key = layout.committer(f"{hashed_id('t', target)}-{readable}")
        self._store, self._length = store, length
        self._rng = random.Random()
        self._log = log.get("upload", target=target)

    @contextmanager
    def taken(self, beat: Beat) -> Iterator[Beat]:
        """Wait for the turn and keep it; the beat that is given back renews it. Whatever ``beat`` raises ends the wait."""
        body = json.dumps({"nonce": uuid.uuid4().hex}).encode()
        held = self._wait(body, beat)
        renewed = time.monotonic()

        def renewing(what: str, fraction: float) -> None:
            nonlocal renewed
            beat(what, fraction)
            if held and time.monotonic() - renewed > self._length / 4:
                renewed = time.monotonic()
                if self._store.find(self.key) == body:
                    self._store.put(self.key, body)

        try:
            yield renewing
        finally:
            if held and self._store.find(self.key) == body:
                self._store.delete(self.key)

    def _wait(self, body: bytes, beat: Beat) -> bool:
        started = time.monotonic()
        while not self._store.put_if_absent(self.key, body):
            meta = self._store.head(self.key)
            if meta is not None and self._store.now() - meta.modified > self._length:
                self._log.warning("another committer has gone without giving its turn back")
                self._store.delete(self.key)
                continue
            if time.monotonic() - started > self._length * _PATIENCE:
                self._log.warning("another committer keeps its turn for very long, so we go on without one")
                return False
            beat("waiting for the turn to commit", 0.92)
            time.sleep(self._rng.uniform(*_LOOK_SECONDS))
        return True
