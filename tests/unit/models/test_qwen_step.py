"""The duplex step against one forward over the whole interleaved sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.errors import InputError, RetryLater
from duplexforge.framing import DuplexFormat, interleave
from duplexforge.loading.collator import Collator
from duplexforge.loading.features import log_mels
from tests.duplex.thinker import tiny_thinker

pytestmark = pytest.mark.heavy

SEED = 6
CLOSE = 1e-4
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Ground:
    """The thinker, and the format of its tokens."""

    folder: Path
    thinker: Any
    format: DuplexFormat


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    import torch
    from transformers import AutoTokenizer

    from duplexforge.models.qwen.opening import check_format, load_thinker

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tiny_thinker(tmp_path_factory.mktemp("thinker"))
    thinker = load_thinker(folder, precision="fp32")
    silence = AutoTokenizer.from_pretrained(folder).get_vocab()["<|object_ref_start|>"]
    fmt = DuplexFormat(silence_token_id=silence)
    check_format(folder, thinker, fmt)
    yield Ground(folder, thinker, fmt)
    torch.set_num_threads(before)


def made_step(ground: Ground, **options: Any) -> Any:
    """A duplex step of the tiny thinker."""
    from duplexforge.models.qwen.stepping import DuplexStep

    return DuplexStep(ground.thinker, ground.format, log_mels, **options)


def sound(chunks: int, seed: int = SEED) -> Floats:
    """Noise of changing loudness, float32[chunks, 5120]."""
    random = np.random.default_rng(seed)
    return (random.uniform(-1, 1, (chunks, 5120)) * random.uniform(0, 0.9, (chunks, 1))).astype(np.float32)


def conversation(fmt: DuplexFormat, chunks: int, seed: int = SEED) -> list[list[int]]:
    """What an agent says in each chunk."""
    random = np.random.default_rng(seed)
    due = np.sort(random.integers(0, chunks, chunks))
    made = interleave(fmt, random.integers(0, 300, chunks), due, chunks)
    return [made.cut(at, at + 1)[fmt.frames_per_chunk :].tolist() for at in range(chunks)]


def offline(ground: Ground, user: Floats, said: Sequence[Sequence[int]], mask: Any = None) -> list[Any]:
    """Logits of each chunk's decisions, of one forward over the whole sequence, collated as in training."""
    import torch

    from duplexforge.loading.torch_dataset import tensors
    from duplexforge.models.qwen import forward

    fmt = ground.format
    sequence = [token for tokens in said for token in [*[fmt.placeholder_id] * fmt.frames_per_chunk, *tokens]]
    item: Any = {
        "input_sequence": np.asarray(sequence),
        "input_audios": user,
        "target_audios": np.zeros((len(user), 7680), np.float32),
        "speaker_embedding": None,
        "session_id": "a",
        "seq_id": 0,
    }
    batch = tensors(Collator(fmt, audio_token_id=ground.thinker.config.audio_token_id)([item]))
    with torch.no_grad():
        if mask is not None:
            # The model takes a mask of its own making as it is; the positions then come from the plain one.
            whole = batch["attention_mask"]
            answer = ground.thinker(
                **{name: batch[name] for name in ("input_ids", "input_features", "feature_attention_mask")},
                attention_mask=mask(whole.shape[1])[None, None],
                position_ids=forward.positions(whole),
            )
            found = answer.logits[0]
        else:
            found = forward.logits(ground.thinker, batch)[0]
    logits, at = [], 0
    for tokens in said:
        at += fmt.frames_per_chunk
        logits.append(found[at - 1 : at - 1 + len(tokens)])
        at += len(tokens)
    return logits


def test_the_step_equals_the_whole_sequence(ground: Ground) -> None:
    import torch

    step = made_step(ground, slots=3)
    chunks = 14
    told = {seed: conversation(ground.format, chunks, seed) for seed in (1, 2, 3)}
    assert {len(tokens) for tokens in told[1]} == {1, 2}
    user = {seed: sound(chunks, seed) for seed in told}
    sessions = {seed: step.open() for seed in told}
    heard = dict.fromkeys(told, 0)
    found: dict[int, list[Any]] = {seed: [] for seed in told}
    # They come and go: one starts later, one pauses, and their order in the batch changes.
    for turn in range(chunks + 4):
        who = [
            seed for seed in (1, 3, 2) if heard[seed] < chunks and (turn >= 2 or seed != 2) and (turn % 5 or seed != 3)
        ]
        said = step.steps(
            [sessions[seed] for seed in who],
            [user[seed][heard[seed]] for seed in who],
            [told[seed][heard[seed]] for seed in who],
        )
        for seed, one in zip(who, said, strict=True):
            assert list(one.tokens) == told[seed][heard[seed]]
            found[seed].append(one.logits)
            heard[seed] += 1
    for seed in told:
        wanted = offline(ground, user[seed][: heard[seed]], told[seed][: heard[seed]])
        assert heard[seed] >= chunks - 2
        for chunk, logits in enumerate(found[seed]):
            torch.testing.assert_close(logits, wanted[chunk], rtol=0, atol=CLOSE, msg=f"{seed}: chunk {chunk}")


def test_what_it_says_by_itself_is_the_likeliest_of_the_whole_sequence(ground: Ground) -> None:
    step = made_step(ground)
    session = step.open()
    user = sound(20)
    said = [list(step.step(session, chunk)) for chunk in user]
    silence = ground.format.silence_token_id
    assert session.chunks == 20
    muted = [getattr(ground.thinker.config, f"{name}_token_id") for name in ("audio", "audio_start", "image", "video")]
    for tokens, logits in zip(said, offline(ground, user, said), strict=True):
        assert tokens == [silence] or (len(tokens) == 2 and tokens[0] != silence)
        logits[:, muted] = -np.inf
        assert tokens == logits.argmax(dim=-1).tolist()


def test_a_chunk_changes_what_comes_after_it_and_nothing_before(ground: Ground) -> None:
    import torch

    user, told = sound(9), conversation(ground.format, 9)
    before = offline(ground, user, told)
    changed = user.copy()
    changed[5] = sound(1, seed=99)[0]
    after = offline(ground, changed, told)
    for chunk in range(9):
        apart = float((after[chunk] - before[chunk]).abs().max())
        assert (apart > 10 * CLOSE) is (chunk >= 5), chunk
        if chunk < 5:
            torch.testing.assert_close(after[chunk], before[chunk], rtol=0, atol=CLOSE)


def test_the_past_counts_and_a_reset_forgets_it(ground: Ground) -> None:
    import torch

    step = made_step(ground, slots=2)
    one, other = step.open(), step.open()
    user = sound(4)
    first = step.steps([one], user[:1])[0]
    step.steps([one, other], user[1:3])
    again = step.steps([one], user[:1])[0]
    assert float((again.logits[0] - first.logits[0]).abs().max()) > 1e-2
    step.reset(one)
    torch.testing.assert_close(step.steps([one], user[:1])[0].logits, first.logits, rtol=0, atol=CLOSE)
    step.close(one)
    step.close(one)
    fresh = step.open()
    assert fresh.slot == one.slot
    torch.testing.assert_close(step.steps([fresh, other], user[:2])[0].logits, first.logits, rtol=0, atol=CLOSE)
    with pytest.raises(RetryLater, match="all slots"):
        step.open()
    with pytest.raises(InputError, match="closed"):
        step.step(one, user[0])
    with pytest.raises(InputError, match="closed"):
        step.reset(one)


@pytest.mark.parametrize("window", [16, 33])
def test_a_session_that_outgrows_its_window_sees_its_last_tokens_and_its_first_chunk(
    ground: Ground, window: int
) -> None:
    import torch

    def mask(length: int) -> Any:
        query, key = torch.arange(length)[:, None], torch.arange(length)[None]
        seen = (key <= query) & ((key > query - window) | (key < ground.format.frames_per_chunk))
        return torch.zeros(length, length).masked_fill(~seen, torch.finfo(torch.float32).min)

    chunks = 30
    step = made_step(ground, slots=2, window=window)
    other, session = step.open(), step.open()
    user, told = sound(chunks), conversation(ground.format, chunks)
    wanted, whole = offline(ground, user, told, mask), offline(ground, user, told)
    for chunk in range(chunks):
        if chunk % 3 == 0:
            step.step(other, user[chunk])
        said = step.steps([session], [user[chunk]], [told[chunk]])[0]
        torch.testing.assert_close(said.logits, wanted[chunk], rtol=0, atol=CLOSE, msg=f"chunk {chunk}")
    assert session.position > 3 * window
    assert float((wanted[-1] - whole[-1]).abs().max()) > CLOSE


def test_draws_are_the_seeds_alone(ground: Ground) -> None:
    from duplexforge.models.qwen.stepping import Sampling

    user = sound(12)

    def talk(seed: int, *, company: bool, sampling: Sampling) -> list[tuple[int, ...]]:
        step = made_step(ground, slots=2, sampling=sampling)
        session, other = step.open(seed), step.open(seed + 1)
        said = []
        for chunk in user:
            who = [other, session] if company else [session]
            said.append(step.steps(who, [chunk] * len(who))[-1].tokens)
        return said

    hot = Sampling(temperature=5.0, top_k=200)
    alone = talk(1, company=False, sampling=hot)
    assert talk(1, company=True, sampling=hot) == alone
    assert talk(2, company=False, sampling=hot) != alone
    greedy = talk(1, company=False, sampling=Sampling())
    assert talk(2, company=True, sampling=Sampling(temperature=1.0, top_k=1)) == greedy != alone
    config = ground.thinker.config
    muted = {config.audio_token_id, config.audio_start_token_id, config.image_token_id, config.video_token_id}
    assert not muted & {token for tokens in alone for token in tokens}


def test_silence_fills_up_a_chunk(ground: Ground) -> None:
    """After a silence no word comes before the next chunk, however many tokens one has."""
    fmt = ground.format.model_copy(update={"text_tokens": 4})
    wide = Ground(ground.folder, ground.thinker, fmt)
    from duplexforge.models.qwen.stepping import Sampling

    silence = fmt.silence_token_id
    bias = ground.thinker.lm_head.weight[silence].clone()
    step = made_step(wide, sampling=Sampling(temperature=3.0, top_k=500))
    session = step.open(3)
    said = [step.step(session, chunk) for chunk in sound(40)]
    assert (ground.thinker.lm_head.weight[silence] == bias).all()
    assert {len(tokens) for tokens in said} <= {1, 4}
    for tokens in said:
        assert tokens == (silence,) or tokens[0] != silence
        if silence in tokens:
            assert set(tokens[tokens.index(silence) :]) == {silence}


def test_what_is_refused_changes_nothing(ground: Ground) -> None:
    import torch

    step = made_step(ground, slots=2)
    one, other = step.open(), step.open()
    user = sound(3)
    step.steps([one, other], user[:2])
    bad = user[0].copy()
    bad[7] = np.nan
    for sessions, chunks, forced, words in (
        ([one], [user[0][:-1]], None, "5120 finite samples"),
        ([one], [bad], None, "finite"),
        ([one, one], user[:2], None, "one chunk a step"),
        ([one, other], user[:1], None, "as many chunks"),
        ([], [], None, "as many chunks"),
        ([one], user[:1], [[1, 2, 3]], "silence or 2 tokens, not 3"),
        ([one], user[:1], [[5]], "silence or 2 tokens, not 1"),
    ):
        before = (one.position, one.chunks, list(one.pending))
        with pytest.raises(InputError, match=words):
            step.steps(sessions, chunks, forced)
        assert (one.position, one.chunks, one.pending) == before
    plain = made_step(ground)
    session = plain.open()
    plain.step(session, user[0])
    torch.testing.assert_close(
        step.steps([one], user[2:])[0].logits, plain.steps([session], user[2:])[0].logits, rtol=0, atol=CLOSE
    )


def test_a_session_at_the_last_position_is_refused(tmp_path: Path) -> None:
    from duplexforge.models.qwen.opening import load_thinker

    folder = tiny_thinker(tmp_path / "short", max_position_embeddings=40)
    short = Ground(folder, load_thinker(folder, precision="fp32"), DuplexFormat(silence_token_id=7))
    step = made_step(short)
    session = step.open()
    user = sound(1)[0]
    while session.position + 7 <= 40:
        step.step(session, user)
    with pytest.raises(InputError, match="the model's last position, 40") as caught:
        step.step(session, user)
    assert caught.value.reason == "session_full"
    assert 33 < session.position <= 40
    step.reset(session)
    step.step(session, user)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5)), max_size=40), st.integers(6, 12), st.integers(0, 4))
@settings(deadline=None, max_examples=60)
def test_who_sees_whom(turns: list[tuple[int, int]], window: int, kept: int) -> None:
    """Whatever the order in which slots are fed, a query sees the tokens of its own slot that the rule names."""
    import torch

    from duplexforge.models.qwen.cache import SlotCache

    shape = type("Text", (), {"num_key_value_heads": 1, "head_dim": 2, "num_hidden_layers": 1})
    cache = SlotCache(shape, 3, window=window, kept=kept, block=5, like=torch.zeros(1))
    lengths = [0, 0, 0]
    for slot, count in turns:
        places = torch.arange(lengths[slot], lengths[slot] + count)[None]
        # Its own slot's number, and where it stands: a key that says who it is.
        keys = torch.stack([torch.full((count,), float(slot)), places[0].float()], dim=-1)[None, None]
        mask = cache.begin([slot], places)
        found, _ = cache.update(keys, keys, 0)
        lengths[slot] += count
        for query, row in zip(places[0].tolist(), mask[0, 0], strict=True):
            seen = found[0, 0][row == 0].tolist()
            wanted = [at for at in range(query + 1) if at > query - window or at < kept]
            assert sorted(seen) == [[slot, at] for at in wanted]
