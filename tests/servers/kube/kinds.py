"""The kinds of object that the stand-in knows: where each lives in the API, and what belongs to a namespace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One kind, by its place in the API."""

    group: str
    version: str
    plural: str
    name: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """``group/version``, or the version alone for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version


PODS = Kind("", "v1", "pods", "Pod")
NODES = Kind("", "v1", "nodes", "Node", namespaced=False)
NAMESPACES = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
CLAIMS = Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
CONFIG_MAPS = Kind("", "v1", "configmaps", "ConfigMap")
EVENTS = Kind("", "v1", "events", "Event")
NEW_EVENTS = Kind("events.k8s.io", "v1", "events", "Event")
DEPLOYMENTS = Kind("apps", "v1", "deployments", "Deployment")
REPLICA_SETS = Kind("apps", "v1", "replicasets", "ReplicaSet")
JOBS = Kind("batch", "v1", "jobs", "Job")
LEASES = Kind("coordination.k8s.io", "v1", "leases", "Lease")
AUTOSCALERS = Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
PRIORITIES = Kind("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", namespaced=False)
SCALED_OBJECTS = Kind("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject")
POD_GROUPS = Kind("scheduling.x-k8s.io", "v1alpha1", "podgroups", "PodGroup")

KINDS = (
    PODS, NODES, NAMESPACES, CLAIMS, CONFIG_MAPS, EVENTS, NEW_EVENTS, DEPLOYMENTS, REPLICA_SETS, LEASES, AUTOSCALERS,
    PRIORITIES, SCALED_OBJECTS, POD_GROUPS, JOBS,
)  # fmt: skip
BY_PLACE = {(kind.group, kind.plural): kind for kind in KINDS}
BY_NAME = {(kind.api_version, kind.name): kind for kind in KINDS}
# The HPA is served in its older version too, with the fields that both have.
BY_PLACE[("autoscaling", "horizontalpodautoscalers")] = AUTOSCALERS


def kind_of(thing: Object) -> Kind:
    """The kind that an object says it is; KeyError for one that the stand-in does not know."""
    return BY_NAME[(thing["apiVersion"], thing["kind"])]


def key_of(thing: Object) -> tuple[str, str]:
    """Namespace (empty for what has none) and name."""
    return thing["metadata"].get("namespace", ""), thing["metadata"]["name"]
