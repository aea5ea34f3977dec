"""Folds manifests and the ledger of published batches into sums, checking each record against the others on the way."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping

from duplexforge import log
from duplexforge.records import Hours, LedgerEntry, Manifest
from duplexforge.status.reading import Differences
from duplexforge.status.snapshot import TOLERANCE, Episode, InputClass, Language, Model, Published


class Outputs:
    """Sums over manifests. ``outcomes`` has the outcome by episode; ``episodes`` the first ``rows`` of each outcome."""

    def __init__(self, differences: Differences, *, rows: int) -> None:
        self.outcomes: dict[str, str] = {}
        self.hours = Hours()
        self.segments = self.flagged = self.speakers = 0
        self.flags: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}
        self.configurations: Counter[str] = Counter()
        self.episodes: list[Episode] = []
        self._differences, self._rows = differences, rows
        self._classes: dict[str, tuple[int, float]] = {}
        self._languages: dict[str, Language] = {}
        self._models: Counter[tuple[str, str]] = Counter()

    def add(self, manifest: Manifest) -> None:
        """Count one episode. A second manifest of the same episode is a difference and is counted nowhere else."""
        if manifest.episode_id in self.outcomes:
            self._differences.note("An episode has two manifests", manifest.episode_id)
            return
        if not _adds_up(manifest.hours):
            self._differences.note("The hours of a manifest do not add up", manifest.episode_id)
        # Interned: a million episodes share a handful of outcomes.
        self.outcomes[manifest.episode_id] = sys.intern(manifest.outcome)
        self.hours += manifest.hours
        self.segments += manifest.segments
        self.flagged += manifest.flagged
        self.speakers += manifest.speakers
        self.flags.update(manifest.flags)
        for stage, seconds in manifest.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        self.configurations[manifest.config_hash] += 1
        self._models.update(_makers(manifest))
        self._count_language(manifest)
        self._count_class(manifest)

    def _count_language(self, manifest: Manifest) -> None:
        name, hours = manifest.language, manifest.hours
        before = self._languages.get(name, Language(name, 0, 0.0, 0.0))
        self._languages[name] = Language(
            name, before.episodes + 1, before.source + hours.source, before.published + hours.published
        )

    def _count_class(self, manifest: Manifest) -> None:
        episodes, hours = self._classes.get(manifest.outcome, (0, 0.0))
        self._classes[manifest.outcome] = (episodes + 1, hours + manifest.hours.source)
        if episodes < self._rows:
            self.episodes.append(row(manifest))

    def classes(self) -> list[InputClass]:
        """One class for each outcome; the length of a processed episode is always known."""
        return [InputClass(name, episodes, hours) for name, (episodes, hours) in self._classes.items()]

    def languages(self) -> tuple[Language, ...]:
        """Languages, the one with most source hours first."""
        return tuple(sorted(self._languages.values(), key=lambda one: (-one.source, one.name)))

    def models(self) -> tuple[Model, ...]:
        """Engines by stage in the pipeline's order, then models."""
        roles = list(dict.fromkeys(role for role, _ in self._models))
        found = sorted(self._models.items(), key=lambda item: (roles.index(item[0][0]), item[0][1]))
        return tuple(Model(role, name, episodes) for (role, name), episodes in found)


def _makers(manifest: Manifest) -> list[tuple[str, str]]:
    """The engine of every stage, and the models with their revisions."""
    engines = manifest.facts.get("engines")
    by_stage = [(str(stage), str(name)) for stage, name in engines.items()] if isinstance(engines, dict) else []
    return by_stage + [("model", f"{name} {revision}") for name, revision in manifest.models.items()]


def row(manifest: Manifest) -> Episode:
    """The table row of a processed episode."""
    return Episode(
        id=manifest.episode_id,
        outcome=manifest.outcome,
        language=manifest.language,
        hours=manifest.hours.source,
        title=manifest.title,
        url=log.redact(manifest.url) if manifest.url else None,
        source=manifest.source,
        segments=manifest.segments,
        flagged=manifest.flagged,
        speakers=manifest.speakers,
    )


def _adds_up(hours: Hours) -> bool:
    parts = (hours.published, hours.flagged, hours.no_speech)
    # Written so that a NaN fails it.
    return abs(hours.source - sum(parts)) <= TOLERANCE and all(part >= -TOLERANCE for part in parts)


class Ledger:
    """Sums over published batches, by target. Read before the manifests: what was published had its manifest first."""

    def __init__(self, differences: Differences) -> None:
        self._differences = differences
        self._targets: dict[str, list[LedgerEntry]] = {}
        self._episodes: dict[str, set[str]] = {}

    def add(self, entry: LedgerEntry) -> None:
        """Count one batch. An episode that a target already has is a difference."""
        self._targets.setdefault(entry.target, []).append(entry.model_copy(update={"episodes": []}))
        seen = self._episodes.setdefault(entry.target, set())
        for episode in entry.episodes:
            if episode in seen:
                self._differences.note("An episode was published twice to the same place", episode)
            seen.add(episode)

    def check(self, outcomes: Mapping[str, str]) -> int:
        """Compare with the manifests; how many usable episodes are published nowhere yet."""
        everywhere = set().union(*self._episodes.values())
        for episode in sorted(everywhere - outcomes.keys()):
            self._differences.note("An episode is published but has no manifest", episode)
        return sum(1 for episode, outcome in outcomes.items() if outcome == "ok" and episode not in everywhere)

    def published(self) -> tuple[Published, ...]:
        """One line for each target, by name."""
        return tuple(self._published(target) for target in sorted(self._targets))

    def _published(self, target: str) -> Published:
        entries = self._targets[target]
        latest = max(entries, key=lambda entry: (entry.published_at, entry.batch))
        return Published(
            target=log.redact(target),
            batches=len(entries),
            episodes=len(self._episodes[target]),
            samples=sum(entry.samples for entry in entries),
            shards=len({entry.shard for entry in entries if entry.samples}),
            bytes=sum(entry.size for entry in entries),
            hours=sum(entry.hours.published for entry in entries),
            commit=latest.commit,
        )
