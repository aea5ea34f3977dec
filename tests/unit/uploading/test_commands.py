"""The commands around a published data set, as a person types them."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from duplexforge import log
from duplexforge.cli import app
from duplexforge.config import StoreSettings
from duplexforge.errors import DuplexforgeError, UsageError
from duplexforge.storage import open_store
from tests.unit.uploading.conftest import Site, make_site
from tests.unit.uploading.corpus import put_episode


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A folder store with three processed episodes, named by the environment as in a pod."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STORE_URL", f"file://{tmp_path}/store")
    monkeypatch.setenv("PUBLISH_DIR", str(tmp_path / "dataset"))
    monkeypatch.delenv("HF_REPO_ID", raising=False)
    site = make_site(open_store(StoreSettings(_env_file=None, store_url=f"file://{tmp_path}/store")))
    for name in "abc":
        put_episode(site.store, site.layout, name, segments=2)
    return site


def typed(*arguments: str) -> tuple[int, str]:
    """Exit code and output of a command; logging and signals are this process's own again afterwards."""
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    answer = CliRunner().invoke(app, arguments)
    log.setup(level="WARNING")
    for number, handler in signals.items():
        signal.signal(number, handler)
    if isinstance(answer.exception, DuplexforgeError):
        return answer.exception.exit_code, str(answer.exception)
    return answer.exit_code, answer.stdout


def problems(*arguments: str) -> list[str]:
    """What a verifying command found; its exit code says the same."""
    code, said = typed(*arguments, "--json")
    found: list[str] = json.loads(said)
    assert code == (65 if found else 0)
    return found


def test_publish_is_seed_and_upload_in_one(here: Site, tmp_path: Path) -> None:
    code, said = typed("publish", "--dry-run")
    assert (code, "dry run" in said) == (0, True)
    assert not (tmp_path / "dataset").exists()
    code, said = typed("publish")
    assert (code, "1 batches are published, 0 are open" in said) == (0, True)
    assert (tmp_path / "dataset/data/en/train-000000.tar").exists()
    assert problems("publish", "--verify") == problems("verify") == []
    code, said = typed("publish", "--json")
    assert (code, json.loads(said)["known"], json.loads(said)["failed"]) == (0, 3, [])


def test_publish_says_what_failed(here: Site) -> None:
    here.store.delete(here.layout.attempt("en", "b", "a1-nonce") + "b_000001.mp3")
    code, said = typed("publish")
    assert (code, "en-000000 failed" in said, "b_000001.mp3" in said) == (65, True, True)
    found = "\n".join(problems("publish", "--verify"))
    assert "the upload task en-000000 failed (shard_input)" in found
    assert "planned but not published" in found


def test_keep_partial_leaves_the_rest(here: Site, tmp_path: Path) -> None:
    assert typed("publish", "--keep-partial")[0] == 0
    assert problems("publish", "--verify") == [
        "3 committed episodes stand in no batch: `duplexforge seed upload` plans them"
    ]


def test_verify_sees_what_is_open(here: Site) -> None:
    assert typed("seed", "upload")[0] == 0
    found = problems("publish", "--verify")
    assert "1 upload tasks are not done: `duplexforge upload --drain` does them" in found
    assert typed("upload", "--drain")[0] == 0
    assert problems("publish", "--verify") == []


def test_purge_and_verify(here: Site, tmp_path: Path) -> None:
    typed("publish")
    code, said = typed("purge", "--episode", "b", "--dry-run")
    assert (code, "data/en/train-000000" in said) == (0, True)
    code, said = typed("purge", "--episode", "b", "--reason", "asked for it", "--delete-audio", "--json")
    plan = json.loads(said)
    assert (code, plan["shards"], plan["samples"], plan["deleted"]) == (0, ["data/en/train-000000"], 2, 4)
    assert here.store.get(here.layout.opt_out()) == b"b  # purged: asked for it\n"
    assert problems("verify") == []
    assert typed("publish")[0] == 0
    assert b"b_000000" not in (tmp_path / "dataset/data/en/train-000000.tar").read_bytes()


def test_purge_wants_an_id(here: Site) -> None:
    assert typed("purge")[0] == 2
    code, said = typed("purge", "--episode", "../../etc")
    assert (code, "no episode id" in said) == (2, True)
    assert here.store.find(here.layout.opt_out()) is None


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["nemo"], "manifest.jsonl"), (["nemo", "--tarred"], "tarred_audio_manifest.json"),
        (["lhotse", "--language", "en"], "cuts.jsonl.gz"),
    ],
)  # fmt: skip
def test_export(here: Site, tmp_path: Path, arguments: Sequence[str], name: str) -> None:
    typed("publish")
    code, said = typed("export", *arguments, "--out", "exported")
    assert (code, "en: 6 segments" in said) == (0, True)
    assert (tmp_path / "exported" / name).exists()
    code, said = typed("export", *arguments, "--out", "exported")
    assert (code, "not an empty folder" in said) == (UsageError.exit_code, True)


def test_export_says_what_it_cannot(here: Site) -> None:
    assert typed("export", "lhotse", "--tarred", "--out", "x")[0] == 2
    assert typed("export", "kaldi", "--out", "x")[0] == 2
    assert typed("export", "nemo", "--out", "x")[0] == 65


def test_repair_from_the_command_line(here: Site, tmp_path: Path) -> None:
    typed("publish")
    tar = tmp_path / "dataset/data/en/train-000000.tar"
    whole = tar.read_bytes()
    tar.write_bytes(b"cut")
    assert problems("verify")
    assert problems("verify", "--repair", "en-000000") == []
    assert tar.read_bytes() == whole
