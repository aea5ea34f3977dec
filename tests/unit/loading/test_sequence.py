"""Events become a stream; their text form survives, and what is no list of events is refused by name."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.errors import InputError
from duplexforge.framing import DuplexFormat
from duplexforge.loading.schema import Event, EventWord
from duplexforge.loading.sequence import events_json, parse_events, stream_of

FORMAT = DuplexFormat(silence_token_id=7)


def event(start: float, tokens: list[int], due: list[int] | None = None, *, length: float = 1.0) -> Event:
    return Event(start=start, end=start + length, text="…", input_ids=tokens, duration=length, due=due)


@st.composite
def sides(draw: st.DrawFn) -> list[Event]:
    """Events by their start; they may overlap, and some say in which chunks their tokens are due."""
    made, token = [], 100
    for start in sorted(draw(st.lists(st.integers(0, 1200), max_size=12))):
        count = draw(st.integers(1, 9))
        due = None
        if draw(st.booleans()):
            due = sorted(draw(st.lists(st.integers(start // 32, 45), min_size=count, max_size=count)))
        made.append(event(start / 100, list(range(token, token + count)), due))
        token += count
    return made


def walk(events: list[Event], chunks: int) -> list[int]:
    """Chunk by chunk: a token joins the queue when it is due and all before it have joined."""
    coming = deque(
        (FORMAT.chunk_at(one.start) if one.due is None else one.due[order], token)
        for one in events
        for order, token in enumerate(one.input_ids)
    )
    queue: list[int] = []
    sequence: list[int] = []
    for chunk in range(chunks):
        while coming and coming[0][0] <= chunk:
            queue.append(coming.popleft()[1])
        said, queue = queue[:2], queue[2:]
        sequence += [-100] * 4 + ([*said, 7][:2] if said else [7])
    return sequence


@given(events=sides(), chunks=st.integers(0, 60))
def test_a_side_is_what_the_walk_over_its_chunks_says(events: list[Event], chunks: int) -> None:
    stream = stream_of(events, FORMAT, chunks)
    assert stream.sequence.tolist() == walk(events, chunks)
    said = int((stream.sequence >= 100).sum())
    assert said + stream.capped == sum(len(one.input_ids) for one in events)


def test_overlapping_events_are_said_one_after_the_other() -> None:
    stream = stream_of([event(0.0, [101, 102, 103, 104, 105]), event(0.4, [201, 202])], FORMAT, 5)
    assert [stream.cut(chunk, chunk + 1).tolist()[4:] for chunk in range(5)] == [
        [101, 102], [103, 104], [105, 201], [202, 7], [7],
    ]  # fmt: skip


def test_a_token_for_each_due_chunk() -> None:
    with pytest.raises(InputError, match=r"the event at 2.5 s has 2 tokens and 1 due chunks") as caught:
        stream_of([event(2.5, [101, 102], [7])], FORMAT, 20)
    assert caught.value.reason == "bad_events"


def test_a_due_chunk_before_the_side_is_refused() -> None:
    with pytest.raises(InputError, match="from chunk 0 on"):
        stream_of([event(0.0, [101], [-1])], FORMAT, 20)


@pytest.mark.parametrize("start", [-0.5, float("nan"), float("inf"), 1e300])
@pytest.mark.parametrize("due", [None, [3]])
def test_a_start_outside_time_is_refused(start: float, due: list[int] | None) -> None:
    with pytest.raises(InputError, match=r"the event at \S+ s has no place in time") as caught:
        stream_of([event(0.0, [101]), event(start, [102], due)], FORMAT, 20)
    assert caught.value.reason == "bad_events"


@pytest.mark.parametrize(("tokens", "due"), [([2**63], None), ([101], [2**63])])
def test_a_number_too_large_for_any_token_is_refused(tokens: list[int], due: list[int] | None) -> None:
    with pytest.raises(InputError, match="no token and no chunk"):
        stream_of([event(0.0, tokens, due)], FORMAT, 20)


def test_a_side_without_events_is_silence() -> None:
    assert stream_of([], FORMAT, 2).sequence.tolist() == [-100, -100, -100, -100, 7] * 2


@given(events=sides())
def test_events_survive_their_text(events: list[Event]) -> None:
    body = events_json(events)
    assert parse_events(body, "a side") == events
    assert events_json(parse_events(body, "a side")) == body


def test_what_another_writer_added_is_kept_and_empty_fields_are_not_written() -> None:
    body = '[{"start":0.0,"end":1.0,"text":"hé","input_ids":[5],"duration":1.0,"mood":"glad"}]'
    assert events_json(parse_events(body, "a side")) == body


def test_words_and_their_times_are_kept() -> None:
    words = [EventWord(text="hé", start=0.25, end=0.5)]
    one = event(0.0, [5], [0]).model_copy(update={"words": words})
    assert parse_events(events_json([one]), "a side")[0].words == words


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{}", "s1: events_json: the whole body: Input should be a valid"),
        ("[", "s1: events_json: the whole body: Invalid JSON"),
        ('[{"start":0,"end":1,"text":"a","duration":1}]', r"s1: events_json: 0\.input_ids: Field required"),
        (
            '[{"start":0,"end":1,"text":"a","duration":1,"input_ids":["x"]}]',
            r"0\.input_ids\.0: Input should be a valid",
        ),
    ],
)
def test_what_is_no_list_of_events_is_refused_with_the_place(body: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        parse_events(body, "s1")
    assert caught.value.reason == "bad_events"
