"""The API over the objects: paths, verbs, selectors, patches, the subresources, and the refusals of the real one."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.servers.kube import rules
from tests.servers.kube.kinds import BY_PLACE, DEPLOYMENTS, KINDS, PODS, Kind, Object
from tests.servers.kube.patches import patched
from tests.servers.kube.store import Change, Refused, Store
from tests.servers.wire import Answer, Request

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get"}


@dataclass(frozen=True)
class Call:
    """One request, understood: what to do with what. ``name`` is empty for a collection, ``space`` for all namespaces."""

    request: Request
    kind: Kind
    space: str
    name: str
    part: str

    @property
    def verb(self) -> str:
        """RBAC's word for it."""
        if self.request.method == "GET" and not self.name:
            return "watch" if self.request.query.get("watch") in ("true", "True", "1") else "list"
        if self.request.method == "DELETE" and not self.name:
            return "deletecollection"
        return _VERBS.get(self.request.method, self.request.method.lower())

    @property
    def resource(self) -> str:
        """RBAC's name for what it is about."""
        return f"{self.kind.plural}/{self.part}" if self.part else self.kind.plural

    @property
    def key(self) -> tuple[str, str]:
        """The object's place."""
        return self.space, self.name

    def takes(self, thing: Object) -> bool:
        """Whether an object is among those asked for; 400 when a selector cannot be read."""
        query, meta = self.request.query, thing["metadata"]
        if (self.space and meta.get("namespace") != self.space) or (self.name and meta["name"] != self.name):
            return False
        try:
            return rules.selected(query.get("labelSelector", ""), meta.get("labels") or {}) and rules.fielded(
                query.get("fieldSelector", ""), thing
            )
        except ValueError as error:
            raise Refused(400, "BadRequest", str(error)) from error


def understood(request: Request) -> Call:
    """What a request is about; 404 for a path that is none of the API's."""
    parts = request.path.strip("/").split("/")
    core = parts[0] == "api"
    group, rest = ("", parts[2:]) if core else (parts[1] if len(parts) > 1 else "", parts[3:])
    space = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        space, rest = rest[1], rest[2:]
    kind = BY_PLACE.get((group, rest[0])) if rest and parts[0] in ("api", "apis") else None
    if kind is None or len(rest) > 3:
        raise Refused(404, "NotFound", "the server could not find the requested resource")
    return Call(request, kind, space, *[*rest[1:], "", ""][:2])


class Api:
    """Does what calls ask for. ``lists`` may replace what is listed, for a server that lags behind."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.frozen: dict[str, tuple[int, list[Object]]] = {}

    def do(self, call: Call) -> Answer:
        """Everything but a watch."""
        whole: dict[str, Callable[[Call], Answer]] = {"list": self._list, "deletecollection": self._clear}
        if call.verb == "create" and not call.name:
            return self._create(call)
        if not call.name:
            if call.verb not in whole:
                raise Refused(
                    405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
                )
            return whole[call.verb](call)
        if call.part == "binding":
            self._store.bind(self._store.get(PODS, call.key), _body(call)["target"]["name"])
            return status_of(201, "Created", "bound")
        if call.verb == "get":
            return answered(self._shown(call, self._store.get(call.kind, call.key)))
        if call.verb == "delete":
            return self._delete(call)
        return self._change(call)

    def _list(self, call: Call) -> Answer:
        version, things = self.frozen.get(call.kind.plural, (self._store.version, self._store.listed(call.kind)))
        # As in the real one: items of a list do not repeat what kind they are, unless the kind is a custom one.
        bare = () if "." in call.kind.group and not call.kind.group.endswith(".k8s.io") else ("apiVersion", "kind")
        found = [{n: v for n, v in thing.items() if n not in bare} for thing in things if call.takes(thing)]
        query, meta = call.request.query, {"resourceVersion": str(version)}
        # Pages are cut from what is there now: a real server keeps the list of the first page, for minutes.
        if limit := int(query.get("limit") or 0):
            start = int(base64.b64decode(query["continue"])) if query.get("continue") else 0
            if len(found) > start + limit:
                meta |= {"continue": base64.b64encode(str(start + limit).encode()).decode()}
            found = found[start : start + limit]
        return answered(
            {"kind": f"{call.kind.name}List", "apiVersion": call.kind.api_version, "metadata": meta, "items": found}
        )

    def _create(self, call: Call) -> Answer:
        thing = _body(call)
        space = thing.setdefault("metadata", {}).get("namespace", call.space)
        if space != call.space:
            raise Refused(400, "BadRequest", "the namespace of the object does not match the namespace on the request")
        if call.kind.namespaced:
            thing["metadata"]["namespace"] = call.space
        return answered(self._store.create(call.kind, thing), 201)

    def _delete(self, call: Call) -> Answer:
        wanted = json.loads(call.request.body or b"{}")
        grace = call.request.query.get("gracePeriodSeconds", wanted.get("gracePeriodSeconds"))
        expected = (wanted.get("preconditions") or {}).get("uid")
        if expected and expected != self._store.get(call.kind, call.key)["metadata"]["uid"]:
            raise Refused(409, "Conflict", "the UID in the precondition does not match the UID in record")
        return answered(self._store.delete(call.kind, call.key, None if grace is None else int(grace)))

    def _clear(self, call: Call) -> Answer:
        for thing in self._store.listed(call.kind):
            if call.takes(thing):
                self._store.delete(call.kind, (thing["metadata"].get("namespace", ""), thing["metadata"]["name"]))
        return status_of(200, "", "deleted")

    def _change(self, call: Call) -> Answer:
        old = self._store.get(call.kind, call.key)
        shown = self._shown(call, old)
        wanted = _body(call)
        new = patched(shown, wanted, call.request.headers.get("content-type", "")) if call.verb == "patch" else wanted
        if call.verb == "patch" and "resourceVersion" not in (wanted if isinstance(wanted, dict) else {}).get(
            "metadata", {}
        ):
            # A patch that names no version is applied to the newest one, whichever that is.
            new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if call.part == "scale":
            return answered(self._shown(call, self._store.replace(call.kind, _scaled(old, new))))
        if call.kind.namespaced:
            new["metadata"].setdefault("namespace", call.space)
        if (new["metadata"]["name"], new["metadata"].get("namespace", "")) != (call.name, call.space):
            raise Refused(400, "BadRequest", "the name of the object does not match the name on the URL")
        return answered(
            self._store.set_status(call.kind, new) if call.part == "status" else self._store.replace(call.kind, new)
        )

    def _shown(self, call: Call, thing: Object) -> Object:
        if call.part == "scale" and call.kind == DEPLOYMENTS:
            return scale_of(thing)
        if call.part not in ("", "status"):
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        return thing


def scale_of(thing: Object) -> Object:
    """The scale of a Deployment."""
    meta = {
        name: thing["metadata"][name] for name in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    }
    labels = thing["spec"]["selector"].get("matchLabels", {})
    return {
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta,
        "spec": {"replicas": thing["spec"].get("replicas", 1)},
        "status": {
            "replicas": thing.get("status", {}).get("replicas", 0),
            "selector": ",".join(f"{name}={value}" for name, value in labels.items()),
        },
    }  # fmt: skip


def _scaled(old: Object, scale: Object) -> Object:
    replicas = scale.get("spec", {}).get("replicas", 0)
    if not isinstance(replicas, int) or replicas < 0:
        text = f'Scale.autoscaling "{old["metadata"]["name"]}" is invalid: spec.replicas: Invalid value: {replicas!r}'
        raise Refused(422, "Invalid", text)
    new = copy.deepcopy(old)
    new["spec"]["replicas"] = replicas
    new["metadata"]["resourceVersion"] = scale["metadata"].get("resourceVersion", "")
    return new


def discovered(path: str) -> Object | None:
    """The discovery documents; None for a path that is none of them."""
    parts = path.strip("/").split("/")
    if parts == ["version"]:
        rest = ("gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler")
        return dict.fromkeys(rest, "stand-in") | {
            "major": "1", "minor": "36", "gitVersion": "v1.36.0", "platform": "linux/amd64",
        }  # fmt: skip
    if parts == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"]}
    if parts == ["apis"]:
        places = sorted({(kind.group, kind.version) for kind in KINDS if kind.group})
        groups = [
            {"name": group, "versions": [{"groupVersion": f"{group}/{version}", "version": version}],
             "preferredVersion": {"groupVersion": f"{group}/{version}", "version": version}}
            for group, version in places
        ]  # fmt: skip
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    version = "/".join(parts[1:])
    kinds = [kind for kind in KINDS if kind.api_version == version]
    if parts[0] not in ("api", "apis") or not kinds:
        return None
    verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    resources = [
        {"name": kind.plural, "singularName": kind.name.lower(), "namespaced": kind.namespaced, "kind": kind.name,
         "verbs": verbs}
        for kind in kinds
    ]  # fmt: skip
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def event_of(call: Call, change: Change) -> Object | None:
    """What a watch is told of a change; an object that comes to be selected was added, one that ceases to be is gone."""
    was = change.old is not None and call.takes(change.old)
    is_ = change.type != "DELETED" and call.takes(change.new)
    if is_:
        return {"type": "MODIFIED" if was else "ADDED", "object": change.new}
    return {"type": "DELETED", "object": change.new} if was else None


def answered(thing: Any, status: int = 200, **headers: str) -> Answer:
    """An answer in JSON."""
    return Answer(status, json.dumps(thing).encode(), {"Content-Type": "application/json", **headers})


def status_of(code: int, reason: str, message: str, **headers: str) -> Answer:
    """An answer that is a Status, as every refusal is."""
    return answered(status_object(code, reason, message), code, **headers)


def status_object(code: int, reason: str, message: str) -> Object:
    """A Status."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure" if code >= 400 else "Success",
            "message": message, "reason": reason, "code": code}  # fmt: skip


def _body(call: Call) -> Any:
    try:
        return json.loads(call.request.body)
    except ValueError as error:
        raise Refused(400, "BadRequest", f"the body cannot be read: {error}") from error
