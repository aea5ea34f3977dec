"""The SQS queues: that they are there, that the key may use them, and that they are set as the roles need them."""

from __future__ import annotations

import json
from collections.abc import Iterator

from duplexforge.config import Settings, SqsSettings, StoreSettings
from duplexforge.doctor.finding import Finding
from duplexforge.errors import DuplexforgeError
from duplexforge.queues.sqs_client import Channel

# A wait for a task's time and a look at a task that somebody holds are receives too.
_FEW_RECEIVES = 20
_SHORT_RETENTION = 86400


def of_settings(settings: Settings) -> Iterator[Finding]:
    """A finding for each queue that the settings name; none where all queues are in the store."""
    wanted = settings[SqsSettings]
    urls = {"AWS_QUEUE_DOWNLOAD": wanted.aws_queue_download, "SQS_QUEUE_URL": wanted.sqs_queue_url}
    for variable, url in urls.items():
        if url:
            yield _queue(variable, url, wanted, settings[StoreSettings].aws_region)
    if urls["SQS_QUEUE_URL"] and urls["SQS_QUEUE_URL"] == urls["AWS_QUEUE_DOWNLOAD"]:
        cure = "give each stage a queue of its own"
        yield Finding("SQS", False, "AWS_QUEUE_DOWNLOAD and SQS_QUEUE_URL name the same queue", cure)


def _queue(variable: str, url: str, wanted: SqsSettings, region: str) -> Finding:
    check = f"SQS: {variable}"
    try:
        channel = Channel(url, wanted, region=region)
        attributes = channel.attributes()
        if forbidden := channel.forbidden():
            cure = "allow it in the policy of this key; README has one that is enough"
            return Finding(check, False, f"{url}: the key may not do {', '.join(forbidden)}", cure)
        dead_letters = channel.dead_letters()
    except DuplexforgeError as error:
        return Finding(check, False, str(error), f"correct {variable}, the region or the key")
    seen = f"{url}: {attributes.get('ApproximateNumberOfMessages', '?')} messages waiting"
    if fault := _fault(attributes):
        return Finding(check, False, f"{seen}, but {fault[0]}", fault[1])
    if dead_letters is None:
        # No fault: what fails is kept in the store.
        return Finding(check, True, f"{seen}; no dead-letter queue, so failed tasks are kept in the store alone")
    return Finding(check, True, f"{seen}; dead letters go to {dead_letters}")


def _fault(attributes: dict[str, str]) -> tuple[str, str] | None:
    """What is set so that tasks would be late or lost from sight, and the cure."""
    kept = int(attributes.get("MessageRetentionPeriod", _SHORT_RETENTION))
    if kept < _SHORT_RETENTION:
        return f"it keeps messages for {kept} s only", "set MessageRetentionPeriod to 14 days (1209600)"
    policy = json.loads(attributes.get("RedrivePolicy") or "{}")
    receives = int(policy.get("maxReceiveCount", _FEW_RECEIVES))
    if receives < _FEW_RECEIVES:
        return (
            f"SQS itself gives a message up after {receives} receives, and a wait is a receive too",
            "set maxReceiveCount to 100: attempts are counted in the store (ATTEMPT_LIMIT)",
        )
    if delay := int(attributes.get("DelaySeconds", 0)):
        return f"it delays every message by {delay} s", "set DelaySeconds to 0"
    return None
