"""Whether an item may be had at all: opt-outs, licences, robots.txt."""

from __future__ import annotations

import threading
import time

from duplexforge.config import DownloadSettings
from duplexforge.downloading.identity import web_url
from duplexforge.downloading.item import Item
from duplexforge.downloading.licences import allowed, licence_words
from duplexforge.downloading.optout import OptOut
from duplexforge.downloading.robots import Robots
from duplexforge.downloading.web import Route
from duplexforge.errors import InputError
from duplexforge.layout import Layout
from duplexforge.records import DownloadTask
from duplexforge.storage import Store

# Whoever opts out is heeded within a minute, for one request a minute.
_FRESH = 60.0


class Admission:
    """What one process lets in. All refusals are InputError: ``opted_out``, ``licence``, ``robots``."""

    def __init__(self, store: Store, layout: Layout, settings: DownloadSettings, route: Route) -> None:
        self._store, self._layout, self._settings = store, layout, settings
        self._robots = Robots(route)
        self._licences = licence_words(settings.allowed_licences)
        self._lock = threading.Lock()
        self._list: tuple[float, OptOut] | None = None

    def opt_out(self) -> OptOut:
        """The list as it stands in the store, at most a minute old."""
        with self._lock:
            if self._list is None or time.monotonic() - self._list[0] > _FRESH:
                self._list = (time.monotonic(), OptOut.read(self._store, self._layout))
            return self._list[1]

    def before(self, task: DownloadTask) -> None:
        """Before anything of the item is asked for."""
        if why := self.opt_out().refuses(task):
            raise InputError(f"it is not taken: {why}", reason="opted_out")
        if task.licence:
            self._check_licence(task.licence)

    def at_the_site(self, task: DownloadTask) -> None:
        """Before its address is asked for; may ask its host for robots.txt."""
        if self._settings.respect_robots:
            self._robots.check(web_url(task.url))

    def after(self, task: DownloadTask, item: Item) -> None:
        """Once the site has told what it is."""
        if self._licences:
            # What the one who seeded it said wins, as it does in the record.
            self._check_licence(task.licence or item.licence)

    def _check_licence(self, licence: str | None) -> None:
        if not self._licences:
            return
        if not licence:
            raise InputError("it states no licence, and ALLOWED_LICENCES asks for one", reason="licence")
        if not allowed(licence, self._licences):
            raise InputError(f"its licence is {licence[:80]!r}, which ALLOWED_LICENCES does not name", reason="licence")
