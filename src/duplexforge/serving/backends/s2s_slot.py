"""One conversation of the backend ``s2s``: what it heard of late, in which manner it answers, an answer's words and sound."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from duplexforge.errors import UsageError
from duplexforge.models.base import BaseCodec
from duplexforge.models.base_pace import Paced
from duplexforge.models.s2s.features import RATE, Hearing
from duplexforge.models.s2s.opening import Opened
from duplexforge.models.s2s.sampling import USUAL, Sampling
from duplexforge.models.s2s.talk import Manner as How
from duplexforge.models.s2s.talk import Said
from duplexforge.models.s2s.vocabulary import Vocabulary
from duplexforge.serving.backends import Manner
from duplexforge.serving.backends.manners import accent_of
from duplexforge.serving.packets import AudioOutput, Floats, Outcome, ThoughtPacket, pcm16
from duplexforge.voices import VOICES, Controls, find_emotion, manner_of, slerp

__all__ = ["Slot", "Speech", "Words", "how"]

_PAST = 25
"""Chunks that are kept for a turn that began before anybody knew: 2 s."""
_KEYS = {voice.key: voice.id for voice in VOICES}


def how(model: Opened, manner: Manner) -> How:
    """``manner`` as the model takes it, its seed left at 0; UsageError for a voice's vector that is none of this model's."""
    steps = model.steps
    emotion = manner_of(steps.emotions, find_emotion(manner.emotion or 0), accent_of(manner))
    speaker = np.asarray(steps.speakers[_KEYS.get(manner.speaker, 0)], np.float32)
    if manner.voice is not None:
        speaker = np.asarray(manner.voice, np.float32)
        if speaker.shape != (steps.shape.width,):
            raise UsageError(f"a voice of this model has {steps.shape.width} numbers, not {speaker.size}")
    if manner.other and manner.blend:
        speaker = slerp(speaker, steps.speakers[_KEYS[manner.other]], manner.blend).astype(np.float32)
    audio = USUAL if manner.temperature is None else Sampling(manner.temperature, USUAL.top_k)
    return How(speaker, emotion, audio=audio)


class Words:
    """Pieces of text put together to words; a word is whole when the next one begins. All that is given together is the text."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._pieces: list[int] = []
        self._given = 0

    def push(self, piece: int) -> str:
        """Take the next number of the text stream; what is whole now, or nothing."""
        self._pieces.append(piece)
        text = self._vocabulary.read(self._pieces)
        return self._rest(text[: max(text.rfind(" "), 0)])

    def flush(self) -> str:
        """The last word."""
        return self._rest(self._vocabulary.read(self._pieces))

    def _rest(self, text: str) -> str:
        found = text[self._given :]
        self._given = max(self._given, len(text))
        return found


class Speech:
    """An answer that goes on: its words, and its sound under the controls of its manner."""

    def __init__(self, vocabulary: Vocabulary, base: BaseCodec, controls: Controls) -> None:
        self._words, self._voice = Words(vocabulary), Paced(base, controls)

    def made(self, steps: list[Said]) -> Outcome:
        """What the next steps of the model say."""
        text = "".join(self._words.push(one.text) for one in steps)
        waves = [self._voice.push(one.audio) for one in steps if one.audio is not None]
        ended = any(one.ended for one in steps)
        if ended:
            text += self._words.flush()
            waves.append(self._voice.flush())
        wave = np.concatenate(waves) if waves else np.zeros(0, np.float32)
        audio = AudioOutput(pcm16(wave), RATE) if len(wave) else None
        return Outcome(ThoughtPacket(text), audio, ended)


@dataclass
class Slot:
    """What belongs to one conversation."""

    manner: Manner
    how: How
    hearing: Hearing = field(default_factory=Hearing)
    past: deque[tuple[float, Floats]] = field(default_factory=lambda: deque(maxlen=_PAST))
    """The latest chunks as the model heard them, with the time of their end."""
    heard: bool = False
    """Whether the model knows anything of this conversation."""
    answers: int = 0
    since: float | None = None
    """From where on the user is to be attended to, when the answer that goes on is over."""
    speech: Speech | None = None

    def begins(self, model: Opened) -> How:
        """An answer begins; how it is said. Without a seed in the manner each answer has a number of its own."""
        manner = self.manner
        controls = Controls(manner.pitch, manner.energy, manner.rate)
        self.speech = Speech(model.vocabulary, model.base, controls)
        seed = self.answers if manner.seed is None else manner.seed
        self.answers += 1
        return How(self.how.speaker, self.how.emotion, self.how.text, self.how.audio, seed)
