"""Whole turns against the clock: the user's wave is heard chunk by chunk, then the answer is said and made sound.

No endpointing is in it: the decision to answer falls with the user's last chunk, and the clock of an answer starts before
that chunk is worked on. Nothing waits for real time, so that a figure is work and never sleep.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from duplexforge.errors import InputError
from duplexforge.latency.figures import Times
from duplexforge.models.s2s.features import FRAME, RATE, Hearing
from duplexforge.models.s2s.opening import Opened
from duplexforge.models.s2s.talk import Manner, Said, Talk
from duplexforge.models.s2s.vocabulary import END, PAD

__all__ = ["Clock", "Said", "Turn", "rounds", "whole"]

Clock = Callable[[], float]
Wave = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Turn:
    """One answer: its text, its length, whether it came to its end before the model's limit, and what was timed."""

    text: str
    seconds: float
    ended: bool
    times: Times


def rounds(model: Opened, wave: Wave, repeat: int, clock: Clock = time.perf_counter) -> list[Turn]:
    """``repeat`` answers to ``wave`` (samples at 16 kHz), each from a fresh start, after one that is left out."""
    return [whole(model, wave, clock, seed=max(number, 0)) for number in range(-1, repeat)][1:]


def whole(model: Opened, wave: Wave, clock: Clock, *, seed: int = 0) -> Turn:
    """One turn in slot 0 of ``model``: what it took to hear ``wave`` and to answer it."""
    talk, times = Talk(model.steps), Times()
    talk.reset()
    began = _heard(talk, wave, times, clock)
    talk.begin(0, Manner(seed=seed))
    said, samples = _answered(model, talk, times, clock, began)
    seconds = samples / RATE
    if samples:
        # Without what the user says meanwhile: a machine that does both needs this factor and the next together.
        times["answer_rtf"] = [sum(times["speak"]) / 1000 / seconds]
    times["hear_rtf"] = [sum(times["hear"]) / 1000 / (len(times["hear"]) * talk.shape.chunk * FRAME / RATE)]
    ended = any(one.text == END for one in said)
    return Turn(model.vocabulary.read([one.text for one in said]), seconds, ended, times)


def _heard(talk: Talk, wave: Wave, times: Times, clock: Clock) -> float:
    """Hear all of ``wave``, filled up with silence to a whole chunk; when its last chunk was handed in."""
    size = talk.shape.chunk * FRAME
    if not len(wave):
        raise InputError("the question holds no sound")
    filled = np.concatenate([wave, np.zeros(-len(wave) % size, np.float32)]).astype(np.float32, copy=False)
    hearing, began = Hearing(), 0.0
    for chunk in filled.reshape(-1, 1, size):
        began = clock()
        talk.hear(hearing.push(chunk))
        times.setdefault("hear", []).append(1000 * (clock() - began))
    return began


def _answered(model: Opened, talk: Talk, times: Times, clock: Clock, began: float) -> tuple[list[Said], int]:
    """Everything said, and the samples that it made."""
    voice, samples = model.base.decoder(), 0
    found: list[Said] = []
    while not (found and found[-1].ended):
        start = clock()
        one = talk.say()[0]
        known = clock()
        if one.text not in (PAD, END) and "first_text" not in times:
            times["first_text"] = [1000 * (known - began)]
        if one.audio is not None:
            samples += voice.push_tokens(one.audio[None, None]).shape[1]
        done = clock()
        if samples and "first_audio" not in times:
            times["first_audio"] = [1000 * (done - began)]
        times.setdefault("say", []).append(1000 * (known - start))
        times.setdefault("speak", []).append(1000 * (done - start))
        found.append(one)
    times["answer"] = [1000 * (clock() - began)]
    return found, samples
