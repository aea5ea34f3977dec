"""Episodes of a published data set in a folder: parquet where it is there, else the JSON members of the tars.

A tar comes from wherever the folder came from. It is read as a stream, member by member, and nothing of it is written
anywhere: only plain files named ``*.json`` of a sane size are looked at, and only so many of them.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from duplexforge.converting.episode import Episode, Row, Speech, Unreadable
from duplexforge.errors import InputError
from duplexforge.layout import UNKNOWN_LANGUAGE

__all__ = ["DataSetFolder", "shards"]

# A sample's JSON has a few kilobytes, a shard of a gigabyte some ten thousand samples.
_LARGEST_JSON = 1 << 20
_MOST_SAMPLES = 1_000_000
_TABLES = 8
_COLUMNS = [
    "segment_id", "index", "text", "start", "end", "speaker", "language", "flags",
    "episode_id", "title", "url", "source", "licence",
]  # fmt: skip


class _Sample(BaseModel):
    """What a sample says about its recording."""

    model_config = ConfigDict(frozen=True)

    episode_id: str
    title: str | None = None
    url: str | None = None
    source: str | None = None
    licence: str | None = None


Samples = dict[str, list[dict[str, Any]]]


def shards(folder: Path) -> list[Path]:
    """One metadata file for each shard below ``folder``: its parquet, or its tar where that lacks."""
    found: dict[Path, Path] = {}
    for ending in ("tar", "parquet"):
        for path in folder.rglob(f"train-*.{ending}"):
            found[path.with_suffix("")] = path
    return [found[stem] for stem in sorted(found)]


class DataSetFolder:
    """The episodes of the shards ``paths``. A data set tells neither the length of a recording nor its events."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self._tables: OrderedDict[Path, Samples] = OrderedDict()
        self.left_out: dict[str, int] = {}

    def episodes(self) -> Iterator[Episode | Unreadable]:
        """All episodes by id. A shard that cannot be read is one unreadable thing, the others go on."""
        places: defaultdict[str, list[Path]] = defaultdict(list)
        broken: list[Unreadable] = []
        for path in self._paths:
            try:
                for episode in _index(path):
                    places[episode].append(path)
            except InputError as error:
                broken.append(Unreadable(path.name, error.reason, str(error)))
        yield from broken
        for episode in sorted(places):
            yield self._episode(episode, places[episode])

    def _episode(self, episode: str, paths: list[Path]) -> Episode | Unreadable:
        try:
            samples = [sample for path in paths for sample in self._table(path).get(episode, [])]
            rows = [Row.model_validate(sample) for sample in samples]
            about = _Sample.model_validate(samples[0])
        except (ValidationError, InputError) as error:
            first = error.errors(include_url=False)[0] if isinstance(error, ValidationError) else None
            why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else str(error)
            return Unreadable(episode, "bad_record", f"{paths[0].name}: {episode}: {why}")
        languages = Counter(row.language for row in rows)
        return Episode(
            language=min(languages, key=lambda code: (-languages[code], code), default=UNKNOWN_LANGUAGE),
            speech=tuple(Speech.of(row) for row in rows),
            **about.model_dump(),
        )

    def _table(self, path: Path) -> Samples:
        """The samples of a shard by episode. Ids in order mostly stay in one shard, so a few of them are kept."""
        if path not in self._tables:
            self._tables[path] = _read(path)
            if len(self._tables) > _TABLES:
                self._tables.popitem(last=False)
        self._tables.move_to_end(path)
        return self._tables[path]


def _index(path: Path) -> list[str]:
    if path.suffix == ".tar":
        return list(_read(path))
    return sorted(set(_columns(path, ["episode_id"])["episode_id"]))


def _read(path: Path) -> Samples:
    found: Samples = defaultdict(list)
    if path.suffix == ".tar":
        for sample in _members(path):
            found[str(sample.get("episode_id", ""))].append(sample)
        return found
    columns = _columns(path, _COLUMNS)
    for values in zip(*(columns[name] for name in _COLUMNS), strict=True):
        sample = dict(zip(_COLUMNS, values, strict=True))
        found[sample["episode_id"]].append(sample)
    return found


def _columns(path: Path, names: list[str]) -> dict[str, list[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns: dict[str, list[Any]] = pq.read_table(path, columns=names).to_pydict()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path.name} cannot be read as parquet: {error!s:.200}", reason="bad_shard") from error
    if lacking := [name for name in names if name not in columns]:
        raise InputError(f"{path.name} has no column {lacking[0]}: it is no shard of ours", reason="bad_shard")
    return columns


def _members(path: Path) -> Iterator[dict[str, Any]]:
    count = 0
    try:
        with tarfile.open(path, "r|") as tar:
            for member in tar:
                if not member.isfile() or not member.name.endswith(".json"):
                    continue
                count += 1
                if member.size > _LARGEST_JSON or count > _MOST_SAMPLES:
                    raise InputError(
                        f"{path.name}: {member.name[:80]!r} is too large or one too many", reason="bad_shard"
                    )
                body = tar.extractfile(member)
                sample = json.loads(body.read() if body else b"null")
                if not isinstance(sample, dict):
                    raise InputError(f"{path.name}: {member.name[:80]!r} is no sample", reason="bad_shard")
                yield sample
    except (tarfile.TarError, ValueError, RecursionError, OSError) as error:
        raise InputError(f"{path.name} cannot be read as a shard: {error!s:.200}", reason="bad_shard") from error
