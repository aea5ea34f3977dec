"""What yt-dlp and servers say, as recorded, and what it means for a task."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from duplexforge import log
from duplexforge.downloading.classify import http_status, network_error, site_error, wait_seconds
from duplexforge.errors import InputError, RetryLater, Throttled

YT = "ERROR: [youtube] dQw4w9WgXcQ: "
RECORDED = [
    ("private", YT + "Private video. Sign in if you've been granted access to this video"),
    ("private", "ERROR: [vimeo] 1234: This video is private"),
    ("age", YT + "Sign in to confirm your age. This video may be inappropriate for some users."),
    (
        "members",
        YT + "Join this channel to get access to members-only content like this video, and other exclusive perks.",
    ),
    ("members", YT + "This video is available to this channel's members on level: Fan (or any higher level)."),
    ("geo", YT + "Video unavailable. The uploader has not made this video available in your country"),
    (
        "geo",
        "ERROR: [bbc] p0: This video is not available in your country.\nThis video is available in United Kingdom.",
    ),
    ("geo", "ERROR: [x] 1: This video is not available from your location due to geo restriction"),
    ("live", YT + "This live event will begin in 3 hours."),
    ("live", YT + "Premieres in 2 days"),
    ("live", "ERROR: [twitch:stream] someone: The channel is currently offline"),
    ("gone", YT + "Video unavailable. This video has been removed by the uploader"),
    ("gone", YT + "Video unavailable. This video is no longer available because the account has been terminated."),
    ("gone", YT + "Video unavailable"),
    ("gone", YT + "This video has been removed for violating YouTube's Terms of Service"),
    ("paid", YT + "This video requires payment to watch"),
    ("drm", "ERROR: [DRM] The requested site is known to use DRM protection. It will NOT be supported."),
    ("drm", "ERROR: [x] 1: This video is DRM protected"),
    ("denied", "ERROR: [x] 1: This video is only available for registered users. Use --cookies-from-browser"),
    ("not_audio", "ERROR: Unsupported URL: http://127.0.0.1:34981/page"),
    ("not_audio", "ERROR: [generic] a: No video formats found!; please report this issue on GitHub"),
    ("unsupported", "ERROR: [generic] 'nonsense' is not a valid URL"),
    ("unsupported", "ERROR: m3u8 download detected but ffmpeg could not be found. Please install"),
    ("unsupported", "No connection adapters were found for 'file:///etc/hostname'"),
    ("empty", "ERROR: Did not get any data blocks"),
]
LATER = [
    ("bot_check", YT + "Sign in to confirm you’re not a bot. Use --cookies-from-browser or --cookies"),
    ("bot_check", "ERROR: [x] 1: Please solve the captcha to continue"),
    (
        "throttled",
        YT + "Video unavailable. This content isn't available, try again later. Your account has been rate-limited",
    ),
    ("throttled", "ERROR: [generic] a: Unable to download webpage: HTTP Error 429: Too Many Requests"),
    ("network", "ERROR: [generic] a: Unable to download webpage: [Errno 111] Connection refused"),
    ("network", "ERROR: Unable to download webpage: <urlopen error [Errno -3] Temporary failure in name resolution>"),
    ("network", "ERROR: [download] Got error: 2230 bytes read, 2231 more expected. Giving up after 2 retries"),
    ("network", "ERROR: [download] Got error: Read timed out.. Giving up after 2 retries"),
    ("site", YT + "Unable to extract player response; please report this issue on GitHub"),
]


@pytest.mark.parametrize(("reason", "message"), RECORDED)
def test_what_trying_again_cannot_help(reason: str, message: str) -> None:
    error = site_error(message)
    assert isinstance(error, InputError)
    assert error.reason == reason


@pytest.mark.parametrize(("reason", "message"), LATER)
def test_what_may_go_well_another_time(reason: str, message: str) -> None:
    error = site_error(message)
    assert isinstance(error, RetryLater)
    assert error.reason == reason
    # A site that wants fewer requests is nobody's failure; the others count.
    assert isinstance(error, Throttled) == (reason in ("throttled", "bot_check"))


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (400, InputError, "refused"),
        (401, InputError, "denied"),
        (403, InputError, "denied"),
        (404, InputError, "gone"),
        (410, InputError, "gone"),
        (451, InputError, "geo"),
        (418, InputError, "refused"),
        (408, RetryLater, "network"),
        (425, RetryLater, "throttled"),
        (429, Throttled, "throttled"),
        (500, RetryLater, "network"),
        (502, RetryLater, "network"),
        (503, RetryLater, "network"),
        (599, RetryLater, "network"),
    ],
)
def test_statuses(status: int, kind: type[Exception], reason: str) -> None:
    error = http_status(status)
    assert type(error) is kind
    assert error.reason == reason
    assert str(status) in str(error)


def test_the_status_behind_a_message_decides_when_the_words_do_not() -> None:
    gone = site_error("ERROR: [x] 1: Unable to download JSON metadata: HTTP Error 404: Not Found", status=404)
    assert gone.reason == "gone"
    # A media address that a page has just handed out is a throttle when it is forbidden; a page that is, is closed.
    media = site_error("ERROR: unable to download video data: HTTP Error 403: Forbidden", status=403)
    page = site_error("ERROR: [x] 1: Unable to download webpage: HTTP Error 403: Forbidden", status=403)
    assert type(media) is RetryLater
    assert (media.reason, page.reason) == ("throttled", "denied")


def test_retry_after_reaches_the_queue() -> None:
    error = http_status(429, "7")
    assert isinstance(error, RetryLater)
    assert error.after == 7.0
    # A server that names a time is busy; one that does not may be broken, and that counts.
    assert isinstance(http_status(503, "7"), Throttled)
    assert type(http_status(503, "soon")) is RetryLater
    said = site_error("HTTP Error 429: Too Many Requests", status=429, retry_after="9")
    assert isinstance(said, RetryLater)
    assert said.after == 9.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120.0), (" 1.5 ", 1.5), ("-3", 0.0), ("99999999", 21600.0), ("nan", None), ("inf", None), ("soon", None),
     ("", None), (None, None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)],
)  # fmt: skip
def test_wait_seconds(text: str | None, seconds: float | None) -> None:
    assert wait_seconds(text) == seconds


def test_wait_until_a_date() -> None:
    found = wait_seconds(format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True))
    assert found is not None
    assert 3500 < found <= 3600


def test_a_message_names_the_host_and_not_the_signature() -> None:
    error = network_error(ConnectionError("refused"), "https://cdn.example.org:8443/a.mp3?signature=secret")
    assert "cdn.example.org:8443" in str(error)
    assert "secret" not in str(error)


def test_long_messages_are_cut() -> None:
    assert len(str(site_error("x" * 10_000))) < 500


def test_a_hidden_word_is_in_no_message() -> None:
    log.hide("proxy-password-1")
    for error in (
        site_error("cannot reach http://me:proxy-password-1@proxy"),
        network_error(OSError("proxy-password-1"), "http://x/"),
    ):
        assert "proxy-password-1" not in str(error)
