"""One SQS queue over the network: the only module that knows boto3, its answers and its errors.

Requests are repeated by the client itself (throttling, 5xx, broken connections; five tries with growing pauses), what a
batch request did only in part is repeated here. A repeated send may put a message in twice, which the queue expects.
"""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from duplexforge import log
from duplexforge.config import SqsSettings
from duplexforge.errors import ConfigError, RetryLater
from duplexforge.queues.sqs_message import BATCH, Message, Outgoing, batches

MOST_WAIT = 20
MOST_HIDDEN = 43200
_BATCH_TRIES = 6
_REGION = re.compile(r"(?:^|\.)sqs(?:-fips)?\.([a-z0-9-]+)\.|^([a-z0-9-]+)\.queue\.")
_CURE = {
    "AccessDenied": "the key may not do this: see README for the policy that is needed",
    "NonExistentQueue": "there is no such queue: check AWS_QUEUE_DOWNLOAD and SQS_QUEUE_URL, and the region",
    "Token": "the access key is not known: check SQS_ACCESS_KEY_ID and SQS_SECRET_ACCESS_KEY",
    "Skew": "this machine's clock is wrong: set the clock",
}
_CODES = {
    "AccessDenied": ("AccessDenied", "AccessDeniedException", "KmsAccessDenied", "KMS.AccessDeniedException"),
    "NonExistentQueue": ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "InvalidAddress"),
    "Token": (
        "InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "SignatureDoesNotMatch",
        "InvalidSignatureException", "MissingAuthenticationToken", "ExpiredToken", "ExpiredTokenException",
        "AuthFailure", "OptInRequired",
    ),
    "Skew": ("RequestExpired", "RequestTimeTooSkewed"),
}  # fmt: skip
_KINDS = {code: kind for kind, codes in _CODES.items() for code in codes}
_THROTTLED = ("ThrottlingException", "Throttling", "RequestThrottled", "TooManyRequestsException", "OverLimit")
# What is said of a receipt whose message was deleted, received again, or hidden for 12 hours.
_STALE = ("ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue", "InvalidIdFormat")


@dataclass(frozen=True)
class Counts:
    """About how many messages there are (SQS tells it a minute late): free, hidden by a receiver, not yet due."""

    visible: int
    hidden: int
    delayed: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.visible + self.hidden + self.delayed


def region_of(url: str) -> str | None:
    """The region that a queue's URL names, None where it names none."""
    found = _REGION.search(urlsplit(url).hostname or "")
    return (found[1] or found[2]) if found else None


def origin_of(url: str) -> str:
    """Scheme and host of a queue's URL. ConfigError when it is no URL of a queue that fits."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or len(parts.path.strip("/").split("/")) < 2:
        raise ConfigError(f"{url!r} is not the URL of an SQS queue (https://sqs.REGION.amazonaws.com/ACCOUNT/NAME)")
    if url.endswith(".fifo"):
        raise ConfigError(f"{url} is a FIFO queue, which would let one task wait for another: use a standard queue")
    return f"{parts.scheme}://{parts.netloc}"


class Channel:
    """One queue, by its URL. Safe to share between threads; nothing is sent before the first call."""

    def __init__(self, url: str, settings: SqsSettings, *, region: str | None = None, attempts: int = 5) -> None:
        self.url, self._attempts = url, attempts
        self._origin = origin_of(url)
        self._settings = settings
        self._region = settings.sqs_region or region_of(url) or (None if region == "auto" else region)
        self._made: Any = None
        for secret in (settings.sqs_access_key_id, settings.sqs_secret_access_key, settings.sqs_session_token):
            log.hide(secret.get_secret_value() if secret else None)

    # -- messages --------------------------------------------------------------------------------------------------

    def send(self, messages: Sequence[Outgoing], *, url: str | None = None) -> None:
        """Send messages, ten a request and within its size. What a request left out is sent again, five times."""
        for batch in batches(messages):
            self._batch("SendMessageBatch", [one.entry() for one in batch], url or self.url)

    def receive(self, wait: float, visibility: float) -> Message | None:
        """The next message, waiting up to ``wait`` (20 at most) seconds; nobody else sees it for ``visibility``."""
        answer = self._call(
            "ReceiveMessage",
            WaitTimeSeconds=max(0, min(MOST_WAIT, round(wait))),
            MaxNumberOfMessages=1,
            VisibilityTimeout=whole(visibility),
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        for one in answer.get("Messages", []):
            told = {name: value.get("StringValue", "") for name, value in one.get("MessageAttributes", {}).items()}
            count = one.get("Attributes", {}).get("ApproximateReceiveCount", "1")
            return Message(one.get("Body", ""), one["ReceiptHandle"], told, int(count))
        return None

    def hide(self, message: Message, seconds: float) -> bool:
        """Let nobody see a message for ``seconds`` from now (0: everybody, now). False when it is no longer ours to hide."""
        most = MOST_HIDDEN - message.age - 1
        done = self._call(
            "ChangeMessageVisibility",
            tolerated=_STALE,
            ReceiptHandle=message.handle,
            VisibilityTimeout=whole(max(0.0, min(seconds, most))),
        )
        message.hidden_at = time.monotonic()
        return done is not _TOLERATED

    def delete(self, handles: Sequence[str]) -> None:
        """Delete messages by their receipts; one that is gone or was received again is no error."""
        for start in range(0, len(handles), BATCH):
            entries = [{"ReceiptHandle": handle} for handle in handles[start : start + BATCH]]
            self._batch("DeleteMessageBatch", entries, self.url, tolerated=_STALE)

    # -- the queue itself ------------------------------------------------------------------------------------------

    def attributes(self) -> dict[str, str]:
        """What the queue is set to."""
        found: dict[str, str] = self._call("GetQueueAttributes", AttributeNames=["All"]).get("Attributes", {})
        return found

    def counts(self) -> Counts:
        """About how many messages there are."""
        names = ("", "NotVisible", "Delayed")
        wanted = [f"ApproximateNumberOfMessages{name}" for name in names]
        told = self._call("GetQueueAttributes", AttributeNames=wanted).get("Attributes", {})
        return Counts(*(int(told.get(name, 0)) for name in wanted))

    def dead_letters(self) -> str | None:
        """URL of the dead-letter queue, None when none is configured."""
        told = self._call("GetQueueAttributes", AttributeNames=["RedrivePolicy"])
        policy = json.loads(told.get("Attributes", {}).get("RedrivePolicy") or "{}")
        arn = str(policy.get("deadLetterTargetArn", ""))
        if not arn:
            return None
        owner, name = arn.split(":")[-2:]
        answer = self._call("GetQueueUrl", url=None, QueueName=name, QueueOwnerAWSAccountId=owner)
        return str(answer["QueueUrl"])

    def forbidden(self) -> list[str]:
        """Operations that the key may not do on the queue, found by requests that make no sense and change nothing."""
        tries: dict[str, dict[str, Any]] = {
            "SendMessage": {"MessageBody": "\x00"},
            "ReceiveMessage": {"MaxNumberOfMessages": 11},
            "ChangeMessageVisibility": {"ReceiptHandle": "none", "VisibilityTimeout": 0},
            "DeleteMessage": {"ReceiptHandle": "none"},
        }
        return [operation for operation, parameters in tries.items() if self._forbids(operation, parameters)]

    def _forbids(self, operation: str, parameters: dict[str, Any]) -> bool:
        try:
            self._call(operation, **parameters)
        except ConfigError as error:
            return _CURE["AccessDenied"] in str(error)
        return False

    # -- shared ----------------------------------------------------------------------------------------------------

    def _batch(self, operation: str, entries: list[dict[str, Any]], url: str, tolerated: Sequence[str] = ()) -> None:
        left = {str(number): {"Id": str(number), **entry} for number, entry in enumerate(entries)}
        why = ""
        for attempt in range(_BATCH_TRIES):
            if attempt:
                time.sleep(random.uniform(0.5, 1.0) * 0.05 * 2**attempt)
            answer = self._call(operation, url=url, Entries=list(left.values()))
            failed = {one["Id"]: one for one in answer.get("Failed", []) if one.get("Code") not in tolerated}
            left = {name: entry for name, entry in left.items() if name in failed}
            if not left:
                return
            why = "; ".join(sorted({f"{one.get('Code')}: {one.get('Message', '')}" for one in failed.values()}))
            if any(one.get("SenderFault") and one.get("Code") not in _THROTTLED for one in failed.values()):
                raise _refused(operation, url, "", why)
        raise RetryLater(f"SQS took only a part of {operation} to {url} time and again: {why[:300]}", reason="queue")

    def _call(self, operation: str, *, url: str | None = "", tolerated: Sequence[str] = (), **parameters: Any) -> Any:
        """One request; ``_TOLERATED`` where SQS answers with one of those codes."""
        if url is not None:
            parameters["QueueUrl"] = url or self.url
        with _translated(operation, self.url, tolerated) as outcome:
            outcome.append(self._method(operation)(**parameters))
        return outcome[0]

    def _method(self, operation: str) -> Callable[..., Any]:
        with _making:
            self._made = self._made or self._client()
        name = re.sub(r"(?<!^)([A-Z])", r"_\1", operation).lower()
        method: Callable[..., Any] = getattr(self._made, name)
        return method

    def _client(self) -> Any:
        try:
            session = _session()
            from botocore.config import Config
        except ImportError as error:
            raise ConfigError("SQS needs boto3: pip install 'duplexforge[sqs]'") from error
        wanted = self._settings
        region = self._region or ("us-east-1" if wanted.sqs_endpoint else None)
        if region is None:
            raise ConfigError(f"the region of {self.url} cannot be told from its URL: set SQS_REGION")
        secrets = (wanted.sqs_access_key_id, wanted.sqs_secret_access_key, wanted.sqs_session_token)
        key, secret, token = (one.get_secret_value() if one else None for one in secrets)
        return session.client(
            "sqs",
            region_name=region,
            # Always told, or boto3 would take AWS_ENDPOINT_URL, which is the object store's.
            endpoint_url=wanted.sqs_endpoint or self._origin,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token if key else None,
            config=Config(
                retries={"mode": "standard", "total_max_attempts": self._attempts},
                connect_timeout=10,
                read_timeout=MOST_WAIT + 20,
                max_pool_connections=32,
            ),
        )


_TOLERATED: dict[str, Any] = {}
# boto3 makes clients in one thread at a time only.
_making = threading.Lock()


@lru_cache
def _session() -> Any:
    """One for the process: it keeps what boto3 must read from disk before it can make a client."""
    import boto3

    return boto3.session.Session()


def whole(seconds: float) -> int:
    """Seconds as SQS takes them: whole, rounded up, 12 hours at most."""
    return max(0, min(MOST_HIDDEN, -int(-seconds // 1)))


@contextmanager
def _translated(operation: str, url: str, tolerated: Sequence[str]) -> Iterator[list[Any]]:
    from botocore import exceptions as failures

    outcome: list[Any] = []
    try:
        yield outcome
    except failures.ClientError as error:
        code, text = error.response.get("Error", {}).get("Code", ""), error.response.get("Error", {}).get("Message", "")
        if code in tolerated or code.rsplit(".", 1)[-1] in tolerated:
            outcome.append(_TOLERATED)
            return
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if 400 <= status < 500 and status not in (408, 429) and code not in _THROTTLED:
            raise _refused(operation, url, code, text) from None
        raise RetryLater(f"SQS did not do {operation} on {url}: {code} {text}"[:400], reason="queue") from None
    except (failures.NoCredentialsError, failures.PartialCredentialsError, failures.CredentialRetrievalError) as error:
        raise ConfigError(f"no access key for SQS ({error}): set SQS_ACCESS_KEY_ID and SQS_SECRET_ACCESS_KEY") from None
    except failures.BotoCoreError as error:
        raise RetryLater(f"SQS did not answer {operation} on {url}: {error}"[:400], reason="queue") from None


def _refused(operation: str, url: str, code: str, text: str) -> ConfigError:
    kind = _KINDS.get(code) or _KINDS.get(code.rsplit(".", 1)[-1], "")
    if kind == "Token" and ("Signature expired" in text or "Signature not yet current" in text):
        kind = "Skew"
    cure = _CURE.get(kind, "")
    told = log.redact(" ".join(f"{code} {text}".split())[:300]) or "no reason given"
    return ConfigError(f"SQS refused {operation} on {url}: {told}{f': {cure}' if cure else ''}")
