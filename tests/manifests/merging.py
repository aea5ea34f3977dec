"""Strategic merge and JSON patches, as far as the manifests use them."""

from __future__ import annotations

import copy
from typing import Any

# Lists whose elements are told apart by a key; all others are replaced whole. A Service's ports have another key.
KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}
_DELETE = {"$patch": "delete"}


def strategic(one: Any, patch: Any, *, core: bool = True, field: str = "") -> Any:
    """``one`` changed as ``patch`` says: null removes, ``$patch: delete`` removes an element of a list.

    Objects that are not Kubernetes' own (``core`` false) have no keys in their lists: those are replaced whole.
    """
    if isinstance(one, dict) and isinstance(patch, dict):
        merged = dict(one)
        for key, value in patch.items():
            if value is None:
                merged.pop(key, None)
            elif key in merged:
                merged[key] = strategic(merged[key], value, core=core, field=key)
            else:
                merged[key] = _without_nulls(value)
        return merged
    if isinstance(one, list) and isinstance(patch, list) and core and field in KEYS:
        return _merge_lists(one, patch, KEYS[field], core)
    return copy.deepcopy(patch)


def _merge_lists(old: list[Any], patch: list[Any], key: str, core: bool) -> list[Any]:
    """Elements that the patch names come first, in its order, as kustomize has it."""
    known = {element[key]: element for element in old}
    named = [
        strategic(known[change[key]], change, core=core) if change[key] in known else copy.deepcopy(change)
        for change in patch
        if not _DELETE.items() <= change.items()
    ]
    touched = {change[key] for change in patch}
    return named + [element for element in old if element[key] not in touched]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return copy.deepcopy(value)


def operations(one: Any, patch: list[dict[str, Any]]) -> Any:
    """``one`` after a JSON patch of ``add``, ``replace`` and ``remove``."""
    for operation in patch:
        *way, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        place = one
        for part in way:
            place = place[int(part)] if isinstance(place, list) else place[part]
        _operate(place, last, operation)
    return one


def _operate(place: Any, last: str, operation: dict[str, Any]) -> None:
    what = operation["op"]
    if what not in ("add", "replace", "remove"):
        raise ValueError(f"the operation {what} is not known here")
    where: Any = last if isinstance(place, dict) else len(place) if last == "-" else int(last)
    if what == "add" and isinstance(place, list):
        place.insert(where, operation["value"])
    elif what == "add":
        place[where] = operation["value"]
    elif what == "replace":
        if isinstance(place, dict) and where not in place:
            raise KeyError(operation["path"])
        place[where] = operation["value"]
    else:
        del place[where]
