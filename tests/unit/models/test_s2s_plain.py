"""The model without torch: its steps equal the equations, the slots do not know of each other, torch says the same."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.errors import ModelError, UsageError
from duplexforge.models.s2s.features import WIDTH
from duplexforge.models.s2s.plain import PlainSteps
from duplexforge.models.s2s.plain_arrays import drawn, sizes
from duplexforge.models.s2s.plain_parts import BLOCK, Product, attended, gated, normed
from duplexforge.models.s2s.sampling import GREEDY, Sampling
from duplexforge.models.s2s.shape import Shape
from duplexforge.models.s2s.talk import Manner, Steps, Talk, generate, generate_streaming
from duplexforge.models.s2s.vocabulary import START
from tests.unit.models.s2s_made import SMALL, Floats, Mask
from tests.unit.models.s2s_whole import Whole

SHAPES: list[dict[str, int]] = [{}, {"chunk": 1}, {"chunk": 4, "left": 8}, {"left": 0, "kernel": 1}, {"memory": 4}]
SHAPES += [{"books": 5, "width": 24, "heads": 3}]
HOT = Manner(text=Sampling(1.0, 0), audio=Sampling(1.5, 0))


def everyone(slots: int) -> Mask:
    return np.ones(slots, np.bool_)


def frames(count: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal((count, WIDTH)).astype(np.float32)


# -- parts -------------------------------------------------------------------------------------------------------------


@given(given_=st.integers(1, 90), taken=st.sampled_from([1, 7, 64, 700, 10_000]), rows=st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_a_product_in_blocks_is_the_product_and_no_row_knows_another(given_: int, taken: int, rows: int) -> None:
    random = np.random.default_rng(given_)
    matrix, added, x = (
        random.standard_normal(size).astype(np.float32) for size in ((given_, taken), given_, (rows, taken))
    )
    product = Product(matrix, added)
    found = product(x)
    np.testing.assert_allclose(found, x.astype(np.float64) @ matrix.T + added, atol=1e-5 * taken**0.5 + 1e-5)
    for row in range(rows):
        np.testing.assert_array_equal(product(x[row : row + 1])[0], found[row])


@given(known=st.integers(0, 3 * BLOCK), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_attention_sees_what_is_known_and_nothing_behind_it(known: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    queries = random.standard_normal((2, 6)).astype(np.float32)
    keys, values = (random.standard_normal((2, 3, BLOCK, 6)).astype(np.float32) for _ in range(2))
    found = attended(queries, keys, values, known)
    flat, told = keys.reshape(2, -1, 6)[:, :known], values.reshape(2, -1, 6)[:, :known]
    odds = np.exp(np.einsum("hd,hnd->hn", queries, flat).astype(np.float64))
    wanted = np.einsum("hn,hnd->hd", odds / odds.sum(1, keepdims=True), told) if known else np.zeros((2, 6))
    np.testing.assert_allclose(found, wanted.reshape(-1), atol=1e-5)


def test_gates_and_norms_take_numbers_of_any_size() -> None:
    x = np.array([[-1e30, -200.0, -1.0, 0.0, 2.0, 300.0]], np.float32)
    silu = x[:, 1:].astype(np.float64) / (1 + np.exp(-x[:, 1:].astype(np.float64)))
    np.testing.assert_allclose(gated(x[:, 1:] / 2), silu, atol=1e-5)
    assert gated(x / 2)[0, 0] == 0
    assert np.isfinite(normed(np.zeros((2, 8), np.float32))).all()
    np.testing.assert_allclose(np.square(normed(frames(3))).mean(axis=1), 1, atol=1e-4)


# -- steps -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", SHAPES)
@pytest.mark.parametrize("early", [True, False])
def test_steps_equal_the_equations(changes: dict[str, int], early: bool) -> None:
    """``early``: the answer begins after one chunk and more is heard while it is said; else everything is heard before."""
    shape = replace(SMALL, **changes)
    model, steps = drawn(shape, 3), PlainSteps(drawn(shape, 3), 1)
    heard, random = frames(24, 1), np.random.default_rng(2)
    text = random.integers(0, shape.vocabulary, shape.steps)
    audio = random.integers(0, shape.entries + 1, (shape.steps, shape.books))
    decided = shape.chunk if early else len(heard)
    chunks = iter(heard.reshape(-1, 1, shape.chunk, WIDTH))
    odds = [steps.hear(next(chunks), everyone(1))[0] for _ in range(decided // shape.chunk)]
    steps.begin(everyone(1), steps.speakers[[1]], steps.emotions[[2]])
    said, sound, came = [], [], []
    for step in range(shape.steps):
        one, other = steps.speak(text[[step]], audio[[step]], everyone(1))
        said.append(one[0])
        sound.append(other[0])
        came.append(len(odds) * shape.chunk)
        chunk = next(chunks, None) if step % 2 else None
        if chunk is not None:
            odds.append(steps.hear(chunk, everyone(1))[0])
    whole = Whole(model)
    vectors, turns = whole.hear(heard.astype(np.float64))
    times, known = np.arange(len(heard)), np.array(came)[:, None]
    seen = (times < known) & (times >= known - shape.memory)
    voice = whole.one("decoder.speakers.weight")[1] + whole.one("decoder.emotions.weight")[2]
    wanted = whole.speak(text, audio, voice, vectors, seen)
    np.testing.assert_allclose(said, wanted[0], atol=1e-4)
    np.testing.assert_allclose(sound, wanted[1], atol=1e-4)
    np.testing.assert_allclose(odds, turns[shape.chunk - 1 :: shape.chunk][: len(odds)], atol=1e-5)
    assert np.std(said) > 0.05


def test_a_stream_says_what_a_whole_turn_is_answered() -> None:
    talk, turn = Talk(PlainSteps(drawn(SMALL), 1)), frames(10)
    whole = generate(talk, [turn], [HOT])[0]
    said = list(generate_streaming(talk, turn.reshape(-1, 2, WIDTH), HOT, decide=lambda _: False))
    assert len(whole.audio) > 0
    np.testing.assert_array_equal([one.audio for one in said if one.audio is not None], whole.audio)
    other = generate(talk, [turn[::-1].copy()], [HOT])[0]
    assert (other.text, other.audio.tolist()) != (whole.text, whole.audio.tolist())


def test_slots_say_what_they_would_say_alone_to_the_last_bit() -> None:
    model, turns = drawn(SMALL), [frames(count, count) for count in (3, 10, 7)]
    together, alone = PlainSteps(model, 3), [PlainSteps(model, 1) for _ in range(3)]
    for at in range(0, 12, 2):
        mask = np.array([at < len(turn) for turn in turns])
        chunk = np.stack(
            [np.resize(turn[at : at + 2], (2, WIDTH)) if at < len(turn) else 0 * turn[:2] for turn in turns]
        )
        found = together.hear(chunk, mask)
        for slot in np.flatnonzero(mask):
            assert alone[slot].hear(chunk[[slot]], everyone(1))[0] == found[slot]
    voices = together.speakers[[0, 1, 0]], together.emotions[[0, 1, 2]]
    together.begin(everyone(3), *voices)
    for slot, one in enumerate(alone):
        one.begin(everyone(1), voices[0][[slot]], voices[1][[slot]])
    text, audio = np.full(3, START), np.full((3, SMALL.books), SMALL.none)
    for _ in range(5):
        said, sound = together.speak(text, audio, everyone(3))
        for slot, one in enumerate(alone):
            single = one.speak(text[[slot]], audio[[slot]], everyone(1))
            np.testing.assert_array_equal(single[0][0], said[slot])
            np.testing.assert_array_equal(single[1][0], sound[slot])
        text, audio = said.argmax(axis=1), sound.argmax(axis=2)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_whatever_the_others_do_a_slot_that_is_not_asked_does_not_move(seed: int) -> None:
    random, model = np.random.default_rng(seed), drawn(SMALL)
    busy, calm = PlainSteps(model, 3), PlainSteps(model, 3)
    calmly = np.array([True, False, False])
    for _ in range(20):
        # Slot 0 of both does the same; the others of one do as they like in between.
        what, chunk = random.integers(4), random.standard_normal((3, 2, WIDTH)).astype(np.float32)
        np.testing.assert_array_equal(do(busy, what, chunk, calmly), do(calm, what, chunk, calmly))
        do(busy, random.integers(4), chunk[::-1].copy(), np.array([False, *(random.random(2) < 0.7)]))


def do(steps: Steps, what: int, chunk: Floats, mask: Mask) -> Any:
    """One of the four calls; what it says of slot 0."""
    slots, shape = len(mask), steps.shape
    if what == 0:
        steps.begin(mask, steps.speakers[[0] * slots], steps.emotions[[1] * slots])
    elif what == 1 and chunk[0, 0, 0] > 1:
        steps.reset(mask)
    elif what == 2:
        # From the chunk, so that it is the same for both.
        pieces = np.full((slots, shape.books), int(abs(chunk[0, 0, 0]) * 4) % shape.entries)
        return steps.speak(np.full(slots, 5), pieces, mask)[1][0]
    else:
        return steps.hear(chunk, mask)[0]
    return 0


def test_reset_leaves_nothing_behind() -> None:
    model, turn = drawn(SMALL), frames(16)
    used, fresh = PlainSteps(model, 2), PlainSteps(model, 2)
    answers = generate(Talk(fresh), [turn, turn[:6]], [HOT, replace(HOT, seed=1)])
    talk = Talk(used)
    generate(talk, [turn[::-1].copy()] * 2, [replace(HOT, speaker=1, emotion=2)] * 2)
    for found, wanted in zip(generate(talk, [turn, turn[:6]], [HOT, replace(HOT, seed=1)]), answers, strict=True):
        assert found.text == wanted.text
        np.testing.assert_array_equal(found.audio, wanted.audio)


def test_a_slot_that_heard_nothing_and_one_that_hears_noise_say_numbers() -> None:
    steps = PlainSteps(drawn(SMALL), 1)
    answer = generate(Talk(steps), [np.zeros((0, WIDTH), np.float32)], [Manner(audio=GREEDY)])[0]
    assert (answer.audio >= 0).all()
    for size in (1e4, 1e15):
        odds = steps.hear(frames(2)[None] * np.float32(size), everyone(1))
        assert 0 <= odds[0] <= 1
        assert np.isfinite(steps.speak(np.array([5]), np.zeros((1, 2), np.int64), everyone(1))[1]).all()


def test_steps_past_the_cache_stay_at_its_end_and_nobody_asked_is_nobody_served() -> None:
    steps = PlainSteps(drawn(SMALL), 2)
    for _ in range(SMALL.steps + 3):
        said, _ = steps.speak(np.array([5, 5]), np.zeros((2, 2), np.int64), np.array([True, False]))
    assert np.abs(said[0]).max() > 0
    assert not said[1].any()
    assert not steps.hear(frames(4).reshape(2, 2, WIDTH), ~everyone(2)).any()
    steps.begin(~everyone(2), steps.speakers, steps.emotions[:2])


def test_weights_that_are_not_of_their_shape_are_refused() -> None:
    model = drawn(SMALL)
    arrays = dict(model.arrays)
    lacking = {name: array for name, array in arrays.items() if name != "turn.bias"}
    with pytest.raises(ModelError, match=r"turn\.bias is missing"):
        PlainSteps(replace(model, arrays=lacking), 1)
    with pytest.raises(ModelError, match=r"decoder\.say\.bias is \(12,\), not \(13,\)"):
        PlainSteps(replace(model, shape=replace(SMALL, vocabulary=13), arrays=_taller(arrays)), 1)
    with pytest.raises(UsageError, match="at least one slot"):
        PlainSteps(model, 0)


def _taller(arrays: dict[str, Any]) -> dict[str, Any]:
    tall = {
        name: np.concatenate([arrays[name], arrays[name][:1]]) for name in ("decoder.text.weight", "decoder.say.weight")
    }
    return arrays | tall


def test_torch_is_never_loaded() -> None:
    modules = ", ".join(f"duplexforge.models.s2s.{name}" for name in ("plain", "opening", "onnx_steps", "onnx_export"))
    code = f"import sys; import {modules}; assert not {{'torch', 'onnx', 'onnxruntime'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# -- torch says the same -----------------------------------------------------------------------------------------------


def both(shape: Shape, slots: int, seed: int = 0) -> tuple[Steps, Steps]:
    from duplexforge.models.s2s.loading import network_of
    from duplexforge.models.s2s.network import TorchSteps

    model = drawn(shape, seed)
    return PlainSteps(model, slots), TorchSteps(network_of(model), slots)


@pytest.mark.heavy
def test_the_arrays_are_those_of_the_network() -> None:
    from duplexforge.models.s2s.network import Network

    shape = replace(SMALL, encoder_layers=1, decoder_layers=3, books=3, kernel=5)
    assert sizes(shape) == {name: tuple(one.shape) for name, one in Network(shape).state_dict().items()}


@pytest.mark.heavy
@pytest.mark.parametrize("changes", SHAPES)
def test_logits_equal_those_of_torch_whatever_happens(changes: dict[str, int]) -> None:
    import torch

    torch.set_num_threads(1)
    shape = replace(SMALL, **changes)
    plain, heavy = both(shape, 3)
    random = np.random.default_rng(4)
    for _ in range(120):
        mask, what = random.random(3) < 0.7, random.choice(4, p=[0.4, 0.4, 0.15, 0.05])
        if what == 0:
            chunk = random.standard_normal((3, shape.chunk, WIDTH)).astype(np.float32)
            found = [steps.hear(chunk, mask)[mask] for steps in (plain, heavy)]
            np.testing.assert_allclose(*found, atol=1e-5)
        elif what == 1:
            text, audio = (
                random.integers(0, shape.vocabulary, 3),
                random.integers(0, shape.entries + 1, (3, shape.books)),
            )
            said, told = (steps.speak(text, audio, mask) for steps in (plain, heavy))
            for one, other in zip(said, told, strict=True):
                np.testing.assert_allclose(one[mask], other[mask], atol=1e-4)
        elif what == 2:
            rows = random.integers(0, 2, 3)
            for steps in (plain, heavy):
                steps.begin(mask, steps.speakers[rows], steps.emotions[rows])
        else:
            plain.reset(mask)
            heavy.reset(mask)


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(3))
def test_greedy_answers_are_those_of_torch(seed: int) -> None:
    import torch

    torch.set_num_threads(1)
    plain, heavy = both(replace(SMALL, steps=40, entries=64), 2, seed)
    manners = [Manner(speaker=1, audio=GREEDY), Manner(emotion=2, audio=GREEDY)]
    turns = [frames(7, seed), frames(12, seed + 9)]
    for one, other in zip(generate(Talk(plain), turns, manners), generate(Talk(heavy), turns, manners), strict=True):
        assert (one.text, one.ended) == (other.text, other.ended)
        np.testing.assert_array_equal(one.audio, other.audio)
