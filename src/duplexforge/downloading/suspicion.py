"""Tells a broken extractor from an odd item: several different items of one site that fail alike, and none that works."""

from __future__ import annotations

import threading

from duplexforge import log
from duplexforge.errors import DuplexforgeError, RetryLater, SiteBroken, Throttled

# So many different items in a row condemn the extractor.
PATIENCE = 5


class Suspicion:
    """What one process has seen of the extractors that it uses."""

    def __init__(self) -> None:
        self._failed: dict[str, set[str]] = {}
        self._proven: set[str] = set()
        self._lock = threading.Lock()

    def worked(self, extractor: str) -> None:
        """An item was had: what fails now is to blame itself."""
        with self._lock:
            self._failed.pop(extractor, None)
            self._proven.add(extractor)

    def failed(self, extractor: str, item: str, error: RetryLater) -> DuplexforgeError:
        """What an item's failure with the reason ``site`` amounts to.

        SiteBroken when it is the last of several. Before that, while nothing of the site has worked, the first failure
        of an item is not counted against it: should the extractor be broken, no item may be lost by that.
        """
        with self._lock:
            row = self._failed.setdefault(extractor, set())
            known = item in row
            row.add(item)
            many, proven = len(row) >= PATIENCE, extractor in self._proven
            if many:
                # A success before the row does not help: sites change while a worker runs.
                self._failed.pop(extractor)
        if many:
            message = f"{PATIENCE} items of {extractor} in a row could not be read: update yt-dlp ({error})"[:400]
            log.get("download").error("alert", what="extractor broken", extractor=extractor, error=message)
            return SiteBroken(message)
        return error if known or proven else Throttled(str(error), reason=error.reason)
