"""Carries out a decision: whom to stop first, how many to keep, and a word about it for people."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from urllib.parse import quote

from duplexforge import log
from duplexforge.autokicker.cluster import CONFLICT, Cluster, ClusterError, pods
from duplexforge.autokicker.decide import Action
from duplexforge.autokicker.parse import DELETION_COST, PUT_OFF
from duplexforge.autokicker.world import Lent, Observation, Pod, Target

# Below anything that people write by hand, above the least that the API takes (-2**31).
_FIRST = -1_000_000
_AT_ONCE = 8
_TRIES = 3


class Hands:
    """Writes to the cluster. With ``dry_run`` it only says what it would write."""

    def __init__(self, cluster: Cluster, namespace: str, *, me: str, dry_run: bool = False) -> None:
        self._cluster, self._namespace, self._me, self._dry_run = cluster, namespace, me, dry_run
        self._log = log.get("autokick", dry_run=dry_run) if dry_run else log.get("autokick")

    def carry_out(self, action: Action, seen: Observation) -> bool:
        """Make the cluster as decided. False when somebody else changed the scale meanwhile: look again, decide again.

        Raises ClusterError; then nothing but deletion costs has been written.
        """
        before = seen.target.replicas
        self._log.info(action.word, before=before, after=action.replicas, why=action.reason)
        if self._dry_run:
            return True
        # The controller looks at the costs once, when it sees the new scale: they must be there before.
        self._mark(action, seen)
        if not self._scale(seen.target, action.replicas):
            self._log.warning("somebody else changed the scale meanwhile", seen=before)
            return False
        if action.word != "grow":
            self.tell(seen.target, {"yield": "Yielding"}.get(action.word, "Trimming"), action.reason)
        return True

    def put_off(self, job: Lent, *, suspended: bool, reason: str, now: float) -> bool:
        """Suspend or resume a Job. False when it was changed meanwhile: look again, decide again. Raises ClusterError."""
        word = "suspend" if suspended else "resume"
        self._log.info(word, job=job.name, pods=len(job.placed) or job.size, why=reason)
        if self._dry_run:
            return False
        since = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if suspended else None
        try:
            self._cluster.suspend(self._namespace, job.name, suspended, job.version, {PUT_OFF: since})
        except ClusterError as error:
            if error.status != CONFLICT:
                raise
            self._log.warning("the Job was changed meanwhile", job=job.name)
            return False
        about = {"apiVersion": "batch/v1", "kind": "Job", "name": job.name, "uid": job.uid}
        self._event(about | {"namespace": self._namespace}, "Yielding" if suspended else "Resuming", reason)
        return True

    def tell(self, target: Target, reason: str, text: str, *, warning: bool = False) -> None:
        """Write an Event on the Deployment. One that cannot be written is no reason to stop."""
        if self._dry_run:
            return
        about = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": target.name,
            "namespace": self._namespace,
            "uid": target.uid,
        }
        self._event(about, reason, text, warning=warning)

    def _event(self, about: dict[str, str], reason: str, text: str, *, warning: bool = False) -> None:
        try:
            self._cluster.tell(self._namespace, about, reason=reason, text=text, warning=warning, who=self._me)
        except ClusterError as error:
            self._log.warning("event not written", error=str(error))

    def _mark(self, action: Action, seen: Observation) -> None:
        """Lower the deletion cost of the victims, and take it from pods that were spared after all."""
        chosen = {pod.uid for pod in action.victims}
        costs: list[tuple[Pod, str | None]]
        costs = [(pod, str(_FIRST)) for pod in action.victims if pod.deletion_cost != _FIRST]
        costs += [(pod, None) for pod in seen.placed if pod.uid not in chosen and pod.deletion_cost == _FIRST]
        # Only a scale-down looks at them: a growth step need not wait for the tidying up.
        if not costs or not action.victims:
            return
        with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            list(pool.map(self._cost, *zip(*costs, strict=True)))

    def _cost(self, pod: Pod, cost: str | None) -> None:
        self._cluster.annotate(f"{pods(pod.namespace)}/{quote(pod.name)}", {DELETION_COST: cost})

    def _scale(self, target: Target, replicas: int) -> bool:
        """Write the replicas against the version that was seen; a newer version with the same replicas will do as well."""
        version = target.version
        for _ in range(_TRIES):
            try:
                self._cluster.scale(self._namespace, target.name, replicas, version)
                return True
            except ClusterError as error:
                if error.status != CONFLICT:
                    raise
            # The status of a Deployment changes all the time, and its version with it.
            found, version = self._cluster.scale_now(self._namespace, target.name)
            if found != target.replicas:
                return False
        return False
