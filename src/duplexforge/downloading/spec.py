"""``sources.yaml``: sources written down with their language, licence and limits.

A list (or an object with ``defaults`` and ``sources``) of addresses, or of objects with the fields of ``Source``. Every
mistake is one sentence with its line; nothing is seeded from a file that has one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from duplexforge.errors import UsageError
from duplexforge.layout import UNKNOWN_LANGUAGE, language_subtag
from duplexforge.records import Selection

_MAX_FILE = 16 * 1024 * 1024
_SHOWN = 10


@dataclass(frozen=True)
class Source:
    """One thing to seed from, as it was typed or written down. None leaves a field to the command line or the source.

    ``name`` is its word in object keys, ``opt_in`` a note (who agreed, where it is written) that stays in the file.
    """

    source: str
    language: str | None = None
    licence: str | None = None
    name: str | None = None
    only_audio: bool | None = None
    shuffle: bool = False
    selection: Selection | None = None
    opt_in: str | None = None


def read_spec(path: Path) -> list[Source]:
    """The sources of a YAML file. UsageError with a sentence per mistake, its line and entry."""
    import yaml

    try:
        text = path.read_bytes()[: _MAX_FILE + 1].decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as text: {error}") from error
    if len(text) > _MAX_FILE:
        raise UsageError(f"{path} is larger than {_MAX_FILE} bytes: put long lists into .csv or .jsonl files")
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        reader = _Reader(yaml, yaml.SafeLoader(""))
        found = reader.document(tree)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())[:300]}") from error
    if reader.mistakes:
        more = len(reader.mistakes) - _SHOWN
        told = reader.mistakes[:_SHOWN] + ([f"and {more} more"] if more > 0 else [])
        raise UsageError(f"{path}: " + "; ".join(told))
    return found


class _Reader:
    """Walks the nodes of the document, which know their lines."""

    def __init__(self, yaml: Any, loader: Any) -> None:
        self._yaml, self._loader = yaml, loader
        self.mistakes: list[str] = []

    def document(self, tree: Any) -> list[Source]:
        """All sources."""
        defaults: dict[str, Any] = {}
        entries = tree
        if isinstance(tree, self._yaml.MappingNode):
            parts = self._pairs(tree, ("defaults", "sources"), "at the top")
            entries = parts.get("sources")
            if "defaults" in parts:
                fields = tuple(name for name in _FIELDS if name != "source")
                defaults = self._fields(parts["defaults"], fields, "in defaults")
        if not isinstance(entries, self._yaml.SequenceNode) or not entries.value:
            line = _line(entries or tree) if entries or tree else 1
            self.mistakes.append(f"line {line}: there is no list of sources")
            return []
        read = (self._entry(node, number, defaults) for number, node in enumerate(entries.value, start=1))
        return [source for source in read if source is not None]

    def _entry(self, node: Any, number: int, defaults: dict[str, Any]) -> Source | None:
        where = f"(entry {number})"
        own: dict[str, Any] = {}
        if isinstance(node, self._yaml.ScalarNode):
            own = {"source": str(node.value).strip()}
        elif isinstance(node, self._yaml.MappingNode):
            own = self._fields(node, tuple(_FIELDS), where)
        if not own.get("source"):
            self.mistakes.append(f"line {_line(node)} {where}: it names no source")
            return None
        fields = {**defaults, **own}
        for low, high, what in _RANGES:
            if low in fields and high in fields and fields[low] > fields[high]:
                self.mistakes.append(f"line {_line(node)} {where}: {low} is {what} {high}")
        return _source(fields)

    def _fields(self, node: Any, allowed: tuple[str, ...], where: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in self._pairs(node, allowed, where).items():
            if not isinstance(value, self._yaml.ScalarNode):
                self.mistakes.append(f"line {_line(value)} {where}: {name} must be a single value")
                continue
            try:
                raw = self._loader.construct_object(value)
                if raw is not None:
                    found[_SAME.get(name, name)] = _FIELDS[name](raw)
            except _Unfit as error:
                self.mistakes.append(f"line {_line(value)} {where}: {name} {error}, not {value.value[:60]!r}")
            except ValueError as error:
                # What looks like a date to YAML and is none ends here, before a field has seen it.
                self.mistakes.append(f"line {_line(value)} {where}: {name} cannot be read: {error}")
        return found

    def _pairs(self, node: Any, allowed: tuple[str, ...], where: str) -> dict[str, Any]:
        if not isinstance(node, self._yaml.MappingNode):
            self.mistakes.append(f"line {_line(node)} {where}: this must be `name: value` lines")
            return {}
        found: dict[str, Any] = {}
        for key, value in node.value:
            name = str(key.value) if isinstance(key, self._yaml.ScalarNode) else "?"
            if name not in allowed:
                near = get_close_matches(name, allowed, n=1)
                hint = f"did you mean {near[0]}?" if near else f"it may be {', '.join(allowed)}"
                self.mistakes.append(f"line {_line(key)} {where}: there is no field {name[:60]!r}: {hint}")
            elif name in found:
                self.mistakes.append(f"line {_line(key)} {where}: {name} is given twice")
            else:
                found[name] = value
        return found


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


def _source(fields: dict[str, Any]) -> Source:
    limits = {name: fields.pop(name) for name in Selection.model_fields if name in fields}
    return Source(**fields, selection=Selection(**limits) if limits else None)


# -- what a field may hold: each raises _Unfit with the end of a sentence -----------------------------------------------


class _Unfit(ValueError):
    """A value that its field cannot hold."""


def _text(value: Any) -> str:
    if not isinstance(value, str | int | float) or isinstance(value, bool) or not str(value).strip():
        raise _Unfit("must be a text")
    return str(value).strip()


def _language(value: Any) -> str:
    # `no` is Norwegian here, whatever YAML makes of it.
    found = language_subtag("no" if value is False else str(value))
    if found == UNKNOWN_LANGUAGE:
        raise _Unfit("must be a language such as en or pt-BR")
    return found


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Unfit("must be true or false")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _Unfit("must be a whole number above 0")
    return value


def _seconds(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise _Unfit("must be a number of seconds")
    return float(value)


def _day(value: Any) -> str:
    if isinstance(value, date):
        return (value.date() if isinstance(value, datetime) else value).isoformat()
    try:
        return date.fromisoformat(str(value)).isoformat()
    except ValueError as error:
        raise _Unfit("must be a day such as 2026-03-31") from error


_RANGES = (("min_duration", "max_duration", "greater than"), ("since", "until", "later than"))
_SAME = {"url": "source", "license": "licence"}
_FIELDS: dict[str, Callable[[Any], Any]] = {
    "source": _text,
    "url": _text,
    "language": _language,
    "licence": _text,
    "license": _text,
    "name": _text,
    "only_audio": _flag,
    "shuffle": _flag,
    "max_items": _count,
    "min_duration": _seconds,
    "max_duration": _seconds,
    "since": _day,
    "until": _day,
    "opt_in": _text,
}
