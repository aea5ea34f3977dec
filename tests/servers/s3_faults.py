"""Faults that a test arms in the S3 stand-in, each for some of the requests that match it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.servers.s3_answers import error
from tests.servers.wire import Answer, Request


@dataclass
class Fault:
    """What happens to the next ``times`` matching requests (after ``skip`` of them), each with probability ``p``.

    ``action``: ``error`` answers ``code`` without applying; ``lost`` applies and breaks the connection before the
    answer; ``late`` breaks it now and applies after ``delay`` seconds; ``slow`` applies now and answers after
    ``delay``; ``cut`` answers with half of the body.
    """

    action: str
    method: str = ""
    match: str = ""
    times: int = 1
    skip: int = 0
    p: float = 1.0
    code: str = "InternalError"
    delay: float = 0.0

    def fits(self, request: Request) -> bool:
        """Whether the request is one of those meant."""
        return self.times > 0 and self.method in ("", request.method) and self.match in request.target


class Faults:
    """The armed faults, in the order they were armed."""

    def __init__(self, later: Callable[[float, Callable[[], object]], object]) -> None:
        self.armed: list[Fault] = []
        self._later = later
        self._rng = random.Random(1)

    def around(self, request: Request, apply: Callable[[], Answer]) -> Answer:
        """The answer to ``request``, or what the first fitting fault makes of it."""
        fault = self._next(request)
        if fault is None:
            return apply()
        if fault.action == "error":
            return error(fault.code)
        if fault.action == "late":
            self._later(fault.delay, apply)
            return Answer(dropped=True)
        answer = apply()
        if fault.action == "lost":
            answer.dropped = True
        elif fault.action == "slow":
            answer.delay = fault.delay
        elif fault.action == "cut":
            answer.headers["Content-Length"] = str(len(answer.body))
            answer.sent = len(answer.body) // 2
        return answer

    def _next(self, request: Request) -> Fault | None:
        for fault in self.armed:
            if fault.fits(request):
                if fault.skip > 0:
                    fault.skip -= 1
                elif self._rng.random() < fault.p:
                    fault.times -= 1
                    return fault
        return None
