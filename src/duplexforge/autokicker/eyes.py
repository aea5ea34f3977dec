"""What the autokicker looks at: mirrors of pods, nodes and the Deployment, and what only has to be asked now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from duplexforge import log
from duplexforge.autokicker import parse
from duplexforge.autokicker.cluster import FORBIDDEN, MISSING, Cluster, ClusterError, deployments, jobs, pods
from duplexforge.autokicker.observe import Ours, observe, ours
from duplexforge.autokicker.watch import NOT_YET, Collection, Mirror
from duplexforge.autokicker.world import Gang, Lent, Node, Observation, Pod
from duplexforge.config import AutokickSettings
from duplexforge.errors import DuplexforgeError

_NODES = "/api/v1/nodes"
# Coscheduling's and Volcano's: neither need be there.
_POD_GROUPS = ("/apis/scheduling.x-k8s.io/v1alpha1/podgroups", "/apis/scheduling.volcano.sh/v1beta1/podgroups")
_OPEN = "status.phase!=Succeeded,status.phase!=Failed"


@dataclass(frozen=True)
class Workload:
    """How to learn what there is to do: open tasks, and work in progress by pod name (seconds that would be lost)."""

    depth: Callable[[], int]
    by_pod: Callable[[], Mapping[str, float]]


@dataclass(frozen=True)
class Surroundings:
    """What is asked for now and then: the queue, and who else scales the Deployment."""

    open_tasks: int | None = None
    lost_work: Mapping[str, float] = field(default_factory=dict)
    rival: str = ""
    unsure: str = ""


class Eyes:
    """Sees the cluster. ``changed`` is called, from other threads, whenever something is different."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        config: AutokickSettings,
        *,
        workload: Workload | None,
        changed: Callable[[], None],
    ) -> None:
        self._cluster, self._namespace, self._config = cluster, namespace, config
        self._workload, self._changed = workload, changed
        self._log = log.get("autokick")
        self._around = Surroundings(unsure="the queue has not been read yet" if workload else "")
        self._quiet: set[str] = set()
        self._stopping = threading.Event()
        self.scope: tuple[str, ...] | None = None
        self._pods: list[Mirror[Pod]] = []
        self._nodes: Mirror[Node] | None = None
        self._target: Mirror[Ours] | None = None
        self._gangs: list[Mirror[Gang]] = []
        self._lent: list[Mirror[Lent]] = []

    def open(self, *, write: Callable[[], bool]) -> None:
        """Find out what may be seen and start to look. ``write`` tells whether a ScaledObject may be paused now."""
        config, gangs = self._config, [name.strip() for name in self._config.gang_labels.split(",")]
        self.scope = self._scope()

        def read(found: parse.Json) -> Pod | None:
            return None if parse.ended(found) else parse.pod(found, gangs)

        for space in self.scope or (None,):
            what = Collection(f"pods of {space or 'all namespaces'}", pods(space), read, {"fieldSelector": _OPEN})
            self._pods.append(Mirror(self._cluster, what, config.interval, self._changed))
        if self._cluster.allowed(_NODES):
            self._nodes = Mirror(self._cluster, Collection("nodes", _NODES, parse.node), config.interval, self._changed)
        else:
            self._log.warning("nodes may not be listed: what is free is learnt from one pending probe")
        for path in _POD_GROUPS:
            if self._cluster.allowed(path):
                what_groups = Collection("pod groups", path, parse.gang)
                self._gangs.append(Mirror(self._cluster, what_groups, config.interval, self._changed))
        if self._cluster.allowed(jobs(self._namespace)):
            what_jobs = Collection("Jobs", jobs(self._namespace), parse.lent, {"labelSelector": f"{parse.LENT}=true"})
            self._lent.append(Mirror(self._cluster, what_jobs, config.interval, self._changed))
        one = {"fieldSelector": f"metadata.name={config.target_deployment}"}
        where = Collection("the Deployment", deployments(self._namespace), ours, one)
        self._target = Mirror(self._cluster, where, config.interval, self._changed)
        for mirror in (*self._mirrors(), *self._gangs, *self._lent):
            mirror.start()
        asks = {"rivals": (config.interval, lambda: self.ask_rivals(write=write()))}
        if self._workload:
            asks["queue"] = (config.queue_seconds, self.ask_queue)
        for name, (seconds, ask) in asks.items():
            threading.Thread(target=self._every, args=(seconds, ask), name=name, daemon=True).start()

    def close(self) -> None:
        """Stop looking."""
        self._stopping.set()
        for mirror in (*self._mirrors(), *self._gangs, *self._lent):
            mirror.stop()

    @property
    def exact(self) -> bool:
        """Whether what is free on the nodes is known: nodes and everybody's pods are seen."""
        return self._nodes is not None and self.scope is None

    def fault(self) -> str:
        """Why there is nothing to decide on now; empty when all is seen."""
        # What is only good to know is waited for once, lest the first step be taken without it.
        useful: list[Mirror[Any]] = [*self._gangs, *self._lent]
        for mirror in (*self._mirrors(), *(one for one in useful if one.fault == NOT_YET)):
            if mirror.fault:
                return f"{mirror.what.name}: {mirror.fault}"
        if self._target is not None and not self._target.values():
            return f"there is no Deployment {self._config.target_deployment} in {self._namespace}"
        return ""

    def look(self) -> Observation:
        """What there is now; only while :meth:`fault` is empty."""
        assert self._target is not None
        # By uid: a pod of two overlapping namespaces is one pod.
        seen: dict[str, Pod] = {pod.uid: pod for mirror in self._pods for pod in mirror.values()}
        around = self._around
        return observe(
            self._target.values()[0],
            seen.values(),
            self._nodes.values() if self._nodes else None,
            self._config,
            now=time.time(),
            complete=self.exact,
            open_tasks=around.open_tasks,
            lost_work=around.lost_work,
            rival=around.rival,
            unsure=around.unsure,
            gangs=[gang for mirror in self._gangs for gang in mirror.values()],
            lent=[job for mirror in self._lent for job in mirror.values()],
        )

    def _mirrors(self) -> list[Mirror[Any]]:
        """What must be seen to decide; the size of gangs and the Jobs that are lent are only good to know."""
        return [one for one in (*self._pods, self._nodes, self._target) if one is not None]

    def _scope(self) -> tuple[str, ...] | None:
        """The namespaces whose pods are seen; None for all."""
        named = [space.strip() for space in self._config.watch_namespaces.split(",") if space.strip()]
        if "*" not in named:
            return tuple(dict.fromkeys([self._namespace, *named]))
        if self._cluster.allowed(pods()):
            return None
        self._log.warning(
            "only its own namespace may be seen: pods of others elsewhere get no room", own=self._namespace
        )
        return (self._namespace,)

    # -- what is asked now and then --------------------------------------------------------------------------------

    def ask_rivals(self, *, write: bool) -> None:
        """Ask who else scales the Deployment; a leader (``write``) pauses KEDA. Raises ClusterError."""
        name = self._optional("HPAs", lambda: self._cluster.autoscaler(self._namespace, self._config.target_deployment))
        if write:
            names = self._optional(
                "ScaledObjects", lambda: self._cluster.pause_keda(self._namespace, self._config.target_deployment)
            )
            for one in names or ():
                self._log.warning("paused KEDA's ScaledObject: two must not set the same replicas", scaled_object=one)
        self._now(replace(self._around, rival=f"HPA {name}" if name else ""))

    def ask_queue(self) -> None:
        """Ask what there is to do; a queue that cannot be read leaves only the old prices of stopping."""
        if self._workload is None:
            return
        try:
            found = replace(
                self._around, open_tasks=self._workload.depth(), lost_work=self._workload.by_pod(), unsure=""
            )
        except (DuplexforgeError, OSError) as error:
            found = replace(self._around, open_tasks=None, unsure=f"the queue cannot be read ({error})")
        # The other thread may have found a rival meanwhile.
        self._now(replace(found, rival=self._around.rival))

    def _now(self, around: Surroundings) -> None:
        if around != self._around:
            self._around = around
            self._changed()

    def _every(self, seconds: float, ask: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                ask()
            except ClusterError as error:
                self._log.warning("could not ask who else scales the Deployment", error=str(error))
            # A long queue takes long to count; that must not become all that this store does.
            self._stopping.wait(max(seconds, 20 * (time.monotonic() - began)))

    def _optional(self, name: str, ask: Callable[[], Any]) -> Any:
        """What may be forbidden or not installed: said once, then done without."""
        try:
            return ask()
        except ClusterError as error:
            if error.status not in (FORBIDDEN, MISSING):
                raise
            if error.status == FORBIDDEN and name not in self._quiet:
                self._log.warning(f"{name} may not be seen; none is taken for granted", error=str(error))
                self._quiet.add(name)
            return None
