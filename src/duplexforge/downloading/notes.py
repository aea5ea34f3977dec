"""What seeding found and what it left out: nothing is dropped without a counted reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

_SHOWN = 20


@dataclass
class SeedReport:
    """The outcome of seeding.

    ``found`` items of which ``added`` were new to the queue, ``known`` were in it already and ``duplicates`` (what,
    id) repeat another item of the same run. ``refused`` (what, why) could not become tasks. ``skipped`` counts files
    of a folder that are no audio, by extension. With ``dry_run`` no queue was asked: ``added`` is what would be
    offered to it.
    """

    found: int = 0
    added: int = 0
    known: int = 0
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    dry_run: bool = False

    def refuse(self, what: str, why: object) -> None:
        """Note that ``what`` became no task; only the beginning of it is kept, it may come from anywhere."""
        self.refused.append((what[:200], str(why)[:300]))

    def to_json(self) -> dict[str, Any]:
        """The report for machines."""
        return {**vars(self), "skipped": dict(self.skipped)}

    def to_text(self) -> str:
        """The report for people: the counts, then the first of what was left out with its reason."""
        verb = "would be offered to the queue (dry run)" if self.dry_run else "added"
        lines = [
            f"{self.found} items found: {self.added} {verb}, {self.known} known, {len(self.duplicates)} duplicates"
        ]
        lines += [f"duplicate: {what} is {episode} again" for what, episode in self.duplicates[:_SHOWN]]
        lines += [f"refused: {what}: {why}" for what, why in self.refused[:_SHOWN]]
        hidden = sum(max(len(those) - _SHOWN, 0) for those in (self.duplicates, self.refused))
        lines += [f"and {hidden} more (--json shows all)"] if hidden else []
        if self.skipped:
            kinds = ", ".join(f"{count} {ending}" for ending, count in sorted(self.skipped.items()))
            lines.append(f"skipped, no audio by their names: {kinds}")
        return "\n".join(lines)
