"""The three kinds of patch that clients send: JSON patch, merge patch, strategic merge patch."""

from __future__ import annotations

import copy
from typing import Any

from tests.servers.kube.store import Refused

# The lists that a strategic patch merges item by item, with the field that tells items apart.
_KEYS = {"conditions": "type", "containers": "name", "env": "name", "volumes": "name", "ownerReferences": "uid"}


def patched(thing: Any, patch: Any, content_type: str) -> Any:
    """``thing`` with the patch applied, as a new object; 415 for another content type, 422 where the patch does not fit."""
    kind = content_type.partition(";")[0].strip()
    if kind == "application/json-patch+json":
        return _stepped(thing, patch)
    if kind == "application/merge-patch+json":
        return _merged(thing, patch, strategic=False)
    if kind == "application/strategic-merge-patch+json":
        return _merged(thing, patch, strategic=True)
    raise Refused(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {kind}")


def _merged(thing: Any, patch: Any, *, strategic: bool) -> Any:
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    if strategic and patch.get("$patch") == "replace":
        return {name: value for name, value in patch.items() if name != "$patch"}
    result = copy.deepcopy(thing) if isinstance(thing, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif strategic and name in _KEYS and isinstance(value, list):
            result[name] = _listed(result.get(name) or [], value, _KEYS[name])
        else:
            result[name] = _merged(result.get(name), value, strategic=strategic)
    return result


def _listed(have: list[Any], changes: list[Any], key: str) -> list[Any]:
    found = {one[key]: one for one in have}
    for change in changes:
        if change.get("$patch") == "delete":
            found.pop(change[key], None)
        else:
            found[change[key]] = _merged(found.get(change[key], {}), change, strategic=True)
    return list(found.values())


def _stepped(thing: Any, steps: list[dict[str, Any]]) -> Any:
    result = {"": copy.deepcopy(thing)}
    for step in steps:
        try:
            _step(result, step)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            text = f"the server rejected our request due to an error in our request: {step} ({error!r})"
            raise Refused(422, "Invalid", text) from error
    return result[""]


def _step(root: dict[str, Any], step: dict[str, Any]) -> None:
    operation = step["op"]
    if operation in ("move", "copy"):
        value = copy.deepcopy(_at(root, step["from"]))
        if operation == "move":
            _step(root, {"op": "remove", "path": step["from"]})
        _step(root, {"op": "add", "path": step["path"], "value": value})
        return
    parent, last = _at(root, step["path"].rpartition("/")[0]), _unescaped(step["path"].rpartition("/")[2])
    if operation == "test":
        if _at(root, step["path"]) != step["value"]:
            raise ValueError("test failed")
    elif isinstance(parent, list):
        _step_list(parent, last, step)
    elif operation == "add":
        parent[last] = step["value"]
    elif operation == "replace":
        # A replace of what is not there is refused.
        parent[last], _ = step["value"], parent[last]
    elif operation == "remove":
        del parent[last]
    else:
        raise ValueError(f"no operation {operation}")


def _step_list(parent: list[Any], last: str, step: dict[str, Any]) -> None:
    if step["op"] == "add":
        parent.insert(len(parent) if last == "-" else int(last), step["value"])
    elif step["op"] == "remove":
        del parent[int(last)]
    else:
        parent[int(last)] = step["value"]


def _at(root: Any, path: str) -> Any:
    found = root[""]
    for part in path.split("/")[1:]:
        found = found[int(part)] if isinstance(found, list) else found[_unescaped(part)]
    return found


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
