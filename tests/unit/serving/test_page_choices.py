"""The page in Chromium where something is chosen, missing or wrong: settings, self-tests, keys, lost connections, screens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.unit.serving.browsing import NOTICE, STATE, browsing, microphone, page, sentence
from tests.unit.serving.running import running, wait_until

pytestmark = [pytest.mark.system, pytest.mark.realtime]

KEY = "a-key-of-this-test"


# -- settings --------------------------------------------------------------------------------------------------------------


def test_voices_and_controls_are_sent_as_they_are_chosen(tmp_path: Path) -> None:
    offered = {
        "speakers": [
            {"id": 0, "name": "Arjun", "key": "male_young", "pitch": 120.0},
            {"id": 1, "name": "<b>Ravi</b>", "key": "ravi"},
        ],
        "emotions": ["neutral", "telugu_heavy"],
        "accents": ["mild", "heavy"],
        "controls": {"pitch": [0.5, 2.0], "energy": [0.5, 2.0]},
    }
    sent: list[dict[str, Any]] = []

    def config() -> dict[str, Any]:
        """What holds after all that was sent."""
        found: dict[str, Any] = {}
        for one in sent:
            found.update(one.get("config", {}))
        return found

    with page(microphone(tmp_path / "mic.wav", [20.0]), opened=False) as (seen, server):
        seen.page.route("**/speakers", lambda route: route.fulfill(json=offered))
        seen.page.on("websocket", lambda ws: ws.on("framesent", lambda data: sent.append(json.loads(data))))
        seen.open(server.url)
        assert seen.page.locator("#speaker option").all_inner_texts() == ["Arjun, 120 Hz", "<b>Ravi</b>"]
        assert not seen.page.is_visible("#rate")
        assert not seen.page.is_visible("#blend")
        seen.page.select_option("#speaker", "ravi")
        seen.connect()
        wait_until(lambda: (seen.page.wait_for_timeout(20), config().get("speaker"))[1] == "ravi")
        assert config()["emotion"] == "neutral"
        assert "rate" not in config()
        assert "other" not in config()
        assert config()["blend"] == 0
        seen.page.select_option("#other", "male_young")
        seen.page.fill("#blend", "0.25")
        seen.page.fill("#pitch", "1.5")
        seen.page.select_option("#emotion", "telugu_heavy")
        # An accent is spoken in the neutral emotion alone.
        seen.page.select_option("#accent", "heavy")
        assert seen.page.input_value("#emotion") == "neutral"
        wanted = {"other": "male_young", "blend": 0.25, "pitch": 1.5, "accent": "heavy", "emotion": "neutral"}
        wait_until(lambda: (seen.page.wait_for_timeout(20), wanted.items() <= config().items())[1])
        assert seen.errors == []


# -- when something is wrong ------------------------------------------------------------------------------------------------


def test_the_self_tests_pass(tmp_path: Path) -> None:
    with page(microphone(tmp_path / "mic.wav", [sentence(), 20.0])) as (seen, server):
        seen.page.click("#test")
        seen.until("() => document.querySelectorAll('#tests .pass, #tests .fail').length === 4")
        told = seen.text("#tests")
        assert seen.page.locator("#tests .pass").count() == 4, told
        for word in ("Audio context", "Microphone", "Socket", "Echo round trip", "agrees with it to"):
            assert word in told
        wait_until(lambda: server.service.quiet)
        assert seen.errors == []


def test_a_self_test_fails_where_the_server_is_full(tmp_path: Path) -> None:
    with page(microphone(tmp_path / "mic.wav", [20.0]), sca_slots=1) as (seen, server), connect(f"{server.ws}/ws"):
        wait_until(lambda: not server.service.quiet)
        seen.page.click("#test")
        seen.until("() => document.querySelectorAll('#tests .fail').length === 2")
        assert "full" in seen.text("#tests [data-test=Socket]")
        assert "no connection" in seen.text("#tests [data-test='Echo round trip']")


def test_a_full_server_is_told_in_a_sentence(tmp_path: Path) -> None:
    with page(microphone(tmp_path / "mic.wav", [20.0]), sca_slots=1) as (seen, server):
        with connect(f"{server.ws}/ws"):
            wait_until(lambda: not server.service.quiet)
            seen.page.click("#connect")
            seen.until(NOTICE, "The server is full")
            seen.until(STATE, "Not connected")
        wait_until(lambda: server.service.quiet)
        seen.connect()
        seen.until(STATE, "Listening")
        assert not seen.page.is_visible("#notice")


def test_a_lost_connection_is_made_again(tmp_path: Path) -> None:
    lines: list[Any] = []

    def route(line: Any) -> None:
        lines.append(line)
        line.connect_to_server()

    mic = microphone(tmp_path / "mic.wav", [8.0, sentence(), 20.0])
    with page(mic, opened=False) as (seen, server):
        seen.page.route_web_socket("**/ws", route)
        seen.open(server.url)
        seen.connect()
        seen.until(STATE, "Listening")
        lines[0].close(code=1001)
        seen.until(STATE, "Connection lost")
        assert "Trying again in 1 s" in seen.text("#notice")
        seen.until(STATE, "Listening")
        assert len(lines) == 2
        assert not seen.page.is_visible("#notice")
        # Answers are counted anew, and are heard all the same.
        seen.played(0.3)
        assert seen.errors == []


def test_a_session_that_the_server_ends_is_not_begun_again(tmp_path: Path) -> None:
    with page(microphone(tmp_path / "mic.wav", [20.0]), sca_session_seconds=1.5) as (seen, _):
        seen.page.click("#connect")
        seen.until(NOTICE, "the session's time is over")
        seen.until(STATE, "Not connected")


def test_a_key_is_asked_for_and_never_stands_in_an_address(tmp_path: Path) -> None:
    addresses: list[str] = []
    with page(microphone(tmp_path / "mic.wav", [20.0]), opened=False, sca_keys=KEY) as (seen, server):
        seen.page.on("request", lambda request: addresses.append(request.url))
        seen.page.on("websocket", lambda line: addresses.append(line.url))
        seen.open(server.url)
        seen.until(NOTICE, "wants a key")
        seen.page.fill("#key", "not the key at all")
        seen.page.press("#key", "Enter")
        seen.until("() => !document.querySelector('#connect').disabled")
        seen.page.fill("#key", KEY)
        seen.page.press("#key", "Enter")
        seen.until(STATE, "Listening")
        assert any(address.startswith("ws:") for address in addresses)
        assert not [address for address in addresses if "key" in address]


def test_a_refused_microphone_is_told_in_a_sentence() -> None:
    with running() as server, browsing(deny=True) as seen:
        seen.open(server.url)
        seen.page.click("#connect")
        seen.until(NOTICE, "The microphone was refused")
        seen.until(STATE, "Not connected")
        assert server.service.quiet


# -- on every screen --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (1600, "light")])
def test_it_fits_the_screen(width: int, scheme: str) -> None:
    with running() as server, browsing(width=width, color_scheme=scheme, reduced_motion="reduce") as seen:
        seen.open(server.url)
        seen.page.click("summary")
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        small = seen.page.evaluate(
            "[...document.querySelectorAll('button, select')].filter(one => one.offsetParent && one.offsetHeight < 24).length"
        )
        assert small == 0
        assert seen.errors == []


def test_the_keyboard_reaches_every_control() -> None:
    with running() as server, browsing() as seen:
        seen.open(server.url)
        seen.page.click("summary")
        reached = set()
        for _ in range(40):
            seen.page.keyboard.press("Tab")
            reached.add(
                seen.page.evaluate(
                    "document.activeElement.id || document.activeElement.name || document.activeElement.tagName"
                )
            )
        assert {
            "connect",
            "mode",
            "interruption",
            "plain",
            "turns",
            "silence",
            "vad_threshold",
            "session",
            "test",
        } <= reached
