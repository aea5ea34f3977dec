"""Batches of pairs: what is asked of each step, what each step hears, and an order that follows from the seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.models.s2s.features import SILENCE, WIDTH, scaled
from duplexforge.models.s2s.shape import Shape
from duplexforge.models.s2s.streams import undelayed
from duplexforge.models.s2s.vocabulary import END, PAD, START, learn
from duplexforge.training.s2s_pairs import Pair, prepared, read_pairs
from tests.unit.training import s2s_made

pytestmark = pytest.mark.heavy

SHAPE = Shape(width=8, heads=2, books=2, entries=16, memory=64, steps=64, left=16, lead=2, vocabulary=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return s2s_made.pairs_folder(tmp_path_factory.mktemp("pairs"), 8)


@pytest.fixture(scope="module")
def made(folder: Path) -> tuple[Any, list[Pair], Any]:
    from duplexforge.training.s2s_batches import Letters, Rows

    pairs = read_pairs(folder, "train")
    kept = prepared(folder, pairs, s2s_made.Loudness())
    vocabulary = learn([pair.answer for pair in pairs], 60)
    return Rows(SHAPE, kept, vocabulary, Letters.of(pairs), placing="words"), pairs, kept


def randoms(count: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng((seed, row)) for row in range(count)]


def test_labels_are_the_pairs_and_inputs_are_a_step_late(made: Any) -> None:
    rows, pairs, kept = made
    batch = rows.batch(pairs, randoms(len(pairs)))
    for number, pair in enumerate(pairs):
        said = kept.said(pair)
        steps = len(said) + SHAPE.wait
        labels = batch.audio_labels[number, :steps].numpy()
        np.testing.assert_array_equal(undelayed(SHAPE, labels), said)
        # Where a book is not due nothing is asked, and behind the row neither.
        assert (labels != -100).sum() == said.size
        assert (batch.audio_labels[number, steps:] == -100).all()
        back = batch.audio[number].numpy()
        assert (back[0] == SHAPE.none).all()
        np.testing.assert_array_equal(np.where(labels == -100, SHAPE.none, labels)[:-1], back[1:steps])
        text = batch.text_labels[number].numpy()
        end = int(np.flatnonzero(text == END)[0])
        assert end == len(said) + SHAPE.lead
        assert (text[end + 1 :] == -100).all()
        assert rows._vocabulary.read(text[text >= 0]) == pair.answer
        assert batch.text[number, 0] == START
        np.testing.assert_array_equal(batch.text[number, 1 : end + 1], text[:end])


def test_words_have_their_time_or_come_first(made: Any) -> None:
    from duplexforge.training.s2s_batches import Letters, Rows

    rows, pairs, kept = made
    words = rows.text(pairs[0])
    starts = [rows._vocabulary.word(word)[0] for word in ("go", "down", "now")]
    assert [int(np.flatnonzero(words == piece)[0]) for piece in starts] == [0, 4, 8]
    early = Rows(SHAPE, kept, rows._vocabulary, Letters.of(pairs), placing="early").text(pairs[0])
    first = int(np.flatnonzero(early == PAD)[0])
    assert (early[:first] > START).all()
    assert set(early[first:]) == {PAD, END}


def test_a_step_sees_what_its_tick_had_heard(made: Any) -> None:
    rows, pairs, kept = made
    whole, on = (rows.batch(pairs, randoms(len(pairs)), goes_on=goes_on) for goes_on in (False, True))
    for number, pair in enumerate(pairs):
        decided = int(whole.frame_counts[number])
        assert decided == on.frame_counts[number]
        assert decided % SHAPE.chunk == 0
        for batch in (whole, on):
            seen = batch.seen[number].sum(dim=1).numpy()
            assert (seen[: SHAPE.burst] == min(decided, SHAPE.memory)).all()
            assert batch.seen[number, 0, :decided].sum() == min(decided, SHAPE.memory)
        assert whole.seen[number, :, decided:].sum() == 0
        steps = len(kept.said(pair)) + SHAPE.wait
        last = np.minimum(SHAPE.heard(decided, steps), on.frames.shape[1])
        np.testing.assert_array_equal(on.seen[number, :steps].sum(dim=1), np.minimum(last, SHAPE.memory))


def test_turns_are_over_when_the_sound_is(made: Any) -> None:
    rows, pairs, kept = made
    batch = rows.batch(pairs, randoms(len(pairs)))
    floor = float(scaled(np.float32(-12.0)))
    assert (batch.turns == 1).any()
    for number, pair in enumerate(pairs):
        turns, decided = batch.turns[number].numpy(), int(batch.frame_counts[number])
        loud = batch.frames[number].reshape(-1, 4, 80).numpy().max(axis=(1, 2)) > floor
        over = np.flatnonzero(turns == 1)
        assert not loud[over].any()
        assert (turns[np.flatnonzero(loud)] == 0).all()
        assert (turns[decided:] == -100).all()
        assert loud.sum() <= len(kept.heard(pair)) // 4 + 2


def test_changes_of_a_question_stay_in_bounds_and_follow_from_the_seed(made: Any) -> None:
    import torch

    from duplexforge.training.s2s_augment import Augment

    rows, pairs, _ = made
    augment = Augment(said=0.5)
    first, again, other = (
        rows.batch(pairs, randoms(len(pairs), seed), augment=augment, gain_db=(-20.0, 0.0)) for seed in (1, 1, 2)
    )
    assert torch.equal(first.frames, again.frames)
    assert first.frames.shape != other.frames.shape or not torch.equal(first.frames, other.frames)
    assert torch.isfinite(first.frames).all()
    # What is heard back of one's own may be wrong; what is asked never is.
    plain = rows.batch(pairs, randoms(len(pairs), 1))
    assert torch.equal(first.audio_labels, plain.audio_labels)
    wrong = (first.audio != plain.audio)[plain.audio != SHAPE.none].float().mean()
    assert 0.3 < float(wrong) < 0.7
    assert (first.audio[plain.audio == SHAPE.none] == SHAPE.none).all()


def test_nothing_is_changed_where_nothing_is_asked_for(made: Any) -> None:
    from duplexforge.training.s2s_augment import PLAIN

    rows, pairs, kept = made
    heard = rows.question(pairs[0], PLAIN, (0.0, 0.0), np.random.default_rng(0))
    logs = kept.heard(pairs[0])
    start = int(np.flatnonzero(heard.max(axis=1) > SILENCE + 1)[0])
    np.testing.assert_allclose(heard[start : start + len(logs)], logs, atol=1e-3)
    assert heard.shape[1] * 4 == WIDTH


def test_parts_are_the_whole(made: Any) -> None:
    import torch

    rows, pairs, _ = made
    batch = rows.batch(pairs, randoms(len(pairs)))
    parts = batch.parts(3)
    assert torch.equal(torch.cat([part.audio for part in parts]), batch.audio)
    assert torch.equal(torch.cat([part.letters for part in parts]), batch.letters)


def test_letters_are_those_of_the_questions() -> None:
    from duplexforge.training.s2s_batches import Letters

    asked = Pair(input_path="a", target_path="b", speaker_id=0, emotion_id=0, question="Where?  It's ఇది.")
    letters = Letters.of([asked])
    assert "".join(letters.known) == " 'ehirstwఇది"
    numbers = letters.numbers("Sew, x!")
    assert [letters.known[number - 1] for number in numbers] == ["s", "e", "w", " "]
    assert len(letters) == 1 + len(letters.known)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 99), min_size=1, max_size=90), st.integers(1, 8), st.integers(0, 9))
def test_a_pass_sees_every_row_once_but_for_a_rest(lengths: list[int], batch: int, seed: int) -> None:
    from duplexforge.training.s2s_batches import order

    found = order(lengths, batch, np.random.default_rng(seed), pool=3)
    rows = [int(row) for some in found for row in some]
    assert len(rows) == len(set(rows))
    if len(lengths) >= batch:
        assert all(len(some) == batch for some in found)
        assert len(found) == len(lengths) // batch
    else:
        assert len(rows) == len(lengths)


def test_rows_of_a_batch_are_alike_in_length() -> None:
    from duplexforge.training.s2s_batches import order

    lengths = np.random.default_rng(0).integers(10, 100, 400)
    spread = [np.ptp(lengths[rows]) for rows in order(lengths, 8, np.random.default_rng(1))]
    assert np.mean(spread) < 15
