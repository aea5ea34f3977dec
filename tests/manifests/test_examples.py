"""The examples are what the tree renders, under the names that people know."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.manifests import write
from tests.manifests.kustomize import identity, pod_specs
from tests.manifests.tree import EXAMPLES, K8S, ROOT, rendered, variables

ORIGINAL = {"TARGET_DEPLOYMENT", "INTERVAL", "BUFFER", "BASELINE", "MAX_REPLICAS", "EXCLUDE_LABEL", "EXCLUDE_VALUE"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_file_is_what_the_tree_says(name: str) -> None:
    found = write.target(name).read_text(encoding="utf-8")
    assert found == write.text(name), "python -m tests.manifests.write"
    assert {identity(one): one for one in yaml.safe_load_all(found)} == {
        identity(one): one for one in rendered(K8S / "examples" / name)
    }


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_has_the_workload_of_that_name(name: str) -> None:
    found = [one for one in yaml.safe_load_all(write.target(name).read_text()) if pod_specs(one)]
    assert [one["metadata"]["name"] for one in found] == [name]
    assert found[0]["kind"] == ("Job" if name in ("train", "duplex") else "Deployment")
    assert not found[0]["spec"].get("suspend"), "who applies it wants it to run"


def test_the_autokicker_looks_after_the_pipeline() -> None:
    names = ("emiliapipe", "autokicker")
    pipeline, kicker = (list(yaml.safe_load_all(write.target(name).read_text())) for name in names)
    (ours,) = [one for one in pipeline if one["kind"] == "Deployment"]
    (theirs,) = [one for one in kicker if one["kind"] == "Deployment"]
    env = variables(kicker, pod_specs(theirs)[0]["containers"][0])
    assert set(env) >= ORIGINAL
    assert env["TARGET_DEPLOYMENT"] == ours["metadata"]["name"]
    assert env["NAMESPACE"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}
    assert ours["metadata"]["namespace"] == theirs["metadata"]["namespace"]
    assert ours["spec"]["template"]["metadata"]["labels"][env["EXCLUDE_LABEL"]] == env["EXCLUDE_VALUE"]
    assert pod_specs(ours)[0]["containers"][0]["resources"]["limits"][env["RESOURCE"]]


def test_the_defaults_are_the_programs() -> None:
    from duplexforge.config import AutokickSettings

    (settings,) = [
        one for one in rendered(K8S / "examples" / "autokicker")
        if one["kind"] == "ConfigMap" and one["metadata"]["name"] == "autokicker"
    ]  # fmt: skip
    for name, value in settings["data"].items():
        if name.lower() in AutokickSettings.model_fields:
            default = AutokickSettings.model_fields[name.lower()].default
            assert type(default)(value) == default, name


def test_nothing_else_is_kept_at_the_top() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.yaml")} == {f"{name}.yaml" for name in EXAMPLES}
    assert {path.name for path in K8S.iterdir()} == {"base", "components", "overlays", "examples"}


def test_writing_prints_what_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "ROOT", tmp_path)
    assert write.target("emiliapipe") == tmp_path / "examples" / "emiliapipe.yaml"
