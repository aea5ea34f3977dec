"""The API server, through the official client: the only module that knows it.

The client brings what is easy to get wrong (kubeconfig, tokens that rotate, certificates, proxies). Answers stay JSON:
its typed models refuse whole lists over one object that is not as they expect, and cost much memory on large clusters.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from duplexforge.errors import ConfigError, RetryLater

Json = dict[str, Any]
MERGE = "application/merge-patch+json"
KEDA_PAUSED = "autoscaling.keda.sh/paused"
CONFLICT, GONE, FORBIDDEN, MISSING = 409, 410, 403, 404
_PAGE = 500
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class ClusterError(RetryLater):
    """The API server did not answer as it should; ``status`` is its HTTP status, 0 when there was no answer."""

    default_reason = "cluster"

    def __init__(self, message: str, *, status: int = 0, after: float | None = None) -> None:
        super().__init__(message, after=after)
        self.status = status


class Cluster:
    """Requests to one API server. ``timeout`` is in seconds, for an answer to begin."""

    def __init__(self, timeout: float, kubeconfig: str | None = None) -> None:
        from kubernetes import client

        self._timeout = timeout
        self.namespace, configuration = _configured(kubeconfig)
        # Whoever asks decides about trying again: a retry in here would only hide how long ago "now" was.
        configuration.retries = False
        self._client = client.ApiClient(configuration)

    # -- requests --------------------------------------------------------------------------------------------------

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Json | None = None,
        kind: str = "application/json",
    ) -> Json:
        """One request, its answer as JSON. Raises ClusterError."""
        response = self._open(method, path, query or {}, body, kind, (self._timeout, self._timeout))
        try:
            return dict(json.loads(response.data))
        except Exception as error:
            raise ClusterError(f"the API server broke off its answer to {method} {path}: {error}") from error
        finally:
            response.release_conn()

    def _open(
        self, method: str, path: str, query: Mapping[str, Any], body: Any, kind: str, timeout: tuple[float, float]
    ) -> Any:
        from urllib3.exceptions import HTTPError

        headers = {"Accept": "application/json", "Content-Type": kind, "User-Agent": "duplexforge-autokick"}
        prepared = self._client.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = self._client.call_api(*prepared[:4], _request_timeout=timeout).response
        except (HTTPError, OSError) as error:
            raise ClusterError(f"no answer from the API server to {method} {path}: {type(error).__name__}") from error
        if answer.status >= 400:
            raise _refusal(method, path, answer)
        return answer

    def listing(self, path: str, **query: Any) -> tuple[list[Json], str]:
        """All objects of a collection, page by page, and the version of the whole list."""
        items: list[Json] = []
        going_on: dict[str, Any] = {}
        while True:
            page = self.call("GET", path, query={**query, "limit": _PAGE, **going_on})
            items += page.get("items") or []
            meta = page.get("metadata") or {}
            if not meta.get("continue"):
                return items, str(meta.get("resourceVersion") or "")
            going_on = {"continue": meta["continue"]}

    def changes(self, path: str, version: str, seconds: int, **query: Any) -> Iterator[tuple[str, Json]]:
        """Changes since ``version``, as they come, for ``seconds``. Raises ClusterError; status 410 means: list again."""
        wanted = {
            **query,
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": seconds,
        }
        response = self._open("GET", path, wanted, None, "application/json", (self._timeout, seconds + self._timeout))
        try:
            for line in response:
                if line.strip():
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise ClusterError(str(status.get("message")), status=int(status.get("code") or 0))
                    yield event["type"], event["object"]
        except ClusterError:
            raise
        except Exception as error:  # a connection that broke in the middle shows in many ways
            raise ClusterError(f"the watch of {path} broke: {type(error).__name__}") from error
        finally:
            response.close()

    def allowed(self, path: str) -> bool:
        """Whether a collection may be listed at all; false too where the API server does not know its kind."""
        try:
            self.call("GET", path, query={"limit": 1})
        except ClusterError as error:
            if error.status in (FORBIDDEN, MISSING):
                return False
            raise
        return True

    # -- what the autokicker writes --------------------------------------------------------------------------------

    def scale(self, namespace: str, name: str, replicas: int, version: str) -> None:
        """Set a Deployment's replicas if it still has ``version``; ClusterError with status 409 when it has not."""
        body = {"metadata": {"resourceVersion": version}, "spec": {"replicas": replicas}}
        self.call("PATCH", f"{deployments(namespace)}/{quote(name)}/scale", body=body, kind=MERGE)

    def scale_now(self, namespace: str, name: str) -> tuple[int, str]:
        """The replicas that a Deployment wants now, and its version."""
        found = self.call("GET", f"{deployments(namespace)}/{quote(name)}/scale")
        return int((found.get("spec") or {}).get("replicas") or 0), str(found["metadata"]["resourceVersion"])

    def suspend(
        self, namespace: str, name: str, suspended: bool, version: str, notes: Mapping[str, str | None]
    ) -> None:
        """Suspend or resume a Job, with a note on it, if it still has ``version``; ClusterError with status 409 if not."""
        meta = {"resourceVersion": version, "annotations": dict(notes)}
        body = {"metadata": meta, "spec": {"suspend": suspended}}
        self.call("PATCH", f"{jobs(namespace)}/{quote(name)}", body=body, kind=MERGE)

    def annotate(self, path: str, notes: Mapping[str, str | None]) -> Json:
        """Set annotations of an object (None removes one); the object afterwards."""
        return self.call("PATCH", path, body={"metadata": {"annotations": dict(notes)}}, kind=MERGE)

    def tell(self, namespace: str, about: Json, *, reason: str, text: str, warning: bool, who: str) -> None:
        """Write an Event about an object."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{about['name']}.", "namespace": namespace},
            "involvedObject": about,
            "reason": reason,
            "message": text[:1000],
            "type": "Warning" if warning else "Normal",
            "source": {"component": "duplexforge-autokick"},
            "reportingComponent": "duplexforge.io/autokick",
            "reportingInstance": who[:128],
            "action": reason,
            "firstTimestamp": now[:19] + "Z",
            "lastTimestamp": now[:19] + "Z",
            "count": 1,
        }
        self.call("POST", f"/api/v1/namespaces/{quote(namespace)}/events", body=body)

    # -- rivals ----------------------------------------------------------------------------------------------------

    def autoscaler(self, namespace: str, deployment: str) -> str:
        """Name of an HPA that scales the Deployment and is not KEDA's own; empty when there is none."""
        path = f"/apis/autoscaling/v2/namespaces/{quote(namespace)}/horizontalpodautoscalers"
        for one in self.call("GET", path).get("items") or ():
            owners = {owner.get("kind") for owner in one["metadata"].get("ownerReferences") or ()}
            if _aims(one["spec"].get("scaleTargetRef"), deployment) and "ScaledObject" not in owners:
                return str(one["metadata"]["name"])
        return ""

    def pause_keda(self, namespace: str, deployment: str) -> list[str]:
        """Pause the ScaledObjects that aim at the Deployment; the names of those that were not paused before."""
        path = f"/apis/keda.sh/v1alpha1/namespaces/{quote(namespace)}/scaledobjects"
        paused = []
        for one in self.call("GET", path).get("items") or ():
            notes = one["metadata"].get("annotations") or {}
            if _aims(one["spec"].get("scaleTargetRef"), deployment) and notes.get(KEDA_PAUSED) != "true":
                self.annotate(f"{path}/{quote(one['metadata']['name'])}", {KEDA_PAUSED: "true"})
                paused.append(str(one["metadata"]["name"]))
        return paused


def deployments(namespace: str) -> str:
    """Path of a namespace's Deployments."""
    return f"/apis/apps/v1/namespaces/{quote(namespace)}/deployments"


def jobs(namespace: str) -> str:
    """Path of a namespace's Jobs."""
    return f"/apis/batch/v1/namespaces/{quote(namespace)}/jobs"


def pods(namespace: str | None = None) -> str:
    """Path of a namespace's pods, or of all."""
    return f"/api/v1/namespaces/{quote(namespace)}/pods" if namespace else "/api/v1/pods"


def leases(namespace: str) -> str:
    """Path of a namespace's Leases."""
    return f"/apis/coordination.k8s.io/v1/namespaces/{quote(namespace)}/leases"


def _aims(reference: Json | None, deployment: str) -> bool:
    found = reference or {}
    return found.get("name") == deployment and found.get("kind", "Deployment") == "Deployment"


def _configured(path: str | None) -> tuple[str, Any]:
    """Namespace and client configuration: the kubeconfig where there is one, else the pod's own account."""
    from kubernetes import client, config

    found = client.Configuration()
    try:
        config.load_kube_config(path, client_configuration=found)  # type: ignore[no-untyped-call]
        context = config.list_kube_config_contexts(path)[1]  # type: ignore[no-untyped-call]
        return str(context["context"].get("namespace") or "default"), found
    except config.ConfigException as missing:
        try:
            config.load_incluster_config(client_configuration=found)  # type: ignore[no-untyped-call]
        except config.ConfigException:
            raise ConfigError(
                f"no way to a cluster: {missing}; set KUBECONFIG, or run in a pod with a service account"
            ) from None
    namespace = _OWN_NAMESPACE.read_text().strip() if _OWN_NAMESPACE.is_file() else ""
    return namespace or "default", found


def _refusal(method: str, path: str, answer: Any) -> ClusterError:
    try:
        said = str(json.loads(answer.data).get("message") or "")
    except Exception:  # noqa: BLE001 - a proxy's page of HTML, or nothing: the status is enough
        said = ""
    answer.release_conn()
    after = answer.headers.get("Retry-After", "")
    return ClusterError(
        f"{method} {path}: {answer.status} {said[:300]}".strip(),
        status=int(answer.status),
        after=float(after) if after.isdigit() else None,
    )
