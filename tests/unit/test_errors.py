"""The tree of errors."""

from __future__ import annotations

import inspect
import re

import pytest

from duplexforge import errors
from duplexforge.errors import DuplexforgeError, Retry, RetryLater

CLASSES = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, DuplexforgeError)]
EXIT_CODES = {0, 2, 65, 69, 70, 75, 78}


@pytest.mark.parametrize("one", CLASSES)
def test_every_class_has_a_code_and_a_rule_as_the_tree_says(one: type[DuplexforgeError]) -> None:
    assert one.exit_code in EXIT_CODES
    assert isinstance(one.retry, Retry)
    assert re.fullmatch(r"[a-z_]+", one.default_reason)
    line = next(line for line in (errors.__doc__ or "").splitlines() if re.search(rf"\b{one.__name__}\b", line))
    name, code, rule = re.findall(r"\w+", line.replace("bug (70)", "70"))[:3]
    assert (name, int(code), rule) == (one.__name__, one.exit_code, one.retry.value)


def test_the_tree_names_no_class_that_is_not_there() -> None:
    named = set(re.findall(r"(?:── |^ *)(\w+) +(?:bug|\d+)", errors.__doc__ or "", flags=re.M))
    assert named == {one.__name__ for one in CLASSES}


def test_reasons() -> None:
    assert DuplexforgeError("x").reason == "bug"
    assert DuplexforgeError("x", reason="other").reason == "other"
    assert RetryLater("x", after=3.0).after == 3.0
