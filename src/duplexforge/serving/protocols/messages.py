"""JSON from strangers: looked at before it is parsed, parsed strictly, checked against a model of what may be said."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from duplexforge.errors import InputError

__all__ = ["Incoming", "Outgoing", "parsed", "read"]

T = TypeVar("T")

_MOST_DEPTH = 16
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_MOST_SAID, _MOST_KEY = 200, 40
_WORDS = {
    "extra_forbidden": "there is no such key",
    "missing": "is missing",
    "union_tag_invalid": "there is no such type of message",
    "finite_number": "must be a number that is not infinite",
}


class Incoming(BaseModel):
    """Base of what a client may say: unknown keys, texts for numbers and no-numbers are errors."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Outgoing(BaseModel):
    """Base of what we say."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    def dumps(self) -> str:
        """As JSON text; what is None is left out."""
        return self.model_dump_json(exclude_none=True)


def parsed(text: str) -> dict[str, Any]:
    """The object that ``text`` is. InputError for what is no object, too deep, says a key twice or holds no-numbers."""
    if _depth(text) > _MOST_DEPTH:
        raise InputError(f"JSON is nested deeper than {_MOST_DEPTH} levels here", reason="too_deep")
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # also a number of so many digits that Python refuses to read it
        raise InputError("invalid JSON", reason="invalid_json") from error
    if not isinstance(found, dict):
        raise InputError("a message is a JSON object", reason="invalid_json")
    return found


def read(content: Any, model: TypeAdapter[T], *, skip: int = 0) -> T:
    """``content`` as ``model`` has it; InputError that names the key and what is wrong with it.

    ``skip``: so many steps of the way to the key are not the client's (the kind of message in a union).
    """
    try:
        return model.validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part)[:_MOST_KEY] for part in first["loc"][skip:])
        said = _WORDS.get(first["type"], first["msg"])
        raise InputError(f"{where}: {said}"[:_MOST_SAID].removeprefix(": "), reason="invalid_value") from error


def _depth(text: str) -> int:
    """Levels of nesting, or more. Strings are looked into only when a count of brackets is not enough."""
    if text.count("[") + text.count("{") <= _MOST_DEPTH:
        return 0
    depth = deepest = 0
    for mark in re.findall(r"[\[\]{}]", _STRINGS.sub("", text)):
        depth += 1 if mark in "[{" else -1
        deepest = max(deepest, depth)
        if deepest > _MOST_DEPTH:
            break
    return deepest


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InputError("a key stands twice in one object", reason="invalid_json")
    return found


def _no_number(name: str) -> NoReturn:
    raise InputError(f"{name} is no JSON", reason="invalid_json")
