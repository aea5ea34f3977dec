"""The stand-in's handler: real time for the model, watches, RBAC and faults, and the control page."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.servers.kube import api, rules
from tests.servers.kube.api import Api, Call
from tests.servers.kube.faults import Fault, Faults
from tests.servers.kube.kinds import (
    BY_PLACE,
    DEPLOYMENTS,
    EVENTS,
    LEASES,
    NEW_EVENTS,
    PODS,
    SCALED_OBJECTS,
    Object,
    key_of,
    kind_of,
)
from tests.servers.kube.model import Cluster
from tests.servers.kube.patches import patched
from tests.servers.kube.store import Change, Refused
from tests.servers.wire import Answer, Request

TOKEN = "test-token-of-the-autokicker"
_TICK = 0.01
_WATCH_SECONDS = 1800.0


@dataclass
class Stream:
    """A watch that is open: what it is about, and how its connection is written to and closed."""

    call: Call
    version: int
    send: Callable[[Object], None] = lambda _: None
    close: Callable[[], None] = lambda: None
    until: float = 0.0
    bookmark_at: float = float("inf")


class Kube:
    """The API server in front of a cluster on the clock of this machine."""

    def __init__(self, *, bare: bool) -> None:
        self._started = time.monotonic()
        self.cluster = Cluster(epoch=time.time(), bare=bare)
        self._api = Api(self.cluster.store)
        self._faults = Faults()
        self._requests: list[dict[str, Any]] = []
        self._streams: list[Stream] = []
        self._muted, self._twice, self._bookmarks = False, False, 1.0
        self.cluster.store.listeners.append(self._spread)

    async def turn(self) -> None:
        """Keep the model's clock on this machine's, for ever."""
        while True:
            self._advance()
            now = self.cluster.now
            for stream in list(self._streams):
                if now >= stream.bookmark_at and not self._muted:
                    self._bookmark(stream)
                if now >= stream.until:
                    stream.close()
            await asyncio.sleep(_TICK)

    def __call__(self, request: Request) -> Answer | Stream:
        """Answer one request, or open a watch."""
        self._advance()
        if request.path == "/__control":
            return api.answered(self._control(json.loads(request.body or b"{}")))
        try:
            answer = self._answer(request)
        except Refused as error:
            answer = api.status_of(error.status, error.reason, str(error))
        self._requests.append({
            "at": self.cluster.now, "method": request.method, "target": request.target,
            "agent": request.headers.get("user-agent", ""),
            "status": answer.status if isinstance(answer, Answer) else 200,
        })  # fmt: skip
        return answer

    def _advance(self) -> None:
        self.cluster.advance(time.monotonic() - self._started)

    def _answer(self, request: Request) -> Answer | Stream:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            raise Refused(401, "Unauthorized", "Unauthorized")
        if (document := api.discovered(request.path)) is not None:
            return api.answered(document)
        call = api.understood(request)
        # A fault is in front of everything behind the login: load balancers fail before rights are looked at.
        fault = self._faults.take(call.verb, call.resource)
        if fault and fault.reason:
            headers = {"Retry-After": f"{fault.seconds:.0f}"} if fault.action == "429" else {}
            return api.status_of(int(fault.action), fault.reason, f"armed: {fault.action}", **headers)
        if fault and fault.action == "drop":
            return Answer(dropped=True)
        if self._faults.forbids(call.verb, call.kind.group, call.resource, call.space):
            raise Refused(403, "Forbidden", _forbidden(call))
        answer = self._watch(call) if call.verb == "watch" else self._api.do(call)
        # Controllers answer at once: a client that reads its own write sees what came of it, as on a quiet cluster.
        self.cluster.settle()
        return self._spoilt(answer, fault)

    @staticmethod
    def _spoilt(answer: Answer | Stream, fault: Fault | None) -> Answer | Stream:
        if fault and isinstance(answer, Answer):
            answer.delay = fault.seconds if fault.action == "slow" else 0.0
            answer.dropped = fault.action == "lost"
        return answer

    # -- watches ---------------------------------------------------------------------------------------------------

    def _watch(self, call: Call) -> Stream:
        query = call.request.query
        version = int(query.get("resourceVersion") or 0)
        stream = Stream(call, version)
        stream.until = self.cluster.now + float(query.get("timeoutSeconds") or _WATCH_SECONDS)
        if query.get("allowWatchBookmarks") in ("true", "True"):
            stream.bookmark_at = self.cluster.now + self._bookmarks
        return stream

    def opened(self, stream: Stream) -> None:
        """Say what a watch has missed so far; from now on it hears of every change."""
        store = self.cluster.store
        try:
            if stream.version:
                told = [
                    event
                    for c in store.since(stream.call.kind, stream.version)
                    if (event := api.event_of(stream.call, c))
                ]
            else:
                things = store.listed(stream.call.kind)
                told = [{"type": "ADDED", "object": thing} for thing in things if stream.call.takes(thing)]
        except Refused as error:
            told = [{"type": "ERROR", "object": api.status_object(error.status, error.reason, str(error))}]
        # Nothing can come between the past and the future: one thread does both.
        for event in told:
            stream.send(event)
        self._streams.append(stream)
        if told and told[-1]["type"] == "ERROR":
            stream.close()

    def closed(self, stream: Stream) -> None:
        """A watch's connection is gone."""
        self._streams = [one for one in self._streams if one is not stream]

    def _spread(self, change: Change) -> None:
        for stream in list(self._streams):
            event = api.event_of(stream.call, change) if stream.call.kind == change.kind else None
            if event and not self._muted:
                for _ in range(2 if self._twice else 1):
                    stream.send(event)

    def _bookmark(self, stream: Stream) -> None:
        kind = stream.call.kind
        meta = {"resourceVersion": str(self.cluster.store.version), "creationTimestamp": None}
        stream.send(
            {"type": "BOOKMARK", "object": {"kind": kind.name, "apiVersion": kind.api_version, "metadata": meta}}
        )
        stream.bookmark_at = self.cluster.now + self._bookmarks

    # -- control ---------------------------------------------------------------------------------------------------

    def _control(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Do what the keys say (``_do_<key>``), in their order; then tell ``tell``."""
        for name, value in wanted.items():
            if name != "tell":
                getattr(self, f"_do_{name}")(value)
        self.cluster.settle()
        return {name: getattr(self, f"_tell_{name}")() for name in wanted.get("tell", ["now"])}

    def _do_create(self, things: list[Object]) -> None:
        self.cluster.load(*things)

    def _do_plan(self, plans: list[dict[str, Any]]) -> None:
        """Objects that come (``create``), go (``delete``) or change (``patch``) ``after`` seconds from now."""
        for plan in plans:
            self.cluster.do(self.cluster.now + plan["after"], lambda plan=plan: self._carry_out(plan))

    def _carry_out(self, plan: dict[str, Any]) -> None:
        store = self.cluster.store
        if "create" in plan:
            store.create(kind_of(plan["create"]), plan["create"])
            return
        thing = plan.get("delete") or plan["patch"]
        kind = kind_of(thing)
        if "delete" in plan:
            store.delete(kind, key_of(thing))
        else:
            store.replace(kind, patched(store.get(kind, key_of(thing)), thing, "application/merge-patch+json"))

    def _do_arm(self, fault: dict[str, Any]) -> None:
        self._faults.armed.append(Fault(**fault))

    def _do_disarm(self, _: Any) -> None:
        self._faults.armed.clear()

    def _do_allow(self, allowed: list[dict[str, Any]] | None) -> None:
        self._faults.allowed = allowed

    def _do_compact(self, _: Any) -> None:
        """The history is gone, and watches that are open are told so."""
        self.cluster.store.compact()
        gone = api.status_object(410, "Expired", "too old resource version")
        for stream in list(self._streams):
            stream.send({"type": "ERROR", "object": gone})
            stream.close()

    def _do_cut(self, _: Any) -> None:
        for stream in list(self._streams):
            stream.close()

    def _do_mute(self, muted: bool) -> None:
        self._muted = muted

    def _do_twice(self, twice: bool) -> None:
        self._twice = twice

    def _do_freeze(self, plurals: list[str]) -> None:
        """Lists of these kinds stay as they are now, with their version, until others are named."""
        store = self.cluster.store
        kinds = [kind for (_, plural), kind in BY_PLACE.items() if plural in plurals]
        self._api.frozen = {kind.plural: (store.version, store.listed(kind)) for kind in kinds}

    def _do_lost(self, seconds: list[float]) -> None:
        """Note on our pods, in the order of their names, how much work each would lose."""
        store, ours = self.cluster.store, {"matchLabels": dict(self.cluster.timeline.ours)}
        mine = [pod for pod in store.listed(PODS) if rules.selects(ours, pod["metadata"].get("labels", {}))]
        for pod, lost in zip(mine, seconds, strict=False):
            notes = {"metadata": {"annotations": {"duplexforge.io/lost-work-seconds": str(lost)}}}
            store.replace(PODS, patched(pod, notes, "application/merge-patch+json"))

    def _do_bookmarks(self, seconds: float) -> None:
        self._bookmarks = seconds

    def _tell_now(self) -> float:
        return self.cluster.now

    def _tell_timeline(self) -> dict[str, Any]:
        return self.cluster.timeline.to_json()

    def _tell_requests(self) -> list[dict[str, Any]]:
        return self._requests

    def _tell_watches(self) -> int:
        return len(self._streams)

    def _tell_leases(self) -> list[Object]:
        return self.cluster.store.listed(LEASES)

    def _tell_deployments(self) -> list[Object]:
        return self.cluster.store.listed(DEPLOYMENTS)

    def _tell_scaled_objects(self) -> list[Object]:
        return self.cluster.store.listed(SCALED_OBJECTS)

    def _tell_events(self) -> list[Object]:
        return [*self.cluster.store.listed(EVENTS), *self.cluster.store.listed(NEW_EVENTS)]


def _forbidden(call: Call) -> str:
    where = f'in the namespace "{call.space}"' if call.space else "at the cluster scope"
    who = 'User "system:serviceaccount:factory:autokick"'
    return (
        f"{call.kind.plural} is forbidden: {who} cannot {call.verb} resource "
        f'"{call.resource}" in API group "{call.kind.group}" {where}'
    )
