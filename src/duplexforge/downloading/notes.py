"""What seeding found and what it left out: nothing is dropped without a counted reason."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from duplexforge.errors import DuplexforgeError

_SHOWN = 20
# What is kept of what was left out: a list of millions may be wrong in every line.
_KEPT = 200
_PASSWORD = re.compile(r"//[^/\s]*@")


@dataclass
class SeedReport:
    """The outcome of seeding.

    ``found`` items of which ``repeated`` were another item of the same run again (the first of these are
    ``duplicates``: what, id) and ``offered`` went to the queue, ``added`` being new to it and ``known`` in it already.
    ``left_out`` counts by reason what could not or should not become a task; ``refused`` (what, why) are the first that
    could not. ``skipped`` counts files of a folder that are no audio, by extension. With ``dry_run`` no queue was
    asked: ``added`` is what would be offered to it.
    """

    found: int = 0
    offered: int = 0
    added: int = 0
    known: int = 0
    repeated: int = 0
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    refused: list[tuple[str, str]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    dry_run: bool = False

    def refuse(self, what: str, why: object) -> None:
        """Note that ``what`` became no task; only the beginning of it is kept, it may come from anywhere."""
        self.left_out[why.reason if isinstance(why, DuplexforgeError) else "unreadable"] += 1
        if len(self.refused) < _KEPT:
            # An address may be refused for the very password in it.
            self.refused.append((_PASSWORD.sub("//***@", what)[:200], str(why)[:300]))

    def leave_out(self, reason: str, count: int = 1) -> None:
        """Count what is fine but not wanted (too long, live, another licence, opted out)."""
        self.left_out[reason] += count

    def repeat(self, what: str, episode: str) -> None:
        """Note an item that is another one of this run again."""
        self.repeated += 1
        if len(self.duplicates) < _KEPT:
            self.duplicates.append((what[:200], episode))

    def absorb(self, other: SeedReport) -> None:
        """Add what was noted elsewhere, by a thread that read a feed."""
        self.left_out += other.left_out
        self.skipped += other.skipped
        self.refused += other.refused[: max(_KEPT - len(self.refused), 0)]

    def to_json(self) -> dict[str, Any]:
        """The report for machines."""
        return {**vars(self), "skipped": dict(self.skipped), "left_out": dict(self.left_out)}

    def to_text(self) -> str:
        """The report for people: the counts, then the first of what was left out with its reason."""
        verb = "would be offered to the queue (dry run)" if self.dry_run else "added"
        lines = [f"{self.found} items found: {self.added} {verb}, {self.known} known, {self.repeated} duplicates"]
        if self.left_out:
            lines.append("left out: " + ", ".join(f"{count} {reason}" for reason, count in self.left_out.most_common()))
        lines += [f"duplicate: {what} is {episode} again" for what, episode in self.duplicates[:_SHOWN]]
        lines += [f"refused: {what}: {why}" for what, why in self.refused[:_SHOWN]]
        hidden = sum(max(len(those) - _SHOWN, 0) for those in (self.duplicates, self.refused))
        lines += [f"and {hidden} more (--json shows the first {_KEPT} of each)"] if hidden else []
        if self.skipped:
            kinds = ", ".join(f"{count} {ending}" for ending, count in sorted(self.skipped.items()))
            lines.append(f"skipped, no audio by their names: {kinds}")
        return "\n".join(lines)
