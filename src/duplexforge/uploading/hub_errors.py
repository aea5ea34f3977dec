"""What the errors of the Hub's client mean to us: who is to blame, and when to come back."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any

from duplexforge import log
from duplexforge.errors import ConfigError, DuplexforgeError, RetryLater, Throttled

_MOVED = (409, 412)
_REFUSED = (401, 403, 404)
# How the Hub words that an account has used up what it may store.
_NO_ROOM = re.compile(r"storage (limit|quota)|quota|out of storage|storage space|payment required", re.IGNORECASE)


@contextmanager
def translated(repo_id: str) -> Iterator[None]:
    """The protocol boundary: whatever the client raises gets a retry rule."""
    try:
        yield
    except DuplexforgeError:
        raise
    except Exception as error:
        raise _ours(error, repo_id) from error


def moved(error: BaseException) -> bool:
    """Whether a commit was refused because the head is not its parent any more."""
    return _status(error) in _MOVED


def unsure(error: BaseException) -> bool:
    """Whether a commit that raised this may have been made all the same."""
    status = _status(error)
    return status is None or status >= 500


def not_there(error: BaseException) -> bool:
    """Whether the repository is there and the file is not."""
    return type(error).__name__ in ("EntryNotFoundError", "RemoteEntryNotFoundError")


def _ours(error: BaseException, repo_id: str) -> DuplexforgeError:
    for one in _causes(error):
        if isinstance(one, DuplexforgeError):  # raised while a file was read
            return one
    answer = _answer(error)
    said = _said(error, answer)
    status = None if answer is None else int(answer.status_code)
    if status in (402, 413, 507) or (status in (None, 400, 403) and _NO_ROOM.search(said)):
        message = f"the Hub has no room for {repo_id} ({said}): free or buy storage, or make the data set public"
        return ConfigError(message, reason="quota")
    # Storage that files are sent to (by PUT) answers 403 to a link that is too old: that says nothing about the token.
    # A commit or file that is not shown yet is a 404 too, but of another kind than a repository that is not there.
    if answer is not None and status in _REFUSED and answer.request.method != "PUT" and not _only_a_part(answer):
        message = f"the Hub refused {repo_id} ({status}): {_ADVICE[status]}"
        return ConfigError(message, reason="token")
    after = _retry_after(answer)
    text = f"the Hub did not take it: {said}"
    if status == 429 or (status is not None and status >= 500) or (status is None and _is_network(error)):
        return Throttled(text, reason="hub", after=after)
    return RetryLater(text, reason="hub", after=after)


_ADVICE = {
    401: "check that HF_TOKEN is a token that is still valid",
    403: "check HF_REPO_ID, and that HF_TOKEN is a token with write access to it",
    404: "check HF_REPO_ID, and that HF_TOKEN is a token that may see it",
}


def _said(error: BaseException, answer: Any) -> str:
    """What the Hub or the network said, in one line without secrets."""
    chain = list(_causes(error))
    told = next((str(words) for one in chain if (words := getattr(one, "server_message", None))), "")
    # The client wraps what went wrong with a file; the innermost error is the one that says it.
    lines = [line.strip() for line in str(chain[-1]).splitlines() if line.strip()] or [type(chain[-1]).__name__]
    if answer is not None:
        lines = [f"{answer.status_code}: {' '.join(told.split())}" if told else lines[0]]
    return log.redact(" ".join(lines[:2]))[:300]


def _only_a_part(answer: Any) -> bool:
    """Whether a 404 is about a file or a commit, the repository being there."""
    code = answer.headers.get("x-error-code", "")
    return bool(answer.status_code == 404 and code in ("EntryNotFound", "RevisionNotFound"))


def _is_network(error: BaseException) -> bool:
    """Whether no answer came: the connection failed, or another lane closed it because its own had failed."""
    for one in _causes(error):
        if isinstance(one, OSError) or "client has been closed" in str(one):
            return True
        if any(kind.__name__ == "TransportError" for kind in type(one).__mro__):
            return True
    return False


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _answer(error: BaseException) -> Any:
    """The Hub's answer behind an error, or None when there was none."""
    return next((answer for one in _causes(error) if (answer := getattr(one, "response", None)) is not None), None)


def _status(error: BaseException) -> int | None:
    answer = _answer(error)
    return None if answer is None else int(answer.status_code)


def _retry_after(answer: Any) -> float | None:
    """Seconds to wait as the answer's headers tell, as a number, as a date, or in the Hub's own rate limit header."""
    if answer is None:
        return None
    told = str(answer.headers.get("retry-after", "")).strip()
    if told.isdigit():
        return float(told)
    if limit := re.search(r"\bt=(\d+)", answer.headers.get("ratelimit", "")) if answer.status_code == 429 else None:
        return float(limit[1])
    try:
        return max(0.0, parsedate_to_datetime(told).timestamp() - time.time()) if told else None
    except ValueError:
        return None
