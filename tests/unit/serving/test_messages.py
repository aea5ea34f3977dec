"""JSON from strangers."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter

from duplexforge.errors import InputError
from duplexforge.serving.protocols.messages import Incoming, parsed, read


class Some(Incoming):
    """A message."""

    number: float = Field(default=1.0, gt=0, le=10)
    word: str = ""


MODEL = TypeAdapter(Some)
LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(LEAVES | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3), max_leaves=10)


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4))
def test_ordinary_objects_come_through(content: dict[str, object]) -> None:
    assert parsed(json.dumps(content)) == content


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "invalid JSON"),
        ("{", "invalid JSON"),
        ("[1]", "object"),
        ('"text"', "object"),
        ("null", "object"),
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "Infinity"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"b": {"a": 1, "a": 2}}', "twice"),
        ('{"a": ' + "1" * 100_000 + "}", "invalid JSON"),
        ("[" * 100_000, "deeper"),
        ('{"a":' * 50_000, "deeper"),
        ('{"a": ' + "[" * 17 + "]" * 17 + "}", "deeper"),
        ('{"a": "\ud800"}'.encode("utf-8", "replace").decode() + "x", "invalid JSON"),
    ],
    ids=lambda value: value[:12],
)
def test_what_is_refused(text: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        parsed(text)


def test_brackets_in_texts_are_no_depth() -> None:
    content = {"prompt": '[{"' * 1000 + "\\"}
    assert parsed(json.dumps(content)) == content


@given(st.text(max_size=60))
def test_any_text_is_an_object_or_one_error(text: str) -> None:
    with suppress(InputError):
        assert isinstance(parsed(text), dict)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"numbre": 1}, "numbre: there is no such key"),
        ({"number": "1"}, "number: "),
        ({"number": 0}, "number: "),
        ({"number": 11}, "number: "),
        ({"number": float("inf")}, "number: "),
        ({"number": True}, "number: "),
        ({"word": 1}, "word: "),
        ({"x" * 10_000: 1}, "x" * 40 + ": there is no such key"),
    ],
)
def test_values_that_are_refused_are_named(content: dict[str, object], told: str) -> None:
    with pytest.raises(InputError) as wrong:
        read(content, MODEL)
    assert str(wrong.value).startswith(told)
    assert len(str(wrong.value)) < 250


def test_whole_numbers_are_numbers() -> None:
    assert read({"number": 2}, MODEL).number == 2.0
