"""Reading aloud: what is heard before it, which text is said, what cannot be, and that controls reach the sound."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.errors import InputError
from duplexforge.models.base import open_mode
from duplexforge.models.s2s.features import SILENCE, scaled
from duplexforge.models.s2s.opening import Opened
from duplexforge.models.s2s.plain import PlainSteps
from duplexforge.models.s2s.plain_arrays import drawn
from duplexforge.models.s2s.reading import pieces_of, read_aloud
from duplexforge.models.s2s.talk import Manner, Steps
from duplexforge.models.s2s.vocabulary import END, PAD, START, UNKNOWN, learn
from duplexforge.voices import Controls
from tests.unit.models.s2s_made import SMALL, Floats, Mask, Scripted

SAID = "It is five o'clock."
WORDS = learn([SAID, "నమస్తే"], 64)
SHAPE = replace(SMALL, books=6, entries=1024, vocabulary=len(WORDS), steps=60)


class Listening(Scripted):
    """Scripted steps that keep what they heard."""

    def __init__(self, *arguments: object, **more: object) -> None:
        super().__init__(*arguments, **more)  # type: ignore[arg-type]
        self.frames_heard: list[Floats] = []

    def hear(self, frames: Floats, mask: Mask) -> Floats:
        self.frames_heard.append(frames[mask])
        self.first[mask] = 0
        return np.zeros(self.slots, np.float32)


def opened(steps: Steps) -> Opened:
    return Opened(steps, WORDS, open_mode("base"))


def test_a_second_of_silence_then_the_text_one_piece_a_step() -> None:
    steps = Listening(SHAPE, 1, frames=20)
    read_aloud(opened(steps), SAID, Manner())
    heard = np.concatenate(steps.frames_heard, axis=1)
    assert np.unique(heard).tolist() == [scaled(np.float32(SILENCE))]
    # 25 frames, filled up to whole chunks.
    assert heard.shape[1] == 26
    pieces = WORDS.text(SAID)
    texts = [int(text[0]) for text, _ in steps.taken]
    assert texts[: len(pieces) + 1] == [START, *pieces]
    assert set(texts[len(pieces) + 1 :]) <= {PAD, END}
    assert WORDS.read(texts) == SAID


def test_what_is_said_is_the_codecs_sound_and_its_end_is_told() -> None:
    pieces = len(WORDS.text(SAID))
    frames = max(20, pieces)
    steps = Listening(SHAPE, 1, frames=frames)
    model = opened(steps)
    found = read_aloud(model, SAID, Manner())
    rows = np.zeros((1, frames, 6), np.int64)
    assert found.ended
    assert (found.wave.dtype, len(found.wave)) == (np.float32, frames * model.base.hop)
    assert np.array_equal(found.wave, model.base.decoder().push_tokens(rows)[0])
    endless = read_aloud(opened(Listening(SHAPE, 1, frames=10_000)), SAID, Manner())
    assert not endless.ended
    assert len(endless.wave) == (SHAPE.steps - SHAPE.wait) * model.base.hop


@given(text=st.text(alphabet="Itisfveo'clk. ", min_size=1, max_size=30).filter(str.strip), seed=st.integers(0, 99))
@settings(max_examples=12, deadline=None)
def test_any_text_of_known_letters_is_said_by_a_model_that_would_say_another(text: str, seed: int) -> None:
    model = opened(PlainSteps(drawn(SHAPE, 7), 1))
    found = read_aloud(model, text, Manner(seed=seed))
    assert np.isfinite(found.wave).all()
    assert np.abs(found.wave).max() <= 1
    assert len(found.wave) % model.base.hop == 0
    # Not before the text is out.
    assert len(found.wave) >= max(1, len(WORDS.text(text)) - SHAPE.lead) * model.base.hop


def test_controls_reach_the_sound_and_leave_the_words_alone() -> None:
    model = opened(PlainSteps(drawn(SHAPE, 7), 1))
    plain = read_aloud(model, SAID, Manner(speaker=1, seed=3)).wave
    assert np.array_equal(read_aloud(model, SAID, Manner(speaker=1, seed=3)).wave, plain)
    faster = read_aloud(model, SAID, Manner(speaker=1, seed=3), Controls(rate=1.6)).wave
    assert abs(len(faster) - len(plain) / 1.6) <= 1
    softer = read_aloud(model, SAID, Manner(speaker=1, seed=3), Controls(energy=0.5)).wave
    assert np.allclose(softer[np.abs(plain) < 1], plain[np.abs(plain) < 1] / 2, atol=1e-6)
    other = read_aloud(model, SAID, Manner(speaker=0, seed=3)).wave
    assert not np.array_equal(other[: len(plain)], plain[: len(other)])


def test_slots_of_a_larger_model_read_too() -> None:
    alone, wide = (opened(PlainSteps(drawn(SHAPE, 7), slots)) for slots in (1, 3))
    assert np.array_equal(read_aloud(alone, SAID, Manner()).wave, read_aloud(wide, SAID, Manner()).wave)


def test_what_cannot_be_read_is_told_by_its_characters() -> None:
    assert pieces_of(WORDS, f"  {SAID}\n") == WORDS.text(SAID)
    assert UNKNOWN not in pieces_of(WORDS, "నమస్తే")
    for text in ("", "  \n"):
        with pytest.raises(InputError, match="there is no text to say"):
            pieces_of(WORDS, text)
    with pytest.raises(InputError, match=r"has never seen 5 z \?: write numbers as words"):
        pieces_of(WORDS, "It is 5 5 z?")
    with pytest.raises(InputError, match=r"has never seen Z: it spells"):
        pieces_of(WORDS, "Zoe")
    with pytest.raises(InputError, match=rf"has 400 pieces, .* room for {SHAPE.steps - SHAPE.books + 1}"):
        read_aloud(opened(PlainSteps(drawn(SHAPE, 7), 1)), "e " * 200, Manner())


def test_torch_is_never_loaded() -> None:
    code = "import sys; import duplexforge.models.s2s.reading; assert not {'torch', 'onnx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
