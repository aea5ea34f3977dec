"""From the events of a side to its token stream: the same few lines for builder, validator and loader."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import TypeAdapter, ValidationError

from duplexforge.errors import InputError
from duplexforge.framing import DuplexFormat, Stream, interleave
from duplexforge.loading.schema import Event

_EVENTS = TypeAdapter(list[Event])


def parse_events(body: str, what: str) -> list[Event]:
    """Read ``events_json``; InputError(``bad_events``) naming ``what`` when it is not a list of events."""
    try:
        return _EVENTS.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{what}: events_json: {where}: {first['msg']}", reason="bad_events") from error


def events_json(events: Sequence[Event]) -> str:
    """``events_json`` of a side, the same bytes for the same events."""
    return _EVENTS.dump_json(list(events), exclude_none=True).decode()


def stream_of(events: Sequence[Event], fmt: DuplexFormat, chunks: int) -> Stream:
    """The interleaved sequence of a whole side of ``chunks`` chunks; windows are cuts of it."""
    tokens: list[int] = []
    due: list[int] = []
    for event in events:
        when = event.due if event.due is not None else [fmt.chunk_at(event.start)] * len(event.input_ids)
        if len(when) != len(event.input_ids):
            raise InputError(
                f"the event at {event.start:g} s has {len(event.input_ids)} tokens and {len(when)} due chunks",
                reason="bad_events",
            )
        tokens += event.input_ids
        due += when
    # Words of overlapping events wait for those before them: the agent says one thing after the other.
    rising = np.maximum.accumulate(np.asarray(due, dtype=np.int64)) if due else np.zeros(0, dtype=np.int64)
    return interleave(fmt, np.asarray(tokens, dtype=np.int64), rising, chunks)
