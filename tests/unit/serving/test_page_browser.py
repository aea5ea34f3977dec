"""The page in Chromium: a recorded question in, the answer's sound out, and everything that breaks it off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import soundfile as sf

from duplexforge.dialogues.domain import domain
from tests.unit.serving.browsing import STATE, Seen, microphone, page, sentence
from tests.unit.serving.running import Running, wait_until

pytestmark = [pytest.mark.system, pytest.mark.realtime]

QUESTIONS = Path(__file__).parents[1] / "models" / "questions"
OVER = "epoch => document.querySelector(`#transcript [data-epoch='${epoch}'][data-over]`)"


def over(seen: Seen, epoch: int) -> tuple[str, float]:
    """Wait until an answer is over; how it ended, and how many seconds of it counted as heard."""
    seen.until(OVER, epoch)
    item = seen.page.locator(f"#transcript [data-epoch='{epoch}']")
    return item.get_attribute("data-over") or "", float(item.get_attribute("data-seconds") or -1)


def still(seen: Seen) -> None:
    """Nothing is played, and nothing comes any more."""
    seen.until("() => document.querySelector('#waiting').textContent === '0 ms'")
    played = seen.text("#played")
    seen.page.wait_for_timeout(400)
    assert seen.text("#played") == played
    assert seen.text("#waiting") == "0 ms"


# -- a conversation ----------------------------------------------------------------------------------------------------------


def test_a_question_is_answered_and_the_answer_is_played(tmp_path: Path) -> None:
    mic = microphone(tmp_path / "mic.wav", [0.5, sentence(), 20.0])
    with page(mic) as (seen, server):
        seen.connect()
        how, seconds = over(seen, 1)
        spoken = len(sentence()[0]) / sentence()[1]
        assert how == "whole"
        # The echo is the sentence with the silence round it, and all of it went through the loudspeaker.
        assert spoken - 0.3 < seconds < spoken + 1.5
        seen.played(seconds - 0.1)
        assert seen.number("#played") <= seconds + 0.1
        assert seen.number("#heard") >= seen.number("#first") >= seen.number("#endpoint") > 0
        assert "spoke for" in seen.text("#transcript .you")
        seen.until(STATE, "Listening")
        seen.page.click("#connect")
        seen.until(STATE, "Not connected")
        wait_until(lambda: server.service.quiet)
        assert seen.errors == []


def test_speaking_breaks_an_answer_off_and_so_does_the_button(tmp_path: Path) -> None:
    # Somebody who speaks without end: the mute button says when they do.
    mic = microphone(tmp_path / "mic.wav", [sentence()])
    with page(mic, loop=True) as (seen, server):
        seen.connect()
        seen.until(STATE, "You are speaking")
        seen.page.wait_for_timeout(7000)
        seen.page.click("#mute")
        seen.played(0.3)
        seen.page.click("#mute")
        how, seconds = over(seen, 1)
        assert how == "voice"
        assert 0.3 <= seconds < 6.5
        assert "broke it off by speaking" in seen.text("#transcript [data-epoch='1']")
        wait_until(lambda: server.service.statistics()["interruptions"] == 1)
        seen.until("() => document.querySelector('#waiting').textContent === '0 ms'")
        # While they go on speaking nothing of that answer is heard any more.
        still(seen)
        seen.page.wait_for_timeout(5000)
        seen.page.click("#mute")
        seen.until("() => document.querySelector('#transcript [data-epoch=\"2\"]')")
        seen.until(STATE, "Answering")
        seen.page.click("#interrupt")
        how, seconds = over(seen, 2)
        assert how == "client"
        still(seen)
        assert seen.number("#played") == pytest.approx(seconds, abs=0.1)
        assert "interrupted it after" in seen.text("#transcript [data-epoch='2']")
        assert seen.errors == []


def test_escape_interrupts_in_turn_mode_too(tmp_path: Path) -> None:
    mic = microphone(tmp_path / "mic.wav", [0.5, sentence(), 20.0])
    with page(mic) as (seen, _):
        seen.page.check("input[name=mode][value=turn]")
        seen.connect()
        seen.played(0.3)
        seen.page.keyboard.press("Escape")
        seen.until("() => document.querySelector('#transcript [data-over=client]')")
        still(seen)
        assert seen.number("#played") < 2.5
        assert seen.errors == []


def heard_by(seen: Seen, server: Running, seconds: float) -> None:
    """Until the model has heard so much."""
    for _ in range(600):
        if server.service.statistics()["engine"]["heard"] >= seconds:
            return
        seen.page.wait_for_timeout(100)
    raise AssertionError(f"the model did not hear {seconds} s")


def test_the_button_ends_a_turn_where_the_user_wants_to_say_so(tmp_path: Path) -> None:
    mic = microphone(tmp_path / "mic.wav", [sentence(), 20.0])
    with page(mic) as (seen, server):
        seen.page.select_option("#turns", "client")
        seen.connect()
        # By what was heard and not by the clock: the browser may be slow to begin.
        heard_by(seen, server, 2.5)
        assert server.service.statistics()["answers"] == 0
        seen.page.click("#commit")
        seen.played(0.5)
        assert seen.errors == []


def test_a_muted_microphone_is_not_heard(tmp_path: Path) -> None:
    with page(microphone(tmp_path / "mic.wav", [sentence()]), loop=True) as (seen, server):
        seen.connect()
        seen.until(STATE, "You are speaking")
        seen.page.click("#mute")
        assert seen.page.get_attribute("#mute", "aria-pressed") == "true"
        # They go on speaking, and for the server they have finished.
        assert over(seen, 1)[0] == "whole"
        seen.until(STATE, "Muted: it hears silence")
        seen.page.wait_for_timeout(1500)
        told = server.service.statistics()
        assert (told["turns"], told["interruptions"], told["false_alarms"]) == (1, 0, 0)
        assert seen.errors == []


# -- the model ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_most_spoken_questions_get_their_answer(tmp_path: Path) -> None:
    known = {f"en-{intent.id}": intent.answer for intent in domain(("en",))}
    asked = sorted(QUESTIONS.glob("en-*.flac"))
    parts: list[Any] = [1.0]
    for path in asked:
        parts += [sf.read(path, dtype="float32"), 12.0]
    with page(microphone(tmp_path / "mic.wav", [*parts, 20.0], rate=16_000), sca_backend="s2s") as (seen, _):
        assert "Priya, 220 Hz" in seen.page.locator("#speaker option").all_inner_texts()
        seen.page.select_option("#speaker", "female_young")
        seen.connect()
        seen.until("() => document.querySelector('#roundtrip').textContent !== '–'")
        assert not seen.page.is_visible("#notice")
        said = []
        for epoch in range(1, len(asked) + 1):
            seen.played(0.3)
            assert over(seen, epoch)[0] == "whole"
            said.append(seen.text(f"#transcript [data-epoch='{epoch}'] p >> nth=0"))
        right = [answer for answer, path in zip(said, asked, strict=True) if answer == known[path.stem]]
        assert len(right) >= 2, said
        assert seen.errors == []
