"""From the events of a side to its token stream: the same few lines for builder, validator and loader."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain

import numpy as np
from pydantic import TypeAdapter, ValidationError

from duplexforge.errors import InputError
from duplexforge.framing import DuplexFormat, Ints, Stream, interleave
from duplexforge.loading.schema import Event
from duplexforge.records import first_fault

_EVENTS = TypeAdapter(list[Event])

# Seconds, some thirty years: no recording is longer, and its samples can be counted.
_LONGEST = 1e9


def parse_events(body: str, what: str) -> list[Event]:
    """Read ``events_json``; InputError(``bad_events``) naming ``what`` when it is not a list of events."""
    try:
        return _EVENTS.validate_json(body)
    except ValidationError as error:
        raise InputError(f"{what}: events_json: {first_fault(error)}", reason="bad_events") from error


def events_json(events: Sequence[Event]) -> str:
    """``events_json`` of a side, the same bytes for the same events."""
    return _EVENTS.dump_json(list(events), exclude_none=True).decode()


def stream_of(events: Sequence[Event], fmt: DuplexFormat, chunks: int) -> Stream:
    """The interleaved sequence of a whole side of ``chunks`` chunks; windows are cuts of it."""
    counts = [len(event.input_ids) for event in events]
    try:
        tokens = np.fromiter(chain.from_iterable(event.input_ids for event in events), np.int64, sum(counts))
        due = _due(events, counts, fmt)
    except OverflowError as error:
        raise InputError("an event has a number that is no token and no chunk", reason="bad_events") from error
    # Words of overlapping events wait for those before them: the agent says one thing after the other.
    return interleave(fmt, tokens, np.maximum.accumulate(due), chunks)


def _due(events: Sequence[Event], counts: Sequence[int], fmt: DuplexFormat) -> Ints:
    """The chunk in which each token of ``events`` is due; a side has thousands of them, so all starts at once."""
    starts = np.asarray([event.start for event in events], dtype=np.float64)
    if (odd := ~((starts >= 0) & (starts < _LONGEST))).any():
        raise InputError(f"the event at {starts[odd][0]:g} s has no place in time", reason="bad_events")
    due = np.repeat(fmt.chunks_at(starts), counts)
    for event, count, end in zip(events, counts, accumulate(counts), strict=True):
        if event.due is not None:
            if len(event.due) != count:
                raise InputError(
                    f"the event at {event.start:g} s has {count} tokens and {len(event.due)} due chunks",
                    reason="bad_events",
                )
            due[end - count : end] = event.due
    return due
