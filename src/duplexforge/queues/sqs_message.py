"""What travels through SQS: a message names a task and carries its body; the store's todo stays the truth.

Messages of ours name their task in an attribute. One that somebody sent by hand is a bare body: a download as
``{"video_id", "url"}``, an upload as JSON or as nothing but the key of its batch definition.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from duplexforge.errors import InputError
from duplexforge.layout import hashed_id, safe_name
from duplexforge.records import Task, parse

K = TypeVar("K", bound=Task)

TASK = "task"
REASON = "reason"
MESSAGE = "message"

# Messages in one request.
BATCH = 10
# SQS takes 1 MiB a request since 2025 and 256 KiB before, attributes included.
REQUEST_BYTES = 250_000
# A longer body is left out: whoever receives the message reads the todo anyway.
BODY_BYTES = 100_000
_MOST_WORDS = 1000
# What XML 1.0 can carry, and so what SQS takes.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Outgoing:
    """A message to be sent."""

    body: str
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes as SQS counts them."""
        pairs = [self.body, *self.attributes, *self.attributes.values()]
        return sum(len(text.encode()) for text in pairs) + len("String") * len(self.attributes)

    def entry(self) -> dict[str, Any]:
        """The message as a request holds it."""
        filled = {name: value for name, value in self.attributes.items() if value}
        attributes = {name: {"DataType": "String", "StringValue": value} for name, value in filled.items()}
        return {"MessageBody": self.body, "MessageAttributes": attributes}


def batches(messages: Sequence[Outgoing]) -> Iterator[list[Outgoing]]:
    """Messages in groups that fit into one request."""
    batch: list[Outgoing] = []
    for one in messages:
        if batch and (len(batch) == BATCH or sum(other.size for other in batch) + one.size > REQUEST_BYTES):
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


@dataclass
class Message:
    """A message that was received; ``handle`` lets this receiver hide or delete it.

    ``received`` and ``hidden_at`` (monotonic seconds) tell since when SQS counts its 12 hours, and when it was last hidden.
    ``settled`` once somebody has decided what becomes of it.
    """

    body: str
    handle: str
    attributes: dict[str, str] = field(default_factory=dict)
    receives: int = 1
    received: float = field(default_factory=time.monotonic)
    hidden_at: float = field(default_factory=time.monotonic)
    settled: bool = False

    @property
    def age(self) -> float:
        """Seconds since it was received."""
        return time.monotonic() - self.received

    @property
    def only_names(self) -> bool:
        """Whether it holds nothing but the name of a task, see :func:`of_id`."""
        return self.body == of_id(self.attributes.get(TASK, "")).body

    @property
    def redriven(self) -> bool:
        """Whether somebody moved it back from the dead-letter queue: that is a wish to try once more."""
        return REASON in self.attributes


def of_task(task: Task) -> Outgoing:
    """The message of a task: its body, unless that is too long, and its id."""
    # Escapes instead of letters: SQS refuses some that JSON takes.
    body = json.dumps(task.model_dump(mode="json", exclude_none=True))
    return Outgoing(body, {TASK: task.id}) if len(body) <= BODY_BYTES else of_id(task.id)


def of_id(task_id: str) -> Outgoing:
    """A message that only names a task, whose todo holds the body."""
    return Outgoing(json.dumps({"id": task_id}), {TASK: task_id})


def of_failure(task_id: str, body: str, reason: str, message: str) -> Outgoing:
    """What the dead-letter queue gets: the body as it was, and why nobody could do it."""
    attributes = {TASK: task_id, REASON: _clean(reason)[:_MOST_WORDS], MESSAGE: _clean(message)[:_MOST_WORDS]}
    return Outgoing(_clean(body)[:BODY_BYTES] or "-", {name: value for name, value in attributes.items() if value})


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)


class Bodies(Generic[K]):
    """Reads the bodies of one stage; ``name`` gives a task its id where the sender gave none."""

    def __init__(self, stage: str, model: type[K], name: Callable[[K], str] | None = None) -> None:
        self._stage, self._model, self._name = stage, model, name

    def id_of(self, message: Message) -> str:
        """The task that a message means. InputError when nobody can tell (``newer_version``: a newer program can)."""
        named = message.attributes.get(TASK)
        return _safe(named) if named else self.task(message).id

    def task(self, message: Message) -> K:
        """The body as a task with its id. InputError(``bad_record``, ``newer_version``) when it makes no sense."""
        text = message.body.strip()
        if self._stage == "upload" and text and text[0] not in '{["':
            text = json.dumps({"batch_key": text})
        task = parse(self._model, text.encode("utf-8", "surrogatepass"), f"a message of the {self._stage} queue")
        named = message.attributes.get(TASK)
        if named and task.id not in ("", named):
            raise InputError(f"the message of task {named[:80]!r} holds another one", reason="bad_record")
        name = _safe(named or task.id or self._named(task))
        return task.model_copy(update={"id": name, **self._episode(task, name)})

    def _named(self, task: K) -> str:
        known = getattr(task, "episode_id", "")
        if known or self._name is None:
            return str(known)
        try:
            return self._name(task)
        except ValueError as error:
            raise InputError(f"a message of the {self._stage} queue: {error}", reason="bad_record") from error

    @staticmethod
    def _episode(task: K, name: str) -> dict[str, Any]:
        return {"episode_id": name} if getattr(task, "episode_id", None) == "" else {}

    @staticmethod
    def any_id(message: Message) -> str:
        """A name for a message whatever is in it; without a usable one it is a hash, the same for the same body."""
        try:
            return safe_name(message.attributes.get(TASK, ""))
        except ValueError:
            return hashed_id("message", message.body)


def _safe(name: str) -> str:
    try:
        return safe_name(name)
    except ValueError as error:
        raise InputError(f"a message does not say which task it means: {error}", reason="bad_record") from error
