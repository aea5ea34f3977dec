"""Every kustomization renders, here and with kubectl, to the same objects; nothing in ``k8s/`` is left over."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.manifests.kustomize import FILE, identity, read, render
from tests.manifests.tree import CASES, K8S, folders, rendered, title

KUBECTL = shutil.which("kubectl")


@pytest.mark.parametrize("folder", folders(), ids=title)
def test_renders(folder: Path) -> None:
    objects = rendered(folder)
    assert objects
    assert len({identity(one) for one in objects}) == len(objects)


@pytest.mark.skipif(KUBECTL is None, reason="no kubectl to compare with")
@pytest.mark.parametrize("folder", folders(), ids=title)
def test_kubectl_renders_the_same(folder: Path) -> None:
    assert KUBECTL
    told = subprocess.run([KUBECTL, "kustomize", str(folder)], capture_output=True, text=True, timeout=120)
    assert told.returncode == 0, told.stderr
    theirs = {identity(one): one for one in yaml.safe_load_all(told.stdout)}
    assert theirs == {identity(one): one for one in rendered(folder)}


def test_every_file_is_used() -> None:
    used = set()
    for file in [*K8S.rglob(FILE), *CASES.rglob(FILE)]:
        wanted = read(file.parent)
        names = [*wanted.get("resources", ()), *wanted.get("components", ())]
        names += [patch["path"] for patch in wanted.get("patches", ()) if "path" in patch]
        names += [entry.rpartition("=")[2] for one in wanted.get("configMapGenerator", ()) for entry in one["files"]]
        paths = [(file.parent / name).resolve() for name in names]
        used |= {path / FILE if path.is_dir() else path for path in paths}
    # Overlays and examples are what people name themselves.
    named = {folder / FILE for top in ("overlays", "examples") for folder in (K8S / top).iterdir()}
    assert {path for path in K8S.rglob("*") if path.is_file()} == {path for path in used | named if K8S in path.parents}


def test_what_is_not_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("kind: Kustomization\nnamePrefix: x-\nreplacements: []\n")
    with pytest.raises(ValueError, match="namePrefix, replacements is not known"):
        render(tmp_path)


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {}\ndata:\n  a: old\n  b: old\n"


def test_two_objects_of_one_name_are_refused(tmp_path: Path) -> None:
    write(tmp_path, kustomization="resources: [one.yaml, two.yaml]", one=CONFIG.format("x"), two=CONFIG.format("x"))
    with pytest.raises(ValueError, match="two objects"):
        render(tmp_path)


def test_a_patch_without_an_object_is_refused(tmp_path: Path) -> None:
    write(tmp_path, kustomization="patches: [path: one.yaml]", one=CONFIG.format("x"))
    with pytest.raises(ValueError, match="no object for the patch"):
        render(tmp_path)


def test_components_change_what_was_there_before_them(tmp_path: Path) -> None:
    write(
        tmp_path / "part", kustomization="kind: Component\npatches: [path: a.yaml]", a=CONFIG.format("x") + "  c: new\n"
    )
    folder = write(
        tmp_path / "all",
        kustomization="namespace: here\nresources: [x.yaml]\ncomponents: [../part]\nlabels: [pairs: {team: speech}]",
        x=CONFIG.format("x"),
    )
    (one,) = render(folder)
    assert one["data"] == {"a": "old", "b": "old", "c": "new"}
    assert one["metadata"] == {"name": "x", "namespace": "here", "labels": {"team": "speech"}}


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("{name: app, newTag: '2'}", "app:2"),
        ("{name: app, newName: registry/app}", "registry/app:1"),
        ("{name: app, digest: 'sha256:00'}", "app@sha256:00"),
        ("{name: other, newTag: '2'}", "app:1"),
    ],
)
def test_images(tmp_path: Path, image: str, expected: str) -> None:
    job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec: {template: {spec: {containers: [{image: 'app:1'}]}}}"
    write(tmp_path, kustomization=f"resources: [job.yaml]\nimages: [{image}]", job=job)
    (one,) = render(tmp_path)
    assert one["spec"]["template"]["spec"]["containers"][0]["image"] == expected


def test_bindings_follow_the_accounts_of_the_tree(tmp_path: Path) -> None:
    account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: ours}"
    binding = (
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: b}\n"
        "subjects: [{kind: ServiceAccount, name: ours, namespace: old}, {kind: ServiceAccount, name: theirs, namespace: old}]"
    )
    write(tmp_path, kustomization="namespace: new\nresources: [a.yaml, b.yaml]", a=account, b=binding)
    _, bound = render(tmp_path)
    assert [subject["namespace"] for subject in bound["subjects"]] == ["new", "old"]
    assert "namespace" not in bound["metadata"]
