"""Voices and emotions: within espeak's ranges, and the four voices where their table says (measured)."""

from __future__ import annotations

from pathlib import Path
from random import Random
from statistics import median

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.dialogues import espeak, sound
from duplexforge.dialogues.domain import domain
from duplexforge.dialogues.espeak import Sentence
from duplexforge.dialogues.pitch import contour, median_pitch
from duplexforge.dialogues.plan import Answer
from duplexforge.dialogues.report import measured
from duplexforge.dialogues.speaking import speak_part
from duplexforge.dialogues.styles import HELD_OUT_USERS, STYLES, USERS, answering, held_out_user, user
from duplexforge.voices import EMOTIONS, VOICES, Voice


def test_every_emotion_has_rules_and_no_two_the_same() -> None:
    assert tuple(STYLES) == EMOTIONS
    assert len(set(STYLES.values())) == len(EMOTIONS)


@pytest.mark.parametrize("language", ["en", "te"])
@pytest.mark.parametrize("speaker", range(4))
def test_manners_stay_in_espeaks_ranges_and_differ(language: str, speaker: int) -> None:
    manners = {emotion: answering(language, speaker, emotion) for emotion in EMOTIONS}
    for manner in manners.values():
        assert 0 <= manner.pitch <= 99
        assert 0 <= manner.spread <= 99
        assert 80 <= manner.speed <= 300
    neutral = manners["neutral"]
    assert manners["excited"].speed > neutral.speed > manners["thinking"].speed
    assert manners["surprise"].spread > neutral.spread > manners["empathy"].spread
    assert manners["thinking"].gap > neutral.gap
    assert manners["telugu_heavy"].voice.startswith("te+")
    # Voices differ in more than pitch: each has a variant, with formants of its own.
    assert len({answering(language, other, "neutral").voice for other in range(4)}) == 4


@given(seed=st.integers(0, 10**9), language=st.sampled_from(["en", "te"]), noise=st.floats(0, 1))
def test_users_are_drawn_from_their_pool(seed: int, language: str, noise: float) -> None:
    trained = user(language, Random(seed), noise)
    held = held_out_user(language, Random(seed), noise)
    assert trained == user(language, Random(seed), noise)
    assert trained.variant in USERS[language]
    assert held.variant in HELD_OUT_USERS[language]
    assert 0 <= held.pitch <= 99
    assert 120 <= held.rate <= 240
    assert -34 <= trained.level <= -18


@pytest.mark.system
@pytest.mark.parametrize(("speaker", "language"), [(0, "en"), (1, "te"), (2, "te"), (3, "en")])
def test_emotions_are_heard_in_the_sound(tmp_path: Path, speaker: int, language: str) -> None:
    """A probe on the samples alone: pitch and its spread, level, and seconds, against the neutral answer."""
    heard = {}
    for number, emotion in enumerate(EMOTIONS):
        probes = []
        for intent in domain([language])[3:40:9]:
            answer = Answer(intent, speaker, number)
            (spoken,) = speak_part(tmp_path, [answer])
            wave, rate = sf.read(tmp_path / f"{answer.path}.flac", dtype="float32")
            pitch = contour(wave, rate)
            pitch = pitch[~np.isnan(pitch)]
            seconds = spoken.words[-1].end - spoken.words[0].start
            probes.append(
                (
                    np.median(pitch),
                    np.log(np.percentile(pitch, 85) / np.percentile(pitch, 15)),
                    np.sqrt((wave**2).mean()),
                    seconds,
                    len(wave) / rate,
                )
            )
        heard[emotion] = np.median(probes, axis=0)
    pitch, spread, level, speech, whole = (
        {emotion: probe[place] / heard["neutral"][place] for emotion, probe in heard.items()} for place in range(5)
    )
    assert pitch["excited"] > 1.15
    assert pitch["happy"] > 1.08
    assert pitch["surprise"] > 1.15
    assert pitch["empathy"] < 0.95
    assert spread["empathy"] < 0.95
    assert level["excited"] > 1.2
    assert level["empathy"] < 0.8
    assert speech["excited"] < 0.92
    assert speech["thinking"] > 1.25
    assert speech["empathy"] > 1.05
    assert whole["laugh"] > speech["laugh"] * 1.2


@pytest.mark.system
@pytest.mark.parametrize("language", ["en", "te"])
@pytest.mark.parametrize("voice", VOICES, ids=lambda voice: voice.name)
def test_the_four_voices_are_where_their_table_says(language: str, voice: Voice) -> None:
    library = espeak.library()
    found = []
    for intent in domain([language])[::7]:
        said = library.say(Sentence(tuple(intent.answer.split())), answering(language, voice.id, "neutral"))
        found.append(median_pitch(sound.resampled(said.samples), sound.RATE))
    assert median(found) == pytest.approx(voice.pitch, rel=0.05)


def test_the_packaged_figures_are_those_of_the_table() -> None:
    """``voices list`` shows them: neutral voices within 5 % of what they should be."""
    figures = measured()
    for voice in VOICES:
        assert figures[voice.key]["neutral"] == pytest.approx(voice.pitch, rel=0.05)
        assert figures[voice.key].keys() == set(EMOTIONS)
