"""Where the kustomizations are, and all that they render: read once for all tests."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from tests.manifests.kustomize import FILE, Object, identity, pod_specs, render

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
CASES = Path(__file__).parent / "cases"
EXAMPLES = {
    "emiliapipe": "the pipeline on 8×H100 nodes",
    "autokicker": "the autokicker with its rights",
    "train": "a training run on two 8×H100 nodes, on what `duplexforge data send FOLDER speech` has sent",
    "duplex": "a duplex data set from processed episodes",
}


def folders() -> list[Path]:
    """Every kustomization that renders by itself: bases, overlays, examples, and the cases that use the other components."""
    return sorted(
        file.parent
        for top in (K8S / "base", K8S / "overlays", K8S / "examples", CASES)
        for file in top.glob(f"*/{FILE}")
    )


def deployments() -> list[Path]:
    """Those that a person would apply: all but the bases, which lack the store."""
    return [folder for folder in folders() if folder.parent.name != "base"]


def title(folder: Path) -> str:
    """How a test calls a kustomization."""
    return f"{folder.parent.name}-{folder.name}"


@cache
def _text(folder: Path) -> str:
    return json.dumps(render(folder))


def rendered(folder: Path) -> list[Object]:
    """The objects of a kustomization; each caller gets its own copy."""
    found: list[Object] = json.loads(_text(folder))
    return found


def everything(wanted: list[Path] | None = None) -> dict[str, Object]:
    """Every different object of all kustomizations (or of ``wanted``), by a title for the test that judges it."""
    seen: dict[str, Object] = {}
    known = set()
    for folder in wanted or folders():
        for one in rendered(folder):
            text = json.dumps(one, sort_keys=True)
            if text not in known:
                known.add(text)
                _, kind, _, name = identity(one)
                seen[f"{title(folder)}-{kind}-{name}"] = one
    return seen


def workloads(wanted: list[Path] | None = None) -> dict[str, Object]:
    """Every different object that has pods."""
    return {name: one for name, one in everything(wanted).items() if pod_specs(one)}


def variables(objects: list[Object], container: Object) -> dict[str, Any]:
    """What a container's variables are: from ConfigMaps, then from ``env``; a reference stands as what it refers to."""
    maps = {one["metadata"]["name"]: one.get("data") or {} for one in objects if one["kind"] == "ConfigMap"}
    found: dict[str, Any] = {}
    for source in container.get("envFrom", ()):
        found |= maps[source["configMapRef"]["name"]]
    for one in container.get("env", ()):
        found[one["name"]] = one["value"] if "value" in one else one["valueFrom"]
    return found
