"""What the autokicker left on its Lease: its last decisions, and GPU-seconds used and yielded. Read only, one request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from duplexforge.config import StatusSettings, cluster_in_sight
from duplexforge.status.overview import Autokick, Decision

DECISIONS = "duplexforge.io/autokick-decisions"
TOTALS = "duplexforge.io/autokick-totals"
# Short: a kubeconfig may well lead to a cluster that this machine cannot reach.
_SECONDS = 3.0
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def autokick(settings: StatusSettings) -> Autokick:
    """The autokicker as far as it can be seen from here. Never raises: status has more to tell than this."""
    if settings.status_cluster == "off":
        return Autokick("off", "not asked (STATUS_CLUSTER=off)")
    # The client is large, and most machines that look have no cluster.
    if not settings.kubeconfig and not cluster_in_sight():
        return Autokick("outside", "not in a cluster")
    try:
        from kubernetes import client
    except ImportError:
        return Autokick("outside", "not in a cluster (the package kubernetes is not installed)")
    namespace = settings.namespace or ""
    try:
        found = _configured(settings.kubeconfig)
        if found is None:
            return Autokick("outside", "not in a cluster")
        default, configuration = found
        configuration.retries = False
        namespace = namespace or default
        api = client.CoordinationV1Api(client.ApiClient(configuration))
        lease = api.read_namespaced_lease(settings.lease_name, namespace, _request_timeout=(_SECONDS, _SECONDS))
    except client.ApiException as error:
        return _refused(int(error.status or 0), settings.lease_name, namespace)
    except Exception as error:  # noqa: BLE001 - whatever keeps us from the cluster (a kubeconfig may run programs), the rest is told
        return Autokick("unseen", f"the cluster cannot be asked ({type(error).__name__})")
    return told((lease.metadata and lease.metadata.annotations) or {}, lease.spec, datetime.now(UTC))


def _refused(status: int, name: str, namespace: str) -> Autokick:
    if status == 404:
        return Autokick("none", f"no autokicker has run in {namespace} (there is no Lease {name})")
    if status in (401, 403):
        return Autokick("unseen", f"this account may not read the Lease {name} in {namespace}")
    return Autokick("unseen", f"the API server answered {status}")


def told(notes: Mapping[str, str], spec: Any, now: datetime) -> Autokick:
    """What a Lease says; ``spec`` has the client's field names."""
    totals, decisions = _read(notes.get(TOTALS), {}), _read(notes.get(DECISIONS), [])
    renewed = getattr(spec, "renew_time", None)
    leader = str(getattr(spec, "holder_identity", None) or "")
    return Autokick(
        state="seen",
        note=f"led by {leader}" if leader else "nobody leads",
        leader=leader,
        renewed=max(0.0, (now - renewed).total_seconds()) if renewed else None,
        gpu_hours_used=_number(totals.get("gpu_seconds_used")) / 3600,
        gpu_hours_yielded=_number(totals.get("gpu_seconds_yielded")) / 3600,
        decisions=tuple(found for one in decisions if (found := _decision(one)) is not None),
    )


def _decision(one: Any) -> Decision | None:
    try:
        return Decision(str(one["at"]), str(one["word"]), int(one["before"]), int(one["after"]), str(one["reason"]))
    except (KeyError, TypeError, ValueError):  # of another version, or written by hand
        return None


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _read(text: str | None, default: Any) -> Any:
    try:
        found = json.loads(text or "")
    except ValueError:
        return default
    return found if isinstance(found, type(default)) else default


def _configured(path: str | None) -> tuple[str, Any] | None:
    """Namespace and client configuration: the kubeconfig where there is one, else the pod's own account, else None."""
    from kubernetes import client, config

    found = client.Configuration()
    try:
        config.load_kube_config(path, client_configuration=found)  # type: ignore[no-untyped-call]
        context = config.list_kube_config_contexts(path)[1]  # type: ignore[no-untyped-call]
        return str(context["context"].get("namespace") or "default"), found
    except config.ConfigException:
        pass
    try:
        config.load_incluster_config(client_configuration=found)  # type: ignore[no-untyped-call]
    except config.ConfigException:
        return None
    return (_OWN_NAMESPACE.read_text().strip() if _OWN_NAMESPACE.is_file() else "") or "default", found
