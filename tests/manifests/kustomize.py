"""The part of kustomize that ``k8s/`` uses, in Python, so that the manifests can be judged where there is no kubectl.

What it does not know it refuses: a new feature in a kustomization is then either taught here or not used. Where kubectl
is there, a test holds both outputs against each other.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.manifests import merging

Object = dict[str, Any]
FILE = "kustomization.yaml"
# Kinds of ours that belong to no namespace.
CLUSTER_WIDE = {"Namespace", "PriorityClass", "ClusterRole", "ClusterRoleBinding", "ClusterQueue", "ResourceFlavor"}
_KNOWN = {
    "apiVersion",
    "kind",
    "resources",
    "components",
    "configMapGenerator",
    "patches",
    "namespace",
    "labels",
    "images",
}


def render(folder: Path) -> list[Object]:
    """All objects of the kustomization in ``folder``, in the order in which they are named."""
    return _accumulate(folder, [])


def _accumulate(folder: Path, objects: list[Object]) -> list[Object]:
    """Add a kustomization's objects to those that are there, and change all of them as it says."""
    wanted = read(folder)
    fresh = [one for name in wanted.get("resources", ()) for one in _resources(folder / name)]
    objects = _joined(objects, fresh)
    for name in wanted.get("components", ()):
        objects = _accumulate(folder / name, objects)
    objects = _joined(objects, [_config_map(folder, one) for one in wanted.get("configMapGenerator", ())])
    for patch in wanted.get("patches", ()):
        objects = _patched(objects, folder, patch)
    for one in objects:
        _place(one, wanted.get("namespace"), objects)
        for labels in wanted.get("labels", ()):
            assert set(labels) == {"pairs"}, "labels in selectors and templates are written out, where they can be read"
            one["metadata"].setdefault("labels", {}).update(labels["pairs"])
        for image in wanted.get("images", ()):
            _set_image(one, image)
    return objects


def read(folder: Path) -> Object:
    """The kustomization of a folder, refused when it uses what is not known here."""
    found: Object = yaml.safe_load((folder / FILE).read_text(encoding="utf-8"))
    if unknown := set(found) - _KNOWN:
        raise ValueError(f"{folder / FILE}: {', '.join(sorted(unknown))} is not known to tests/manifests/kustomize.py")
    return found


def identity(one: Object) -> tuple[str, str, str, str]:
    """What tells an object from others: version, kind, namespace, name."""
    meta = one["metadata"]
    return str(one["apiVersion"]), str(one["kind"]), str(meta.get("namespace") or ""), str(meta["name"])


def _resources(path: Path) -> list[Object]:
    if path.is_dir():
        return render(path)
    return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one is not None]


def _joined(objects: Iterable[Object], fresh: Iterable[Object]) -> list[Object]:
    found = {}
    for one in [*objects, *fresh]:
        if identity(one) in found:
            raise ValueError(f"two objects are called {identity(one)}")
        found[identity(one)] = one
    return list(found.values())


def _config_map(folder: Path, wanted: Object) -> Object:
    """A ConfigMap out of files. Names with a hash are not used: people edit and read these by their names."""
    options = wanted.get("options") or {}
    assert options.get("disableNameSuffixHash") is True, "only names without a hash are known here"
    assert set(wanted) <= {"name", "files", "options"}
    files = {}
    for entry in wanted["files"]:
        key, _, path = entry.rpartition("=")
        files[key or Path(path).name] = (folder / path).read_text(encoding="utf-8")
    meta: Object = {"name": wanted["name"]}
    if labels := options.get("labels"):
        meta["labels"] = dict(labels)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": files}


# -- changes -----------------------------------------------------------------------------------------------------------


def _patched(objects: list[Object], folder: Path, wanted: Object) -> list[Object]:
    assert set(wanted) <= {"path", "patch", "target"}, wanted
    text = (folder / wanted["path"]).read_text(encoding="utf-8") if "path" in wanted else wanted["patch"]
    patch, target = yaml.safe_load(text), wanted.get("target")
    if target is None:
        target = {"kind": patch["kind"], "name": re.escape(patch["metadata"]["name"])}
    chosen = [one for one in objects if _is_target(one, target)]
    if not chosen and "target" not in wanted:
        raise ValueError(f"{folder}: no object for the patch of {target}")
    done = [_apply(one, patch) if one in chosen else one for one in objects]
    return [one for one in done if one is not None]


def _is_target(one: Object, target: Object) -> bool:
    assert set(target) <= {"kind", "name", "labelSelector"}, target
    labels = one["metadata"].get("labels") or {}
    pairs = [pair.split("=") for pair in target.get("labelSelector", "").split(",") if pair]
    return (
        re.fullmatch(target.get("kind", ".*"), one["kind"]) is not None
        and re.fullmatch(target.get("name", ".*"), one["metadata"]["name"]) is not None
        and all(labels.get(key) == value for key, value in pairs)
    )


def _apply(one: Object, patch: Any) -> Object | None:
    if isinstance(patch, list):
        changed: Object = merging.operations(copy.deepcopy(one), patch)
        return changed
    # The patch's own name only says what it is meant for; a target may have chosen others.
    body = {key: value for key, value in patch.items() if key not in ("apiVersion", "kind")}
    body["metadata"] = {key: value for key, value in (body.get("metadata") or {}).items() if key != "name"}
    if body.get("$patch") == "delete":
        return None
    merged: Object = merging.strategic(one, body, core="." not in one["apiVersion"].partition("/")[0])
    return merged


def _place(one: Object, namespace: str | None, objects: list[Object]) -> None:
    """Put an object into the namespace, and let role bindings follow the accounts of this tree."""
    if not namespace:
        return
    if one["kind"] == "Namespace":
        one["metadata"]["name"] = namespace
    elif one["kind"] not in CLUSTER_WIDE:
        one["metadata"]["namespace"] = namespace
    accounts = {found["metadata"]["name"] for found in objects if found["kind"] == "ServiceAccount"}
    for subject in one.get("subjects", ()):
        if subject.get("kind") == "ServiceAccount" and subject["name"] in accounts:
            subject["namespace"] = namespace


def _set_image(one: Object, wanted: Object) -> None:
    assert set(wanted) <= {"name", "newName", "newTag", "digest"}, wanted
    for spec in pod_specs(one):
        for container in [*spec.get("initContainers", ()), *spec["containers"]]:
            name, _, tag = container["image"].partition(":")
            if name == wanted["name"]:
                new = wanted.get("newName", name)
                end = f"@{wanted['digest']}" if "digest" in wanted else f":{wanted.get('newTag', tag)}"
                container["image"] = new + end


def pod_specs(one: Object) -> list[Object]:
    """The pod specifications inside an object: none, or one."""
    spec = one.get("spec") or {}
    if one["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    template = spec.get("template") if one["kind"] in ("Deployment", "Job", "CronJob", "StatefulSet") else None
    return [template["spec"]] if template else []
