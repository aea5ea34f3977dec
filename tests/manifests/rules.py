"""The rules that every pod of the manifests keeps, as functions: each gives the sentences about what is wrong.

``test_rules.py`` holds every rendered object to them, and breaks each rule on purpose to see that it speaks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from duplexforge.autokicker.parse import quantity
from duplexforge.variables import describe
from tests.manifests.kustomize import Object, pod_specs

SETTINGS = {name for row in describe() for name in row.names}
# What libraries read: where temporary files go, on a root that cannot be written.
OTHER_VARIABLES = {"TMPDIR", "HOME"}
# Whose work asks the API server.
WITH_TOKEN = {"autokicker", "status"}
# Scaled by KEDA, the autokicker or a person: an apply must not set them back.
SCALED = {"download", "upload", "emiliapipe"}
ROLES = {"autokick", "download", "duplex", "process", "seed", "status", "train", "upload"}
# Who stops when somebody else wants the GPUs, and is nobody to yield to.
LOWPRIO = {"emiliapipe", "train"}
_LABELS = ("app.kubernetes.io/name", "app.kubernetes.io/component", "app.kubernetes.io/part-of")
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|ACCESS_KEY")

Rule = Callable[[Object], Iterator[str]]


def _pod(one: Object) -> Object:
    (spec,) = pod_specs(one)
    return spec


def _template(one: Object) -> Object:
    spec = one["spec"]["jobTemplate"]["spec"] if one["kind"] == "CronJob" else one["spec"]
    found: Object = spec["template"]
    return found


def _containers(one: Object) -> list[Object]:
    spec = _pod(one)
    return [*spec.get("initContainers", ()), *spec["containers"]]


def restricted(one: Object) -> Iterator[str]:
    """The restricted Pod Security Standard, and a root that cannot be written."""
    spec = _pod(one)
    context = spec.get("securityContext") or {}
    if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
        yield "runs as root"
    if (context.get("seccompProfile") or {}).get("type") != "RuntimeDefault":
        yield "no seccomp profile"
    if {"hostNetwork", "hostPID", "hostIPC"} & {key for key, value in spec.items() if value}:
        yield "shares the host's namespaces"
    for container in _containers(one):
        own = container.get("securityContext") or {}
        if own.get("allowPrivilegeEscalation") is not False:
            yield "may gain privileges"
        if own.get("readOnlyRootFilesystem") is not True:
            yield "may write its root"
        if own.get("privileged") or (own.get("capabilities") or {}) != {"drop": ["ALL"]}:
            yield "keeps capabilities"
        if own.get("runAsNonRoot") is False or own.get("runAsUser") == 0:
            yield "runs as root"
    kinds = {key for volume in spec.get("volumes", ()) for key in volume if key != "name"}
    if kinds - {"emptyDir", "configMap", "secret", "projected", "persistentVolumeClaim"}:
        yield "mounts something of the node's"


def accounts(one: Object) -> Iterator[str]:
    """An account of its own, and its token only where the API server is asked; no variables of Services."""
    spec, name = _pod(one), one["metadata"]["name"]
    if spec.get("serviceAccountName") in (None, "default"):
        yield "uses the namespace's account"
    if spec.get("automountServiceAccountToken") is not (name in WITH_TOKEN):
        yield "has a token that it does not need, or lacks one"
    if spec.get("enableServiceLinks") is not False:
        yield "takes Services' variables for settings"


def probes(one: Object) -> Iterator[str]:
    """Loaded, moving, ready: the three pages of health.py, for all that runs without end."""
    if one["kind"] in ("CronJob", "Job"):
        return
    wanted = {"startupProbe": "/readyz", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    for container in _pod(one)["containers"]:
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
        for name, path in wanted.items():
            asked = (container.get(name) or {}).get("httpGet") or {}
            if asked.get("path") != path:
                yield f"{name} does not ask {path}"
            elif str(ports.get(asked.get("port"))) not in container["command"]:
                yield f"{name} asks at a port that the command does not open"
        start = container.get("startupProbe") or {}
        if start.get("periodSeconds", 10) * start.get("failureThreshold", 3) < 120:
            yield "has too little time to start"


def resources(one: Object) -> Iterator[str]:
    """Requests for all that is scarce, limits for what breaks others, both equal where there are GPUs."""
    for container in _containers(one):
        asked, most = container["resources"].get("requests", {}), container["resources"].get("limits", {})
        if missing := {"cpu", "memory", "ephemeral-storage"} - set(asked):
            yield f"requests no {', '.join(sorted(missing))}"
        if missing := {"memory", "ephemeral-storage"} - set(most):
            yield f"has no limit of {', '.join(sorted(missing))}"
        if "nvidia.com/gpu" in most and asked != most:
            yield "holds GPUs and requests less than its limits"
        for name in set(asked) & set(most):
            if quantity(asked[name]) > quantity(most[name]):
                yield f"requests more {name} than its limit"


def scratch(one: Object) -> Iterator[str]:
    """Every volume on the node is bounded and within the limits; temporary files go there; /dev/shm is memory."""
    spec = _pod(one)
    volumes = {volume["name"]: volume["emptyDir"] for volume in spec.get("volumes", ()) if "emptyDir" in volume}
    sizes = {name: quantity(found.get("sizeLimit", 0)) for name, found in volumes.items()}
    if not all(sizes.values()):
        yield "has a volume without a size"
    for container in _containers(one):
        limits = container["resources"]["limits"]
        mounts = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", ())}
        disk = sum(size for name, size in sizes.items() if volumes[name].get("medium") != "Memory")
        if disk > quantity(limits["ephemeral-storage"]):
            yield "is evicted before its volumes are full"
        if sum(sizes.values()) - disk > quantity(limits["memory"]) / 2:
            yield "may fill its memory with files"
        if (volumes.get(mounts.get("/dev/shm", "")) or {}).get("medium") != "Memory":
            yield "has no /dev/shm in memory"
        env = {found["name"]: found.get("value") for found in container.get("env", ())}
        if {env.get(name) for name in ("TMPDIR", "HOME")} | {env.get("SCRATCH_DIR", "/scratch")} != {"/scratch"}:
            yield "writes elsewhere than on its volume"
        if volumes.get(mounts.get("/scratch", "")) is None:
            yield "has no volume to write on"


def command(one: Object) -> Iterator[str]:
    """The program under an init, with no shell in between that would keep SIGTERM and the exit code for itself."""
    for container in _containers(one):
        words = [*container.get("command", ()), *container.get("args", ())]
        if words[:3] != ["tini", "--", "duplexforge"]:
            yield "does not start duplexforge under an init"
        if any(re.search(r"[|&;<>$`]", word) for word in words) or {"sh", "bash", "-c"} & set(words):
            yield "goes through a shell"


def image(one: Object) -> Iterator[str]:
    """A version, never ``latest`` or none."""
    for container in _containers(one):
        name, _, tag = container["image"].rpartition(":")
        if not name or tag in ("", "latest") or "/" in tag:
            yield f"its image {container['image']} has no version"


def labels(one: Object) -> Iterator[str]:
    """The common labels on the object and its pods; the selector chooses these pods and no others."""
    own, pods = one["metadata"].get("labels") or {}, _template(one)["metadata"].get("labels") or {}
    for where, found in (("the object", own), ("its pods", pods)):
        if missing := [name for name in _LABELS if name not in found]:
            yield f"{where} lacks {', '.join(missing)}"
    if own.get("app.kubernetes.io/component") not in ROLES:
        yield "its component is no role"
    chosen = (one["spec"].get("selector") or {}).get("matchLabels") or {}
    if one["kind"] == "Deployment" and chosen != {"app.kubernetes.io/name": one["metadata"]["name"]}:
        yield "its selector is not its name"
    if not chosen.items() <= pods.items():
        yield "its selector misses its pods"
    if (pods.get("lowprio") == "true") is not (one["metadata"]["name"] in LOWPRIO):
        yield "lowprio is the label of emiliapipe and train, and nobody else's"


def replicas(one: Object) -> Iterator[str]:
    """No number where something else sets it; one where there is to be one."""
    if one["kind"] != "Deployment":
        return
    wanted = None if one["metadata"]["name"] in SCALED else 1
    if one["spec"].get("replicas") != wanted:
        yield f"replicas are to be {wanted or 'left out'}"
    if wanted is None and one["metadata"]["name"] == "emiliapipe":
        rolling = (one["spec"].get("strategy") or {}).get("rollingUpdate") or {}
        if rolling.get("maxSurge") != 0:
            yield "an update adds pods, which the autokicker takes for lack of room"


def environment(one: Object) -> Iterator[str]:
    """Variables that the program knows, secrets by reference alone."""
    for container in _containers(one):
        for found in container.get("env", ()):
            if found["name"] not in SETTINGS | OTHER_VARIABLES:
                yield f"{found['name']} is no setting"
            if _SECRET.search(found["name"]) and "secretKeyRef" not in (found.get("valueFrom") or {}):
                yield f"{found['name']} stands there in plain text"
        for source in container.get("envFrom", ()):
            if set(source) != {"configMapRef"}:
                yield "takes a whole Secret, whatever may be in it"


def jobs(one: Object) -> Iterator[str]:
    """What cannot be cured ends a Job, a node that goes away costs it nothing, and a gang has one size everywhere."""
    if one["kind"] == "Deployment":
        return
    spec = one["spec"]["jobTemplate"]["spec"] if one["kind"] == "CronJob" else one["spec"]
    found = {rule["action"]: set() for rule in (spec.get("podFailurePolicy") or {}).get("rules", ())}
    for rule in (spec.get("podFailurePolicy") or {}).get("rules", ()):
        found[rule["action"]] |= set(rule.get("onExitCodes", {}).get("values", ()))
        found[rule["action"]] |= {condition["type"] for condition in rule.get("onPodConditions", ())}
    if not {2, 65, 78} <= found.get("FailJob", set()) or 75 in found.get("FailJob", set()):
        yield "tries again what cannot be cured, or gives up what can"
    if "DisruptionTarget" not in found.get("Ignore", set()):
        yield "counts a node that goes away as its own failure"
    if _pod(one)["restartPolicy"] != "Never" or not spec.get("backoffLimit"):
        yield "is never tried again, or by the kubelet, which knows no policy"
    if spec.get("completionMode") == "Indexed":
        yield from _gang(one, found.get("Ignore", set()))


def _gang(one: Object, ignored: set[Any]) -> Iterator[str]:
    """A run on several machines: all of them or none."""
    spec, name = one["spec"], one["metadata"]["name"]
    (container,) = _pod(one)["containers"]
    words = container["command"]
    meta = _template(one)["metadata"]
    sizes = {spec["completions"], spec["parallelism"], int(words[words.index("--nnodes") + 1])}
    sizes.add(int((meta.get("annotations") or {}).get("duplexforge.io/gang-size", 0)))
    if len(sizes) != 1 or meta["labels"].get("duplexforge.io/gang") != name:
        yield "its gang has more than one size, or no name"
    port = {opened["name"]: opened["containerPort"] for opened in container.get("ports", ())}.get("meeting")
    if words[words.index("--rdzv-endpoint") + 1] != f"{name}-0.{_pod(one).get('subdomain')}:{port}":
        yield "its pods do not meet at the first one of them"
    if 75 not in ignored:
        yield "counts those that stop with a kicked one as failures"
    if spec.get("podReplacementPolicy") != "Failed":
        yield "starts a pod again before it has ended"


def grace(one: Object, variables: dict[str, Any]) -> Iterator[str]:
    """Time to drain, and 30 s to hand back what is left."""
    drain = float(variables.get("DRAIN_SECONDS", "nan"))
    if _pod(one).get("terminationGracePeriodSeconds") != drain + 30:
        yield f"the grace period is not DRAIN_SECONDS ({drain:g}) + 30"


RULES: tuple[Rule, ...] = (
    restricted, accounts, probes, resources, scratch, command, image, labels, replicas, environment, jobs,
)  # fmt: skip
