"""robots.txt, for those who switch it on (RESPECT_ROBOTS): asked once an hour for each host, through the guard."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.robotparser import RobotFileParser

from duplexforge.downloading.guard import PrivateAddress
from duplexforge.downloading.web import AGENT, Route, blocks
from duplexforge.errors import InputError

_HOUR = 3600.0
# RFC 9309: what lies behind half a megabyte need not be read.
_MOST = 512 * 1024
_HOSTS = 1000


@dataclass(frozen=True)
class _Rules:
    parser: RobotFileParser | None
    read_at: float


class Robots:
    """The rules of the hosts that one process asks."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._rules: dict[str, _Rules] = {}
        self._lock = threading.Lock()

    def check(self, url: str) -> None:
        """InputError(``robots``) when the host does not want ``url`` fetched; RetryLater while it cannot say."""
        parts = urlsplit(url)
        host = f"{parts.scheme}://{parts.netloc}"
        with self._lock:
            rules = self._rules.get(host)
        if rules is None or time.monotonic() - rules.read_at > _HOUR:
            rules = _Rules(self._read(f"{host}/robots.txt"), time.monotonic())
            with self._lock:
                # A worker meets few hosts at a time; one that met thousands asks them again.
                if len(self._rules) >= _HOSTS:
                    self._rules.clear()
                self._rules[host] = rules
        if rules.parser is not None and not rules.parser.can_fetch(AGENT, url):
            raise InputError(f"the robots.txt of {parts.hostname} does not allow it", reason="robots")

    def _read(self, url: str) -> RobotFileParser | None:
        """The host's rules; None when it has none (any answer 4xx). An outage is an error: it is not a permission."""
        body = bytearray()
        try:
            with self._route.get(url) as response:
                for block in blocks(response):
                    body += block
                    if len(body) >= _MOST:
                        break
        except PrivateAddress:
            # An address inside is no host without rules.
            raise
        except InputError:
            return None
        parser = RobotFileParser()
        parser.parse(bytes(body[:_MOST]).decode("utf-8-sig", "replace").splitlines())
        return parser
