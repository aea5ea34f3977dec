"""The backend of the speech-to-speech model, on small weights made on the spot: slots, turns, manners, words and sound."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.errors import ModelError, UsageError
from duplexforge.models.base import open_mode
from duplexforge.models.s2s import weights
from duplexforge.models.s2s.features import FRAME, RATE, Hearing
from duplexforge.models.s2s.opening import Opened
from duplexforge.models.s2s.plain_arrays import drawn
from duplexforge.models.s2s.vocabulary import END, PAD, learn
from duplexforge.serving.backends import Given, Manner, open_backend
from duplexforge.serving.backends.s2s import SpeechToSpeech
from duplexforge.serving.backends.s2s_slot import Words, how
from duplexforge.serving.packets import AudioInput, Outcome
from duplexforge.voices import EMOTIONS, VOICES
from tests.unit.models.s2s_made import SMALL, Scripted

TEXT = "It is five o'clock. నమస్తే"
WORDS = learn([TEXT], 64)
SHAPE = replace(SMALL, books=6, entries=1024, vocabulary=len(WORDS), steps=24, speakers=4, emotions=9, memory=24)
CHUNK = SHAPE.chunk * FRAME


@dataclass(frozen=True)
class Choice:
    weights: Path | None = None
    engine: str = "plain"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("s2s") / "small.safetensors"
    weights.write(found, replace(drawn(SHAPE, 7), vocabulary=WORDS))
    return found


@pytest.fixture
def model(path: Path) -> SpeechToSpeech:
    return loaded(path, 3)


def loaded(path: Path, slots: int) -> SpeechToSpeech:
    found = SpeechToSpeech(Choice(path))
    found.load(slots)
    for slot in range(slots):
        found.open(slot, Manner())
    return found


def frames(count: int, seed: int = 0) -> list[AudioInput]:
    waves = np.random.default_rng(seed).normal(0, 0.1, (count, CHUNK)).astype(np.float32)
    return [AudioInput(wave, None, (number + 1) * CHUNK / RATE) for number, wave in enumerate(waves)]


def hear(model: SpeechToSpeech, some: list[AudioInput], slot: int = 0) -> list[float]:
    made = [model.step({slot: Given(one)})[slot] for one in some]
    return [outcome.thought.turn for outcomes in made for outcome in outcomes if outcome.thought.turn is not None]


def answer(model: SpeechToSpeech, slot: int = 0) -> tuple[str, bytes]:
    model.begin(slot)
    found: list[Outcome] = []
    while not (found and found[-1].ended):
        found += model.step({slot: Given(None, True)})[slot]
    text = "".join(one.thought.text_token_str for one in found)
    return text, b"".join(one.audio.audio_bytes for one in found if one.audio)


def test_its_facts(model: SpeechToSpeech) -> None:
    facts = model.facts
    assert (facts.hears, facts.frame, facts.says, facts.decides) == (RATE, CHUNK, RATE, False)
    assert facts.speakers == tuple(voice.key for voice in VOICES)
    assert facts.emotions == EMOTIONS
    assert facts.model == "small.safetensors, run by plain"


def test_weights_that_are_not_there_are_told(tmp_path: Path) -> None:
    backend = open_backend("s2s", Choice(tmp_path / "none.safetensors"))
    with pytest.raises(ModelError, match="there are no weights"):
        backend.load(1)


def test_it_tells_at_each_frame_whether_the_turn_is_over(model: SpeechToSpeech) -> None:
    turns = hear(model, frames(4))
    assert len(turns) == 4
    assert all(0 <= turn <= 1 for turn in turns)


def test_an_answer_depends_on_its_slot_alone(path: Path) -> None:
    alone, many = loaded(path, 1), loaded(path, 3)
    mine, others = frames(4), frames(4, seed=1)
    hear(alone, mine)
    for one, other in zip(mine, others, strict=True):
        many.step({0: Given(other), 2: Given(one), 1: Given(other)})
    for slot in range(3):
        many.begin(slot)
    wanted, said = answer(alone)[1], b""
    for _ in range(SHAPE.steps):
        made = many.step({slot: Given(None, True) for slot in (0, 2)}).get(2, [])
        said += b"".join(one.audio.audio_bytes for one in made if one.audio)
    assert wanted
    assert said == wanted


def test_the_same_seed_says_the_same_and_each_answer_has_a_number_of_its_own(path: Path) -> None:
    def twice(manner: Manner) -> list[bytes]:
        model = loaded(path, 1)
        model.manner(0, manner)
        hear(model, frames(4))
        return [answer(model)[1], answer(model)[1]]

    first, second = twice(Manner())
    assert first != second
    assert twice(Manner()) == [first, second]
    assert twice(Manner(seed=1)) == [second, second]


@pytest.mark.parametrize(
    "manner",
    [
        Manner(speaker="female_young"),
        Manner(other="female_young", blend=0.5),
        Manner(emotion="happy"),
        Manner(accent="moderate"),
        Manner(pitch=1.5),
        Manner(energy=0.5),
        Manner(rate=1.5),
        Manner(temperature=0.0),
        Manner(voice=np.ones(SHAPE.width, np.float32)),
    ],
)
def test_every_part_of_a_manner_is_heard(model: SpeechToSpeech, manner: Manner) -> None:
    hear(model, frames(4))
    hear(model, frames(4), slot=1)
    model.manner(1, manner)
    assert answer(model, 0) != answer(model, 1)


def test_blends_and_accents_lie_between() -> None:
    opened = Opened(Scripted(SHAPE, 1), WORDS, open_mode("base"))
    voices, moods = np.eye(4, SHAPE.width, dtype=np.float32), np.eye(9, SHAPE.width, dtype=np.float32)
    assert how(opened, Manner()).speaker == pytest.approx(voices[0])
    assert how(opened, Manner(speaker="female_young")).speaker == pytest.approx(voices[2])
    half = how(opened, Manner(speaker="male_mature", other="female_young", blend=0.5)).speaker
    assert half == pytest.approx((voices[1] + voices[2]) / np.sqrt(2))
    assert how(opened, Manner(emotion="happy")).emotion == pytest.approx(moods[EMOTIONS.index("happy")])
    assert how(opened, Manner(accent="heavy")).emotion == pytest.approx(moods[EMOTIONS.index("telugu_heavy")])
    with pytest.raises(UsageError, match="has 16 numbers, not 3"):
        how(opened, Manner(voice=np.ones(3, np.float32)))


def test_a_manner_that_is_refused_changes_nothing(model: SpeechToSpeech, path: Path) -> None:
    hear(model, frames(4))
    with pytest.raises(UsageError):
        model.manner(0, Manner(speaker="nobody"))
    with pytest.raises(UsageError):
        model.manner(0, Manner(voice=np.ones(3, np.float32)))
    other = loaded(path, 1)
    hear(other, frames(4))
    assert answer(model) == answer(other)


# -- turns -------------------------------------------------------------------------------------------------------------


def test_a_turn_is_heard_as_if_nothing_had_been_before(path: Path) -> None:
    whole, fresh = loaded(path, 1), loaded(path, 1)
    stream = frames(12)
    hear(whole, stream[:9])
    whole.attend(0, since=stream[5].timestamp)
    hear(whole, stream[9:])
    # The first window of a stream reaches back: let the other one have that too.
    hear(fresh, stream[5:6])
    fresh.attend(0, since=stream[5].timestamp)
    hear(fresh, stream[6:])
    assert answer(whole) == answer(fresh)


def test_without_attention_to_a_turn_what_was_before_counts(path: Path) -> None:
    one, other = loaded(path, 1), loaded(path, 1)
    hear(one, frames(6))
    hear(other, frames(3, seed=5) + frames(6)[3:])
    assert answer(one) != answer(other)


def test_attention_waits_for_the_end_of_an_answer_that_still_goes_on(path: Path) -> None:
    late, early = loaded(path, 1), loaded(path, 1)
    stream = frames(8)
    for model in (late, early):
        hear(model, stream[:4])
        model.begin(0)
        model.step({0: Given(stream[4], True)})
    late.attend(0, since=stream[3].timestamp)
    both = [model.step({0: Given(stream[5], True)})[0] for model in (late, early)]
    assert both[0] == both[1]
    for model in (late, early):
        model.cancel(0)
    early.attend(0, since=stream[3].timestamp)
    for model in (late, early):
        hear(model, stream[6:])
    assert answer(late) == answer(early)


def test_after_a_cancel_it_says_nothing_and_what_it_heard_stays(path: Path) -> None:
    model, other = loaded(path, 1), loaded(path, 1)
    for one in (model, other):
        one.manner(0, Manner(seed=3))
        hear(one, frames(4))
    model.begin(0)
    model.step({0: Given(None, True)})
    model.cancel(0)
    assert model.step({0: Given(None, True)}) == {}
    assert answer(model) == answer(other)


def test_who_comes_after_finds_a_fresh_slot(path: Path) -> None:
    model, other = loaded(path, 1), loaded(path, 1)
    model.manner(0, Manner(speaker="female_young", pitch=2))
    hear(model, frames(5, seed=9))
    model.begin(0)
    model.step({0: Given(None, True)})
    model.close(0)
    model.open(0, Manner())
    for one in (model, other):
        hear(one, frames(4))
    assert answer(model) == answer(other)


def test_who_has_heard_nothing_is_answered_all_the_same(model: SpeechToSpeech) -> None:
    _, sound = answer(model)
    assert sound


# -- what users send ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(path: Path) -> tuple[SpeechToSpeech, SpeechToSpeech]:
    return loaded(path, 2), loaded(path, 2)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(width=32), max_size=8), st.integers(0, 2 * CHUNK))
def test_no_sound_of_one_user_harms_another(
    pair: tuple[SpeechToSpeech, SpeechToSpeech], values: list[float], length: int
) -> None:
    model, other = pair
    for one in pair:
        for slot in (0, 1):
            one.open(slot, Manner())
    strange = np.resize(np.array(values or [0.0], np.float32), length)
    for one in frames(2):
        model.step({0: Given(AudioInput(strange)), 1: Given(one)})
        other.step({1: Given(one)})
    (mine,) = hear(model, frames(1), slot=0)
    assert 0 <= mine <= 1
    assert hear(model, frames(1), slot=1) == pytest.approx(hear(other, frames(1), slot=1), abs=1e-5)


def test_features_that_somebody_made_are_taken_as_they_are(path: Path) -> None:
    by_samples, by_features = loaded(path, 1), loaded(path, 1)
    hearing, some = Hearing(), frames(4)
    made = [AudioInput(np.zeros(CHUNK, np.float32), hearing.push(one.samples[None])[0], one.timestamp) for one in some]
    assert hear(by_samples, some) == hear(by_features, made)
    # What has another shape is no feature of this model: the samples count.
    odd = [AudioInput(one.samples, np.zeros((1, 3), np.float32)) for one in some]
    assert hear(loaded(path, 1), odd) == hear(loaded(path, 1), some)


# -- words -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(TEXT.split()), max_size=6), st.integers(0, 3))
def test_words_come_whole_and_together_are_the_text(words: list[str], pauses: int) -> None:
    found, told = Words(WORDS), list[str]()
    pieces = [piece for number in WORDS.text(" ".join(words)) for piece in [PAD] * pauses + [number]]
    for piece in [*pieces, END]:
        told.append(found.push(piece))
    told.append(found.flush())
    assert "".join(told) == " ".join(words)
    assert [word for one in told for word in one.split()] == words
    assert found.flush() == ""
