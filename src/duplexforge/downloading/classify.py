"""Why an item could not be had, as one of our errors: permanent (InputError), for now (RetryLater), or not its fault at
all (Throttled: the site wants fewer requests, so the task goes back uncounted and the site is paused for all pods).

Two tables: HTTP status codes, and what yt-dlp says (its messages are the only interface it has; the tests hold
recorded ones). The first row that matches decides, so the special stand before the general. What no row knows is tried
again a few times and then ends as ``site``: an extractor that broke is mended by an update, not by giving the item up
at once.
"""

from __future__ import annotations

import math
import re
import time
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from duplexforge import log
from duplexforge.errors import DuplexforgeError, InputError, RetryLater, Throttled

_MAX_WAIT = 6 * 3600.0
_MAX_MESSAGE = 300

# status -> (reason, what it means); statuses that are not here follow by their hundred.
_PERMANENT_STATUS = {
    401: ("denied", "it wants a login"),
    402: ("paid", "it wants to be paid"),
    403: ("denied", "it is forbidden"),
    404: ("gone", "it is not there"),
    407: ("denied", "the proxy wants a login"),
    410: ("gone", "it was taken away"),
    416: ("range", "it has no such part"),
    451: ("geo", "it is blocked for legal reasons"),
}
_LATER_STATUS = {
    408: ("network", "the server lost patience"),
    421: ("network", "the request went to the wrong server"),
    425: ("throttled", "it is too early"),
    429: ("throttled", "too many requests"),
}

_THROTTLED, _NETWORK, _BOT = "throttled", "network", "bot_check"
_LATER = (_NETWORK, "site")

# reason <- what yt-dlp says (searched without case). Order matters: "video unavailable" also opens other messages.
_MESSAGES: tuple[tuple[str, str], ...] = tuple(
    (reason, pattern)
    for reason, patterns in (
        (_BOT, (r"not a bot", r"anti-bot challenge", r"solve (?:a|the) captcha")),
        (_THROTTLED, (r"rate.?limit", r"too many requests", r"try again later")),
        ("age", (r"confirm your age", r"age.?restrict", r"inappropriate for some users", r"age verification")),
        ("members", (r"members.only", r"channel's members", r"join this channel", r"subscribers? only")),
        ("paid", (r"requires? payment", r"purchase", r"only available to (?:paying|premium)")),
        ("private", (r"private (?:video|playlist|track)", r"is private", r"granted access to this video")),
        ("drm", (r"\bdrm\b",)),
        (
            "geo",
            (
                r"not available (?:in|from) your (?:country|location|region)",
                r"not made this (?:video|content) available in your",
                r"geo.?restrict",
                r"blocked it in your country",
            ),
        ),
        (
            "live",
            (r"live event will begin", r"premieres? (?:in|will)", r"is live", r"live stream", r"currently offline"),
        ),
        ("denied", (r"login required", r"log ?in to (?:view|continue)", r"registered users", r"use --cookies")),
        (
            "gone",
            (
                r"has been (?:removed|terminated|deleted)",
                r"no longer (?:available|exists)",
                r"does not exist",
                r"video unavailable",
                r"video (?:is )?(?:un|not )available",
                r"removed (?:by|for)",
                r"account .{0,40}terminated",
            ),
        ),
        (
            "unsupported",
            (r"is not a valid url", r"no connection adapters", r"file:// urls", r"unknown url type", r"redirect loop"),
        ),
        ("unsupported", (r"ffmpeg (?:could )?not (?:be )?found", r"ffmpeg is not installed")),
        ("not_audio", (r"unsupported url", r"no video formats", r"requested format is not available")),
        ("empty", (r"did not get any data",)),
        (
            _NETWORK,
            (
                r"timed? ?out",
                r"connection (?:refused|reset|aborted|broken)",
                r"name or service not known",
                r"temporary failure in name resolution",
                r"failed to (?:resolve|establish)",
                r"incomplete ?read",
                r"bytes read",
                r"remote end closed",
                r"ssl",
                r"unable to connect",
            ),
        ),
    )
    for pattern in patterns
)

_MEANING = {
    _BOT: "the site takes this address for a bot",
    _THROTTLED: "the site wants fewer requests",
    _NETWORK: "the connection failed",
    "age": "it is only for viewers who proved their age",
    "members": "it is only for members",
    "paid": "it must be paid for",
    "private": "it is private",
    "drm": "it is protected by DRM",
    "geo": "it is not available from here",
    "live": "it is a live or upcoming broadcast: seed it again when its recording is there",
    "denied": "it wants a login",
    "gone": "it is not there any more",
    "unsupported": "it is no address that can be downloaded",
    "not_audio": "there is no audio at this address",
    "empty": "the server answers with an empty file",
    "site": "the site could not be read (an update of yt-dlp may help)",
}


def http_status(status: int, retry_after: str | None = None) -> DuplexforgeError:
    """The error that an HTTP answer of 400 and above stands for; ``retry_after`` is the header's text."""
    if status in _PERMANENT_STATUS:
        reason, meaning = _PERMANENT_STATUS[status]
        return InputError(f"the server answered {status}: {meaning}", reason=reason)
    reason, meaning = _LATER_STATUS.get(status, (_NETWORK, "the server is in trouble"))
    after = wait_seconds(retry_after)
    if status == 429 or (status == 503 and after is not None):
        return Throttled(f"the server answered {status}: {meaning}", reason=_THROTTLED, after=after)
    if status >= 500 or status in _LATER_STATUS:
        return RetryLater(f"the server answered {status}: {meaning}", reason=reason, after=after)
    return InputError(f"the server answered {status}: it refuses the request", reason="refused")


def wait_seconds(retry_after: str | None) -> float | None:
    """Seconds that a Retry-After header asks for (a number or a date), at most six hours; None when it says nothing."""
    text = (retry_after or "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(seconds, 0.0), _MAX_WAIT) if math.isfinite(seconds) else None


def site_error(message: str, *, status: int | None = None, retry_after: str | None = None) -> DuplexforgeError:
    """The error that yt-dlp's ``message`` stands for; ``status`` is the HTTP status behind it, where there was one."""
    said = log.redact(" ".join(message.split()).removeprefix("ERROR: "))[:_MAX_MESSAGE]
    for reason, pattern in _MESSAGES:
        if re.search(pattern, message, re.IGNORECASE):
            return _error(reason, said, retry_after)
    # A media URL that a page has just handed out and that is forbidden at once is a throttle, not a closed door.
    if status == 403 and "unable to download video data" in message:
        # It may well be the item, so it counts.
        return RetryLater(f"{_MEANING[_THROTTLED]} ({said})", reason=_THROTTLED)
    return http_status(status, retry_after) if status is not None and status >= 400 else _error("site", said, None)


def _error(reason: str, said: str, retry_after: str | None) -> DuplexforgeError:
    text = f"{_MEANING[reason]} ({said})"
    if reason in (_THROTTLED, _BOT):
        return Throttled(text, reason=reason, after=wait_seconds(retry_after))
    if reason in _LATER:
        return RetryLater(text, reason=reason, after=wait_seconds(retry_after))
    return InputError(text, reason=reason)


def network_error(error: BaseException, url: str) -> RetryLater:
    """A connection that failed or broke off: nothing is known about the item itself.

    The message names the host, not the whole ``url``: its query may be a signature.
    """
    host = urlsplit(url).netloc.rpartition("@")[2]
    said = log.redact(" ".join(str(_root(error)).split()))[:_MAX_MESSAGE] or type(error).__name__
    return RetryLater(f"no answer from {host}, try again later: {said}", reason=_NETWORK)


def _root(error: BaseException) -> BaseException:
    """The first cause: what lies above it repeats it inside ever longer sentences."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error
