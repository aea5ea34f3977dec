"""A control plane that somebody else runs, with the parts it lacks: scheduler, controllers and kubelets of the model.

envtest starts an API server alone; a kind cluster has controllers and a scheduler, and no GPUs. The nodes are made up
here in any case, so their kubelets are the model's; scheduler and controllers are only where no Lease tells of real ones.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from typing import Any, Self
from urllib.parse import quote

from tests.cluster.scenario import Step
from tests.servers.kube.deployments import Controllers
from tests.servers.kube.kinds import (
    CLAIMS,
    DEPLOYMENTS,
    LEASES,
    NAMESPACES,
    NODES,
    POD_GROUPS,
    PODS,
    PRIORITIES,
    REPLICA_SETS,
    Kind,
    Object,
    key_of,
    kind_of,
)
from tests.servers.kube.kubelet import Kubelet
from tests.servers.kube.model import Ticking
from tests.servers.kube.scheduler import Scheduler
from tests.servers.kube.timeline import Timeline

# Pods last: who writes deletion costs and then a scale must not be seen to have written the scale alone.
_MIRRORED = (DEPLOYMENTS, REPLICA_SETS, CLAIMS, POD_GROUPS, NODES, PODS)
_PAUSE = 0.02
# What somebody else did at the same time: the next turn sees it.
_OVERTAKEN = (404, 409)


class ApiRefused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class RemoteObjects:
    """The model's ``Objects`` over HTTP: read from a mirror that is renewed every turn, written through."""

    def __init__(self, api_client: Any) -> None:
        self._client = api_client
        self._mirror: dict[Kind, dict[tuple[str, str], Object]] = {kind: {} for kind in _MIRRORED}
        self.version = 0

    def call(self, method: str, path: str, body: Any = None, content: str = "application/json") -> Object:
        """One request; ApiRefused for a refusal."""
        headers = {"Accept": "application/json", "Content-Type": content}
        prepared = self._client.param_serialize(
            method, path, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        answer = self._client.call_api(*prepared).response
        told: Object = json.loads(answer.data)
        if answer.status >= 400:
            raise ApiRefused(answer.status, told.get("message", ""))
        return told

    def refresh(self) -> None:
        """List everything again."""
        for kind in _MIRRORED:
            try:
                items = self.call("GET", path_of(kind))["items"]
            except ApiRefused as error:
                if error.status != 404:
                    raise
                items = []
            whole = [{**one, "apiVersion": kind.api_version, "kind": kind.name} for one in items]
            self._mirror[kind] = {key_of(one): one for one in whole}
        versions = (one["metadata"]["resourceVersion"] for part in self._mirror.values() for one in part.values())
        # No single version belongs to several lists: any difference makes another one of these.
        self.version = hash(tuple(versions))

    def listed(self, kind: Kind) -> list[Object]:
        """From the mirror."""
        return [thing for _, thing in sorted(self._mirror[kind].items())]

    def create(self, kind: Kind, thing: Object) -> Object:
        """Create an object; its status by a second request, as the real server wants it."""
        whole = {**thing, "apiVersion": kind.api_version, "kind": kind.name}
        made = self._written(kind, "POST", path_of(kind, thing["metadata"].get("namespace", "")), whole)
        return self.set_status(kind, {**made, "status": thing["status"]}) if thing.get("status") else made

    def replace(self, kind: Kind, thing: Object) -> Object:
        """Replace an object."""
        return self._written(kind, "PUT", path_of(kind, *key_of(thing)), thing)

    def set_status(self, kind: Kind, thing: Object) -> Object:
        """Replace an object's status."""
        return self._written(kind, "PUT", f"{path_of(kind, *key_of(thing))}/status", thing)

    def bind(self, pod: Object, node: str) -> None:
        """Give a pod its node."""
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod["metadata"]["name"]},
                   "target": {"apiVersion": "v1", "kind": "Node", "name": node}}  # fmt: skip
        self._try("POST", f"{path_of(PODS, *key_of(pod))}/binding", binding)

    def delete(self, kind: Kind, key: tuple[str, str], grace: int | None = None) -> Object:
        """Delete an object."""
        return self._try("DELETE", path_of(kind, *key), {} if grace is None else {"gracePeriodSeconds": grace}) or {}

    def _written(self, kind: Kind, method: str, path: str, thing: Object) -> Object:
        made = self._try(method, path, thing)
        if made is None:
            return thing
        if kind in self._mirror:
            self._mirror[kind][key_of(made)] = made
        return made

    def _try(self, method: str, path: str, body: Any) -> Object | None:
        try:
            return self.call(method, path, body)
        except ApiRefused as error:
            if error.status not in _OVERTAKEN:
                raise
            return None


def path_of(kind: Kind, space: str = "", name: str = "") -> str:
    """Where objects of a kind are."""
    root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"
    place = f"/namespaces/{quote(space)}" if space else ""
    return f"{root}{place}/{kind.plural}" + (f"/{quote(name)}" if name else "")


class RemoteCluster:
    """Turns the missing parts in a thread, and records what is seen."""

    def __init__(self, api_client: Any) -> None:
        self.objects = RemoteObjects(api_client)
        self.timeline = Timeline()
        self._made: list[tuple[Kind, tuple[str, str]]] = []
        self._start, self._stopping = time.monotonic(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failure: Exception | None = None

    def __enter__(self) -> Self:
        self._refuse_a_cluster_in_use()
        real = {one["metadata"]["name"] for one in self._leases("kube-system")}
        self._parts: list[Ticking] = [Kubelet(self.objects, time.time)]
        if "kube-scheduler" not in real:
            self._parts.insert(0, Scheduler(self.objects, time.time))
        if "kube-controller-manager" not in real:
            self._parts.insert(0, Controllers(self.objects, time.time))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(30)
        self._clean()

    @property
    def now(self) -> float:
        """Seconds since this cluster was taken."""
        return time.monotonic() - self._start

    def leader(self, lease: str = "duplexforge-autokick") -> str:
        """Who holds the autokickers' Lease; empty while nobody does."""
        found = [one for one in self._leases("factory") if one["metadata"]["name"] == lease]
        return next((str(one["spec"].get("holderIdentity") or "") for one in found), "")

    def create(self, *things: Object) -> None:
        """Create objects as other people would; they are taken away at the end."""
        for thing in things:
            kind = kind_of(thing)
            if kind.namespaced:
                self._namespace(thing["metadata"].setdefault("namespace", "default"))
            self.objects.create(kind, thing)
            if kind == NODES:
                # Where no controller looks after nodes, the taint of a new one would stay for ever.
                spec = {"spec": {"taints": thing["spec"].get("taints") or None}}
                self.objects.call("PATCH", path_of(kind, *key_of(thing)), spec, "application/merge-patch+json")
            self._made.append((kind, key_of(thing)))

    def note_lost(self, seconds: Iterable[float]) -> None:
        """Note on our pods, in the order of their names, how much work each would lose."""
        mine = [one for one in self.objects.listed(PODS) if one["metadata"]["namespace"] == "factory"]
        for pod, lost in zip(mine, seconds, strict=False):
            note = {"metadata": {"annotations": {"duplexforge.io/lost-work-seconds": str(lost)}}}
            self.objects.call("PATCH", path_of(PODS, *key_of(pod)), note, "application/merge-patch+json")

    def follow(self, steps: Iterable[Step], length: float) -> None:
        """Do what other people do when it is their time, for ``length`` seconds."""
        start = self.now
        for step in sorted(steps, key=lambda one: one.at):
            time.sleep(max(0.0, start + step.at - self.now))
            if step.verb == "create":
                self.create(step.thing)
            elif step.verb == "delete":
                self.objects.delete(kind_of(step.thing), key_of(step.thing))
            else:
                path = path_of(kind_of(step.thing), *key_of(step.thing))
                self.objects.call("PATCH", path, step.thing, "application/merge-patch+json")
        time.sleep(max(0.0, start + length - self.now))
        assert self.failure is None, self.failure

    def _run(self) -> None:
        while not self._stopping.wait(_PAUSE):
            try:
                self.objects.refresh()
                for part in self._parts:
                    part.tick()
                self.timeline.record(self.now, self.objects)
            except Exception as error:
                self.failure = error

    def _leases(self, space: str) -> list[Object]:
        found: list[Object] = self.objects.call("GET", path_of(LEASES, space))["items"]
        return found

    def _namespace(self, name: str) -> None:
        self.objects.create(NAMESPACES, {"metadata": {"name": name}})

    def _refuse_a_cluster_in_use(self) -> None:
        for node in self.objects.call("GET", path_of(NODES))["items"]:
            if "nvidia.com/gpu" in node.get("status", {}).get("allocatable", {}):
                name = node["metadata"]["name"]
                raise RuntimeError(f"node {name} of this cluster has GPUs: these tests want a cluster of their own")

    def _clean(self) -> None:
        for kind, key in self._made:
            if kind in (DEPLOYMENTS, NODES, POD_GROUPS, PRIORITIES, CLAIMS):
                self.objects.delete(kind, key)
        for space in ("factory", "research"):
            for kind in (REPLICA_SETS, PODS):
                for one in self.objects.call("GET", path_of(kind, space))["items"]:
                    self.objects.delete(kind, (space, one["metadata"]["name"]), 0)
            for one in self._leases(space):
                self.objects.delete(LEASES, (space, one["metadata"]["name"]))
