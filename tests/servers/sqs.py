"""A server that speaks SQS's JSON protocol: ``python -m tests.servers.sqs [--port 0]``.

Every request is one step of one thread. ``/__control`` (JSON) tells requests by queue and operation, turns a queue's
clock, and takes faults: throttling, 500s, refusals, connections that break before or after a request was done, batches
done in part, messages that come twice, again after they were deleted, or out of order. See
:class:`tests.servers.sqs_client.SqsServer`.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter, defaultdict
from typing import Any

from tests.servers import wire
from tests.servers.s3 import ACCESS_KEY
from tests.servers.sqs_queue import Queue, Refused, Stored
from tests.servers.wire import Answer, Request

ACCOUNT = "000000000000"
# A long poll that finds nothing is answered early, as SQS may.
_POLL = 0.15
_BATCH_BYTES = 262_144


class Sqs:
    """The handler of all requests."""

    def __init__(self) -> None:
        self._queues: dict[str, Queue] = {}
        self._counts: dict[str, Counter[str]] = defaultdict(Counter)
        self._faults: list[dict[str, Any]] = []
        self._rng = random.Random(0)

    def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        if request.path == "/__control":
            return _json(self._control(json.loads(request.body)))
        operation = request.headers.get("x-amz-target", "").rpartition(".")[2]
        wanted = json.loads(request.body or b"{}")
        name = str(wanted.get("QueueUrl", wanted.get("QueueName", ""))).rsplit("/", 1)[-1]
        self._counts[name][operation] += 1
        fault = self._fault(name, operation)
        try:
            if f"{ACCESS_KEY}/" not in request.headers.get("authorization", ""):
                raise Refused(
                    "InvalidClientTokenId", "The security token included in the request is invalid", status=403
                )
            if refusal := _REFUSALS.get(fault):
                raise refusal
            if fault == "drop":
                return Answer(dropped=True)
            entries = wanted.get("Entries", [])
            if fault in ("partial", "none"):
                wanted["Entries"] = entries[::2] if fault == "partial" else []
                if not wanted["Entries"]:
                    return _part(_json({}), entries, sender=False)
            answer = self._do(operation, name, wanted, request)
        except Refused as error:
            return _error(error)
        if fault == "partial":
            answer = _part(answer, entries[1::2], sender=False)
        if fault == "partial_sender":
            answer = _part(answer, entries[:1], sender=True)
        answer.dropped = fault == "lost"
        return answer

    def _do(self, operation: str, name: str, wanted: dict[str, Any], request: Request) -> Answer:
        method = getattr(self, f"_{operation}", None)
        if method is None:
            raise Refused("InvalidAction", f"no operation {operation}")
        if operation != "CreateQueue" and name not in self._queues:
            raise Refused("AWS.SimpleQueueService.NonExistentQueue", "no such queue", shape="QueueDoesNotExist")
        if operation in ("CreateQueue", "GetQueueUrl"):
            self._host = request.headers.get("host", "")
        answer: Answer = method(name, wanted)
        return answer

    # -- queues ----------------------------------------------------------------------------------------------------

    def _CreateQueue(self, name: str, wanted: dict[str, Any]) -> Answer:
        self._queues.setdefault(name, Queue(name, wanted.get("Attributes", {})))
        return self._GetQueueUrl(name, wanted)

    def _GetQueueUrl(self, name: str, wanted: dict[str, Any]) -> Answer:
        return _json({"QueueUrl": f"http://{self._host}/{ACCOUNT}/{name}"})

    def _GetQueueAttributes(self, name: str, wanted: dict[str, Any]) -> Answer:
        told, names = self._queues[name].told(), wanted.get("AttributeNames", [])
        return _json({"Attributes": {key: value for key, value in told.items() if "All" in names or key in names}})

    def _StartMessageMoveTask(self, name: str, wanted: dict[str, Any]) -> Answer:
        raise Refused("UnsupportedOperation")

    # -- messages --------------------------------------------------------------------------------------------------

    def _SendMessage(self, name: str, wanted: dict[str, Any]) -> Answer:
        if not wanted["MessageBody"] or "\x00" in wanted["MessageBody"]:
            raise Refused("InvalidMessageContents")
        return _json(_sent(self._queues[name].send(wanted)))

    def _SendMessageBatch(self, name: str, wanted: dict[str, Any]) -> Answer:
        _check_batch(wanted["Entries"])
        size = sum(len(one["MessageBody"].encode()) for one in wanted["Entries"])
        if size > _BATCH_BYTES:
            raise Refused("AWS.SimpleQueueService.BatchRequestTooLong", shape="BatchRequestTooLong")
        done = [{"Id": one["Id"], **_sent(self._queues[name].send(one))} for one in wanted["Entries"]]
        return _json({"Successful": done, "Failed": []})

    def _ReceiveMessage(self, name: str, wanted: dict[str, Any]) -> Answer:
        if not 1 <= wanted.get("MaxNumberOfMessages", 1) <= 10:
            raise Refused("InvalidParameterValue", "ReadCountOutOfRange")
        queue = self._queues[name]
        dead, limit = queue.redrive()
        visibility = wanted.get("VisibilityTimeout", float(queue.attributes["VisibilityTimeout"]))
        given = queue.receive(wanted.get("MaxNumberOfMessages", 1), visibility, self._queues.get(dead), limit)
        answer = _json({"Messages": [_received(one) for one in given]} if given else {})
        answer.delay = 0.0 if given else min(_POLL, wanted.get("WaitTimeSeconds", 0))
        return answer

    def _ChangeMessageVisibility(self, name: str, wanted: dict[str, Any]) -> Answer:
        self._queues[name].hide(wanted["ReceiptHandle"], wanted["VisibilityTimeout"])
        return _json({})

    def _DeleteMessage(self, name: str, wanted: dict[str, Any]) -> Answer:
        self._queues[name].delete(wanted["ReceiptHandle"])
        return _json({})

    def _DeleteMessageBatch(self, name: str, wanted: dict[str, Any]) -> Answer:
        _check_batch(wanted["Entries"])
        for one in wanted["Entries"]:
            self._queues[name].delete(one["ReceiptHandle"])
        return _json({"Successful": [{"Id": one["Id"]} for one in wanted["Entries"]], "Failed": []})

    # -- control ---------------------------------------------------------------------------------------------------

    def _fault(self, name: str, operation: str) -> str:
        for fault in self._faults:
            fits = fault["queue"] in ("*", name) and fault.get("operation", operation) == operation
            if fits and self._rng.random() < fault.get("p", 1.0):
                fault["times"] -= 1
                self._faults = [one for one in self._faults if one["times"] > 0]
                return str(fault["action"])
        return ""

    def _control(self, wanted: dict[str, Any]) -> dict[str, Any]:
        queue = self._queues.get(wanted.get("queue", ""))
        if queue:
            queue.offset += wanted.get("advance", 0.0)
            queue.twice = wanted.get("twice", queue.twice)
            queue.again = wanted.get("again", queue.again)
            queue.disorder = wanted.get("disorder", queue.disorder)
            if "seed" in wanted:
                queue.rng, self._rng = random.Random(wanted["seed"]), random.Random(wanted["seed"])
            if wanted.get("purge"):
                queue.messages = []
        if "arm" in wanted:
            self._faults.append({"times": 1, **wanted["arm"]})
        if "disarm" in wanted:
            self._faults = [one for one in self._faults if one["queue"] != wanted["disarm"]]
        told = [_told(one) for one in queue.messages] if queue else []
        return {"requests": self._counts, "messages": told, "armed": len(self._faults)}


_REFUSALS = {
    "throttle": Refused("ThrottlingException", "Rate exceeded"),
    "throttle_query": Refused("RequestThrottled", "Rate exceeded"),
    "500": Refused("InternalFailure", "oops", status=500),
    "503": Refused("ServiceUnavailable", "oops", status=503),
    "denied": Refused("AccessDenied", "User is not authorized to perform: sqs", status=403),
    "expired": Refused("ExpiredToken", "The security token included in the request is expired", status=403),
    "skewed": Refused("RequestExpired", "Request has expired"),
    "signature": Refused("InvalidSignatureException", "The request signature does not match", status=403),
    "old": Refused("InvalidSignatureException", "Signature expired: 1 is now earlier than 2", status=403),
    "odd": Refused("InvalidSomething", "whatever this is"),
}


def _check_batch(entries: list[dict[str, Any]]) -> None:
    names = [one["Id"] for one in entries]
    if not names:
        raise Refused("AWS.SimpleQueueService.EmptyBatchRequest", shape="EmptyBatchRequest")
    if len(names) > 10:
        raise Refused("AWS.SimpleQueueService.TooManyEntriesInBatchRequest", shape="TooManyEntriesInBatchRequest")
    if len(set(names)) < len(names):
        raise Refused("AWS.SimpleQueueService.BatchEntryIdsNotDistinct", shape="BatchEntryIdsNotDistinct")


def _sent(stored: Stored) -> dict[str, str]:
    return {"MessageId": stored.id, "MD5OfMessageBody": _md5(stored.body)}


def _received(stored: Stored) -> dict[str, Any]:
    return {
        "MessageId": stored.id, "ReceiptHandle": stored.receipt, "Body": stored.body,
        "MD5OfBody": _md5(stored.body), "MessageAttributes": stored.attributes,
        "Attributes": {"ApproximateReceiveCount": str(stored.receives)},
    }  # fmt: skip


def _told(stored: Stored) -> dict[str, Any]:
    attributes = {name: value.get("StringValue") for name, value in stored.attributes.items()}
    return {"body": stored.body, "attributes": attributes, "receives": stored.receives}


def _part(answer: Answer, failing: list[dict[str, Any]], *, sender: bool) -> Answer:
    """A batch's answer that says some of it failed; ``sender``: by the sender's fault."""
    told, names = json.loads(answer.body), {one["Id"] for one in failing}
    code = "InvalidMessageContents" if sender else "InternalError"
    told["Successful"] = [one for one in told.get("Successful", []) if one["Id"] not in names]
    told["Failed"] = [{"Id": name, "Code": code, "SenderFault": sender} for name in sorted(names)]
    return _json(told)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _json(told: dict[str, Any], status: int = 200, **headers: str) -> Answer:
    body = json.dumps(told).encode()
    return Answer(status, body, {"Content-Type": "application/x-amz-json-1.0", **headers})


def _error(refusal: Refused) -> Answer:
    side = "Receiver" if refusal.status >= 500 else "Sender"
    body = {"__type": f"com.amazonaws.sqs#{refusal.shape}", "message": str(refusal)}
    return _json(body, refusal.status, **{"x-amzn-query-error": f"{refusal.code};{side}"})


def main() -> None:
    """Serve until standard input closes."""
    wire.main(Sqs())


if __name__ == "__main__":
    main()
