"""What the tests of the builder share: a small corpus in memory, the rule of the format in plain loops, trees of bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from duplexforge.duplex.build import BuildSettings
from duplexforge.duplex.corpus import Conversation, Problem, Samples, Track, Utterance
from duplexforge.errors import InputError, StoreError
from duplexforge.framing import DuplexFormat
from duplexforge.loading.tables import rows_of
from tests.duplex.tokenizer import LINES


@dataclass(frozen=True)
class Tone:
    """Audio of some seconds, at any rate the same curve; ``fails`` is what reading it raises half-way."""

    seconds: float
    pitch: float = 200.0
    fails: str = ""

    def blocks(self, rate: int) -> Iterator[Samples]:
        """In blocks of an odd length."""
        count = round(self.seconds * rate)
        sound = (0.3 * np.sin(np.arange(count) * (2 * np.pi * self.pitch / rate))).astype(np.float32)
        if self.fails == "holes":
            sound[: rate // 100] = np.nan
        for start in range(0, count, 4999):
            yield sound[start : start + 4999]
            if self.fails in _FAILURES:
                raise _FAILURES[self.fails]


_FAILURES: dict[str, Exception] = {
    "input": InputError("it ends in the middle of a frame", reason="corrupt"),
    "store": StoreError("the store did not answer for a.wav"),
    "disk": OSError(28, "No space left on device"),
    "stop": KeyboardInterrupt(),  # type: ignore[dict-item] # no Exception, which is the point
}


@dataclass
class Made:
    """A corpus in memory."""

    talks: Sequence[Conversation]
    problems: list[Problem] = field(default_factory=list)

    def conversations(self) -> Iterator[Conversation]:
        """As they were given."""
        yield from self.talks


def said(*starts: float, text: str = LINES[0]) -> tuple[Utterance, ...]:
    """Utterances of a second and a half."""
    return tuple(Utterance(start, start + 1.5, text) for start in starts)


def talk(name: str, speakers: tuple[str, str] = ("ann", "bob"), seconds: float = 6.0, **fields: Any) -> Conversation:
    """A conversation of two who take turns; ``fails`` spoils the second track."""
    fails = fields.pop("fails", "")
    first = Track(speakers[0], Tone(seconds), said(0.1, 3.0))
    second = Track(speakers[1], Tone(seconds - 0.2, 310.0, fails), said(1.6, 4.0, text=LINES[1]))
    return Conversation(name, (first, second), **fields)


def settings(tokenizer: Path, **fields: Any) -> BuildSettings:
    """Build settings with the tiny tokenizer."""
    shape = {name: fields.pop(name) for name in list(fields) if name in DuplexFormat.model_fields}
    return BuildSettings(fmt=DuplexFormat(model=str(tokenizer), **shape), **fields)


def tree(folder: Path) -> dict[str, str]:
    """Checksum of every file below ``folder``, by its name."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def sides(folder: Path) -> dict[str, dict[str, Any]]:
    """Rows of storage by their session id."""
    return {row["session_id"]: row for row in rows_of(folder / "storage")}


def walk(spoken: Sequence[Utterance], encode: Any, chunks: int, per_chunk: int, silence: int) -> list[int]:
    """The sequence of a side by the plain rule, chunk by chunk: a queue, four placeholders, silence or full of tokens."""
    sequence: list[int] = []
    queue: list[int] = []
    for chunk in range(chunks):
        for one in sorted(spoken, key=lambda one: one.start):
            if chunk * 5120 <= round(one.start * 16_000) < (chunk + 1) * 5120:
                queue += encode(one.text)
        sequence += [-100] * 4
        if not queue:
            sequence += [silence]
            continue
        now, queue = queue[:per_chunk], queue[per_chunk:]
        sequence += now + [silence] * (per_chunk - len(now))
    return sequence


__all__ = ["Made", "Tone", "said", "settings", "sides", "talk", "tree", "walk"]
