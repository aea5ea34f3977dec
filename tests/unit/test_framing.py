"""The duplex framing against a plain walk over the chunks, a literal table, and transformers' own length formula."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from duplexforge.errors import ConfigError, InputError
from duplexforge.framing import DuplexFormat, Ints, Stream, audio_tokens, interleave, place

FORMAT = DuplexFormat()
QUEUES = st.lists(st.integers(0, 40), max_size=80).map(sorted)


def ints(values: list[int]) -> Ints:
    return np.asarray(values, dtype=np.int64)


def framed(text_tokens: int) -> DuplexFormat:
    return DuplexFormat(text_tokens=text_tokens, silence_token_id=7)


def walk(fmt: DuplexFormat, tokens: list[int], due: list[int], chunks: int) -> list[list[int]]:
    """The rule as it is told: chunk by chunk, with a queue."""
    coming = deque(zip(due, tokens, strict=True))
    queue: deque[int] = deque()
    told = []
    for chunk in range(chunks):
        while coming and coming[0][0] == chunk:
            queue.append(coming.popleft()[1])
        said = [queue.popleft() for _ in range(min(len(queue), fmt.text_tokens))]
        rest = [fmt.silence_token_id] * (fmt.text_tokens - len(said)) if said else [fmt.silence_token_id]
        told.append([fmt.placeholder_id] * fmt.frames_per_chunk + said + rest)
    return told


@given(due=QUEUES, chunks=st.integers(0, 45), text_tokens=st.sampled_from([1, 2, 3, 4]))
def test_one_pass_equals_the_walk_over_the_chunks(due: list[int], chunks: int, text_tokens: int) -> None:
    fmt = framed(text_tokens)
    tokens = list(range(100, 100 + len(due)))
    stream = interleave(fmt, ints(tokens), ints(due), chunks)
    told = walk(fmt, tokens, due, chunks)
    assert stream.sequence.tolist() == [number for chunk in told for number in chunk]
    assert np.diff(stream.starts).tolist() == [len(chunk) for chunk in told]
    assert (stream.starts[0], stream.starts[-1]) == (0, len(stream.sequence))


@given(due=QUEUES, chunks=st.integers(0, 45), text_tokens=st.sampled_from([1, 2, 4]))
def test_every_token_stands_once_in_order_or_is_capped(due: list[int], chunks: int, text_tokens: int) -> None:
    tokens = list(range(100, 100 + len(due)))
    stream = interleave(framed(text_tokens), ints(tokens), ints(due), chunks)
    said = stream.sequence[stream.sequence >= 100].tolist()
    assert said == tokens[: len(tokens) - stream.capped]
    assert stream.silent == sum(chunk[4:] == [7] for chunk in walk(framed(text_tokens), tokens, due, chunks))
    assert int((stream.sequence == -100).sum()) == 4 * chunks


@given(due=QUEUES, chunks=st.integers(0, 45), text_tokens=st.sampled_from([1, 2, 4]))
def test_no_token_comes_early_and_none_waits_while_there_is_room(due: list[int], chunks: int, text_tokens: int) -> None:
    placed = place(ints(due), chunks, text_tokens)
    taken = {(int(chunk), int(slot)) for chunk, slot in zip(placed.chunk, placed.slot, strict=True) if chunk >= 0}
    assert len(taken) == len(due) - placed.capped
    for when, chunk in zip(due, placed.chunk.tolist(), strict=True):
        if chunk >= 0:
            assert chunk >= when
            assert all((full, slot) in taken for full in range(when, chunk) for slot in range(text_tokens))


@given(due=QUEUES, chunks=st.integers(0, 45), cuts=st.tuples(st.integers(0, 45), st.integers(0, 45)))
def test_a_cut_is_those_chunks_of_the_whole(due: list[int], chunks: int, cuts: tuple[int, int]) -> None:
    first, end = sorted(min(cut, chunks) for cut in cuts)
    fmt = framed(2)
    tokens = list(range(100, 100 + len(due)))
    stream = interleave(fmt, ints(tokens), ints(due), chunks)
    told = walk(fmt, tokens, due, chunks)[first:end]
    assert stream.cut(first, end).tolist() == [number for chunk in told for number in chunk]


def test_the_example_of_the_description() -> None:
    """Three tokens due in chunk 1 of four: silence, two tokens, one and silence, silence."""
    stream = interleave(framed(2), ints([11, 12, 13]), ints([1, 1, 1]), 4)
    four = [-100] * 4
    assert stream.sequence.tolist() == [*four, 7, *four, 11, 12, *four, 13, 7, *four, 7]
    assert stream.starts.tolist() == [0, 5, 11, 17, 22]
    assert stream.capped == 0


@pytest.mark.parametrize("due", [[3, 2], [-1, 0]])
def test_tokens_that_are_due_backwards_are_refused(due: list[int]) -> None:
    with pytest.raises(InputError, match="rising order") as caught:
        place(ints(due), 10, 2)
    assert caught.value.reason == "bad_events"


def test_nothing_at_all_is_a_stream_too() -> None:
    stream = interleave(FORMAT, ints([]), ints([]), 0)
    assert isinstance(stream, Stream)
    assert (stream.sequence.size, stream.starts.tolist(), stream.capped) == (0, [0], 0)


# Mel frames and tokens, worked out by hand: halve three times, always up, and 13 for each whole hundred.
LENGTHS = {
    0: 0,
    1: 1,
    8: 1,
    9: 2,
    16: 2,
    24: 3,
    25: 4,
    32: 4,
    33: 5,
    64: 8,
    99: 13,
    100: 13,
    101: 14,
    132: 17,
    3000: 390,
}


@pytest.mark.parametrize(("mel", "tokens"), LENGTHS.items())
def test_the_encoder_makes_so_many_tokens(mel: int, tokens: int) -> None:
    assert audio_tokens(mel) == tokens


@pytest.mark.heavy
def test_the_encoder_s_length_is_transformers_own() -> None:
    from transformers.models.qwen3_omni_moe import modeling_qwen3_omni_moe as omni

    assert [audio_tokens(mel) for mel in range(5000)] == [
        omni._get_feat_extract_output_lengths(mel) for mel in range(5000)
    ]


def test_the_default_is_the_published_format() -> None:
    assert (FORMAT.user_samples, FORMAT.agent_samples, FORMAT.mel_frames) == (5120, 7680, 32)
    assert (float(FORMAT.chunk_seconds), FORMAT.text_tokens, FORMAT.silence_token_id) == (0.32, 2, 151646)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frame_hz": 13.0}, "a chunk of 0.307692 s is no whole number of samples at 16000 Hz"),
        ({"frames_per_chunk": 8, "frame_hz": 20.0}, "does not make 8 tokens"),
        ({"frame_hz": 13.0, "frames_per_chunk": 13}, None),  # a whole second: 13 tokens of 100 mel frames
        ({"frames_per_chunk": 1}, None),
        ({"frames_per_chunk": 12}, None),
        ({"frames_per_chunk": 13}, "does not make 13 tokens"),
        ({"user_rate": 16_001}, "no whole number of samples at 16001 Hz"),
        ({"agent_rate": 22_050}, None),  # 7,056 samples
        ({"agent_rate": 44_101}, "no whole number of samples at 44101 Hz"),
        ({"text_tokens": 0}, "greater than or equal to 1"),
        ({"frame_hz": 0.0}, "greater than 0"),
        ({"max_event_tokens": 0}, "greater than or equal to 1"),
        ({"alignment": "late"}, "'queue', 'even' or 'words'"),
    ],
)
def test_numbers_that_do_not_fit_together_are_refused(changes: dict[str, Any], words: str | None) -> None:
    if words is None:
        fmt = DuplexFormat(**changes)
        assert fmt.user_samples * fmt.agent_rate == fmt.agent_samples * fmt.user_rate
        assert audio_tokens(fmt.mel_frames) == fmt.frames_per_chunk
    else:
        with pytest.raises(ValidationError, match=words):
            DuplexFormat(**changes)


@given(multiple=st.integers(0, 1_000_000), early=st.integers(1, 5119))
def test_a_moment_on_a_seam_belongs_to_the_later_chunk(multiple: int, early: int) -> None:
    assert FORMAT.chunk_at(multiple * 0.32) == multiple
    assert FORMAT.chunk_at(round(multiple * 0.32, 2)) == multiple
    assert FORMAT.chunk_at((multiple * 5120 + early) / 16_000) == multiple


@given(st.lists(st.floats(0, 1e9) | st.integers(0, 10**9).map(lambda halves: halves / 32_000), max_size=20))
def test_many_moments_are_found_as_one_is(moments: list[float]) -> None:
    assert FORMAT.chunks_at(np.asarray(moments, dtype=np.float64)).tolist() == [FORMAT.chunk_at(one) for one in moments]


@given(st.integers(0, 10**9))
def test_chunks_hold_what_they_must_and_no_chunk_is_empty(samples: int) -> None:
    chunks = FORMAT.chunks(samples / 16_000)
    assert chunks == FORMAT.chunks_of(samples, 5120)
    assert (chunks - 1) * 5120 < samples <= chunks * 5120 or (samples, chunks) == (0, 0)


def test_formats_that_differ_name_every_field() -> None:
    with pytest.raises(ConfigError, match=r"text_tokens 2 and 4; silence_token_id 151646 and 9$") as caught:
        FORMAT.check(DuplexFormat(text_tokens=4, silence_token_id=9))
    assert caught.value.exit_code == 78


def test_a_format_under_another_name_goes_with_it() -> None:
    FORMAT.check(DuplexFormat(model="a-copy", revision="abc", alignment="even", max_event_tokens=5))


def test_a_format_survives_its_file() -> None:
    fmt = DuplexFormat(text_tokens=4, tokenizer_sha256="ab" * 32)
    assert DuplexFormat.model_validate_json(fmt.to_bytes()) == fmt
