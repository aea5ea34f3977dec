"""Faults that a test arms in the proxy, each for some of the requests that match it."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field

ACTIONS = ("error", "lost", "late", "slow", "cut", "stall", "throttle", "reset", "busy")


@dataclass
class Fault:
    """What happens to the next ``times`` matching requests (after ``skip`` of them), each with probability ``p``.

    ``error`` answers ``status`` without asking upstream; ``lost`` lets upstream apply the request and breaks the
    connection before the answer; ``late`` breaks it now and sends the request on after ``delay`` seconds; ``slow`` holds
    the answer for ``delay``; ``cut`` breaks it in the middle of the answer's body; ``stall`` falls silent there for
    ``delay`` seconds; ``throttle`` sends the answer's body at ``rate`` bytes a second; ``reset`` breaks it before anything
    was sent on; ``busy`` answers ``status`` to whoever asks for the same target twice within ``delay`` seconds (R2 takes
    one write a second to a key).

    ``match`` is looked for in the target and in ``X-Amz-Target``, which is where SQS names its operation. ``code`` makes
    the body of an ``error`` the XML of S3, ``body`` makes it anything else, ``headers`` are added (``Retry-After``).
    """

    action: str
    method: str = ""
    match: str = ""
    times: int = 1
    skip: int = 0
    p: float = 1.0
    status: int = 500
    code: str = ""
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    rate: int = 0

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"{self.action!r} is none of {', '.join(ACTIONS)}")

    def fits(self, method: str, where: str) -> bool:
        """Whether the request is one of those meant."""
        return self.times > 0 and self.method in ("", method) and self.match in where

    def answer(self) -> bytes:
        """What ``error`` and ``busy`` answer, on the wire."""
        text = self.body or (f"<Error><Code>{self.code}</Code><Message>armed</Message></Error>" if self.code else "")
        kind = "application/json" if text.startswith("{") else "application/xml"
        headers = {"Content-Length": str(len(text.encode())), "Content-Type": kind, **self.headers}
        lines = [f"HTTP/1.1 {self.status} Armed", *(f"{name}: {value}" for name, value in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n" + text).encode()


class Faults:
    """The armed faults, in the order they were armed, and how often each kind struck. The dice are seeded."""

    def __init__(self) -> None:
        self.armed: list[Fault] = []
        self.fired: Counter[str] = Counter()
        self._rng = random.Random(1)
        self._seen: dict[str, float] = {}

    def seed(self, number: int) -> None:
        """Start the dice again from ``number``."""
        self._rng = random.Random(number)

    def next(self, method: str, where: str) -> Fault | None:
        """The first armed fault that strikes this request."""
        for fault in self.armed:
            if not fault.fits(method, where):
                continue
            if fault.skip > 0:
                fault.skip -= 1
            elif self._strikes(fault, where):
                fault.times -= 1
                self.fired[fault.action] += 1
                return fault
        return None

    def _strikes(self, fault: Fault, where: str) -> bool:
        if fault.action != "busy":
            return self._rng.random() < fault.p
        now = time.monotonic()
        if now - self._seen.get(where, -fault.delay) < fault.delay:
            return True
        self._seen[where] = now
        return False
