"""``duplexforge duplex validate``: everything a data set says of itself, derived again, row by row, and compared.

One walk over ``storage`` and the indexes in the order of their session ids, one side in memory at a time. A finding names
the row. A consistent forgery (a new track with new checksums) passes; drift, damage and leaks do not.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from duplexforge.duplex.checks import Counted, Finding, Row, Side, groups_of, leaks, windows
from duplexforge.duplex.tokens import Tokenizer, bind, load_tokenizer
from duplexforge.errors import ConfigError, InputError, ModelError
from duplexforge.framing import DuplexFormat
from duplexforge.loading.schema import FORMAT, MANIFEST, SPLITS, STORAGE, DuplexManifest, Totals
from duplexforge.loading.tables import rows_of
from duplexforge.records import parse

_SHOWN = 50


@dataclass
class Validation:
    """What was found; ``totals`` by split as counted here. ``tokenizer`` is None when the texts were not tokenised again."""

    folder: str
    findings: list[Finding] = field(default_factory=list)
    totals: dict[str, Totals] = field(default_factory=dict)
    tokenizer: str | None = None

    @property
    def exit_code(self) -> int:
        """0 when all holds, else 65."""
        return InputError.exit_code if self.findings else 0

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "folder": self.folder,
            "valid": not self.findings,
            "tokenizer": self.tokenizer,
            "findings": [asdict(finding) for finding in self.findings],
            "totals": {split: totals.model_dump() for split, totals in self.totals.items()},
        }

    def to_text(self) -> str:
        """For people."""
        lines = [_summary(split, totals) for split, totals in self.totals.items()]
        if self.tokenizer is None:
            lines.append("the tokens were not derived again from the texts (--no-tokenizer)")
        lines += [f"{one.where}: {one.check}: {one.message}" for one in self.findings[:_SHOWN]]
        if len(self.findings) > _SHOWN:
            lines.append(f"and {len(self.findings) - _SHOWN} more findings")
        verdict = f"{len(self.findings)} findings: not valid" if self.findings else "valid"
        return "\n".join([*lines, f"{self.folder}: {verdict}"])


def _summary(split: str, totals: Totals) -> str:
    silence = totals.silent_chunks / totals.chunks if totals.chunks else 0.0
    return (
        f"{split}: {totals.sides} sides, {totals.windows} windows, {totals.chunks} chunks, {totals.placeholders} "
        f"placeholders, {totals.tokens} text tokens ({totals.capped} capped), silence {silence:.1%}, "
        f"{len(totals.speakers)} speakers"
    )


def validate(folder: Path, *, model: str | None = None, tokenize: bool = True, checksums: bool = True) -> Validation:
    """Check the data set in ``folder``.

    ``model`` says where the tokenizer lies when it is not where ``format.json`` says. ``tokenize=False`` leaves the texts
    alone and ``checksums=False`` the files' checksums. InputError when ``folder`` is no finished data set.
    """
    manifest, fmt = opened(folder)
    report = Validation(str(folder))
    if checksums:
        report.findings += _files(folder, manifest)
    tokenizer = _tokenizer(fmt, model, report) if tokenize else None
    _walk(folder, fmt, tokenizer, report)
    _compare(manifest, report)
    return report


def opened(folder: Path) -> tuple[DuplexManifest, DuplexFormat]:
    """Manifest and format of a finished data set; InputError otherwise."""
    try:
        manifest = (folder / MANIFEST).read_bytes()
        fmt = (folder / FORMAT).read_bytes()
    except OSError as error:
        raise InputError(
            f"{folder} is no finished duplex data set: it has no {Path(str(error.filename)).name}", reason="unfinished"
        ) from error
    return parse(DuplexManifest, manifest, MANIFEST), parse(DuplexFormat, fmt, FORMAT)


def tokenizer_of(fmt: DuplexFormat, model: str | None) -> Tokenizer:
    """The tokenizer of a finished data set, or ``model`` in its place. ModelError says what else can be done."""
    try:
        return load_tokenizer(model or fmt.model, fmt.revision if model is None else None)
    except ModelError as error:
        if model:
            raise
        # The name is the builder's: a folder there may lie elsewhere here, or be gone.
        raise ModelError(f"{error}; or name it with --model, or go without it with --no-tokenizer") from error


def _tokenizer(fmt: DuplexFormat, model: str | None, report: Validation) -> Tokenizer | None:
    tokenizer = tokenizer_of(fmt, model)
    report.tokenizer = model or fmt.model
    try:
        bind(fmt, tokenizer)
    except ConfigError as error:
        report.findings.append(Finding(FORMAT, "tokenizer", str(error)))
    return tokenizer


def _files(folder: Path, manifest: DuplexManifest) -> Iterator[Finding]:
    for entry in manifest.files:
        path = folder / entry.name
        if not path.is_file():
            yield Finding(entry.name, "file", "it is in the manifest but not in the folder")
            continue
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
                yield Finding(entry.name, "file", "its bytes are not those that were written")


def _walk(folder: Path, fmt: DuplexFormat, tokenizer: Tokenizer | None, report: Validation) -> None:
    """All sides in order, with their windows beside them; counts and findings go into ``report``."""
    indexes = {split: _Index(rows_of(folder / split)) for split in SPLITS}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    seats: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    before = ""
    for row in rows_of(folder / STORAGE):
        side = Side(row, fmt, tokenizer, report.findings)
        if not side.is_whole():
            continue
        if row["session_id"] <= before:
            report.findings.append(Finding(side.where, "order", f"it comes after {before}"))
        before = row["session_id"]
        counted = side.check()
        for kind, name in groups_of(row):
            seats[kind][name].add(row["split"])
        found = {split: index.take(row["session_id"]) for split, index in indexes.items()}
        for split, rows in found.items():
            if rows or split == row["split"]:
                report.findings += windows(rows, split, row, fmt)
        if not found.get(row["split"]):
            report.findings.append(Finding(f"{STORAGE}/{before}", "window", f"no row of {row['split']} shows it"))
        counts[row["split"]].update(_tally(counted, sum(map(len, found.values()))))
    for split, index in indexes.items():
        report.findings += [
            Finding(f"{split}/{name}", "window", f"{STORAGE} has no such side") for name in index.left()
        ]
    report.findings += leaks(seats)
    report.totals = {split: _totals(counts[split], seats, split) for split in SPLITS}


class _Index:
    """The windows of a split, taken side by side in the order of their session ids."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self._next = next(rows, None)
        self._strays: list[str] = []

    def take(self, session: str) -> list[Row]:
        """Rows of ``session``; those before it belong to no side."""
        found: list[Row] = []
        while self._next is not None and (self._next["session_id"] or "") <= session:
            if self._next["session_id"] == session:
                found.append(self._next)
            else:
                self._strays.append(f"{self._next['session_id']}#{self._next['seq_id']}")
            self._next = next(self._rows, None)
        return found

    def left(self) -> list[str]:
        """Rows that belong to no side at all."""
        rest = [] if self._next is None else [self._next, *self._rows]
        return [*self._strays, *(f"{row['session_id']}#{row['seq_id']}" for row in rest)]


def _tally(counted: Counted, shown: int) -> dict[str, int]:
    return {**asdict(counted), "sides": 1, "windows": shown}


def _totals(counts: Counter[str], seats: dict[str, dict[str, set[str]]], split: str) -> Totals:
    def names(kind: str) -> list[str]:
        return sorted(name for name, splits in seats[kind].items() if split in splits)

    return Totals.model_validate({**counts, "speakers": names("speaker"), "conversations": names("conversation")})


def _compare(manifest: DuplexManifest, report: Validation) -> None:
    for split in sorted({*SPLITS, *manifest.totals}):
        said, found = manifest.totals.get(split, Totals()), report.totals.get(split, Totals())
        for name in Totals.model_fields:
            if getattr(said, name) != getattr(found, name):
                message = (
                    f"{name}: the manifest says {_brief(getattr(said, name))}, the rows {_brief(getattr(found, name))}"
                )
                report.findings.append(Finding(f"{MANIFEST}/{split}", "totals", message))


def _brief(value: int | Sequence[str]) -> str:
    return json.dumps(value)[:200]
