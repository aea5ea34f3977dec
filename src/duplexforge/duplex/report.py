"""What a build says at its end: counts by split, every problem with its place, and the exit code."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from duplexforge.duplex.corpus import Problem
from duplexforge.errors import InputError
from duplexforge.loading.schema import Totals

_SHOWN = 20


@dataclass
class Report:
    """What became of the conversations of ``source``.

    ``skipped`` had not the speaker that was asked for. ``totals`` by split; in a dry run only what the texts tell (no
    chunks, as no audio was decoded). ``notes`` are sentences that a person should read.
    """

    source: str
    out: str
    mode: str = "dataset"
    dry_run: bool = False
    conversations: int = 0
    skipped: int = 0
    files: int = 0
    totals: dict[str, Totals] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """65 when anything was left out as bad input, else 0.

        That is a problem which neither was ``kept`` (mended, or taken with doubt) nor left something out ``by_rule`` of the
        user's choice. Capped tokens and speakers that were not asked for do not count.
        """
        return InputError.exit_code if any(problem.lost for problem in self.problems) else 0

    def by_reason(self) -> dict[str, int]:
        """Problems by their reason."""
        return dict(sorted(Counter(problem.reason for problem in self.problems).items()))

    def lines(self) -> bytes:
        """``report.jsonl``: a line for each problem."""
        rows = (json.dumps(problem.to_json(), ensure_ascii=False) for problem in self.problems)
        return "".join(f"{row}\n" for row in rows).encode()

    def to_json(self) -> dict[str, Any]:
        """The outcome for machines."""
        return {
            "source": self.source,
            "out": self.out,
            "mode": self.mode,
            "dry_run": self.dry_run,
            "conversations": self.conversations,
            "skipped": self.skipped,
            "files": self.files,
            "totals": {split: totals.model_dump() for split, totals in self.totals.items()},
            "problems": self.by_reason(),
            "left_out": sum(problem.lost for problem in self.problems),
            "details": [problem.to_json() for problem in self.problems],
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """The outcome for people."""
        verb = "would be written" if self.dry_run else "written"
        lines = [f"{self.conversations} conversations of {self.source}, {self.files} files {verb} to {self.out}"]
        if self.dry_run:
            lines = [f"{self.conversations} conversations of {self.source} read, nothing written"]
        lines += [self._line(split, totals) for split, totals in self.totals.items() if totals.sides]
        if self.skipped:
            lines.append(f"conversations without the speaker asked for: {self.skipped}")
        said = Counter((_outcome(problem), problem.reason) for problem in self.problems)
        lines += [f"{outcome}: {reason}: {number}" for (outcome, reason), number in sorted(said.items())]
        lost = [problem for problem in self.problems if problem.lost]
        lines += [f"{_place(problem)}: {problem.message}" for problem in lost[:_SHOWN]]
        if len(lost) > _SHOWN:
            lines.append(f"and {len(lost) - _SHOWN} more" + ("" if self.dry_run else ": see report.jsonl"))
        return "\n".join([*lines, *self.notes])

    def _line(self, split: str, totals: Totals) -> str:
        said = f"{split}: {totals.sides} sides of {len(totals.conversations)} conversations, {totals.events} utterances"
        if self.dry_run:
            return f"{said}, {totals.tokens} tokens"
        silence = totals.silent_chunks / totals.chunks if totals.chunks else 0.0
        return (
            f"{said}, {totals.windows} windows, {totals.chunks} chunks, {totals.tokens} tokens "
            f"({totals.capped} capped), silence {silence:.1%}"
        )


def _outcome(problem: Problem) -> str:
    if problem.kept:
        return "kept all the same"
    return "not wanted" if problem.by_rule else "left out"


def _place(problem: Problem) -> str:
    return problem.file if problem.line is None else f"{problem.file}:{problem.line}"


def add(totals: Iterable[Totals]) -> Totals:
    """The sum: numbers are added, names are gathered."""
    numbers: Counter[str] = Counter()
    names: dict[str, set[str]] = {"speakers": set(), "conversations": set()}
    for one in totals:
        for name, value in one.model_dump().items():
            if isinstance(value, list):
                names[name].update(value)
            else:
                numbers[name] += value
    return Totals.model_validate({**numbers, **{name: sorted(found) for name, found in names.items()}})
