"""What the object store's own errors mean to us: one place that knows obstore's classes and S3's error codes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore import exceptions as failures

from duplexforge.errors import ConfigError, InputError, StoreError

_CODE = re.compile(r"<Code>([A-Za-z0-9]+)</Code>")
_REFUSED = re.compile(r"status code: 40[13]\b")
_CLASH = re.compile(r"status code: 409\b")
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
        raise StoreError(f"the store did not answer for {key}: {short(error)}") from error


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
