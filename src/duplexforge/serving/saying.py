"""The answer on its way to the client: held until it is whole where that is wanted, counted when it is handed over."""

from __future__ import annotations

import numpy as np

from duplexforge.serving.answer import Answer
from duplexforge.serving.events import AnswerEnded, Event, Heard, Interrupted, Sound, Words
from duplexforge.serving.outbox import Outbox
from duplexforge.serving.packets import AudioOutput

__all__ = ["Saying", "audible"]

_HELD = 2 << 20
"""Bytes of an answer that are held until it is whole; of a longer one the rest goes out as it comes."""
_AUDIBLE = 33
"""Of 32768: 60 dB below full scale."""


def audible(audio: AudioOutput) -> bool:
    """Whether anything is to be heard; a model that decides by itself says silence when it is silent."""
    samples = np.frombuffer(audio.audio_bytes, "<i2").astype(np.int32)
    return bool(samples.size) and int(np.abs(samples).max()) >= _AUDIBLE


class Saying:
    """One answer; ``whole``: it is handed over whole. ``after``: when its question's last sound arrived, if there was one."""

    def __init__(self, epoch: int, outbox: Outbox, *, begun: float, after: float | None, whole: bool) -> None:
        self.answer = Answer(epoch)
        self._outbox, self._begun, self._after = outbox, begun, after
        self._whole, self._held = whole, list[Event]()
        self._bytes = 0
        self._told = False

    @property
    def epoch(self) -> int:
        """The answer's number."""
        return self.answer.epoch

    def say(self, text: str, audio: AudioOutput | None) -> None:
        """The next piece, of either or both."""
        pieces: list[Event] = []
        if text:
            self.answer.words(text)
            pieces.append(Words(self.epoch, text))
        if audio is not None:
            pieces.append(Sound(self.epoch, self.answer.sound(audio.seconds), audio))
            self._bytes += len(audio.audio_bytes)
        self._held += pieces
        if not self._whole or self._bytes >= _HELD:
            self.release()

    def release(self) -> None:
        """Hand out what is held."""
        held, self._held = self._held, []
        for event in held:
            self._outbox.put(event)

    def ended(self) -> AnswerEnded:
        """All of it was said."""
        return AnswerEnded(self.epoch, self.answer.seconds, self.answer.text)

    def broken(self, played: float, by: str) -> Interrupted:
        """It was broken off: what was not taken yet is thrown away."""
        self._held = []
        self._outbox.drop(self.epoch)
        return Interrupted(self.epoch, played, self.answer.until(played), by)

    def handed(self, now: float) -> Heard | None:
        """A piece of it goes to the protocol; with the first one, how long that took."""
        if self._told or self._after is None:
            return None
        self._told = True
        return Heard(self.epoch, self._begun - self._after, now - self._after)
