"""The settings of the autokicker."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from duplexforge.config.group import Group, OptionalStr


class AutokickSettings(Group):
    """How the autokicker watches the cluster, yields to others and grows again."""

    namespace: OptionalStr = None
    """Namespace of the Deployment; unset: the pod's own, else the kubeconfig's."""
    kubeconfig: OptionalStr = None
    """File with the way to the cluster; unset: ``~/.kube/config`` where there is one, else the pod's service account."""
    target_deployment: str = "emiliapipe"
    """Deployment whose replicas are set."""
    interval: float = Field(default=15.0, ge=1, le=3600)
    """Seconds after which everything is listed afresh; changes are seen at once, by watching."""
    buffer: int = Field(default=1, ge=0, le=100)
    """Pods of ours that may sit pending as probes while nobody else waits: they tell when there is room for more."""
    baseline: int = Field(default=0, ge=0)
    """Replicas that are kept while others are pending."""
    max_replicas: int = Field(default=0, ge=0)
    """Most replicas; 0: no limit."""
    exclude_label: str = "lowprio"
    """Pods with this label (and EXCLUDE_VALUE) are ours or our kin: nobody yields to them."""
    exclude_value: str = "true"
    """Value of EXCLUDE_LABEL."""
    policy: Literal["just-enough", "all"] = "just-enough"
    """``just-enough``: the fewest pods whose end lets the others run; ``all``: down to BASELINE as soon as one waits."""
    resource: str = "nvidia.com/gpu"
    """The resource that is lent and given back; pods that ask for none of it are nobody to yield to."""
    quiet_seconds: float = Field(default=60.0, ge=0, le=86400)
    """With ``just-enough``: seconds without a waiting guest before it grows again."""
    growth_step: int = Field(default=1, ge=1, le=1000)
    """Pods added at once while there is room for them (more than one: where nodes may be listed)."""
    idle_seconds: float = Field(default=300.0, ge=0)
    """Seconds with an empty queue after which idle replicas end; 0: never."""
    escalation_seconds: float = Field(default=30.0, ge=1, le=3600)
    """A guest that does not take the room made for it within this time gets more, step by step up to all of ours."""
    probe: bool = True
    """Keep BUFFER pods pending; off: grow by counting free GPUs, which wants the right to list nodes and all pods."""
    tasks_per_replica: float = Field(default=1.0, gt=0)
    """Open tasks that are worth one replica; growth ends there. The queue is read where STORE_URL (or a bucket) is set."""
    queue_seconds: float = Field(default=30.0, ge=0.1)
    """Seconds between two looks at the queue."""
    node_gpus: int = Field(default=8, ge=1)
    """GPUs of a node, for an autokicker that may not list nodes."""
    watch_namespaces: str = "*"
    """Namespaces whose pods are looked at, comma between them; ``*``: all, or NAMESPACE alone where only that is allowed."""
    gang_labels: str = (
        "scheduling.x-k8s.io/pod-group,scheduling.k8s.io/group-name,pod-group.scheduling.sigs.k8s.io,"
        "kueue.x-k8s.io/pod-group-name,leaderworkerset.sigs.k8s.io/group-key,duplexforge.io/gang"
    )
    """Labels or annotations by which pods belong to a gang, which starts whole or not at all; comma between them."""
    lease_name: str = "duplexforge-autokick"
    """Lease by which one of several autokickers leads; it also carries the last decisions."""
    leader_seconds: float = Field(default=15.0, ge=1, le=600)
    """Seconds after which a silent leader is replaced."""
    cluster_timeout: float = Field(default=10.0, gt=0, le=300)
    """Seconds without an answer after which a request to the API server is given up."""
