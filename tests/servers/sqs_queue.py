"""One queue of the SQS stand-in: messages, receipts, and what SQS promises of them, on a clock that tests may turn."""

from __future__ import annotations

import json
import random
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

MOST_HIDDEN = 43200.0


@dataclass
class Stored:
    """A message; ``receipt`` is the last one given out, ``first`` when it was last received (0: never)."""

    body: str
    attributes: dict[str, Any]
    sent: float
    visible: float
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    receipt: str = ""
    taken: float = 0.0
    receives: int = 0
    # Where it came from, for a dead letter.
    source: str = ""


class Refused(Exception):
    """A request that SQS refuses: the code of the query protocol, the shape of the JSON protocol, and a sentence."""

    def __init__(self, code: str, sentence: str = "refused", *, shape: str = "", status: int = 400) -> None:
        super().__init__(sentence)
        self.code, self.shape, self.status = code, shape or code, status


class Queue:
    """A standard queue."""

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.attributes = {
            "VisibilityTimeout": "30", "MessageRetentionPeriod": "345600", "ReceiveMessageWaitTimeSeconds": "0",
            "QueueArn": f"arn:aws:sqs:us-east-1:000000000000:{name}", **attributes,
        }  # fmt: skip
        self.messages: list[Stored] = []
        self.offset = 0.0
        # What at-least-once means, and best-effort order: chances that tests set.
        self.twice = self.again = 0.0
        self.disorder = False
        self.rng = random.Random(0)

    def now(self) -> float:
        """Seconds on this queue's clock."""
        return time.monotonic() + self.offset

    def send(self, entry: dict[str, Any]) -> Stored:
        """Put a message in."""
        now = self.now()
        stored = Stored(
            entry["MessageBody"], entry.get("MessageAttributes", {}), now, now + entry.get("DelaySeconds", 0)
        )
        self.messages.append(stored)
        return stored

    def expire(self) -> None:
        """Forget what is older than the queue keeps messages."""
        oldest = self.now() - float(self.attributes["MessageRetentionPeriod"])
        self.messages = [one for one in self.messages if one.sent > oldest]

    def receive(self, most: int, visibility: float, dead: Queue | None, limit: int) -> list[Stored]:
        """Hand out messages; one that was received more often than ``limit`` goes to ``dead``."""
        self.expire()
        now = self.now()
        free = [one for one in self.messages if one.visible <= now]
        if self.disorder:
            self.rng.shuffle(free)
        given: list[Stored] = []
        for one in free:
            if len(given) == most:
                break
            if dead is not None and one.receives >= limit:
                self.messages.remove(one)
                dead.messages.append(one)
                one.source = self.name
                continue
            one.receipt, one.taken, one.receives = uuid.uuid4().hex, now, one.receives + 1
            if self.rng.random() >= self.twice:
                one.visible = now + visibility
            given.append(one)
        return given

    def hide(self, receipt: str, seconds: float) -> None:
        """Change a message's visibility."""
        self.expire()
        now = self.now()
        found = next((one for one in self.messages if one.receipt == receipt), None)
        if found is None:
            raise Refused("InvalidParameterValue", "Message does not exist or is not available for visibility change")
        if found.visible <= now:
            raise Refused("AWS.SimpleQueueService.MessageNotInflight", shape="MessageNotInflight")
        if now + seconds > found.taken + MOST_HIDDEN:
            raise Refused("InvalidParameterValue", "Total VisibilityTimeout is beyond the limit [43200 seconds]")
        found.visible = now + seconds

    def delete(self, receipt: str) -> None:
        """Delete by the last receipt; an older one is accepted and does nothing."""
        if self.rng.random() >= self.again:
            self.messages = [one for one in self.messages if one.receipt != receipt]

    def told(self) -> dict[str, str]:
        """All attributes."""
        self.expire()
        now = self.now()
        delayed = sum(one.visible > now and not one.receives for one in self.messages)
        hidden = sum(one.visible > now and one.receives > 0 for one in self.messages)
        return {
            **self.attributes,
            "ApproximateNumberOfMessages": str(len(self.messages) - hidden - delayed),
            "ApproximateNumberOfMessagesNotVisible": str(hidden),
            "ApproximateNumberOfMessagesDelayed": str(delayed),
        }

    def redrive(self) -> tuple[str, int]:
        """Name of the dead-letter queue (empty: none) and how many receives lead there."""
        policy = json.loads(self.attributes.get("RedrivePolicy") or "{}")
        return str(policy.get("deadLetterTargetArn", "")).rsplit(":", 1)[-1], int(policy.get("maxReceiveCount", 0))
