"""``duplexforge duplex build``: a corpus of two-speaker recordings in, a duplex data set out.

The corpus is read once for its metadata, sides are built in several processes and joined in the order of their ids, and
the manifest is written last. The same corpus and settings give the same bytes, whatever the number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from duplexforge.config import StoreSettings
from duplexforge.duplex import folder
from duplexforge.duplex.corpus import Corpus, blamed
from duplexforge.duplex.plan import Plan, Ratios, plan
from duplexforge.duplex.pool import ordered
from duplexforge.duplex.report import Report, add
from duplexforge.duplex.script import count, write_scripts
from duplexforge.duplex.sides import SideWork
from duplexforge.duplex.speakers import load_embedder
from duplexforge.duplex.stretches import StretchRules
from duplexforge.duplex.tables import Tables
from duplexforge.duplex.tokens import bind, load_tokenizer
from duplexforge.duplex.windows import Windows
from duplexforge.errors import InputError, UsageError
from duplexforge.framing import DuplexFormat
from duplexforge.layout import UNKNOWN_LANGUAGE, Layout
from duplexforge.loading.packing import Packing
from duplexforge.loading.schema import FORMAT, MANIFEST, REPORT, SPLITS, DuplexManifest, StorageFile, Totals
from duplexforge.records import FileEntry, Manifest
from duplexforge.storage import Store, file_entry

Told = Callable[[str, int, int], None]
"""Progress: what is being done, how much of it is done, and how much there is."""

MODES = ("dataset", "script")
PACKINGS: tuple[Packing, ...] = ("flac", "wav")


@dataclass(frozen=True)
class Stored:
    """An opened store, its keys, and the settings by which another process opens it again.

    ``refuses`` knows whose episodes may not be used.
    """

    store: Store
    layout: Layout
    settings: StoreSettings
    refuses: Callable[[Manifest], str | None]


@dataclass(frozen=True)
class Where:
    """A place with recordings, called ``name``: a folder or a store. ``kind`` is a name of CORPORA.

    ``language`` and ``licence`` are those of a corpus that does not say them, ``rules`` pick from processed episodes.
    """

    kind: str
    name: str
    folder: Path
    stored: Stored | None = None
    rules: StretchRules = field(default_factory=StretchRules)
    language: str = UNKNOWN_LANGUAGE
    licence: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As the manifest keeps it: the kind, and the rules where they were asked."""
        return {"corpus": self.kind} | ({"rules": asdict(self.rules)} if self.stored else {})


def _magichub(where: Where) -> Corpus:
    from duplexforge.duplex.magichub import MagicHub

    return MagicHub(where.folder, language=where.language, licence=where.licence)


def _processed(where: Where) -> Corpus:
    from duplexforge.duplex.processed import Processed

    if where.stored is None:
        raise UsageError(f"{where.name} is no store: it holds no processed episodes")
    there = where.stored
    return Processed(there.store, there.layout, where.rules, settings=there.settings, refuses=there.refuses)


CORPORA: dict[str, Callable[[Where], Corpus]] = {"magichub": _magichub, "processed": _processed}
"""How a corpus of each kind is opened."""


@dataclass(frozen=True)
class BuildSettings:
    """How a data set is built. ``fmt`` need not be bound to its tokenizer yet."""

    fmt: DuplexFormat = field(default_factory=DuplexFormat)
    agent_speaker: str | None = None
    """Build only the sides whose agent this is; None builds both directions."""
    window: float | None = None
    """Seconds of the windows besides whole sides; None makes none."""
    overlap: float = 0.0
    """Seconds that neighbouring windows share."""
    splits: Ratios = (0.9, 0.05, 0.05)
    """Shares of train, validation and test."""
    embedding: str = "none"
    """Engine of the speaker embeddings."""
    packing: Packing = "flac"
    """What the tracks are packed in."""
    shards: bool = False
    """Write tar shards too."""
    workers: int = 1
    """Processes at a time; changes nothing in the data set."""
    overwrite: bool = False
    """Replace a finished data set."""
    shard_bytes: int = 1_000_000_000
    """A shard is about as large."""

    def to_json(self, engine: str) -> dict[str, Any]:
        """As the manifest keeps them: what changes the data set, less what stands in ``format.json``.

        ``engine`` names the speaker network by its weights, and not by where they lay.
        """
        return {
            "agent_speaker": self.agent_speaker,
            "window": self.window,
            "overlap": self.overlap,
            "splits": list(self.splits),
            "embedding": engine,
            "audio_format": self.packing,
            "shards": self.shards,
        }


def _silent(_what: str, _done: int, _whole: int) -> None:
    return None


def run(
    where: Where,
    settings: BuildSettings,
    out: Path,
    *,
    mode: str = "dataset",
    dry_run: bool = False,
    told: Told = _silent,
) -> Report:
    """Open the corpus in ``where`` and build it in one of MODES."""
    if where.kind not in CORPORA:
        raise UsageError(f"there is no corpus {where.kind!r}: {', '.join(CORPORA)}")
    if mode not in MODES:
        raise UsageError(f"there is no mode {mode!r}: {', '.join(MODES)}")
    corpus = CORPORA[where.kind](where)
    if mode == "script":
        return write_scripts(
            corpus,
            settings.fmt,
            out,
            source=where.name,
            agent_speaker=settings.agent_speaker,
            overwrite=settings.overwrite,
            dry_run=dry_run,
        )
    return build(corpus, settings, out, source=where.name, about=where.to_json(), dry_run=dry_run, told=told)


def build(
    corpus: Corpus,
    settings: BuildSettings,
    out: Path,
    *,
    source: str,
    about: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    told: Told = _silent,
) -> Report:
    """Build the data set of ``corpus``, which is called ``source``, into ``out``; ``about`` it stands in the manifest.

    Nothing in ``out`` is touched before corpus, tokenizer and settings were found in order; with ``dry_run`` nothing is
    written at all and the report counts what the texts tell. Raises InputError when no side could be built, ModelError
    without the tokenizer, RetryLater when the disk is full or a worker process was killed.
    """
    folder.check(out, overwrite=settings.overwrite)
    tokenizer = load_tokenizer(settings.fmt.model, settings.fmt.revision)
    fmt = bind(settings.fmt, tokenizer)
    windows = Windows.of(settings.window, settings.overlap, fmt)
    # A missing network is told before hours of decoding.
    kept = {**settings.to_json(load_embedder(settings.embedding).name), **(about or {})}
    planned = plan(corpus, settings.splits, settings.agent_speaker)
    report = Report(
        source, str(out), dry_run=dry_run, conversations=planned.conversations, skipped=planned.skipped,
        problems=planned.problems, notes=planned.notes,
    )  # fmt: skip
    if dry_run:
        count(planned, fmt, tokenizer, report)
        return report
    with folder.cleared(out, overwrite=settings.overwrite) as work:
        _Build(fmt, settings, windows, kept, out, work, told).run(planned, report)
    return report


@dataclass(frozen=True)
class _Build:
    """One build, once everything was found in order."""

    fmt: DuplexFormat
    settings: BuildSettings
    windows: Windows
    kept: dict[str, Any]
    out: Path
    work: Path
    told: Told

    def run(self, planned: Plan, report: Report) -> None:
        """All of it; the manifest is what ends it."""
        stored = self._sides(planned, report)
        folder.write_whole(self.out / REPORT, report.lines(), self.work)
        if not any(totals.sides for totals in report.totals.values()):
            told = blamed(report.problems).message
            raise InputError(f"none of {report.conversations} conversations could be built: {told}", reason="empty")
        folder.write_whole(self.out / FORMAT, self.fmt.to_bytes(), self.work)
        if self.settings.shards:
            self._shards()
        self._commit(report, stored)

    def _sides(self, planned: Plan, report: Report) -> list[StorageFile]:
        work = SideWork(self.fmt, self.settings.packing, self.settings.embedding, self.work)
        counts: dict[str, list[Totals]] = {split: [] for split in SPLITS}
        with Tables(self.out, self.windows) as tables:
            for number, (seat, built) in enumerate(
                zip(planned.seats, ordered(work, planned.seats, self.settings.workers), strict=True)
            ):
                self.told("sides", number + 1, len(planned.seats))
                report.problems += built.problems
                if built.path is not None:
                    shown = tables.add(built.path, seat.session_id, seat.split, built.totals.chunks)
                    counts[seat.split].append(built.totals.model_copy(update={"windows": shown}))
                    # Conversations and speakers of a split are gathered once, not at the end out of a million sides.
                    if len(counts[seat.split]) > 1000:
                        counts[seat.split] = [add(counts[seat.split])]
            stored = tables.close()
        # Both sides of a conversation tell of the same track.
        report.problems = list(dict.fromkeys(report.problems))
        report.totals = {split: add(found) for split, found in counts.items()}
        return stored

    def _shards(self) -> None:
        from duplexforge.duplex.shards import ShardWork, plan_shards

        planned = plan_shards(self.out, self.fmt, self.settings.shard_bytes)
        work = ShardWork(self.out, self.fmt, self.settings.packing)
        for number, _ in enumerate(ordered(work, planned, self.settings.workers)):
            self.told("shards", number + 1, len(planned))

    def _commit(self, report: Report, stored: list[StorageFile]) -> None:
        paths = sorted(path for path in self.out.rglob("*") if path.is_file() and self.work not in path.parents)
        with ThreadPoolExecutor(self.settings.workers) as pool:
            entries = list(pool.map(self._entry, paths))
        report.files = len(entries) + 1
        manifest = DuplexManifest(
            source=report.source,
            settings=self.kept,
            totals=report.totals,
            problems=report.by_reason(),
            files=entries,
            storage=stored,
        )
        folder.write_whole(self.out / MANIFEST, manifest.to_bytes(), self.work)

    def _entry(self, path: Path) -> FileEntry:
        return file_entry(path, path.relative_to(self.out).as_posix())
