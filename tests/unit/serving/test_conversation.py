"""One client's conversation, on an engine that a test drives and in time that passes at once."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duplexforge.errors import InputError, UsageError
from duplexforge.serving.backends import Manner
from duplexforge.serving.conversation import AHEAD, Conversation
from duplexforge.serving.events import (
    AnswerBegan,
    AnswerEnded,
    Event,
    Failed,
    Heard,
    Interrupted,
    Lagged,
    Sound,
    SpeechBegan,
    SpeechEnded,
    Taken,
    Words,
)
from duplexforge.serving.keeping import recall
from duplexforge.serving.limits import Full
from duplexforge.serving.outbox import MOST_BYTES
from duplexforge.serving.session import SessionConfig
from tests.unit.serving.conversation_made import RATE, MadeEngine, hush, kinds, speech, timeless

CHUNK = 0.04


class Talk:
    """A client that reads all the time and sends in real time."""

    def __init__(
        self, config: SessionConfig | None = None, *, engine: MadeEngine | None = None, read: bool = True, **more: Any
    ) -> None:
        self.engine = engine or MadeEngine()
        self.conversation = Conversation(self.engine, config or SessionConfig(), **more)  # type: ignore[arg-type]
        self.events: list[Event] = []
        self.reader = asyncio.create_task(self.read()) if read else None

    async def read(self) -> None:
        async for event in self.conversation.events():
            self.events.append(event)

    async def hears(self, sound: np.ndarray, rate: int = RATE) -> None:
        size = round(CHUNK * rate)
        for start in range(0, len(sound), size):
            await asyncio.sleep(CHUNK)
            self.conversation.hear(sound[start : start + size], rate)

    async def asks(self) -> None:
        """The user says a sentence, and is silent until an answer begins."""
        await self.hears(np.concatenate([hush(0.4), speech(), hush(1.0)]))

    async def leaves(self) -> list[Event]:
        await self.conversation.close()
        if self.reader is not None:
            await self.reader
        return self.events

    def told(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def test_a_question_is_heard_answered_and_the_times_are_told():
    async def test() -> None:
        talk = Talk()
        await talk.asks()
        for number in range(3):
            talk.engine.make(f" word{number}", 0.4, ended=number == 2)
        await asyncio.sleep(2.0)
        events = await talk.leaves()
        assert kinds(events) == [
            *("SpeechBegan", "SpeechEnded", "AnswerBegan", "Words", "Sound", "Heard"),
            *("Words", "Sound", "Words", "Sound", "AnswerMade", "AnswerEnded"),
        ]
        began, ended = talk.told(SpeechBegan)[0], talk.told(SpeechEnded)[0]
        assert began.at == pytest.approx(0.4, abs=0.2)
        assert ended.at == pytest.approx(0.4 + len(speech()) / RATE, abs=0.2)
        assert talk.told(AnswerEnded) == [AnswerEnded(1, pytest.approx(1.2), " word0 word1 word2")]
        assert [sound.start for sound in talk.told(Sound)] == pytest.approx([0.0, 0.4, 0.8])
        (heard,) = talk.told(Heard)
        assert 0.6 <= heard.endpoint <= 0.7
        assert heard.endpoint <= heard.first <= 1.1

    timeless(test)


def test_the_model_gets_every_frame_and_begins_behind_the_question():
    async def test() -> None:
        talk = Talk()
        await talk.asks()
        await talk.leaves()
        frames = talk.engine.frames
        assert [frame.timestamp for frame in frames] == pytest.approx(
            [(number + 1) * 0.08 for number in range(len(frames))]
        )
        assert talk.engine.named("begin") == [AHEAD]
        ended = talk.told(SpeechEnded)[0]
        names = [call[0] for call in talk.engine.calls]
        pushed = names[: names.index("begin")].count("push")
        assert pushed * 0.08 >= ended.at
        (since,) = talk.engine.named("attend")
        assert since == pytest.approx(talk.told(SpeechBegan)[0].at - 0.3)

    timeless(test)


def test_a_whole_message_at_once_is_taken_in_its_own_time():
    async def test() -> None:
        talk = Talk()
        talk.conversation.hear(np.concatenate([hush(0.4), speech(), hush(1.2), speech()]), RATE)
        await talk.leaves()
        names = [call[0] for call in talk.engine.calls]
        begun = names.index("begin")
        assert names[:begun].count("push") * 0.08 == pytest.approx(0.4 + len(speech()) / RATE + 0.6, abs=0.25)
        assert names.count("push") == int((1.6 + 2 * len(speech()) / RATE) / 0.08)

    timeless(test)


def test_the_users_voice_breaks_an_answer_off_where_it_was_played():
    async def test() -> None:
        talk = Talk()
        await talk.asks()
        talk.engine.make("one two three four five", 10.0)
        await talk.hears(hush(0.8))
        await talk.hears(speech())
        talk.engine.make(" six", 1.0)
        events = await talk.leaves()
        names = kinds(events)
        assert names[names.index("Ducked") :] == ["Ducked", "SpeechBegan", "Interrupted"]
        (broken,) = talk.told(Interrupted)
        assert (broken.epoch, broken.by) == (1, "voice")
        assert 0.9 < broken.played < 1.6
        assert talk.engine.named("cancel") == [()]
        (turn,) = talk.conversation.remembered.memory.turns
        assert (turn.answer, turn.broken) == (broken.text, True)

    timeless(test)


def test_a_cough_is_resumed():
    async def test() -> None:
        talk = Talk()
        await talk.asks()
        talk.engine.make("", 10.0)
        await talk.hears(np.concatenate([hush(0.4), speech()[: RATE // 5], hush(1.0)]))
        await talk.leaves()
        assert "Resumed" in kinds(talk.events)
        assert talk.conversation.counts.false_alarms == 1
        assert talk.conversation.counts.interruptions == 0

    timeless(test)


def test_no_sound_of_an_old_answer_comes_after_it_was_broken_off():
    async def test() -> None:
        talk = Talk(read=False)
        await talk.asks()
        for _ in range(5):
            talk.engine.make("word", 0.2)
        talk.conversation.respond()
        talk.engine.make("new", 0.2)
        talk.reader = asyncio.create_task(talk.read())
        await asyncio.sleep(0.1)
        events = await talk.leaves()
        assert [sound.epoch for sound in talk.told(Sound)] == [2]
        assert [words.epoch for words in talk.told(Words)] == [2]
        assert talk.told(Interrupted)[0] == Interrupted(1, 0.0, "", "turn")
        assert [event.epoch for event in events if isinstance(event, AnswerBegan)] == [1, 2]

    timeless(test)


def test_in_turns_an_answer_is_handed_over_whole_and_nobody_waits_until_it_is_played():
    async def test() -> None:
        talk = Talk(SessionConfig(mode="turn"))
        await talk.asks()
        talk.engine.make("one", 5.0)
        await asyncio.sleep(0.1)
        assert talk.told(Sound) == []
        talk.engine.make(" two", 5.0, ended=True)
        await asyncio.sleep(0.1)
        assert kinds(talk.events)[-6:] == ["Sound", "Heard", "Words", "Sound", "AnswerMade", "AnswerEnded"]
        assert talk.engine.named("begin") == [math.inf]
        await talk.leaves()

    timeless(test)


def test_of_an_answer_that_is_over_the_memory_is_set_right():
    async def test() -> None:
        talk = Talk(SessionConfig(mode="turn"))
        await talk.asks()
        talk.engine.make("one two three four", 8.0, ended=True)
        await asyncio.sleep(0.1)
        talk.conversation.interrupt(4.0)
        await talk.leaves()
        assert talk.told(Interrupted) == []
        assert talk.conversation.remembered.memory.turns[-1].answer == "one two"

    timeless(test)


def test_a_model_that_is_sure_is_quick():
    async def test() -> None:
        talk = Talk()
        await talk.hears(np.concatenate([speech(), hush(0.1)]))
        for _ in range(10):
            talk.engine.make(turn=0.99)
            await talk.hears(hush(CHUNK))
        await talk.leaves()
        (ended,) = talk.told(SpeechEnded)
        assert ended.after <= 0.2

    timeless(test)


def test_the_client_commits_and_answers_come_when_it_asks():
    async def test() -> None:
        talk = Talk(SessionConfig(turns="client", answers=False))
        with pytest.raises(InputError, match="nothing was heard"):
            talk.conversation.commit()
        talk.conversation.hear(speech()[:2_000], RATE)
        talk.conversation.commit()
        assert len(talk.engine.frames) == 2
        with pytest.raises(InputError, match="nothing was heard"):
            talk.conversation.commit()
        assert talk.engine.named("begin") == []
        talk.conversation.respond()
        assert talk.engine.named("begin") == [AHEAD]
        assert talk.engine.named("attend") == [pytest.approx(0.16)]
        await talk.leaves()

    timeless(test)


def test_a_manner_for_once():
    async def test() -> None:
        talk = Talk()
        once = Manner("b")
        talk.conversation.respond(once)
        assert [call[:2] for call in talk.engine.calls if call[0] in ("manner", "begin")][-2:] == [
            ("begin", AHEAD),
            ("manner", Manner()),
        ]
        assert ("manner", once) in talk.engine.calls
        talk.engine.make("said", 0.1, ended=True)
        await asyncio.sleep(1.0)
        talk.conversation.respond()
        talk.engine.make("said", 0.1, ended=True)
        await asyncio.sleep(1.0)
        with pytest.raises(UsageError, match="no voice nobody"):
            talk.conversation.respond(Manner("nobody"))
        await talk.leaves()
        assert [turn.voice for turn in talk.conversation.remembered.memory.turns] == ["b", ""]
        assert [began.epoch for began in talk.told(AnswerBegan)] == [1, 2]

    timeless(test)


def test_settings_that_make_no_sense_change_nothing():
    async def test() -> None:
        talk = Talk()
        before = talk.conversation.config
        for wrong in (SessionConfig(silence=-1.0), SessionConfig(manner=Manner(emotion="bored"))):
            with pytest.raises(UsageError):
                talk.conversation.configure(wrong)
        assert talk.conversation.config is before
        talk.conversation.configure(dataclasses.replace(before, manner=Manner("b")))
        assert talk.engine.named("manner") == [Manner("b")]
        await talk.leaves()

    timeless(test)


@pytest.mark.parametrize("config", [SessionConfig(silence=-1.0), SessionConfig(manner=Manner("nobody"))])
def test_a_conversation_that_cannot_begin_takes_no_slot(config: SessionConfig):
    async def test() -> None:
        engine = MadeEngine()
        with pytest.raises(UsageError):
            Conversation(engine, config)  # type: ignore[arg-type]
        assert engine.free == [0]

    timeless(test)


def test_without_a_slot_it_is_full():
    async def test() -> None:
        talk = Talk()
        with pytest.raises(Full):
            Talk(engine=talk.engine)
        await talk.leaves()
        other = Talk(engine=talk.engine)
        await other.leaves()
        assert talk.engine.free == [0]

    timeless(test)


def test_a_model_that_breaks_ends_the_answer_and_the_conversation():
    async def test() -> None:
        talk = Talk()
        await talk.asks()
        talk.engine.make("half", 0.5)
        assert talk.engine.sink is not None
        talk.engine.sink(Failed("no_answer", "try again"))
        talk.engine.sink(Lagged(0.5))
        talk.engine.sink(Failed("model_failed", "gone", over=True))
        talk.engine.make("late", 0.5)
        assert talk.reader is not None
        await talk.reader
        assert kinds(talk.events)[-4:] == ["Failed", "Lagged", "AnswerEnded", "Failed"]
        assert talk.engine.free == [0]
        for act in _everything(talk.conversation):
            act()
        await talk.leaves()

    timeless(test)


def _everything(conversation: Conversation) -> list[Callable[[], object]]:
    return [
        lambda: conversation.hear(speech(), RATE),
        lambda: conversation.configure(SessionConfig(mode="turn")),
        conversation.commit,
        conversation.clear,
        conversation.respond,
        conversation.interrupt,
        lambda: conversation.played(1, 1.0),
        conversation.behind,
    ]


def test_how_far_the_model_has_heard_is_told_in_order():
    async def test() -> None:
        talk = Talk()
        assert talk.engine.sink is not None
        talk.conversation.respond()
        talk.engine.make("one")
        talk.engine.sink(Taken(0.08))
        await asyncio.sleep(0.01)
        await talk.leaves()
        assert kinds(talk.events) == ["AnswerBegan", "Words", "Taken", "Interrupted"]

    timeless(test)


def test_after_the_end_nothing_happens():
    async def test() -> None:
        talk = Talk()
        await talk.leaves()
        count = len(talk.engine.calls)
        for act in _everything(talk.conversation):
            act()
        await talk.conversation.close()
        assert len(talk.engine.calls) == count

    timeless(test)


def test_a_reader_that_never_reads_loses_its_session_and_nothing_grows():
    async def test() -> None:
        talk = Talk(engine=MadeEngine(says=48_000), read=False)
        talk.conversation.respond()
        for _ in range(11):
            talk.engine.make("", 10.0)
        assert talk.engine.free == [0]
        await talk.read()
        sounds = talk.told(Sound)
        assert sum(len(sound.audio.audio_bytes) for sound in sounds) <= MOST_BYTES
        assert kinds(talk.events) == ["AnswerBegan", "Sound", *["Sound"] * (len(sounds) - 1), "Failed"]
        assert talk.events[-1] == Failed("slow_reader", "what was said is not taken fast enough", over=True)
        await talk.leaves()

    timeless(test)


def test_there_is_one_reader():
    async def test() -> None:
        talk = Talk()
        await asyncio.sleep(0)
        with pytest.raises(UsageError, match="one reader"):
            async for _ in talk.conversation.events():
                pass
        await talk.leaves()

    timeless(test)


def test_a_model_that_decides_speaks_when_it_likes():
    async def test() -> None:
        talk = Talk(engine=MadeEngine(decides=True))
        await talk.hears(hush(0.4))
        assert talk.engine.sink is not None
        talk.engine.make(turn=0.1)
        talk.engine.make("Hello", 0.08)
        talk.engine.make(" there", 0.08)
        await talk.hears(hush(1.0))
        talk.engine.make("Again", 0.08)
        await talk.hears(hush(1.0))
        await talk.leaves()
        first = ["AnswerBegan", "Words", "Sound", "Words", "Sound", "AnswerMade", "AnswerEnded"]
        assert kinds(talk.events) == [*first, "AnswerBegan", "Words", "Sound", "AnswerMade", "AnswerEnded"]
        assert [ended.text for ended in talk.told(AnswerEnded)] == ["Hello there", "Again"]
        assert talk.engine.named("begin") == []

    timeless(test)


def test_a_model_that_only_writes_has_its_times_too():
    async def test() -> None:
        talk = Talk(engine=MadeEngine(says=0))
        await talk.asks()
        talk.engine.make("written", ended=True)
        await talk.leaves()
        assert kinds(talk.events)[-4:] == ["Words", "Heard", "AnswerMade", "AnswerEnded"]
        assert talk.told(AnswerEnded) == [AnswerEnded(1, 0.0, "written")]

    timeless(test)


def test_a_model_that_never_ends_is_ended():
    async def test() -> None:
        talk = Talk()
        talk.conversation.respond()
        for _ in range(200):
            talk.engine.make("", 1.0)
            await asyncio.sleep(1.0)
        await talk.leaves()
        (ended,) = talk.told(AnswerEnded)
        assert ended.seconds == pytest.approx(120.0)
        assert talk.engine.named("cancel") == [()]

    timeless(test)


def test_what_is_remembered_outlives_the_conversation(tmp_path: Path):
    async def test() -> None:
        talk = Talk(name="monday", owner="anna", sessions=tmp_path)
        talk.conversation.configure(SessionConfig(manner=Manner("b")))
        await talk.asks()
        talk.engine.make("hello again", 2.0)
        await asyncio.sleep(1.5)
        await talk.leaves()
        kept = recall(tmp_path, "anna", "monday")
        assert kept is not None
        assert [(turn.answer, turn.broken) for turn in kept.turns] == [("hello", True)]
        again = Talk(engine=talk.engine, name="monday", owner="anna", sessions=tmp_path)
        assert again.conversation.config.manner.speaker == "b"
        await again.leaves()

    timeless(test)


def test_a_conversation_without_a_name_leaves_nothing(tmp_path: Path):
    async def test() -> None:
        talk = Talk(sessions=tmp_path)
        await talk.asks()
        talk.engine.make("hello", 0.1, ended=True)
        await talk.leaves()
        assert list(tmp_path.iterdir()) == []

    timeless(test)


def test_other_rates_are_heard():
    async def test() -> None:
        talk = Talk()
        rate = 48_000
        await talk.hears(np.concatenate([hush(0.4, rate), speech(rate), hush(1.0, rate)]), rate)
        await talk.leaves()
        assert kinds(talk.events) == ["SpeechBegan", "SpeechEnded", "AnswerBegan", "Interrupted"]
        with pytest.raises(UsageError):
            Talk(engine=talk.engine).conversation.hear(hush(0.1), 4_000)

    timeless(test)


def test_what_is_no_sound_harms_nobody():
    async def test() -> None:
        talk = Talk()
        for sound in (
            np.full(4_000, np.nan),
            np.full(4_000, np.inf),
            np.full(4_000, 1e30),
            np.zeros(0),
            np.random.default_rng(1).choice([-1.0, 1.0], 32_000),
        ):
            talk.conversation.hear(sound.astype(np.float32), RATE)
        assert all(
            np.isfinite(frame.samples).all() and np.abs(frame.samples).max() <= 1 for frame in talk.engine.frames
        )
        talk.conversation.interrupt(math.nan)
        talk.conversation.played(1, math.inf)
        await talk.leaves()

    timeless(test)
