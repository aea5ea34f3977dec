"""The kubelets of all nodes: pods start, load, run, stop when told, and are killed when their grace is over.

What a pod's containers would do stands in its annotations, in seconds: ``sim/start`` until it runs (image there),
``sim/load`` from then until it is ready, ``sim/run`` until it has done its work (none: never), ``sim/stop`` from SIGTERM
to its exit. ``sim/image: missing`` never starts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.servers.kube import rules
from tests.servers.kube.kinds import PODS, Object, key_of
from tests.servers.kube.store import Objects

# How long pods that ended stay listed: long enough to be mistaken for holders of GPUs.
_LINGER = 1.0


@dataclass
class Life:
    """What one pod has gone through, on the model's clock: whole seconds, as objects carry them, are too coarse."""

    pod: Object
    started: float | None = None
    bound: float = 0.0
    told: float | None = None
    ended: float | None = None
    dues: list[float] = field(default_factory=list)

    def seconds(self, name: str, default: float = 0.0) -> float:
        """One of the pod's times."""
        return float(rules.annotation(self.pod, f"sim/{name}", str(default)))


class Kubelet:
    """Moves every pod that has a node on."""

    def __init__(self, objects: Objects, clock: Callable[[], float]) -> None:
        self._objects, self._clock = objects, clock
        self._lives: dict[str, Life] = {}
        # When the next thing happens by itself; the model's clock may jump there.
        self.next_at = float("inf")

    def tick(self) -> None:
        """Bring every pod to where it is now."""
        now, dues = self._clock(), []
        pods = [pod for pod in self._objects.listed(PODS) if pod["spec"].get("nodeName")]
        uids = {pod["metadata"]["uid"] for pod in pods}
        self._lives = {uid: life for uid, life in self._lives.items() if uid in uids}
        for pod in pods:
            life = self._lives.setdefault(pod["metadata"]["uid"], Life(pod, bound=now))
            life.pod = pod
            dues.append(self._move(life, now))
        self.next_at = min(dues, default=float("inf"))

    def _move(self, life: Life, now: float) -> float:
        """Do what is due; when the next thing is."""
        pod = life.pod
        if rules.leaving(pod):
            return self._stop(life, now)
        if life.ended is not None:
            if now >= life.ended + _LINGER:
                self._objects.delete(PODS, key_of(pod), 0)
            return life.ended + _LINGER
        if rules.annotation(pod, "sim/image") == "missing":
            self._waits(pod, "ImagePullBackOff")
            return float("inf")
        if life.started is None and now < life.bound + life.seconds("start"):
            self._waits(pod, "ContainerCreating")
            return life.bound + life.seconds("start")
        return self._run(life, now)

    def _run(self, life: Life, now: float) -> float:
        pod = life.pod
        life.started = life.started if life.started is not None else now
        ready, done = life.started + life.seconds("load"), life.started + life.seconds("run", float("inf"))
        if now >= done:
            life.ended = now
            self._phase(pod, "Succeeded", ready=False)
            return now + _LINGER
        self._phase(pod, "Running", ready=now >= ready)
        return min(done, ready if now < ready else float("inf"))

    def _stop(self, life: Life, now: float) -> float:
        if life.told is None:
            life.told = now
            if life.started is not None:
                self._phase(life.pod, "Running", ready=False)
        grace = life.pod["metadata"]["deletionGracePeriodSeconds"]
        due = life.told + (min(life.seconds("stop"), grace) if life.started is not None else 0.0)
        if now >= due:
            self._objects.delete(PODS, key_of(life.pod), 0)
        return due

    def _waits(self, pod: Object, reason: str) -> None:
        states = [{"name": "main", "ready": False, "restartCount": 0, "image": "", "imageID": "",
                   "state": {"waiting": {"reason": reason}}}]  # fmt: skip
        if pod["status"].get("containerStatuses") != states:
            told = copy.deepcopy(pod)
            told["status"] |= {"containerStatuses": states}
            self._objects.set_status(PODS, told)

    def _phase(self, pod: Object, phase: str, *, ready: bool) -> None:
        if pod["status"].get("phase") == phase and rules.ready(pod) == ready:
            return
        told = copy.deepcopy(pod)
        status = told["status"]
        kept = [one for one in status.get("conditions", []) if one["type"] not in ("Ready", "ContainersReady")]
        stamp = rules.stamp(self._clock())
        told["status"] |= {
            "phase": phase,
            "startTime": status.get("startTime", stamp),
            "conditions": [*kept, {"type": "Ready", "status": str(ready), "lastTransitionTime": stamp}],
            "containerStatuses": [
                {"name": "main", "ready": ready, "restartCount": 0, "image": "", "imageID": "",
                 "state": {"running": {"startedAt": stamp}} if phase == "Running"
                 else {"terminated": {"exitCode": 0, "reason": "Completed"}}}
            ],
        }  # fmt: skip
        self._objects.set_status(PODS, told)
