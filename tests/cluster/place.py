"""A cluster that is full of ours, in miniature and real time, with the autokickers that look after it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.cluster.process import Autokicker, leader, wait_until
from tests.servers.kube.client import KubeServer
from tests.servers.kube.kinds import Object
from tests.servers.kube.objects import deployment, guest, node
from tests.servers.kube.timeline import Moment

_SETTINGS: dict[str, float | str] = {
    "INTERVAL": 1, "QUIET_SECONDS": 3, "ESCALATION_SECONDS": 2, "LEADER_SECONDS": 1.5, "GROWTH_STEP": 4,
    "CLUSTER_TIMEOUT": 1,
}  # fmt: skip
_OUR_NODES = (node("node-a"), node("node-b"))
_QUICK = {"load": 0.05, "stop": 0.2}


class Place:
    """A cluster that is full of ours, and the autokickers that look after it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.server = stack.enter_context(KubeServer())
        self._folder, self._stack = folder, stack
        self._kubeconfig = self.server.kubeconfig(folder / "kubeconfig")
        self.server.create(*_OUR_NODES, deployment(replicas=17, sim=_QUICK))
        time.sleep(0.3)

    def kicker(self, name: str = "kicker", *arguments: str, **settings: float | str) -> Autokicker:
        """An autokicker that has started; nobody waits for it to lead."""
        made = Autokicker(self._folder, self._kubeconfig, {**_SETTINGS, **settings}, arguments, name)
        return self._stack.enter_context(made)

    def leads(self) -> str:
        """Wait for a leader; its name."""
        wait_until(lambda: leader(self.server), "a leader")
        wait_until(lambda: self.server.control("watches") >= 3, "watches")
        time.sleep(0.3)
        return leader(self.server)

    def now(self) -> Moment:
        """The cluster now."""
        return self.server.timeline().moments[-1]

    def comes(self, name: str, **changes: Any) -> None:
        """A guest comes."""
        self.server.create(guest(name, **{"sim": {"stop": 0.1}, **changes}))

    def served(self, name: str) -> None:
        """Wait until a guest has its node."""
        wait_until(lambda: self.server.timeline().ran(name) is not None, f"{name} runs")

    def kills(self) -> int:
        """How many of ours were told to stop so far."""
        return len(self.server.timeline().kills())

    def events(self, reason: str) -> list[Object]:
        """The Events with a reason."""
        return [one for one in self.server.control("events") if one["reason"] == reason]

    def writes(self) -> list[dict[str, Any]]:
        """The requests that changed the scale."""
        return [one for one in self.server.requests() if one["method"] != "GET" and "/scale" in one["target"]]
