"""Who may come in, how many at a time, and how fast they may talk to us."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlsplit

from duplexforge.errors import Throttled

__all__ = ["LOOPBACK", "Bucket", "Full", "Guests", "Keys", "offered", "origin_fits"]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_BEARERS = ("bearer.", "openai-insecure-api-key.")
"""What stands before a key in the name of a subprotocol; the second is what OpenAI's browser clients send."""


class Full(Throttled):
    """There is no room for another session now; come back in ``after`` seconds."""

    default_reason = "full"


class Bucket:
    """A rate that may be exceeded for ``burst`` seconds: tokens drip in evenly, and who takes more than there are waits."""

    def __init__(self, rate: float, burst: float = 2.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._most, self._clock = rate, rate * burst, clock
        self._left, self._at = self._most, clock()

    def take(self, amount: float) -> float:
        """Take ``amount``; the seconds to wait until it was due (0: it was there)."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._rate) - amount
        self._at = now
        return max(0.0, -self._left / self._rate)


class Keys:
    """The keys that open the server. Whoever shows one is known by a hash of it, so that no key gets into a log."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._known = [hashlib.sha256(key.encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        return bool(self._known)

    def owner(self, key: str | None) -> str | None:
        """Who that is; None for a key that opens nothing. All keys are compared, so that time tells nothing about them."""
        mine = hashlib.sha256((key or "").encode()).digest()
        fits = [hmac.compare_digest(mine, known) for known in self._known]
        return mine.hex()[:16] if key and any(fits) else None


class Guests:
    """How many sessions each owner has."""

    def __init__(self, most: int) -> None:
        self._most, self._count = most, Counter[str]()

    def enter(self, owner: str) -> None:
        """One more; Full when this owner has as many as one may have."""
        if self._most and self._count[owner] >= self._most:
            raise Full(f"one client may have {self._most} sessions at a time: end one", reason="per_key", after=5.0)
        self._count[owner] += 1

    def leave(self, owner: str) -> None:
        """One less."""
        self._count[owner] -= 1
        if self._count[owner] <= 0:
            del self._count[owner]


def offered(headers: Mapping[str, str], subprotocols: Iterable[str] = ()) -> str | None:
    """The key that a request shows: as a bearer, or, where a browser cannot set headers, as a subprotocol ``bearer.<key>``.

    A key in the address is none: addresses are logged everywhere.
    """
    kind, _, key = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and key.strip():
        return key.strip()
    for name in subprotocols:
        for start in _BEARERS:
            if name.startswith(start):
                return name[len(start) :]
    return None


def origin_fits(headers: Mapping[str, str], allowed: tuple[str, ...], *, listens: str) -> bool:
    """Whether the page that asks may: our own, or one of those ``allowed``. What is no browser names no page, and may.

    A server that ``listens`` on this machine alone is reached by a name of this machine alone: a page of elsewhere whose
    name was bent to point here (DNS rebinding) is not ours, though name and page agree.
    """
    origin = headers.get("origin", "").lower().rstrip("/")
    if not origin or "*" in allowed or origin in allowed:
        return True
    host = headers.get("host", "").lower()
    if urlsplit(origin).netloc != host:
        return False
    return listens not in LOOPBACK or urlsplit(f"//{host}").hostname in LOOPBACK
