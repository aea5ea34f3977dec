"""What the object store's own errors mean to us: one place that knows obstore's classes and S3's error codes."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import stamina
from obstore import exceptions as failures

from duplexforge.errors import ConfigError, InputError, StoreError

_CODE = re.compile(r"<Code>([A-Za-z0-9]+)</Code>")
_REFUSED = re.compile(r"status code: 40[13]\b")
_CLASH = re.compile(r"status code: 409\b")
_THROTTLED = re.compile(r"status code: (?:429|503)\b|<Code>SlowDown</Code>")
_ELSEWHERE = re.compile(r"status code: 30[1278]\b|redirect without LOCATION")
_UNSUPPORTED = re.compile(r"status code: 501\b")
# Seconds over all tries of one request. What is asked of us for longer is the task's matter, which is tried again too.
_BUDGET = 90.0
_THROTTLED_REASON = "throttled"
# A folder store keeps names of this form for its own half-written files.
_RESERVED = "are not supported"


@contextmanager
def translated(key: str) -> Iterator[None]:
    """Turn obstore's errors into ours; FileNotFoundError and AlreadyExistsError stay what they are."""
    try:
        yield
    except (failures.PermissionDeniedError, failures.UnauthenticatedError, PermissionError) as error:
        raise ConfigError(_refusal(key, error)) from error
    except FileNotFoundError as error:
        if "<Code>NoSuchBucket</Code>" in str(error):
            raise ConfigError(f"the bucket does not exist ({short(error)}): check its name and the endpoint") from error
        if "<Code>NoSuchUpload</Code>" in str(
            error
        ):  # the answer to the last part's completion was lost: no missing object
            raise StoreError(f"the parts of {key} are gone: it is sent again", reason="upload") from error
        raise
    except (failures.InvalidPathError, ValueError) as error:
        raise InputError(f"{key!r} is not a valid object key", reason="bad_key") from error
    except failures.AlreadyExistsError:
        raise
    except failures.BaseError as error:
        if "<Code>NoSuchBucket</Code>" in str(error):
            raise ConfigError(f"the bucket does not exist ({short(error)}): check its name and the endpoint") from error
        if _REFUSED.search(str(error)):  # a refused listing comes without a class of its own
            raise ConfigError(_refusal(key, error)) from error
        if _RESERVED in short(error):
            raise InputError(f"{key!r} is not a valid object key for this store", reason="bad_key") from error
        raise _failure(key, error) from error


class Unsupported(ConfigError):
    """The store does not know a request that the product needs."""

    default_reason = "unsupported"


def _failure(key: str, error: BaseException) -> StoreError | ConfigError:
    """Which failure of the service it was: most pass, a few are the configuration's fault."""
    text = str(error)
    if "<Code>ExpiredToken</Code>" in text:
        return ConfigError(f"the store refused {key}: the session token has expired, give a new one")
    if _UNSUPPORTED.search(text):
        return Unsupported(f"the store does not take a request that is needed for {key} ({short(error)})")
    if _ELSEWHERE.search(text):
        told = "the store sends requests for this bucket elsewhere: set AWS_REGION to the bucket's region"
        return StoreError(f"{told} or name its own endpoint ({short(error)})", reason="redirected")
    reason = _THROTTLED_REASON if _THROTTLED.search(text) else None
    return StoreError(f"the store did not answer for {key}: {short(error)}", reason=reason)


def clash(key: str) -> StoreError:
    """What a request that met another one on its way (409) is told as; it is tried again."""
    return StoreError(f"{key} was being written by another request", reason="clash")


def tries(attempts: int) -> Iterable[Any]:
    """Attempts at one request: with jitter, ever longer apart, and longer still when the store asks for fewer requests.

    The client does not pass ``Retry-After`` on, so throttling is waited out by doubling from half a second.
    """
    throttled = 0

    def pause(error: Exception) -> bool | float:
        nonlocal throttled
        if not isinstance(error, StoreError):
            return False
        if error.reason != _THROTTLED_REASON:
            return True
        throttled += 1
        return random.uniform(0.5, 1.5) * min(0.25 * 2.0**throttled, 16.0)

    return stamina.retry_context(
        on=pause, attempts=attempts, timeout=_BUDGET, wait_initial=0.1, wait_max=8.0, wait_jitter=0.5
    )


def is_clash(error: BaseException) -> bool:
    """Whether a conditional write met another request on its way (409), which tells nothing of the object."""
    return bool(_CLASH.search(str(error)))


def _refusal(key: str, error: BaseException) -> str:
    if "RequestTimeTooSkewed" in str(error):
        return f"the store refused {key} because this machine's clock is wrong (RequestTimeTooSkewed): set the clock"
    return f"the store refused {key}: check the access key and its policy ({short(error)})"


def short(error: BaseException) -> str:
    """The first line of an error, which is what a person can use, with S3's code where there is one."""
    text = str(error).strip()
    if not text:
        return type(error).__name__
    first = re.sub(r":? ?<\?xml.*", "", text.splitlines()[0])[:300]
    code = _CODE.search(text)
    return f"{first} {code[1]}" if code and code[1] not in first else first
