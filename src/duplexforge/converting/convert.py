"""The commands ``timeline`` and ``dataset``: episodes in, one file or folder out, and a count of everything left out."""

from __future__ import annotations

import os
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from duplexforge.converting.episode import Episode, Source, Unreadable
from duplexforge.converting.processed import SEGMENTS, PipelineFolder, StoreSource
from duplexforge.converting.published import DataSetFolder, shards
from duplexforge.converting.shapes import ENTRY, RECORD, parquet_schema, record, to_line
from duplexforge.converting.timeline import LONG, Rules, keep
from duplexforge.errors import ConfigError, InputError, UsageError
from duplexforge.layout import AUDIO_EXTENSIONS, Layout
from duplexforge.storage import Store

__all__ = ["FORMATS", "Report", "data_set", "folder_source", "store_source", "timelines"]

FORMATS = ("jsonl", "parquet")
# The folder of one attempt at processing an episode, as the process role names it.
_ATTEMPT = re.compile(r"a\d+-[0-9A-Za-z]+")
_ROW_GROUP = 1000
_SHOWN = 20


@dataclass
class Report:
    """What became of the episodes and of their segments; ``left_out`` and ``episodes_left_out`` count by reason.

    ``segments`` of the source went into ``entries`` of speech, or are counted in ``left_out``, or belong to an episode
    that was left out. ``unreadable`` has (name, reason, sentence). Seconds of speech before and after are ``spoken_in``
    and ``spoken_out``.
    """

    out: str
    dry_run: bool = False
    episodes: int = 0
    written: int = 0
    segments: int = 0
    entries: int = 0
    events: int = 0
    over_max_duration: int = 0
    seconds: float = 0.0
    without_audio: int = 0
    episodes_left_out: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    unreadable: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0, or 65 when something could not be read."""
        return InputError.exit_code if self.unreadable else 0

    def to_json(self) -> dict[str, Any]:
        """The outcome for machines."""
        return asdict(self)

    def to_text(self) -> str:
        """The outcome for people."""
        verb = "would be written" if self.dry_run else "written"
        lines = [
            f"{self.episodes} recordings read, {self.written} {verb} to {self.out}",
            f"{self.segments} segments became {self.entries} entries of speech ({self.seconds:.1f} s) and "
            f"{self.events} events",
        ]
        lines += [f"recordings left out: {reason}: {n}" for reason, n in sorted(self.episodes_left_out.items())]
        lines += [f"left out: {reason}: {n}" for reason, n in sorted(self.left_out.items())]
        if self.over_max_duration:
            lines.append(f"longer than --max-duration, kept with the flag {LONG}: {self.over_max_duration}")
        if self.without_audio:
            lines.append(f"recordings without a file in the audio folder: {self.without_audio}")
        lines += [f"unreadable: {name}: {sentence}" for name, _, sentence in self.unreadable[:_SHOWN]]
        if len(self.unreadable) > _SHOWN:
            lines.append(f"unreadable: {len(self.unreadable) - _SHOWN} more")
        return "\n".join(lines)


def store_source(store: Store, layout: Layout) -> Source:
    """The committed episodes of a store."""
    return StoreSource(store, layout)


def folder_source(folder: Path) -> Source:
    """A published data set, or what the pipeline wrote. UsageError when ``folder`` is neither."""
    if found := shards(folder):
        return DataSetFolder(found)
    if results := sorted(path.parent for path in folder.rglob(SEGMENTS)):
        if inside := next((path for path in results if _ATTEMPT.fullmatch(path.name)), None):
            # Without the manifest nobody knows which attempt won.
            raise UsageError(f"{inside} belongs to a store: name the folder of the store, the one above processed/")
        return PipelineFolder(results)
    raise UsageError(
        f"{folder} has no processed episodes (processed/…/manifest.json), no published shards (train-*.tar or .parquet) "
        f"and no {SEGMENTS}"
    )


Write = Callable[[dict[str, Any]], None]


def timelines(source: Source, rules: Rules, out: Path, *, dry_run: bool = False) -> Report:
    """Write one JSON line for each episode of ``source`` to ``out``, which is only replaced once all are written."""
    report = Report(str(out), dry_run)
    with _writing(None if dry_run else out, "jsonl") as write:
        _convert(source, rules, report, write)
    return report


def data_set(
    source: Source, rules: Rules, out: Path, *, shape: str, audio: Path | None = None, dry_run: bool = False
) -> Report:
    """Write the same records as a data set folder that ``load_dataset(out)`` opens: ``train.jsonl`` or
    ``train.parquet`` with a card.

    ``audio`` is a folder of recordings named by episode (as ``convert audio`` makes it): the field ``audio`` then has
    the file's path from ``out``.
    """
    if shape not in FORMATS:
        raise UsageError(f"there is no format {shape!r}: {', '.join(FORMATS)}")
    files = _audio_files(audio, out) if audio else None
    report = Report(str(out), dry_run)
    with _writing(None if dry_run else out / f"train.{shape}", shape) as write:
        _convert(source, rules, report, write, files)
    if not dry_run:
        (out / "README.md").write_text(_card(report, shape), encoding="utf-8")
    return report


def _convert(source: Source, rules: Rules, report: Report, write: Write, files: dict[str, str] | None = None) -> None:
    refused: Counter[str] = Counter()
    gone: Counter[str] = Counter()
    for episode in source.episodes():
        report.episodes += 1
        if isinstance(episode, Unreadable):
            report.unreadable.append((episode.episode_id, episode.reason, episode.sentence))
            continue
        report.segments += len(episode.speech)
        timeline = keep(episode, rules)
        if timeline.refused:
            refused[timeline.refused] += 1
            gone["of_recordings_left_out"] += len(episode.speech)
            continue
        gone += timeline.left_out
        row = record(episode, timeline, _audio_of(episode, report, files))
        report.written += 1
        report.entries += len(timeline.speech)
        report.events += len(timeline.sounds)
        report.over_max_duration += sum(LONG in one.flags for one in timeline.speech)
        report.seconds += row["speech"]
        write(row)
    refused.update(source.left_out)
    report.episodes += sum(source.left_out.values())
    report.episodes_left_out, report.left_out = dict(refused), dict(+gone)
    report.seconds = round(report.seconds, 3)


def _audio_of(episode: Episode, report: Report, files: dict[str, str] | None) -> str | None:
    if files is None:
        return None
    report.without_audio += episode.episode_id not in files
    return files.get(episode.episode_id)


def _audio_files(audio: Path, out: Path) -> dict[str, str]:
    if not audio.is_dir():
        raise UsageError(f"there is no folder {audio}")
    found = sorted(path for path in audio.rglob("*") if path.suffix.lower().lstrip(".") in AUDIO_EXTENSIONS)
    where = out.resolve()
    return {path.stem: Path(os.path.relpath(path.resolve(), where)).as_posix() for path in reversed(found)}


@contextmanager
def _writing(path: Path | None, shape: str) -> Iterator[Write]:
    """Writes records beside ``path`` and moves them there at the end; None writes nothing."""
    if path is None:
        yield lambda _row: None
        return
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lines(part) if shape == "jsonl" else _rows(part) as write:
            yield write
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def _lines(part: Path) -> Iterator[Write]:
    with part.open("wb") as file:

        def write(row: dict[str, Any]) -> None:
            file.write(to_line(row))

        yield write


@contextmanager
def _rows(part: Path) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = parquet_schema()
    rows: list[dict[str, Any]] = []
    with pq.ParquetWriter(part, schema, compression="zstd") as writer:

        def write(row: dict[str, Any]) -> None:
            rows.append(row)
            if len(rows) >= _ROW_GROUP:
                flush()

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            rows.clear()

        yield write
        flush()


def _card(report: Report, shape: str) -> str:
    table = [f"| `{one.name}` | {one.meaning} |" for one in RECORD]
    entries = [f"| `{one.name}` | {one.meaning} |" for one in ENTRY]
    return "\n".join([
        "---", "configs:", "- config_name: default", "  data_files:", "  - split: train",
        f"    path: train.{shape}", "---", "", "# Timelines", "",
        f"{report.written} recordings with {report.entries} entries of speech ({report.seconds / 3600:.3f} h) and "
        f"{report.events} events, one recording a row, made by `duplexforge convert dataset`.",
        "", "| field | meaning |", "|---|---|", *table, "", "Each entry of `timeline`:", "", "| field | meaning |",
        "|---|---|", *entries, "",
    ])  # fmt: skip
