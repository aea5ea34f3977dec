"""How tests reach a server that speaks SQS: settings for our client, a plain client to look on, a control page."""

from __future__ import annotations

import http.client
import json
import uuid
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from duplexforge.config import SqsSettings
from tests.servers.s3 import ACCESS_KEY

REGION = "us-east-1"
SECRET = "test-secret-key"


@dataclass(frozen=True)
class SqsServer:
    """A running SQS server; the control page is only our stand-in's."""

    url: str

    def settings(self, **changes: Any) -> SqsSettings:
        """Settings that lead to this server."""
        fields = {
            "sqs_endpoint": self.url, "sqs_region": REGION, "sqs_access_key_id": ACCESS_KEY,
            "sqs_secret_access_key": SECRET, "sqs_session_token": "",
        }  # fmt: skip
        return SqsSettings(_env_file=None, **{**fields, **changes})

    def plain(self) -> Any:
        """boto3's own client."""
        return _plain(self.url)

    def fresh_queue(self, *, receives: int = 0, **attributes: str) -> str:
        """URL of a new queue; with ``receives`` it has a dead-letter queue ``<name>-dead`` after so many receives."""
        name, client = f"q-{uuid.uuid4().hex[:12]}", self.plain()
        if receives:
            dead = client.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
            arn = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
            policy = {"deadLetterTargetArn": arn, "maxReceiveCount": str(receives)}
            attributes["RedrivePolicy"] = json.dumps(policy)
        return str(client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])

    def control(self, url: str = "", **wanted: Any) -> dict[str, Any]:
        """Tell the stand-in something about a queue; what it says about it."""
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=10)
        try:
            connection.request("POST", "/__control", json.dumps({"queue": name_of(url), **wanted}))
            told: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return told

    def arm(self, url: str, action: str, **fault: Any) -> None:
        """Arm a fault for a queue: ``operation``, how many ``times``, with which chance ``p``."""
        self.control(url, arm={"queue": name_of(url), "action": action, **fault})

    def messages(self, url: str) -> list[dict[str, Any]]:
        """All messages of a queue, seen or hidden."""
        found: list[dict[str, Any]] = self.control(url)["messages"]
        return found

    def requests(self, url: str) -> dict[str, int]:
        """Requests to a queue so far, by operation."""
        counts: dict[str, int] = self.control(url)["requests"].get(name_of(url), {})
        return counts


def name_of(url: str) -> str:
    """A queue's name."""
    return url.rsplit("/", 1)[-1]


@lru_cache
def _plain(url: str) -> Any:
    import boto3

    return boto3.session.Session().client(
        "sqs", region_name=REGION, endpoint_url=url, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET
    )
