"""Chromium on the page of a server, with a sound file as its microphone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile as sf

from tests.unit.serving.conversation_made import DEMO, SPEECH
from tests.unit.serving.running import Running, running

if TYPE_CHECKING:
    from playwright.sync_api import Page

NOTICE = "words => document.querySelector('#notice').textContent.includes(words)"
STATE = "words => document.querySelector('#state-words').textContent === words"

CHROMIUM = "/usr/bin/chromium"
PATIENCE = 60_000
"""Milliseconds after which a test gives up waiting for the page; none of them measures time."""
_QUIET = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
)


def sentence(start: float = SPEECH[0], end: float = SPEECH[1]) -> tuple[Any, int]:
    """A sentence of the recording that comes with the examples, and its rate."""
    rate = sf.info(DEMO).samplerate
    samples, _ = sf.read(DEMO, start=round(start * rate), stop=round(end * rate), dtype="float32")
    return samples, rate


def microphone(path: Path, parts: Sequence[float | tuple[Any, int]], rate: int = 24_000) -> Path:
    """A file for Chromium's microphone: seconds of silence, and sounds. It is played from when a page asks for it."""
    pieces = []
    for part in parts:
        if isinstance(part, float):
            pieces.append(np.zeros(round(part * rate), np.float32))
        else:
            assert part[1] == rate
            pieces.append(part[0])
    sf.write(path, np.concatenate(pieces), rate, subtype="PCM_16")
    return path


class Seen:
    """One page, and what it complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        page.set_default_timeout(PATIENCE)
        page.on(
            "console",
            lambda message: self.errors.append(message.text) if message.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))

    def open(self, url: str) -> None:
        """Go there, and wait until it knows what the server offers."""
        with self.page.expect_response("**/speakers"):
            self.page.goto(url)

    def text(self, selector: str) -> str:
        """What stands there."""
        return self.page.locator(selector).inner_text()

    def number(self, selector: str) -> float:
        """The figure that stands there; 0 for none."""
        found = self.text(selector).split()[0]
        return 0.0 if found == "–" else float(found)

    def until(self, condition: str, argument: Any = None) -> None:
        """Wait for a condition in JavaScript."""
        self.page.wait_for_function(condition, arg=argument, polling=20)

    def connect(self) -> None:
        """Press the button, and wait until the server hears."""
        self.page.click("#connect")
        self.until(
            "() => { const one = document.querySelector('#connect'); return one.textContent === 'Disconnect' && !one.disabled }"
        )

    def played(self, seconds: float) -> None:
        """Wait until so much of an answer was played, by the worklet's count."""
        self.until("least => parseFloat(document.querySelector('#played').textContent) >= least", seconds)


@contextmanager
def browsing(
    sound: Path | None = None,
    *,
    loop: bool = False,
    deny: bool = False,
    width: int = 1280,
    height: int = 900,
    **context: Any,
) -> Iterator[Seen]:
    """A page in a browser of its own; ``sound``: what its microphone hears, once or in a ``loop`` (None: Chromium's own beeps).

    ``deny``: it gets no microphone.
    """
    from playwright.sync_api import sync_playwright

    flags = [*_QUIET, "--use-fake-ui-for-media-stream" + ("=deny" if deny else "")]
    flags += [f"--use-file-for-fake-audio-capture={sound}" + ("" if loop else "%noloop")] if sound else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        try:
            page = browser.new_context(viewport={"width": width, "height": height}, **context).new_page()
            yield Seen(page)
        finally:
            browser.close()


@contextmanager
def page(
    sound: Path, *, loop: bool = False, plain: bool = True, opened: bool = True, **server: Any
) -> Iterator[tuple[Seen, Running]]:
    """A page on an echo server; ``plain``: the microphone as it is, since what cancels echoes would cancel our speaker too."""
    with running(**server) as found, browsing(sound, loop=loop) as seen:
        if opened:
            seen.open(found.url)
            seen.page.click("summary")
            seen.page.set_checked("#plain", plain)
        yield seen, found
        assert seen.hosts <= {f"127.0.0.1:{found.port}"}
