"""Patches: merge, strategic merge, JSON."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.servers.kube.patches import patched
from tests.servers.kube.store import Refused

MERGE, STRATEGIC, STEPS = (
    f"application/{name}+json" for name in ("merge-patch", "strategic-merge-patch", "json-patch")
)
VALUES = st.recursive(
    st.none() | st.integers() | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_is_applied_once(thing: dict[str, Any], patch: dict[str, Any]) -> None:
    """Applying it again changes nothing, the original is left alone, and nulls take away."""
    before = repr(thing)
    once = patched(thing, patch, MERGE)
    assert patched(once, patch, MERGE) == once
    assert repr(thing) == before
    assert all(once[name] == value for name, value in patch.items() if not isinstance(value, dict | None))
    assert not [name for name, value in patch.items() if value is None and name in once]


def test_a_strategic_patch_merges_named_lists() -> None:
    """Containers by name; other lists are replaced, as are all lists in a merge patch."""
    thing = {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}], "args": ["x", "y"]}
    patch = {"containers": [{"name": "b", "image": "2"}, {"name": "c"}], "args": ["z"]}
    told = patched(thing, patch, STRATEGIC)
    assert told["containers"] == [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c"}]
    assert told["args"] == ["z"]
    assert patched(thing, patch, MERGE)["containers"] == patch["containers"]
    gone = patched(thing, {"containers": [{"name": "a", "$patch": "delete"}]}, STRATEGIC)
    assert [one["name"] for one in gone["containers"]] == ["b"]


@pytest.mark.parametrize(
    ("step", "result"),
    [
        ({"op": "add", "path": "/m/x~1y", "value": 1}, {"m": {"k": "v", "x/y": 1}, "l": [1, 2]}),
        ({"op": "add", "path": "/l/-", "value": 3}, {"m": {"k": "v"}, "l": [1, 2, 3]}),
        ({"op": "add", "path": "/l/0", "value": 0}, {"m": {"k": "v"}, "l": [0, 1, 2]}),
        ({"op": "remove", "path": "/l/0"}, {"m": {"k": "v"}, "l": [2]}),
        ({"op": "replace", "path": "/m/k", "value": "w"}, {"m": {"k": "w"}, "l": [1, 2]}),
        ({"op": "move", "from": "/m/k", "path": "/n"}, {"m": {}, "l": [1, 2], "n": "v"}),
        ({"op": "copy", "from": "/l", "path": "/m/l"}, {"m": {"k": "v", "l": [1, 2]}, "l": [1, 2]}),
        ({"op": "test", "path": "/m", "value": {"k": "v"}}, {"m": {"k": "v"}, "l": [1, 2]}),
    ],
)
def test_steps_of_a_json_patch(step: dict[str, Any], result: dict[str, Any]) -> None:
    """Each on the same object."""
    assert patched({"m": {"k": "v"}, "l": [1, 2]}, [step], STEPS) == result


@pytest.mark.parametrize(
    "step",
    [
        {"op": "test", "path": "/a", "value": 2}, {"op": "replace", "path": "/x", "value": 1},
        {"op": "remove", "path": "/x"}, {"op": "odd", "path": "/a"}, {"op": "remove", "path": "/l/9"},
    ],
)  # fmt: skip
def test_a_step_that_does_not_fit_is_refused(step: dict[str, Any]) -> None:
    """With 422, and nothing is changed."""
    thing = {"a": 1, "l": [1]}
    with pytest.raises(Refused) as caught:
        patched(thing, [{"op": "add", "path": "/b", "value": 1}, step], STEPS)
    assert caught.value.status == 422
    assert thing == {"a": 1, "l": [1]}


def test_another_content_type_is_refused() -> None:
    """With 415, as for server-side apply, which nobody here uses."""
    with pytest.raises(Refused) as caught:
        patched({}, {}, "application/apply-patch+yaml")
    assert caught.value.status == 415
