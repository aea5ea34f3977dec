"""The speech-to-speech model of this project: hears chunks of 80 ms, tells when a turn is over, answers in words and sound.

It was trained on single questions. So it attends to one turn of the user at a time: with ``attend`` it forgets what came
before, and hears again what belongs to the turn, from the chunks that it keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from duplexforge.models.s2s.features import FRAME, RATE, SILENCE, WIDTH, scaled
from duplexforge.models.s2s.opening import open_s2s, shipped
from duplexforge.models.s2s.talk import Said, Talk
from duplexforge.serving.backends import Facts, Given, Manner
from duplexforge.serving.backends.manners import check
from duplexforge.serving.backends.s2s_slot import Slot, how
from duplexforge.serving.packets import AudioInput, Floats, Outcome, ThoughtPacket
from duplexforge.voices import EMOTIONS, VOICES

__all__ = ["Options", "SpeechToSpeech"]

_USUAL = Manner()


class Options(Protocol):
    """What of the settings belongs to this backend."""

    @property
    def weights(self) -> Path | None:
        """The weights file, or the folder of graphs; None: what comes with the project."""

    @property
    def engine(self) -> str:
        """``plain``, ``onnx`` or ``torch``."""


class SpeechToSpeech:
    """The backend ``s2s``; see ``Backend``."""

    facts: Facts

    def __init__(self, options: Options) -> None:
        self._options = options

    def load(self, slots: int) -> None:
        """Read the weights; ModelError when there are none."""
        self._model = open_s2s(slots, engine=self._options.engine, weights=self._options.weights)
        self._talk = Talk(self._model.steps)
        shape = self._talk.shape
        # What was trained on fewer voices or emotions has the first of them.
        self.facts = Facts(
            "s2s",
            f"{(self._options.weights or shipped()).name}, run by {self._options.engine}",
            hears=RATE,
            frame=shape.chunk * FRAME,
            says=RATE,
            speakers=tuple(voice.key for voice in VOICES[: shape.speakers]),
            emotions=EMOTIONS[: shape.emotions],
        )
        self._slots = [Slot(_USUAL, how(self._model, _USUAL)) for _ in range(slots)]
        self._chunk = np.zeros((slots, shape.chunk, WIDTH), np.float32)
        self._warm_up()

    def _warm_up(self) -> None:
        """Answer silence once: the first step of each kind is slow, and the first user is not to wait for it."""
        self.begin(0)
        for _ in range(self._talk.shape.burst):
            self.step({0: Given(None, True)})
        self.close(0)

    def open(self, slot: int, manner: Manner) -> None:
        """Start a slot afresh."""
        self.close(slot)
        self.manner(slot, manner)

    def manner(self, slot: int, manner: Manner) -> None:
        """From the next answer on, answer so."""
        check(self.facts, manner)
        found = how(self._model, manner)
        self._slots[slot].manner, self._slots[slot].how = manner, found

    def attend(self, slot: int, since: float) -> None:
        """Forget what ended before ``since``; during an answer, which still needs it, when that is over."""
        mine = self._slots[slot]
        if mine.speech is not None:
            mine.since = since
            return
        mine.since = None
        mine.heard = False
        self._talk.reset(self._mask([slot]))
        for ended, frames in mine.past:
            if ended > since:
                self._hear({slot: frames})

    def begin(self, slot: int) -> None:
        """Answer what was heard."""
        mine = self._slots[slot]
        if not mine.heard:
            # Attention over nothing is not defined: who has heard nothing has heard silence.
            self._hear({slot: np.full(self._chunk.shape[1:], float(scaled(np.array(SILENCE, np.float32))), np.float32)})
        self._talk.begin(slot, mine.begins(self._model))

    def step(self, given: Mapping[int, Given]) -> dict[int, list[Outcome]]:
        """Hear a chunk of each slot that has one, then say a chunk of each that speaks."""
        found: dict[int, list[Outcome]] = {}
        heard = {slot: self._features(slot, one.frame) for slot, one in given.items() if one.frame is not None}
        for slot, turn in self._hear(heard).items():
            found[slot] = [Outcome(ThoughtPacket(turn=turn))]
        speaking = [slot for slot, one in given.items() if one.speak and self._slots[slot].speech is not None]
        for slot, outcome in self._say(speaking).items():
            found.setdefault(slot, []).append(outcome)
        return found

    def cancel(self, slot: int) -> None:
        """Say no more of it; the model is not asked for its next steps any more."""
        self._over(slot)

    def close(self, slot: int) -> None:
        """Forget the conversation."""
        self._slots[slot] = Slot(_USUAL, how(self._model, _USUAL))
        self._talk.reset(self._mask([slot]))

    def _features(self, slot: int, frame: AudioInput) -> Floats:
        """What the model hears of a frame: the features that came with it, or those of its samples."""
        mine, shape = self._slots[slot], self._chunk.shape[1:]
        frames = frame.features
        if frames is None or frames.shape != shape:
            samples = np.zeros((1, self.facts.frame), np.float32)
            part = np.nan_to_num(frame.samples[: self.facts.frame], nan=0.0, posinf=1.0, neginf=-1.0)
            samples[0, : len(part)] = np.clip(part, -1, 1)
            frames = mine.hearing.push(samples)[0]
        mine.past.append((frame.timestamp, frames))
        return frames

    def _hear(self, chunks: Mapping[int, Floats]) -> dict[int, float]:
        """Let the model hear a chunk of each slot; how sure it is that the turn is over."""
        if not chunks:
            return {}
        for slot, frames in chunks.items():
            self._chunk[slot] = frames
            self._slots[slot].heard = True
        turns = self._talk.hear(self._chunk, self._mask(chunks))
        return {slot: float(turns[slot]) for slot in chunks}

    def _say(self, slots: list[int]) -> dict[int, Outcome]:
        """A chunk of the answers of ``slots``, all in the same steps."""
        said: dict[int, list[Said]] = {slot: [] for slot in slots}
        for _ in range(self._talk.shape.chunk if slots else 0):
            for slot, one in self._talk.say(self._mask(slots)).items():
                said[slot].append(one)
        found = {}
        for slot, steps in said.items():
            speech = self._slots[slot].speech
            assert speech is not None
            found[slot] = speech.made(steps)
            if found[slot].ended:
                self._over(slot)
        return found

    def _mask(self, slots: Iterable[int]) -> npt.NDArray[np.bool_]:
        mask = np.zeros(len(self._slots), np.bool_)
        mask[list(slots)] = True
        return mask

    def _over(self, slot: int) -> None:
        """The answer of ``slot`` is over; what it was held up for is done."""
        mine = self._slots[slot]
        mine.speech = None
        if mine.since is not None:
            self.attend(slot, mine.since)
