"""An answer on its way to the client."""

from __future__ import annotations

import asyncio
import struct

from duplexforge.serving.events import AnswerEnded, Event, Heard, Interrupted, Sound, Words
from duplexforge.serving.outbox import Outbox
from duplexforge.serving.packets import AudioOutput
from duplexforge.serving.saying import Saying, audible

PIECE = AudioOutput(b"\1\0" * 1_600, 16_000)


def _saying(whole: bool, after: float | None = 9.0) -> tuple[Saying, Outbox]:
    outbox = Outbox(lambda: None)
    return Saying(4, outbox, begun=10.0, after=after, whole=whole), outbox


def _waiting(outbox: Outbox) -> list[Event]:
    async def take() -> list[Event]:
        outbox.close()
        found = []
        while (event := await outbox.take()) is not None:
            found.append(event)
        return found

    return asyncio.run(take())


def test_in_a_stream_pieces_go_out_as_they_come():
    saying, outbox = _saying(whole=False)
    saying.say("one", PIECE)
    saying.say("", PIECE)
    assert _waiting(outbox) == [Words(4, "one"), Sound(4, 0.0, PIECE), Sound(4, 0.1, PIECE)]
    assert saying.ended() == AnswerEnded(4, 0.2, "one")


def test_in_turns_nothing_goes_out_before_it_is_whole():
    saying, outbox = _saying(whole=True)
    saying.say("one", PIECE)
    assert outbox.bytes == 0
    saying.release()
    assert _waiting(outbox) == [Words(4, "one"), Sound(4, 0.0, PIECE)]


def test_of_a_very_long_answer_the_rest_goes_out_as_it_comes():
    saying, outbox = _saying(whole=True)
    second = AudioOutput(b"\0\0" * 16_000, 16_000)
    for _ in range(60):
        saying.say("", second)
    assert outbox.bytes == 0
    for _ in range(10):
        saying.say("", second)
    assert outbox.bytes == 70 * 32_000


def test_what_was_held_is_gone_when_it_is_broken_off():
    saying, outbox = _saying(whole=True)
    saying.say("one two", PIECE)
    assert saying.broken(0.06, "client") == Interrupted(4, 0.06, "one", "client")
    saying.release()
    assert _waiting(outbox) == []


def test_the_first_piece_tells_how_long_it_took():
    saying, _ = _saying(whole=False)
    assert saying.handed(10.5) == Heard(4, 1.0, 1.5)
    assert saying.handed(10.6) is None
    assert _saying(whole=False, after=None)[0].handed(10.5) is None


def test_silence_is_not_audible():
    assert not audible(AudioOutput(b"", 16_000))
    assert not audible(AudioOutput(b"\0" * 200, 16_000))
    assert not audible(AudioOutput(struct.pack("<3h", 0, 20, -20), 16_000))
    assert audible(AudioOutput(struct.pack("<3h", 0, -32_768, 0), 16_000))
