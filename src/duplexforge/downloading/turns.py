"""An item's turn at its site: not while the site is paused, within the budget, and what a failure means for the site."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from duplexforge import metrics
from duplexforge.config import DownloadSettings
from duplexforge.downloading.direct import names_audio
from duplexforge.downloading.identity import host_word
from duplexforge.downloading.pacing import LONGEST_PAUSE, Pacing
from duplexforge.downloading.site import extractor_of
from duplexforge.downloading.suspicion import Suspicion
from duplexforge.downloading.watch import never
from duplexforge.errors import RetryLater, Throttled

BOT_CHECK = "bot_check"
# Seconds of the first and of the longest pause. A site that asks for a human has condemned the address; one that is busy
# may be better soon, and it may mean one item only.
_PAUSES = {BOT_CHECK: (900.0, LONGEST_PAUSE)}
_OTHER_PAUSES = (60.0, 900.0)


@dataclass(frozen=True)
class Place:
    """Where an item is: the site's word in keys, its extractor where yt-dlp knows the site, and its budget an hour."""

    site: str
    extractor: str | None
    per_hour: int


def place_of(url: str, settings: DownloadSettings) -> Place:
    """The site of a web address, as ``fetch`` will treat it: a known site, or a host."""
    extractor = None if names_audio(url) else extractor_of(url)
    if extractor is None:
        return Place(f"host-{host_word(url)}", None, settings.host_requests_per_hour)
    return Place(f"site-{extractor}", extractor, settings.site_requests_per_hour)


class Turns:
    """Turns of one process."""

    def __init__(self, pacing: Pacing, settings: DownloadSettings) -> None:
        self._pacing, self._settings = pacing, settings
        self._suspicion = Suspicion()

    @contextmanager
    def turn(self, url: str, item: str, stopping: Callable[[], bool] = never) -> Iterator[None]:
        """Fetch ``item`` at ``url`` in the block. Throttled when it is not its turn; errors of the block are weighed."""
        place = place_of(url, self._settings)
        if left := self._pacing.left(place.site):
            metrics.THROTTLES.labels("paused").inc()
            # Spread: all of its tasks coming back in one second would be the next reason to pause.
            after = left + random.random() * max(60.0, 0.1 * left)
            raise Throttled(f"{place.site} is paused for all pods of this egress", reason="paused", after=after)
        if place.per_hour:
            self._pacing.take(place.site, place.per_hour, stopping)
        try:
            yield
        except Throttled as error:
            raise self._throttled(place, error) from error
        except RetryLater as error:
            if error.reason == "site" and place.extractor:
                raise self._suspicion.failed(place.extractor, item, error) from error
            raise
        if place.extractor:
            self._suspicion.worked(place.extractor)

    def _throttled(self, place: Place, error: Throttled) -> Throttled:
        """Pause the site for all; the task goes back until then."""
        metrics.THROTTLES.labels(error.reason).inc()
        first, longest = _PAUSES.get(error.reason, _OTHER_PAUSES)
        left = self._pacing.pause(place.site, error.reason, first=first, longest=longest, seconds=error.after)
        return Throttled(str(error), reason=error.reason, after=left)
