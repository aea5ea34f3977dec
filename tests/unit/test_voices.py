"""The voices' facts, and what lies between two of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from duplexforge.errors import UsageError
from duplexforge.voices import (
    ACCENTS,
    EMOTIONS,
    VOICES,
    Controls,
    Floats,
    find_accent,
    find_emotion,
    find_voice,
    manner_of,
    slerp,
)

VECTORS = arrays.arrays(np.float64, 8, elements=st.floats(-10, 10)).filter(lambda one: np.linalg.norm(one) > 0.1)
WEIGHTS = st.floats(0, 1)


def unit(vector: Floats) -> Floats:
    return vector / np.linalg.norm(vector)


@given(one=VECTORS, other=VECTORS)
def test_the_ends_are_the_two_voices(one: Floats, other: Floats) -> None:
    assert slerp(one, other, 0.0) == pytest.approx(one, abs=1e-9)
    # So near to opposite that the way leads elsewhere, the other end is missed by no more than that.
    assert slerp(one, other, 1.0) == pytest.approx(other, abs=1e-4)


@given(one=VECTORS, other=VECTORS, weight=WEIGHTS)
def test_unit_vectors_stay_unit_and_lengths_go_evenly(one: Floats, other: Floats, weight: float) -> None:
    assert np.linalg.norm(slerp(unit(one), unit(other), weight)) == pytest.approx(1.0, abs=1e-9)
    length = (1 - weight) * np.linalg.norm(one) + weight * np.linalg.norm(other)
    assert np.linalg.norm(slerp(one, other, weight)) == pytest.approx(length, rel=1e-9)


@given(one=VECTORS, other=VECTORS, weight=WEIGHTS)
def test_the_order_of_the_two_does_not_matter(one: Floats, other: Floats, weight: float) -> None:
    assert slerp(one, other, weight) == pytest.approx(slerp(other, one, 1 - weight), abs=1e-4)


@given(one=VECTORS, other=VECTORS, weight=WEIGHTS)
def test_the_direction_turns_evenly(one: Floats, other: Floats, weight: float) -> None:
    first, last = unit(one), unit(other)
    angle = np.arccos(np.clip(first @ last, -1, 1))
    assume(1e-3 < angle < np.pi - 1e-3)
    here = unit(slerp(one, other, weight))
    assert np.arccos(np.clip(here @ first, -1, 1)) == pytest.approx(weight * angle, abs=1e-6)
    assert np.arccos(np.clip(here @ last, -1, 1)) == pytest.approx((1 - weight) * angle, abs=1e-6)


@given(one=VECTORS, weight=WEIGHTS)
def test_opposite_voices_have_a_way_between_them(one: Floats, weight: float) -> None:
    vector = unit(one)
    there = slerp(vector, -vector, weight)
    assert np.linalg.norm(there) == pytest.approx(1.0, abs=1e-9)
    assert there @ vector == pytest.approx(np.cos(np.pi * weight), abs=1e-9)
    assert there == pytest.approx(slerp(-vector, vector, 1 - weight), abs=1e-9)


@given(one=VECTORS, weight=WEIGHTS)
def test_a_voice_blended_with_itself_is_itself(one: Floats, weight: float) -> None:
    assert slerp(one, one, weight) == pytest.approx(one, abs=1e-9)
    assert slerp(one, 2 * one, weight) == pytest.approx((1 + weight) * one, abs=1e-9)


def test_what_cannot_be_blended_is_refused() -> None:
    voice = np.ones(4)
    for weight in (-0.01, 1.01, float("nan")):
        with pytest.raises(UsageError, match="between 0 and 1"):
            slerp(voice, voice, weight)
    for other in (np.zeros(4), np.ones(5), np.full(4, np.nan)):
        with pytest.raises(UsageError, match="vectors of one width"):
            slerp(voice, other, 0.5)


def test_voices_and_emotions_are_found_by_number_name_and_key() -> None:
    for voice in VOICES:
        assert find_voice(voice.id) == find_voice(f" {voice.name.upper()} ") == find_voice(voice.key) == voice
    assert [voice.id for voice in VOICES] == list(range(len(VOICES)))
    for number, name in enumerate(EMOTIONS):
        assert find_emotion(number) == find_emotion(name.upper()) == number
    with pytest.raises(UsageError, match=r"there are Arjun \(male_young\), Ravi"):
        find_voice("bob")
    with pytest.raises(UsageError, match="there is no emotion 9; there are neutral, happy"):
        find_emotion(9)


def test_controls_have_ranges() -> None:
    assert Controls(pitch=0.5, energy=2.0).accent is None
    assert [Controls(accent=accent).accent for accent in ACCENTS] == list(ACCENTS)
    with pytest.raises(UsageError, match=r"rate must lie between 0\.5 and 2, not at 2\.1"):
        Controls(rate=2.1)
    with pytest.raises(UsageError, match="there is no accent strong"):
        Controls(accent="strong")  # type: ignore[arg-type]


TABLE = np.random.default_rng(1).standard_normal((len(EMOTIONS), 8)).astype(np.float32)


def test_an_emotion_is_its_row_and_an_accent_lies_between_the_two_of_the_table() -> None:
    for number in range(len(EMOTIONS)):
        assert np.array_equal(manner_of(TABLE, number), TABLE[number])
    neutral = find_emotion("neutral")
    mild, moderate, heavy = (manner_of(TABLE, neutral, accent) for accent in ACCENTS)
    assert mild == pytest.approx(TABLE[find_emotion("telugu_mild")], abs=1e-6)
    assert heavy == pytest.approx(TABLE[find_emotion("telugu_heavy")], abs=1e-6)
    assert moderate == pytest.approx(slerp(mild, heavy, 0.5), abs=1e-6)
    assert {one.dtype for one in (mild, moderate, heavy)} == {np.dtype(np.float32)}


def test_an_accent_beside_an_emotion_is_refused() -> None:
    for emotion in set(EMOTIONS) - {"neutral"}:
        with pytest.raises(UsageError, match=f"leave out heavy or {emotion}$"):
            manner_of(TABLE, find_emotion(emotion), "heavy")


def test_accents_are_found_by_name() -> None:
    assert [find_accent(f" {accent.upper()}") for accent in ACCENTS] == list(ACCENTS)
    with pytest.raises(UsageError, match="there is no accent strong; there are mild, moderate, heavy"):
        find_accent("strong")
