"""Strategic merge and JSON patches behave as kustomize's."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.manifests.merging import operations, strategic

BASE = {
    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
    "args": ["x", "y"],
    "limits": {"cpu": 1, "memory": 2},
}


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({"env": [{"name": "B", "value": "3"}]}, {"env": [{"name": "B", "value": "3"}, {"name": "A", "value": "1"}]}),
        ({"env": [{"name": "C"}]}, {"env": [{"name": "C"}, {"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}),
        ({"env": [{"name": "A", "$patch": "delete"}]}, {"env": [{"name": "B", "value": "2"}]}),
        ({"args": ["z"]}, {"args": ["z"]}),
        ({"limits": {"cpu": None, "gpu": 8}}, {"limits": {"memory": 2, "gpu": 8}}),
        ({"limits": None}, {}),
    ],
)
def test_strategic(patch: dict[str, Any], expected: dict[str, Any]) -> None:
    before = copy.deepcopy(BASE)
    untouched = {key: value for key, value in BASE.items() if key not in patch}
    assert strategic(BASE, patch) == untouched | expected
    assert before == BASE


def test_lists_of_other_peoples_kinds_are_replaced() -> None:
    patch = {"env": [{"name": "C"}]}
    assert strategic(BASE, patch, core=False)["env"] == [{"name": "C"}]


trees = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=3), trees, max_size=4)


@given(objects, objects)
def test_merging_twice_is_merging_once(one: dict[str, Any], patch: dict[str, Any]) -> None:
    merged = strategic(one, patch)
    assert strategic(merged, patch) == merged
    assert set(merged) == set(one) | set(patch)


@given(objects)
def test_an_object_patches_itself_into_itself(one: dict[str, Any]) -> None:
    assert strategic(one, one) == one
    assert strategic(one, {}) == one


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ({"op": "add", "path": "/a/b~1c", "value": 1}, {"a": {"b/c": 1}, "l": [1, 2]}),
        ({"op": "add", "path": "/l/-", "value": 3}, {"a": {}, "l": [1, 2, 3]}),
        ({"op": "add", "path": "/l/0", "value": 0}, {"a": {}, "l": [0, 1, 2]}),
        ({"op": "replace", "path": "/l/1", "value": 9}, {"a": {}, "l": [1, 9]}),
        ({"op": "remove", "path": "/l/0"}, {"a": {}, "l": [2]}),
        ({"op": "remove", "path": "/a"}, {"l": [1, 2]}),
    ],
)
def test_operations(operation: dict[str, Any], expected: dict[str, Any]) -> None:
    assert operations({"a": {}, "l": [1, 2]}, [operation]) == expected


def test_what_is_not_there_is_not_replaced() -> None:
    with pytest.raises(KeyError):
        operations({}, [{"op": "replace", "path": "/a", "value": 1}])
    with pytest.raises(ValueError, match="not known"):
        operations({}, [{"op": "copy", "path": "/a", "from": "/b"}])
