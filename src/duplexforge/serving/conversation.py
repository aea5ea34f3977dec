"""One client's conversation: sound in, events out, and a slot of the engine between them.

::

    hear ── Ear ── frames ──► engine ── what was made ──► answer ── Outbox ──► events
             └─ windows ──► Silero ──► Turns ──► begin, cancel, attend

What follows from what is decided by ``turns.Turns``; here it is only done. Everything runs in the event loop's thread.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

from duplexforge.errors import InputError, UsageError
from duplexforge.serving import events as told
from duplexforge.serving import vad
from duplexforge.serving.actions import Action, Attend, Broken, Counts, Made, Whole
from duplexforge.serving.alarm import Alarm
from duplexforge.serving.backends import Manner
from duplexforge.serving.configuring import check
from duplexforge.serving.engine import Engine
from duplexforge.serving.listening import Ear, Heard
from duplexforge.serving.outbox import Outbox
from duplexforge.serving.packets import AudioInput, Floats, Outcome
from duplexforge.serving.remembering import Remembering
from duplexforge.serving.saying import Saying, audible
from duplexforge.serving.session import SessionConfig
from duplexforge.serving.turns import Turns

__all__ = ["Conversation"]

AHEAD = 0.5
"""Seconds by which an answer may be ahead of the clock: a gap in the network stays unheard, and little is thrown away."""


class Conversation:
    """See ``session.Session``. Takes a slot at once (Full when there is none); UsageError for settings that make no sense.

    ``sessions`` and ``name``: where, and under which name, what is remembered outlives the conversation; ``owner`` keeps those
    of several people apart. ``voice`` is the network that hears whether somebody speaks.
    """

    def __init__(
        self,
        engine: Engine,
        config: SessionConfig,
        *,
        name: str = "",
        owner: str = "",
        sessions: Path | None = None,
        voice: vad.Silero | None = None,
    ) -> None:
        check(config)
        self.id, self.facts = secrets.token_hex(8), engine.facts
        self.remembered = Remembering(sessions if name else None, owner, name)
        """The turns before, and what resembles the present one."""
        self.config = config = self.remembered.preferred(config, engine.facts)
        self._engine, self._loop = engine, asyncio.get_running_loop()
        self._ear, self._listener = Ear(self.facts.hears, self.facts.frame), vad.Listener(voice or vad.silero())
        self._turns, self._outbox = Turns(config, decides=self.facts.decides), Outbox(self._leave)
        self._saying: Saying | None = None
        self._manner: Manner | None = None
        """How the next answer is to be, for once."""
        self._spoken = config.manner
        """How the last one was."""
        self._alarm = Alarm(self._loop, self._tick)
        self._over = self._read = False
        self._slot = engine.take()
        try:
            engine.open(self._slot, config.manner, self._made, progress=True)
        except BaseException:
            engine.give_back(self._slot)
            raise

    @property
    def counts(self) -> Counts:
        """What happened so far."""
        return self._turns.counts

    # -- what the client does -------------------------------------------------------------------------------------------

    def hear(self, samples: Floats, rate: int) -> None:
        """See ``Session``. UsageError for a rate outside 8 to 48 kHz."""
        if not self._over:
            self._heard(self._ear.hear(samples, rate))

    def configure(self, config: SessionConfig) -> None:
        """See ``Session``."""
        check(config)
        if self._over:
            return
        self._engine.manner(self._slot, config.manner)
        self.remembered.prefer(config)
        self.config = config
        self._follow(self._turns.configure(config))

    def commit(self) -> None:
        """See ``Session``."""
        if self._over:
            return
        if self._turns.empty:
            raise InputError("nothing was heard since the last turn", reason="empty_turn")
        self._heard(self._ear.flush())
        self._follow(self._turns.commit(self._now()))

    def clear(self) -> None:
        """See ``Session``."""
        if not self._over:
            self.remembered.clear()
            self._follow(self._turns.clear())

    def respond(self, manner: Manner | None = None) -> None:
        """See ``Session``. UsageError, and nothing happens, for a manner that the backend has not."""
        if self._over:
            return
        if manner is not None:
            self._engine.manner(self._slot, manner)
            self._manner = manner
        self._follow(self._turns.respond(self._now()))

    def interrupt(self, played: float | None = None) -> None:
        """See ``Session``. Of an answer that is over already, only what was heard of it is corrected in the memory."""
        if self._over:
            return
        heard = played if played is not None and math.isfinite(played) else None
        if self._turns.live is None and heard is not None and self._saying is not None:
            self.remembered.correct(self._saying.answer, heard)
        self._follow(self._turns.interrupt(heard, self._now()))

    def played(self, epoch: int, seconds: float) -> None:
        """See ``Session``."""
        if not self._over and math.isfinite(seconds):
            self._follow(self._turns.played(epoch, seconds, self._now()))

    def behind(self) -> float:
        """Seconds of the user's sound that the model has not heard yet."""
        return 0.0 if self._over else self._engine.waiting(self._slot) + self._ear.waiting

    async def events(self) -> AsyncIterator[told.Event]:
        """See ``Session``."""
        if self._read:
            raise UsageError("a conversation has one reader")
        self._read = True
        while (event := await self._outbox.take()) is not None:
            self._handed(event)
            yield event

    async def close(self) -> None:
        """See ``Session``. Of an answer that goes on, as much is remembered as was heard."""
        self.interrupt()
        self._leave()
        await self.remembered.keep()

    # -- what follows ---------------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return self._loop.time()

    def _heard(self, cut: Heard) -> None:
        """Give the model its frames and the turns their windows, each in its time: a turn may end in the middle of a message."""
        watches = self._turns.watches
        voices = self._listener.listen(cut.windows) if watches else []
        if self._turns.speaking or not watches or self.config.turns == "client":
            self.remembered.hear(cut.windows)
        frames = deque(cut.frames)
        for probability, end in zip(voices, cut.ends, strict=False):
            self._push(frames, end)
            self._follow(self._turns.voice(probability, end, self._now()))
        self._push(frames, math.inf)
        self._turns.heard(self._ear.at, self._now())
        self._arm()

    def _push(self, frames: deque[AudioInput], until: float) -> None:
        while frames and frames[0].timestamp <= until and not self._over:
            self._engine.push(self._slot, frames.popleft())

    def _made(self, made: Outcome | told.Lagged | told.Taken | told.Failed) -> None:
        """The engine's sink."""
        if self._over:
            return
        if isinstance(made, told.Lagged | told.Taken):
            self._outbox.put(made)
        elif isinstance(made, told.Failed):
            self._failed(made)
        else:
            self._outcome(made)

    def _failed(self, failed: told.Failed) -> None:
        if failed.over:
            self._follow(self._turns.end())
        self._outbox.put(failed)
        if failed.over:
            self._leave()

    def _outcome(self, made: Outcome) -> None:
        now, text = self._now(), made.thought.text_token_str
        self.remembered.think(made.thought.hidden_states)
        if made.thought.turn is not None:
            self._follow(self._turns.thinks(made.thought.turn, now))
        audio = made.audio if made.audio is not None and (audible(made.audio) or not self.facts.decides) else None
        if not self._turns.open and self.facts.decides and (text or audio):
            self._follow(self._turns.speaks(now), tell=False)
        if not self._turns.open or self._saying is None:
            return
        if text or audio is not None:
            self._turns.made(audio.seconds if audio is not None else 0.0, now)
            self._saying.say(text, audio)
        if self._over:
            return
        if made.ended or self._saying.answer.too_long:
            if not made.ended:
                self._engine.cancel(self._slot)
            self._follow(self._turns.finished(now))
        self._arm()

    def _follow(self, actions: list[Action], *, tell: bool = True) -> None:
        """Do what the turns say; ``tell``: the model has to be told that its answer begins."""
        for action in actions:
            # A reader that does not keep up ends it all in the middle: the slot is another's then.
            if self._over:
                return
            match action:
                case Attend(since):
                    self._engine.attend(self._slot, since)
                case told.AnswerBegan():
                    self._outbox.put(action)
                    self._begin(action.epoch, tell)
                case Broken():
                    self._engine.cancel(self._slot)
                    self._ended(self._said().broken(action.played, action.by))
                case Made(epoch):
                    said = self._said()
                    said.release()
                    self._outbox.put(told.AnswerMade(epoch, said.answer.seconds))
                case Whole():
                    self._ended(self._said().ended())
                case _:
                    self._outbox.put(action)
        self._arm()

    def _said(self) -> Saying:
        assert self._saying is not None
        return self._saying

    def _begin(self, epoch: int, tell: bool) -> None:
        """An answer begins; a model that does not begin by itself is told, with its manner for this once."""
        usual, whole, turns = self.config.manner, self._turns.whole, self._turns
        self._saying = Saying(epoch, self._outbox, begun=self._now(), after=turns.after, whole=whole)
        self._spoken, self._manner = self._manner or usual, None
        manner = self.remembered.ask(self._spoken, self.facts)
        if not tell or self._over:
            return
        if manner is not usual:
            self._engine.manner(self._slot, manner)
        self._engine.begin(self._slot, math.inf if whole else AHEAD)
        if manner is not usual:
            self._engine.manner(self._slot, usual)

    def _ended(self, event: told.AnswerEnded | told.Interrupted) -> None:
        """Tell that the answer is over, and remember it."""
        broken = isinstance(event, told.Interrupted)
        seconds = event.played if isinstance(event, told.Interrupted) else event.seconds
        self._outbox.put(event)
        self.remembered.add(event.text, seconds, broken=broken, manner=self._spoken, at=self._ear.at)

    def _handed(self, event: told.Event) -> None:
        """An event goes to the protocol: the playback of a sound begins."""
        now, said = self._now(), self._saying
        if isinstance(event, told.Sound):
            self._turns.handed(event.epoch, event.audio.seconds, now)
            self._arm()
        first = isinstance(event, told.Sound) or (isinstance(event, told.Words) and not self.facts.says)
        if first and said is not None and isinstance(event, told.Sound | told.Words) and event.epoch == said.epoch:
            heard = said.handed(now)
            if heard is not None:
                self._outbox.first(heard)

    def _arm(self) -> None:
        self._alarm.set(None if self._over else self._turns.due())

    def _tick(self) -> None:
        if not self._over:
            self._follow(self._turns.tick(self._now()))

    def _leave(self) -> None:
        """Give the slot back; what waits can still be taken."""
        if self._over:
            return
        self._over = True
        self._alarm.off()
        self._outbox.close()
        self._engine.give_back(self._slot)
