"""The registry: what is in it, which configuration needs what, and what is wrong with files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from Emilia import registry
from Emilia.config import DEFAULT, load_config
from Emilia.errors import BadConfig
from Emilia.registry import File, Model
from Emilia.stage import STAGES

ROOT = Path(__file__).resolve().parents[3]
MODELS = registry.load_registry()


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def model(*files: File, **changes: object) -> Model:
    return replace(Model("m", "a model", "score", "MIT", files, folder="place", url="https://x.example"), **changes)  # type: ignore[arg-type]


def kinds(one: Model, folder: Path, lock: registry.Lock | None = None) -> list[str]:
    return [fault.kind for fault in registry.faults(one, folder, lock or {})]


# -- what is in it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", MODELS.values(), ids=lambda one: one.name)
def test_every_entry_is_whole(one: Model) -> None:
    assert one.stage in STAGES
    assert one.what
    assert one.licence
    assert bool(one.repo) == bool(re.fullmatch("[0-9a-f]{40}", one.revision))
    assert not one.url or re.fullmatch(r"https://\S*[^/]", one.url)
    assert all(page == f"https://huggingface.co/{one.repo}" for page in one.gated)
    for file in one.files:
        assert not file.sha256 or re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert bool(file.sha256) == bool(file.size)
    # Only what a package brings may go without: the package's version pins it.
    assert one.pinned or (one.package and not one.repo and not one.url)


def test_files_of_different_models_never_share_a_place() -> None:
    places = [registry.place(one, file, Path("/m")) for one in MODELS.values() for file in one.files]
    assert len(places) == len(set(places))


def test_presets_need_what_their_engines_load() -> None:
    def names(preset: str, **changes: object) -> list[str]:
        overrides = {name.replace("__", "."): value for name, value in changes.items()}
        return [one.name for one in registry.needed(MODELS.values(), load_config(None, preset, overrides))]

    assert names("lite") == ["silero-vad"]
    assert names("emilia") == [
        "mdx-inst-hq-3", "segmentation-3.0", "wespeaker-resnet34-lm", "silero-vad", "faster-whisper-medium", "dnsmos",
    ]  # fmt: skip
    assert names("emilia-events") == ["ast-audioset", *names("emilia")]
    community = {"pyannote__variant": "community-1", "pyannote__folder": "speaker-diarization-community-1"}
    assert "community-1" in names("emilia", **community)
    assert "segmentation-3.0" not in names("emilia", **community)
    assert "mdx-inst-hq-3" not in names("emilia", mdx__model="/models/another.onnx")


def test_the_conditions_name_options_that_exist() -> None:
    config = load_config(None)
    assert registry.needed(MODELS.values(), config) is not None
    for one in MODELS.values():
        assert one.when, one.name


def test_dnsmos_of_the_package_is_the_pinned_file(tmp_path: Path) -> None:
    assert registry.packaged(MODELS["dnsmos"], MODELS["dnsmos"].files[0]) is not None
    assert registry.faults(MODELS["dnsmos"], tmp_path, {}) == []


def test_reading_it_imports_no_engine() -> None:
    program = "import sys; from Emilia import registry; registry.load_registry(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"numpy", "torch", "onnxruntime", "faster_whisper", "pyannote"} & set(done.stdout.split())


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"files": {}},
        {"files": {"../../outside": {}}},
        {"files": {"/outside": {}}},
        {"folder": "../outside"},
        {"url": "", "package": ""},
        {"files": {"a": {"sha512": "x"}}},
        {"colour": "red"},
        {"when": None},
    ],
)
def test_wrong_entries_are_named(change: dict[str, object], tmp_path: Path) -> None:
    content = json.loads(DEFAULT.read_text())
    content["models"]["dnsmos"] |= change
    (tmp_path / "c.json").write_text(json.dumps(content))
    with pytest.raises(BadConfig, match="no usable list of models"):
        registry.load_registry(tmp_path / "c.json")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"models": []}', '{"models": {"a": 1}}'])
def test_unreadable_registries_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(BadConfig):
        registry.load_registry(tmp_path / "c.json")
    with pytest.raises(BadConfig, match="cannot be read"):
        registry.load_registry(tmp_path / "absent.json")


# -- what is wrong with files ------------------------------------------------------------------------------------------


def test_a_whole_model_has_no_fault(tmp_path: Path) -> None:
    (tmp_path / "place" / "deep").mkdir(parents=True)
    (tmp_path / "place" / "deep" / "a").write_bytes(b"abc")
    assert kinds(model(File("deep/a", sha(b"abc"), 3)), tmp_path) == []
    assert kinds(model(File("deep/a")), tmp_path) == []


def test_each_file_has_its_own_fault(tmp_path: Path) -> None:
    folder = tmp_path / "place"
    (folder / "folder").mkdir(parents=True)
    (folder / "short").write_bytes(b"ab")
    (folder / "other").write_bytes(b"abd")
    (folder / "link").symlink_to(tmp_path / "nowhere")
    files = [File(name, sha(b"abc"), 3) for name in ("absent", "folder", "short", "other", "link", "short/below")]
    faults = registry.faults(model(*files), tmp_path, {})
    assert [fault.kind for fault in faults] == [
        "missing", "unreadable", "damaged", "damaged", "unreadable", "unreadable",
    ]  # fmt: skip
    for fault, words in zip(
        faults,
        ["is missing", "is a folder", "2 bytes instead of 3", "not the published file", "nowhere", "Not a directory"],
        strict=True,
    ):
        assert words in fault.sentence
        assert str(fault.path) in fault.sentence


READ_AS_NOBODY = """
import os, sys
from pathlib import Path
from Emilia import registry
os.chdir(sys.argv[1])  # as root: the folders above are for nobody but their owner
os.setgid(65534); os.setuid(65534)
found = registry.faults(registry.Model("m", "", "", "", (registry.File(sys.argv[2]),), url="x"), Path(), {})
print(*(f"{fault.kind}: {fault.sentence}" for fault in found))
"""


@pytest.mark.parametrize("file", ["file", "folder/file"])
def test_what_may_not_be_read(tmp_path: Path, file: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / file).write_bytes(b"abc")
    tmp_path.chmod(0o755)
    closed = tmp_path / file.split("/")[0]
    closed.chmod(0o000)
    try:
        if os.getuid() == 0:  # permissions say nothing to root, so a child becomes nobody first
            command = [sys.executable, "-c", READ_AS_NOBODY, str(tmp_path), file]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            seen = done.stdout.strip()
        else:
            fault = registry.faults(model(File(file), folder=""), tmp_path, {})[0]
            seen = f"{fault.kind}: {fault.sentence}".replace(f"{tmp_path}/", "")
    finally:
        closed.chmod(0o755)
    assert seen == f"unreadable: {file} cannot be read: Permission denied"


def test_own_copy_comes_before_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "some_models" / "nets"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("raise RuntimeError('looked for, never imported')")
    (package / "net").write_bytes(b"abc")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    one = model(File("net", sha(b"abc"), 3), package="some_models/nets")
    assert kinds(one, tmp_path) == []
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "net").write_bytes(b"abd")
    assert kinds(one, tmp_path) == ["damaged"]


# -- the record --------------------------------------------------------------------------------------------------------


def test_the_record_speaks_where_the_registry_does_not(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "a").write_bytes(b"abd")
    lock = {"m": {"revision": "r1", "files": {"a": {"sha256": sha(b"abc"), "size": 3}}}}
    assert kinds(model(File("a")), tmp_path, lock) == ["damaged"]
    assert kinds(model(File("a"), revision="r1"), tmp_path, lock) == ["damaged"]
    # A record of another revision, or against the registry, says nothing.
    assert kinds(model(File("a"), revision="r2"), tmp_path, lock) == []
    assert kinds(model(File("a", sha(b"abd"), 3)), tmp_path, lock) == []


def test_the_record_comes_back_as_written(tmp_path: Path) -> None:
    assert registry.read_lock(tmp_path) == {}
    assert registry.read_lock(tmp_path / "absent") == {}
    lock = {"m": {"revision": "r1", "files": {"a": {"sha256": sha(b"abc"), "size": 3}}}}
    registry.write_lock(tmp_path, lock)
    assert registry.read_lock(tmp_path) == lock
    assert [path.name for path in tmp_path.iterdir()] == [registry.LOCK]


@pytest.mark.parametrize("content", ["", "[]", '{"models": {"m": {}}}', '{"models": {"m": {"revision": "r"}}}'])
def test_a_record_nobody_can_read(tmp_path: Path, content: str) -> None:
    (tmp_path / registry.LOCK).write_text(content)
    with pytest.raises(BadConfig, match="delete it"):
        registry.read_lock(tmp_path)


def test_a_record_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / registry.LOCK).mkdir()
    with pytest.raises(BadConfig, match="cannot be read"):
        registry.read_lock(tmp_path)
