"""What seeding found and what it left out: nothing is dropped without a counted reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class SeedReport:
    """The outcome of seeding.

    ``found`` items of which ``added`` were new to the queue, ``known`` were in it already and ``duplicates`` (what, id)
    repeat another item of the same run. ``refused`` (what, why) could not become tasks. ``skipped`` counts files of a
    folder that are no audio, by extension.
    """

    found: int = 0
    added: int = 0
    known: int = 0
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def refuse(self, what: str, why: object) -> None:
        """Note that ``what`` became no task; only the beginning of it is kept, it may come from anywhere."""
        self.refused.append((what[:200], str(why)[:300]))
