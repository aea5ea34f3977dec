"""Reads a text aloud in a voice of the model, without any question.

The model was trained to answer; in a share of its training nothing is heard and the text is given, and that is how it reads:
it hears a second of silence, then says the pieces of the text one a step, and what it chooses is the sound alone. It is no
general text to speech: words that are nowhere in its training answers it can only guess at.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from duplexforge.errors import InputError
from duplexforge.models.base_pace import Paced
from duplexforge.models.codec import Wave
from duplexforge.models.s2s.features import BANDS, HOP, RATE, SILENCE, frames_of
from duplexforge.models.s2s.opening import Opened
from duplexforge.models.s2s.talk import Manner, Talk, generate
from duplexforge.models.s2s.vocabulary import UNKNOWN, Vocabulary, normal
from duplexforge.voices import Controls

__all__ = ["Reading", "pieces_of", "read_aloud"]


class Reading(NamedTuple):
    """What was said (samples at 16 kHz), and whether it ended by itself and not at the model's longest answer."""

    wave: Wave
    ended: bool


def pieces_of(vocabulary: Vocabulary, text: str) -> list[int]:
    """The pieces of ``text``; an InputError when there is nothing to say, or that names the characters nobody taught it."""
    pieces = vocabulary.text(text)
    if not pieces:
        raise InputError("there is no text to say")
    if UNKNOWN in pieces:
        letters = dict.fromkeys(letter for letter in normal(text) if not letter.isspace())
        unknown = [letter for letter in letters if UNKNOWN in vocabulary.word(letter)]
        hint = "write numbers as words; " if any(letter.isdecimal() for letter in unknown) else ""
        raise InputError(f"the model has never seen {' '.join(unknown)}: {hint}it spells what its training answers had")
    return pieces


def read_aloud(model: Opened, text: str, manner: Manner, controls: Controls | None = None) -> Reading:
    """Say ``text`` in slot 0 of ``model``, which is started afresh.

    The factors of ``controls`` act on the sound; its accent belongs into the emotion of ``manner``. InputError for a text
    that cannot be said or is too long.
    """
    silence = frames_of(np.full((RATE // HOP, BANDS), SILENCE, np.float32))
    answer = generate(Talk(model.steps), [silence], [manner], [pieces_of(model.vocabulary, text)])[0]
    voice = Paced(model.base, controls)
    waves = [voice.push(row) for row in answer.audio]
    return Reading(np.concatenate([*waves, voice.flush()]), answer.ended)
