"""The list of those who do not want to be in the data set, asked when an item is seeded and again before it is fetched.

One entry a line, ``#`` begins a comment: an episode id (``yt-…``, ``pod-…``) or a bare YouTube video id; a host, which
stands for its subdomains too; an address of an item, a feed, a channel or a playlist.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from duplexforge.downloading.identity import address, youtube_id
from duplexforge.errors import UsageError
from duplexforge.layout import Layout
from duplexforge.records import DownloadTask
from duplexforge.storage import Store

_COMMENT = re.compile(r"(?:^|\s)#.*$")
_HOST = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)+\.?", re.IGNORECASE)
_VIDEO = re.compile(r"[A-Za-z0-9_-]{11}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass
class OptOut:
    """Who opted out. ``mistakes`` are the lines that say nothing: whoever wrote them meant somebody, so they are told."""

    names: set[str] = field(default_factory=set)
    hosts: set[str] = field(default_factory=set)
    addresses: set[str] = field(default_factory=set)
    mistakes: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, store: Store, layout: Layout, *files: Path) -> OptOut:
        """The list of the store, and those of local ``files``. UsageError when a file cannot be read or understood."""
        found = cls()
        found.add((store.find(layout.opt_out()) or b"").decode("utf-8-sig", "replace").splitlines())
        for path in files:
            found.add_file(path)
        return found

    def add_file(self, path: Path) -> None:
        """Add a local list. UsageError when it cannot be read or a line of it makes no sense."""
        own = OptOut()
        try:
            own.add(path.expanduser().read_text(encoding="utf-8-sig", errors="replace").splitlines())
        except OSError as error:
            raise UsageError(f"the opt-out list {path} cannot be read: {error.strerror or error}") from error
        if own.mistakes:
            raise UsageError(f"the opt-out list {path}: {own.mistakes[0]}")
        self.names |= own.names
        self.hosts |= own.hosts
        self.addresses |= own.addresses

    def add(self, lines: Iterable[str]) -> None:
        """Add entries."""
        for number, line in enumerate(lines, start=1):
            entry = _COMMENT.sub("", line).strip()
            if entry and not self._understood(entry):
                self.mistakes.append(f"line {number} is no id, host or address: {entry[:80]}")

    def _understood(self, entry: str) -> bool:
        if any(letter.isspace() for letter in entry):
            return False
        if "/" in entry:
            return self._add_address(entry)
        if _HOST.fullmatch(entry):
            self.hosts.add(entry.lower().removeprefix("*.").rstrip("."))
        if not _NAME.fullmatch(entry) and not _VIDEO.fullmatch(entry):
            return bool(_HOST.fullmatch(entry))
        self.names.add(entry)
        if _VIDEO.fullmatch(entry):
            self.names.add(f"yt-{entry}")
        return True

    def _add_address(self, entry: str) -> bool:
        url = entry if "://" in entry else f"https://{entry}"
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError:
            return False
        if parts.scheme.lower() not in ("http", "https") or not host:
            return False
        if video := youtube_id(url):
            self.names.add(f"yt-{video}")
        elif parts.path.strip("/") or parts.query:
            self.addresses.add(address(url))
        else:
            # The address of a whole site is that site.
            self.hosts.add(host.lower().rstrip("."))
        return True

    def refuses(self, task: DownloadTask) -> str | None:
        """Why ``task`` may not be taken, as a clause; None when nobody of it opted out."""
        if task.id in self.names or task.episode_id in self.names:
            return "the item opted out"
        if task.video_id and task.video_id in self.names:
            return "the video opted out"
        for url in (task.url, *(task.origins or ())):
            if why := self._refuses_address(url):
                return why
        return None

    def _refuses_address(self, url: str) -> str | None:
        if not self.hosts and not self.addresses:
            return None
        try:
            host = (urlsplit(url).hostname or "").lower().rstrip(".")
            spelled = address(url)
        except ValueError:
            return None
        labels = host.split(".")
        if any(".".join(labels[start:]) in self.hosts for start in range(len(labels))):
            return f"the host {host} opted out"
        return "its address, feed or channel opted out" if spelled in self.addresses else None
