"""A conversation's memory as it goes on: gathers each turn, finds like ones again, and outlives the conversation where it may."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from duplexforge import log
from duplexforge.serving import keeping
from duplexforge.serving.answer import Answer
from duplexforge.serving.backends import Facts, Manner
from duplexforge.serving.context import MOST_VECTOR, Memory, Recalled, Sketch, Turn
from duplexforge.serving.packets import Floats
from duplexforge.serving.session import SessionConfig

__all__ = ["Remembering"]

_EARLIER = "Earlier, in a turn like this one:"
_LINE = 300


class Remembering:
    """The memory of ``owner``'s session ``name``; without ``folder`` it ends with the conversation. UsageError for a bad name."""

    def __init__(self, folder: Path | None, owner: str, name: str) -> None:
        self._folder, self._owner, self._name = folder, owner, name
        found = keeping.recall(folder, owner, name) if folder else None
        self.memory = found or Memory()
        self._before = self.memory.turns
        self._sketch = Sketch()
        self._hidden: Floats | None = None
        self._count = 0
        self._query: Floats | None = None
        self._changed = False
        self._writing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def preferred(self, config: SessionConfig, facts: Facts) -> SessionConfig:
        """``config`` with what the user preferred the last time, where it names nothing itself and the backend has it."""
        manner, kept = config.manner, self.memory.preferences
        if manner.accent or manner.voice is not None:
            return config
        speaker = kept.get("speaker", "") if kept.get("speaker") in facts.speakers else ""
        emotion = kept.get("emotion", "") if kept.get("emotion") in facts.emotions else ""
        manner = dataclasses.replace(manner, speaker=manner.speaker or speaker, emotion=manner.emotion or emotion)
        return dataclasses.replace(config, manner=manner)

    def prefer(self, config: SessionConfig) -> None:
        """Remember what the user chose."""
        self.memory.prefer("speaker", config.manner.speaker)
        self.memory.prefer("emotion", config.manner.emotion)
        self._changed = True

    def hear(self, windows: Floats) -> None:
        """Take in what belongs to the user's turn (n × 512 at 16 kHz)."""
        self._sketch.add(windows)

    def think(self, hidden: Any) -> None:
        """Take in what the model made of a frame, where it is a vector."""
        if not isinstance(hidden, np.ndarray) or hidden.ndim != 1 or not 0 < hidden.size <= MOST_VECTOR:
            return
        if np.isfinite(hidden).all():
            same = self._hidden is not None and self._hidden.shape == hidden.shape
            self._hidden = self._hidden + hidden if same and self._hidden is not None else hidden.astype(np.float32)
            self._count = self._count + 1 if same else 1

    def clear(self) -> None:
        """Forget the turn that goes on."""
        self._sketch, self._hidden, self._count = Sketch(), None, 0

    def like_now(self) -> list[Recalled]:
        """The turns that resemble the one that is being answered."""
        return [] if self._query is None else self.memory.recall(self._query)

    def ask(self, manner: Manner, facts: Facts) -> Manner:
        """The user's turn is over: the manner in which it is to be answered.

        A model that reads is told what was said in turns like it before this conversation; it remembers this one by itself.
        """
        self._query = self._sketch.vector() if self._hidden is None else (self._hidden / self._count).astype(np.float32)
        self.clear()
        if not facts.reads or self._query is None:
            return manner
        lines = [_line(one.turn) for one in Memory(self._before).recall(self._query) if one.turn.answer]
        return (
            dataclasses.replace(manner, prompt="\n".join([manner.prompt, _EARLIER, *lines]).strip())
            if lines
            else manner
        )

    def add(self, answer: str, seconds: float, *, broken: bool, manner: Manner, at: float) -> None:
        """An answer is over, of which so much was heard; ``at``: seconds of the user's stream."""
        turn = Turn(answer, None, manner.speaker, manner.emotion, at, seconds, broken, vector=self._query)
        self.memory.add(turn)
        self._changed = True
        if self._folder is not None:
            # A server that dies loses the turn that goes on, not the conversation.
            task = asyncio.get_running_loop().create_task(self.keep())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def correct(self, answer: Answer, played: float) -> None:
        """Of the last answer, less was heard than was thought."""
        if self.memory.turns and played < answer.seconds:
            last = self.memory.turns[-1]
            self.memory.replace(dataclasses.replace(last, answer=answer.until(played), seconds=played, broken=True))
            self._changed = True

    async def keep(self) -> None:
        """Write what is new. A disk that refuses costs the memory, not the conversation: it is told in the log."""
        async with self._writing:
            if self._folder is None or not self._changed:
                return
            self._changed = False
            now = Memory(self.memory.turns, self.memory.preferences)
            try:
                await asyncio.to_thread(keeping.keep, self._folder, self._owner, self._name, now)
            except OSError as error:
                log.get("serve").warning("a session was not kept", error=error.strerror or str(error))


def _line(turn: Turn) -> str:
    asked = f"the user said: {turn.asked[:_LINE]} " if turn.asked else ""
    return f"{asked}you said: {turn.answer[:_LINE]}"
