"""A real API server's word on the manifests: every object as ``kubectl apply --dry-run=server`` would send it.

The server's own schema, defaulting, validation and admission judge; nothing is kept but a namespace for the test.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.manifests.kustomize import CLUSTER_WIDE, Object, pod_specs

_RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}


@dataclass(frozen=True)
class Said:
    """An answer: its status, its object, and the warnings that came with it."""

    status: int
    body: Any
    warnings: tuple[str, ...] = ()


class Server:
    """An API server, through the official client's connection."""

    def __init__(self, kubeconfig: Path) -> None:
        from kubernetes import config

        self._client = config.new_client_from_config(config_file=str(kubeconfig))  # type: ignore[no-untyped-call]

    def ask(self, method: str, path: str, body: Any = None, **query: str) -> Said:
        """One request."""
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        prepared = self._client.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = self._client.call_api(*prepared[:4]).response
        warnings = answer.headers.getlist("Warning") if hasattr(answer.headers, "getlist") else ()
        return Said(int(answer.status), json.loads(answer.data or b"{}"), tuple(warnings))

    def plural(self, api_version: str, kind: str) -> str | None:
        """The path's word for a kind; None when the server does not know it."""
        found = self.ask("GET", f"{root(api_version)}")
        names = {one["kind"]: one["name"] for one in found.body.get("resources") or () if "/" not in one["name"]}
        return names.get(kind) if found.status == 200 else None

    def try_out(self, one: Object, namespace: str) -> Said | None:
        """Create an object without keeping it, every unknown or doubled field refused; None for a kind that is not there."""
        plural = self.plural(one["apiVersion"], one["kind"])
        if plural is None:
            return None
        return self.ask(
            "POST", place(one, plural, namespace), moved(one, namespace), dryRun="All", fieldValidation="Strict"
        )

    def keep(self, one: Object, namespace: str) -> Said:
        """Create an object and keep it."""
        plural = self.plural(one["apiVersion"], one["kind"])
        assert plural
        return self.ask("POST", place(one, plural, namespace), moved(one, namespace))

    @contextmanager
    def namespace(self) -> Iterator[str]:
        """A namespace that takes restricted pods alone, for the time of the block."""
        name = f"duplexforge-test-{secrets.token_hex(4)}"
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": _RESTRICTED}}
        assert self.ask("POST", "/api/v1/namespaces", body).status == 201
        try:
            yield name
        finally:
            self.ask("DELETE", f"/api/v1/namespaces/{name}")


def root(api_version: str) -> str:
    """Where a group's version lives."""
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def place(one: Object, plural: str, namespace: str) -> str:
    """The path of an object's collection."""
    within = "" if one["kind"] in CLUSTER_WIDE else f"/namespaces/{namespace}"
    return f"{root(one['apiVersion'])}{within}/{plural}"


def moved(one: Object, namespace: str) -> Object:
    """The object in another namespace; cluster-wide ones get another name, for theirs may be taken."""
    changed: Object = json.loads(json.dumps(one))
    if one["kind"] in CLUSTER_WIDE:
        changed["metadata"]["name"] = f"{namespace}-{one['metadata']['name']}"[:63]
    else:
        changed["metadata"]["namespace"] = namespace
    for subject in changed.get("subjects", ()):
        subject["namespace"] = namespace
    return changed


def pod_of(one: Object) -> Object:
    """A pod as a workload would make it, but for its priority, whose class may not be there."""
    (spec,) = pod_specs(one)
    spec = {key: value for key, value in spec.items() if key != "priorityClassName"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": one["metadata"]["name"]}, "spec": spec}
