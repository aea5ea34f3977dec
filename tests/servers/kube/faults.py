"""What may go wrong between a client and the API server, armed by the control page.

A fault fits requests by ``verb`` (get, list, watch, create, update, patch, delete) and ``resource`` (``deployments/scale``),
``times`` often, with chance ``p``. Actions: a status (``500``, ``503``, ``403``, ``401``, ``429`` with ``seconds`` as
Retry-After), ``slow`` by ``seconds``, ``drop`` (never done), ``lost`` (done, and the answer lost).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

_REASONS = {
    "401": "Unauthorized", "403": "Forbidden", "429": "TooManyRequests", "500": "InternalError",
    "503": "ServiceUnavailable",
}  # fmt: skip


@dataclass
class Fault:
    """One armed fault."""

    action: str
    verb: str = "*"
    resource: str = "*"
    times: int = 1
    p: float = 1.0
    seconds: float = 1.0

    @property
    def reason(self) -> str:
        """The reason of the status that it answers with; empty when it is none."""
        return _REASONS.get(self.action, "")


@dataclass
class Faults:
    """All that is armed; ``allowed`` are the rules of RBAC, None for everything."""

    armed: list[Fault] = field(default_factory=list)
    allowed: list[dict[str, Any]] | None = None
    rng: random.Random = field(default_factory=lambda: random.Random(0))

    def take(self, verb: str, resource: str) -> Fault | None:
        """The first fault that fits a request; it is used up by one."""
        for fault in self.armed:
            fits = fault.verb in ("*", verb) and fault.resource in ("*", resource)
            if fits and self.rng.random() < fault.p:
                fault.times -= 1
                self.armed = [one for one in self.armed if one.times > 0]
                return fault
        return None

    def forbids(self, verb: str, group: str, resource: str, namespace: str) -> bool:
        """Whether RBAC refuses: no rule, cluster-wide or of the namespace, allows the verb on the resource."""
        if self.allowed is None:
            return False
        return not any(
            rule.get("namespace") in (None, namespace)
            and _names(rule["apiGroups"], group)
            and _names(rule["resources"], resource)
            and _names(rule["verbs"], verb)
            for rule in self.allowed
        )


def _names(values: list[str], wanted: str) -> bool:
    return "*" in values or wanted in values
