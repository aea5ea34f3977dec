"""The voices of the model that comes with the project, probed on their sound: a control counts when it is heard.

The sentences are answers of its training's domain. Each probe pools several of them, since one sampled sentence wanders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest

from duplexforge.dialogues.domain import domain
from duplexforge.dialogues.pitch import median_pitch
from duplexforge.models.s2s.features import RATE, log_mel
from duplexforge.models.s2s.opening import open_s2s
from duplexforge.models.s2s.reading import Reading, read_aloud
from duplexforge.models.s2s.talk import Manner
from duplexforge.voices import ACCENTS, EMOTIONS, VOICES, Accent, Controls, find_emotion, manner_of, slerp

pytestmark = pytest.mark.slow

NEUTRAL = find_emotion("neutral")
BLENDS = [(0, 2), (1, 3), (0, 1), (2, 3)]
Wave = np.ndarray


def sentences(language: str = "en", count: int = 6) -> list[str]:
    """So many answers of the domain, spread over it."""
    answers = [intent.answer for intent in domain((language,))]
    return answers[:: len(answers) // count][:count]


@cache
def model():  # type: ignore[no-untyped-def]
    return open_s2s()


@cache
def read(text: str, voice: int, emotion: int = NEUTRAL, accent: Accent | None = None, seed: int = 0) -> Reading:
    mood = manner_of(model().steps.emotions, emotion, accent)
    return read_aloud(model(), text, Manner(voice, mood, seed=seed))


def all_of(voice: int, emotion: str = "neutral", accent: Accent | None = None) -> list[Wave]:
    """The sentences in one voice."""
    return [read(text, voice, find_emotion(emotion), accent, seed).wave for seed, text in enumerate(sentences())]


def pitch(waves: Sequence[Wave]) -> float:
    return float(np.nanmedian([median_pitch(wave, RATE) for wave in waves]))


def level(waves: Sequence[Wave]) -> float:
    """RMS over the blocks of 10 ms that are no pauses, in dB."""
    whole = np.concatenate(waves).astype(np.float64)
    power = (whole[: len(whole) // 160 * 160].reshape(-1, 160) ** 2).mean(axis=1)
    return float(10 * np.log10(power[power > power.max() * 1e-3].mean()))


def seconds(waves: Sequence[Wave]) -> float:
    return sum(map(len, waves)) / RATE


# -- what it says ------------------------------------------------------------------------------------------------------


def cepstra(wave: Wave) -> Wave:
    """The envelope's form every 30 ms (frames × 12), its loudness and its speaker's mean left out."""
    logs = np.maximum(log_mel(wave)[::3], -16)
    bands = logs.shape[1]
    cosines = np.cos(np.pi / bands * (np.arange(bands) + 0.5)[:, None] * np.arange(1, 13))
    found = logs @ cosines
    return (found - found.mean(axis=0)) / found.std(axis=0)


def apart(one: Wave, other: Wave) -> float:
    """Mean distance along the best way through both (dynamic time warping)."""
    costs = np.linalg.norm(one[:, None] - other, axis=2)
    sums = np.full((len(one) + 1, len(other) + 1), np.inf)
    sums[0, 0] = 0
    for row in range(len(one)):
        for column in range(len(other)):
            before = min(sums[row, column], sums[row, column + 1], sums[row + 1, column])
            sums[row + 1, column + 1] = costs[row, column] + before
    return float(sums[-1, -1] / (len(one) + len(other)))


@pytest.mark.parametrize("language", ["en", "te"])
def test_the_text_is_heard_whoever_says_it(language: str) -> None:
    said = sentences(language)
    found = np.zeros((len(said), len(said)))
    for one, other in ((0, 3), (1, 2)):
        first, second = ([cepstra(read(text, voice).wave) for text in said] for voice in (one, other))
        found += [[apart(a, b) for b in second] for a in first]
    # By chance one of six is nearest to itself.
    assert (found.argmin(axis=1) == np.arange(len(said))).mean() >= 0.6
    assert np.diag(found).mean() < found.mean()


@pytest.mark.parametrize("language", ["en", "te"])
def test_every_sentence_ends_by_itself_and_is_as_long_as_speech_is(language: str) -> None:
    for voice in VOICES:
        for seed, text in enumerate(sentences(language)):
            found = read(text, voice.id, seed=seed)
            assert found.ended, (voice.name, text)
            assert 3 < len(text) / (len(found.wave) / RATE) < 30, (voice.name, text)


# -- voices ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("voice", VOICES, ids=lambda voice: voice.key)
def test_every_voice_speaks_at_its_pitch(voice) -> None:  # type: ignore[no-untyped-def]
    assert pitch(all_of(voice.id)) == pytest.approx(voice.pitch, rel=0.1)


@pytest.mark.parametrize(("one", "other"), BLENDS)
def test_a_blend_speaks_between_its_voices(one: int, other: int) -> None:
    table = model().steps.speakers
    vector = slerp(table[one], table[other], 0.5).astype(np.float32)
    found = [read_aloud(model(), text, Manner(vector, NEUTRAL, seed=seed)) for seed, text in enumerate(sentences())]
    low, high = sorted([pitch(all_of(one)), pitch(all_of(other))])
    assert low < pitch([reading.wave for reading in found]) < high


# -- emotions and accents ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("voice", VOICES, ids=lambda voice: voice.key)
def test_energy_rate_and_pitch_follow_the_emotion(voice) -> None:  # type: ignore[no-untyped-def]
    excited, neutral, empathy = (all_of(voice.id, name) for name in ("excited", "neutral", "empathy"))
    for heard, least in ((level, 1.0), (pitch, 3.0)):
        high, middle, low = heard(excited), heard(neutral), heard(empathy)
        assert high - middle > least
        assert middle - low > least
    assert seconds(excited) < 0.95 * seconds(neutral)
    assert seconds(neutral) < 0.95 * seconds(empathy)


def test_every_emotion_sounds_like_itself() -> None:
    """Pitch, level and length of each, put beside those of the others in another voice: most find themselves."""

    def heard(voice: int, emotion: str) -> Wave:
        waves, plain = all_of(voice, emotion), all_of(voice)
        return np.array(
            [
                10 * np.log2(pitch(waves) / pitch(plain)),
                level(waves) - level(plain),
                10 * np.log2(seconds(waves) / seconds(plain)),
            ]
        )

    names = [name for name in EMOTIONS if not name.startswith("telugu")]
    first, second = (np.stack([heard(voice, name) for name in names]) for voice in (0, 2))
    nearest = np.linalg.norm(first[:, None] - second, axis=2).argmin(axis=1)
    assert (nearest == np.arange(len(names))).mean() >= 0.7


def colour(waves: Sequence[Wave]) -> Wave:
    """The mean spectrum (80 bands) of what is loud."""
    logs = np.concatenate([log_mel(wave) for wave in waves])
    loud = logs.mean(axis=1) > np.median(logs.mean(axis=1))
    return logs[loud].mean(axis=0) - logs[loud].mean()


def test_an_accent_moves_rhythm_and_sounds_by_its_strength() -> None:
    everyone = range(len(VOICES))
    plain = [wave for voice in everyone for wave in all_of(voice)]
    again = [read(text, voice, seed=50 + seed).wave for voice in everyone for seed, text in enumerate(sentences())]
    chance = np.abs(colour(plain) - colour(again)).mean()
    lengths = [seconds(plain)]
    for accent in ACCENTS:
        waves = [wave for voice in everyone for wave in all_of(voice, accent=accent)]
        assert np.abs(colour(plain) - colour(waves)).mean() > 1.5 * chance
        lengths.append(seconds(waves))
    none, mild, moderate, heavy = lengths
    assert none < mild < heavy
    assert none < moderate < 1.05 * heavy


# -- factors -----------------------------------------------------------------------------------------------------------


PROBES: list[tuple[dict[str, float], Callable[[float, float], float], Callable[[Sequence[Wave]], float]]] = [
    ({"pitch": 1.2}, lambda one, other: other / one, pitch),
    ({"pitch": 0.85}, lambda one, other: other / one, pitch),
    ({"energy": 0.5}, lambda one, other: 10 ** ((other - one) / 20), level),
    ({"rate": 1.3}, lambda one, other: one / other, seconds),
    ({"rate": 0.8}, lambda one, other: one / other, seconds),
]


@pytest.mark.parametrize(("asked", "compared", "heard"), PROBES)
def test_a_factor_is_heard_and_the_others_stay(asked, compared, heard) -> None:  # type: ignore[no-untyped-def]
    for voice in (0, 2):
        readings = [
            read_aloud(model(), text, Manner(voice, NEUTRAL, seed=seed), Controls(**asked)).wave
            for seed, text in enumerate(sentences()[:3])
        ]
        # The same tokens, said otherwise: few are enough.
        plain = all_of(voice)[:3]
        (factor,) = asked.values()
        assert compared(heard(plain), heard(readings)) == pytest.approx(factor, rel=0.03)
        for other in {pitch, seconds} - {heard}:
            assert other(readings) == pytest.approx(other(plain), rel=0.03)
