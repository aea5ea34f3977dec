"""Who speaks and how: the four voices that answer, the many that ask, and the nine emotions as rules.

Numbers are espeak-ng's own (pitch and range from 0 to 99, words a minute), found by measuring what comes out: the neutral
voices are within 5 % of their pitch, and ``measured.json`` has what the other emotions come to (a wider range lifts the median
by more than the factor here). A rule is no feeling: ``laugh`` says "ha ha ha" before a cheerful answer, ``surprise`` is
the melody of a question, high up, and the Telugu styles change sounds in English alone; Telugu itself they only make
slower and livelier.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from duplexforge.dialogues.espeak import Manner
from duplexforge.voices import EMOTIONS

__all__ = ["HELD_OUT_USERS", "STYLES", "USERS", "Style", "User", "answering", "held_out_user", "user"]


@dataclass(frozen=True)
class Style:
    """An emotion as far as rules go: factors on espeak's rate, pitch and range and on the amplitude, a pause between words
    (10 ms), the mark that ends the sentence and makes its melody, and whether there is a laugh before it."""

    rate: float = 1.0
    pitch: float = 1.0
    spread: float = 1.0
    energy: float = 1.0
    gap: int = 0
    mark: str = "."
    laugh: bool = False


STYLES = {
    "neutral": Style(),
    # Pitch, rate and energy rise with arousal and fall with calm; how far was chosen so that a probe tells them apart.
    "happy": Style(rate=1.08, pitch=1.05, spread=1.4, energy=1.15, mark="!"),
    "laugh": Style(rate=1.05, pitch=1.1, spread=1.5, energy=1.1, mark="!", laugh=True),
    "excited": Style(rate=1.22, pitch=1.15, spread=1.7, energy=1.4, mark="!"),
    "empathy": Style(rate=0.86, pitch=0.92, spread=0.7, energy=0.7, gap=1),
    "surprise": Style(rate=1.0, pitch=1.22, spread=1.9, energy=1.2, mark="?"),
    "thinking": Style(rate=0.8, pitch=0.95, spread=0.8, energy=0.85, gap=9),
    "telugu_heavy": Style(rate=0.92, pitch=1.0, spread=1.3),
    "telugu_mild": Style(rate=0.96, pitch=1.0, spread=1.15),
}
"""By the names of :data:`duplexforge.voices.EMOTIONS`."""
assert tuple(STYLES) == EMOTIONS

_LANGUAGES = {"en": "en-us", "te": "te"}
_SPEEDS = {"en": 170, "te": 205}
_SPREAD = 50
# Variants have formants of their own, so that the voices differ in more than pitch.
_VARIANTS = ("m3", "m1", "f3", "f2")
# By the number of the voice; the melody of a language moves the median, so each has its own.
_NEUTRAL_PITCH = {"en": (63, 57, 54, 46), "te": (65, 58, 57, 49)}
_STEP = 0.0098
"""Natural logarithm of what one step of espeak's pitch multiplies it by: near 1 %."""


def answering(language: str, speaker: int, emotion: str) -> Manner:
    """How voice ``speaker`` speaks ``language`` with ``emotion``; the accents speak English with Telugu's voice."""
    style = STYLES[emotion]
    pitch = _NEUTRAL_PITCH[language][speaker]
    base = "te" if emotion.startswith("telugu") else _LANGUAGES[language]
    return Manner(
        voice=f"{base}+{_VARIANTS[speaker]}",
        pitch=max(0, min(99, round(pitch + math.log(style.pitch) / _STEP))),
        spread=max(0, min(99, round(_SPREAD * style.spread))),
        speed=round(_SPEEDS[language] * style.rate),
        gap=style.gap,
    )


@dataclass(frozen=True)
class User:
    """Who asks: espeak-ng's voice and variant, its pitch and rate, the level (dBFS), noise (dB below the voice; None: none)."""

    variant: str
    pitch: int
    rate: int
    level: float
    noise: float | None


# espeak-ng's variants, all but the voices that answer, those that are held out, whispers, robots and doubles.
_ASKING = (
    *("m2", "m4", "m5", "m7", "f1", "f4", "f5", "max", "linda"),
    *("Alex", "Alicia", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Jacky", "Lee"),
    *("Mario", "Michael", "Mike", "Nguyen", "adam", "anika", "announcer", "aunty", "belinda", "benjamin", "boris"),
    *("caleb", "david", "ed", "edward", "edward2", "grandma", "grandpa", "gustave", "iven", "iven4", "john"),
    *("kaukovalta", "marcelo", "miguel", "norbert", "pablo", "paul", "pedro", "quincy", "rob", "robert"),
    *("sandro", "shelby", "travis", "victor", "zac"),
)
_ACCENTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
USERS = {
    "en": tuple(f"{accent}+{variant}" for accent in _ACCENTS for variant in _ASKING),
    "te": tuple(f"te+{variant}" for variant in _ASKING),
}
"""Voices that ask in training."""
HELD_OUT_USERS = {
    "en": tuple(f"{accent}+{variant}" for accent in ("en-us", "en-gb-x-rp") for variant in ("m6", "m8", "steph")),
    "te": tuple(f"te+{variant}" for variant in ("m6", "m8", "steph")),
}
"""Voices that ask in validation alone."""
_PITCHES, _RATES, _LEVELS, _NOISES = (15, 85), (140, 215), (-34.0, -18.0), (8.0, 30.0)
_HELD_OUT_PITCHES, _HELD_OUT_RATES = (10, 92), (125, 235)


def user(language: str, random: Random, noise: float) -> User:
    """Somebody who asks in training; the share ``noise`` of them speaks in noise."""
    return _drawn(USERS[language], _PITCHES, _RATES, random, noise)


def held_out_user(language: str, random: Random, noise: float) -> User:
    """Somebody who asks in validation alone: a variant that training has not, from a wider range of pitch and rate."""
    return _drawn(HELD_OUT_USERS[language], _HELD_OUT_PITCHES, _HELD_OUT_RATES, random, noise)


def _drawn(
    variants: tuple[str, ...], pitches: tuple[int, int], rates: tuple[int, int], random: Random, noise: float
) -> User:
    return User(
        variant=random.choice(variants),
        pitch=random.randint(*pitches),
        rate=random.randint(*rates),
        level=round(random.uniform(*_LEVELS), 1),
        noise=round(random.uniform(*_NOISES), 1) if random.random() < noise else None,
    )
