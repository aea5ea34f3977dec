"""The Job controller: as many pods as a Job wants at a time, none while it is suspended, and its end.

A suspended Job loses its pods as a Deployment does, with their grace; resumed, it starts all of them again, and counts no
failure. Which pods have done their work is remembered here, since the kubelets of the model clear them away.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

from tests.servers.kube import rules
from tests.servers.kube.deployments import _reference, active, owned
from tests.servers.kube.kinds import JOBS, PODS, Object, key_of
from tests.servers.kube.store import Objects

JOB_NAME = "batch.kubernetes.io/job-name"
INDEX = "batch.kubernetes.io/job-completion-index"


class Jobs:
    """The controller over one store."""

    def __init__(self, objects: Objects, clock: Callable[[], float]) -> None:
        self._objects, self._clock = objects, clock
        self._done: dict[str, set[str]] = {}

    def tick(self) -> None:
        """One pass over all Jobs."""
        for job in self._objects.listed(JOBS):
            self._move(job, owned(self._objects.listed(PODS), job))

    def _move(self, job: Object, pods: list[Object]) -> None:
        spec, done = job["spec"], self._done.setdefault(job["metadata"]["uid"], set())
        done |= {pod["metadata"]["labels"][INDEX] for pod in pods if pod["status"].get("phase") == "Succeeded"}
        here = active(pods)
        left = spec.get("completions", 1) - len(done)
        wanted = 0 if spec.get("suspend") else min(spec.get("parallelism", 1), left)
        if wanted == 0:
            for pod in here:
                self._objects.delete(PODS, key_of(pod))
        # A pod that still stops keeps its number: another one comes when it is gone (podReplacementPolicy: Failed).
        taken = done | {pod["metadata"]["labels"][INDEX] for pod in pods if not rules.finished(pod)}
        numbers = [str(n) for n in range(spec.get("completions", 1)) if str(n) not in taken]
        for number in numbers[: max(0, wanted - len(here))]:
            self._create(job, number)
        self._report(job, len(done))

    def _create(self, job: Object, number: str) -> None:
        template = copy.deepcopy(job["spec"]["template"])
        meta = template["metadata"]
        meta["labels"] = {**meta.get("labels", {}), JOB_NAME: job["metadata"]["name"], INDEX: number}
        meta |= {
            "generateName": f"{job['metadata']['name']}-{number}-", "namespace": job["metadata"]["namespace"],
            "ownerReferences": [_reference(job)],
        }  # fmt: skip
        self._objects.create(PODS, {"metadata": meta, "spec": template["spec"]})

    def _report(self, job: Object, succeeded: int) -> None:
        old = job.get("status", {})
        told = {**old, "succeeded": succeeded}
        if job["spec"].get("suspend"):
            told.pop("startTime", None)
        else:
            told.setdefault("startTime", rules.stamp(self._clock()))
        if succeeded >= job["spec"].get("completions", 1):
            told["conditions"] = [{"type": "Complete", "status": "True"}]
        if told != old:
            newest = next(one for one in self._objects.listed(JOBS) if key_of(one) == key_of(job))
            self._objects.set_status(JOBS, {**newest, "status": told})
