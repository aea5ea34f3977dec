"""Objects as teams write them, short enough for a table of scenarios."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.servers.kube.kinds import Object
from tests.servers.kube.rules import GPU
from tests.servers.kube.scheduler import GROUP, GROUP_SIZE

NAMESPACE = "factory"
OURS = {"lowprio": "true"}


def node(name: str, *, gpus: int = 8, cpu: int = 64, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    """A node; ``spec`` takes ``taints`` and ``unschedulable``."""
    room = {"cpu": str(cpu), "memory": "1024Gi", "ephemeral-storage": "4Ti", "pods": "110"}
    if gpus:
        room[GPU] = str(gpus)
    meta = {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}}
    status = {
        "capacity": dict(room), "allocatable": dict(room),
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
    }  # fmt: skip
    return {"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": spec, "status": status}


def container(gpus: int, cpu: str, memory: str) -> Object:
    """A pod's one container."""
    requests = {"cpu": cpu, "memory": memory}
    if gpus:
        requests[GPU] = str(gpus)
    # Extended resources are never overcommitted: the API wants limits equal to requests.
    limits = {GPU: str(gpus)} if gpus else {}
    return {"name": "main", "image": "example/image:1", "resources": {"requests": requests, "limits": limits}}


def deployment(
    name: str = "emiliapipe",
    *,
    replicas: int = 0,
    gpus: int = 1,
    namespace: str = NAMESPACE,
    sim: Mapping[str, float | str] | None = None,
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> Object:
    """Our Deployment; ``sim`` are the times of its pods (see ``kubelet``), ``spec`` goes into the pod's spec."""
    labels = {"app": name, **(OURS if labels is None else labels)}
    annotations = {f"sim/{key}": str(value) for key, value in (sim or {}).items()}
    strategy = spec.pop("strategy", {"type": "RollingUpdate"})
    pod = {"containers": [container(gpus, "2", "8Gi")], "terminationGracePeriodSeconds": 120, **spec}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}}, "strategy": strategy,
            "template": {"metadata": {"labels": dict(labels), "annotations": annotations}, "spec": pod},
        },
        "status": {"replicas": 0},
    }  # fmt: skip


def job(
    name: str = "train",
    *,
    size: int = 2,
    gpus: int = 8,
    namespace: str = NAMESPACE,
    sim: Mapping[str, float | str] | None = None,
    suspend: bool = False,
    **labels: str,
) -> Object:
    """A training Job of ours that may be suspended; ``labels`` are more of the Job's own."""
    annotations = {f"sim/{key}": str(value) for key, value in (sim or {}).items()}
    pod = {"containers": [container(gpus, "2", "8Gi")], "terminationGracePeriodSeconds": 60, "restartPolicy": "Never"}
    return {
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": name, "namespace": namespace, "labels": {"app": name, "duplexforge.io/lent": "true", **labels},
        },
        "spec": {
            "completionMode": "Indexed", "completions": size, "parallelism": size, "suspend": suspend,
            "template": {"metadata": {"labels": {"app": name, **OURS}, "annotations": annotations}, "spec": pod},
        },
        "status": {},
    }  # fmt: skip


def guest(
    name: str,
    *,
    gpus: int = 1,
    cpu: str = "1",
    memory: str = "1Gi",
    namespace: str = "research",
    sim: Mapping[str, float | str] | None = None,
    group: str = "",
    size: int = 0,
    **spec: Any,
) -> Object:
    """Another team's pod; of a group of ``size`` where ``group`` is named."""
    labels = {"app": name}
    annotations = {f"sim/{key}": str(value) for key, value in (sim or {}).items()}
    if group:
        labels[GROUP] = group
        annotations[GROUP_SIZE] = str(size)
    meta = {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations}
    pod = {"containers": [container(gpus, cpu, memory)], "terminationGracePeriodSeconds": 5, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod}


def pod_group(name: str, size: int, *, namespace: str = "research") -> Object:
    """The object by which coscheduling binds a group all or none."""
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "scheduling.x-k8s.io/v1alpha1", "kind": "PodGroup", "metadata": meta,
            "spec": {"minMember": size}}  # fmt: skip


def priority(name: str, value: int, policy: str = "PreemptLowerPriority") -> Object:
    """A PriorityClass."""
    return {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value,
            "preemptionPolicy": policy}  # fmt: skip
