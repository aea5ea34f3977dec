"""``cache_models.py`` against servers that speak HTTP: what it fetches, what it refuses, and what it says."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import stamina

import cache_models
from Emilia.config import DEFAULT
from Emilia.registry import LOCK
from tests.servers.models import READER, STRANGER
from tests.servers.s3_client import ROOT, Process

COMMIT = "c0" * 20
BIG = bytes(range(256)) * 5000
FILES = {"config.json": b'{"layers": 2}', "model.bin": BIG, "deep/er/more.npz": b"npz" * 400}
PAGE = "https://hub.example/secret/voices"


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def facts(body: bytes) -> dict[str, object]:
    return {"sha256": sha(body), "size": len(body)}


@dataclass
class Place:
    """A server with two repositories and a plain file, the registry that names them, and an empty models' folder."""

    url: str
    root: Path
    folder: Path
    config: Path

    def run(self, *arguments: str) -> int:
        """Run the command in this process."""
        return cache_models.main(["--config", str(self.config), "--to", str(self.folder), *arguments])

    def order(self, **order: object) -> None:
        """Talk to the server's control page."""
        urllib.request.urlopen(f"{self.url}/control", json.dumps(order).encode()).close()

    def requests(self) -> list[str]:
        """What the server was asked so far."""
        with urllib.request.urlopen(f"{self.url}/control") as answer:
            asked: list[str] = json.load(answer)
        return asked

    def registry(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the registry."""
        content = json.loads(self.config.read_text())
        change(content["models"])
        self.config.write_text(json.dumps(content))

    def left(self) -> dict[str, bytes]:
        """Every file below the models' folder except the record."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and path.name != LOCK]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}

    def lock(self) -> Any:
        """The record's models."""
        return json.loads((self.folder / LOCK).read_text())["models"]


def _repository(root: Path, name: str, gated: bool) -> None:
    for file, body in FILES.items():
        (root / name / file).parent.mkdir(parents=True, exist_ok=True)
        (root / name / file).write_bytes(body)
    # null: the server states the SHA-256 of the bytes that it has
    lfs = {"model.bin": None, "deep/er/more.npz": None}
    (root / name / ".repo.json").write_text(json.dumps({"commit": COMMIT, "gated": gated, "lfs": lfs}))


def _models(url: str) -> dict[str, object]:
    common = {"stage": "transcribe", "what": "a model", "licence": "MIT"}
    hub = {**common, "revision": COMMIT, "files": {name: facts(body) for name, body in FILES.items()}}
    never = {"transcribe.engine": ["never"]}
    return {
        "open": {**hub, "repo": "someone/open", "folder": "open", "when": {"transcribe.engine": ["auto"]}},
        "closed": {**hub, "repo": "secret/voices", "folder": "closed", "gated": [PAGE], "when": never},
        "plain": {
            **common, "url": f"{url}/plain", "folder": "", "when": {"vad.engine": ["silero"]},
            "files": {"net.onnx": facts(BIG)},
        },
        "shipped": {
            **common, "package": "speechmos/dnsmos_models", "folder": "", "when": never,
            "files": {"sig_bak_ovr.onnx": {}},
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    root = tmp_path_factory.mktemp("site")
    _repository(root, "someone/open", gated=False)
    _repository(root, "secret/voices", gated=True)
    (root / "plain").mkdir()
    (root / "plain" / "net.onnx").write_bytes(BIG)
    with Process("tests.servers.models", ["--root", str(root)]) as process:
        yield process.url, root
    import huggingface_hub

    huggingface_hub.close_session()


@pytest.fixture
def place(server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    url, root = server
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**json.loads(DEFAULT.read_text()), "models": _models(url)}))
    monkeypatch.setenv("HF_ENDPOINT", url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "nobody"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    found = Place(url, root, tmp_path / "models", config)
    found.order(clear=True)
    # No waiting between attempts, but as many of them.
    with stamina.set_testing(True, attempts=4, cap=True):
        yield found


# -- what is right -----------------------------------------------------------------------------------------------------


def test_files_of_the_hub_and_of_an_address_arrive_whole(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.run("--models", "open", "plain") == 0
    assert place.left() == {**{f"open/{name}": body for name, body in FILES.items()}, "net.onnx": BIG}
    assert place.lock()["open"] == {
        "revision": COMMIT, "files": {name: facts(body) for name, body in FILES.items()},
    }  # fmt: skip
    states = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert states == [["open", "fetched"], ["plain", "fetched"]]


def test_second_run_asks_nobody(place: Place) -> None:
    assert place.run("--models", "open", "plain") == 0
    place.order(clear=True)
    assert place.run("--models", "open", "plain") == 0
    assert place.run("--models", "open", "plain", "--check") == 0
    assert place.requests() == []


def test_preset_takes_what_it_needs_and_no_more(place: Place) -> None:
    assert place.run("--preset", "lite") == 0
    assert set(place.left()) == {"net.onnx", *(f"open/{name}" for name in FILES)}
    assert not any("secret" in request for request in place.requests())


def test_weights_are_the_last_file_to_come(place: Place) -> None:
    place.run("--models", "open")
    assert [request.split("/")[-1] for request in place.requests()][-1] == "model.bin"


def test_what_a_package_carries_is_not_fetched(place: Place) -> None:
    assert place.run("--models", "shipped") == 0
    assert place.requests() == []
    assert place.left() == {}


def test_only_the_damaged_file_is_fetched_again(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.run("--models", "open")
    altered = place.folder / "open" / "model.bin"
    altered.write_bytes(BIG[:-1] + b"!")
    capsys.readouterr()
    assert place.run("--models", "open", "--check") == 69
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["open", "damaged"]
    assert shown[1].strip().startswith(f"{altered} is not the published file")
    place.order(clear=True)
    assert place.run("--models", "open") == 0
    assert altered.read_bytes() == BIG
    assert {request.split("/")[-1] for request in place.requests()} == {"model.bin"}


def test_check_names_every_missing_file_and_fetches_none(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.run("--check", "--json") == 69
    rows = {row["model"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["open"]["state"] == "missing"
    assert len(rows["open"]["sentences"]) == len(FILES)
    assert rows["shipped"]["state"] == "there"
    assert place.requests() == []
    assert not place.folder.exists()


# -- what nobody has pinned yet ----------------------------------------------------------------------------------------


@pytest.fixture
def unpinned(place: Place) -> Place:
    """``open`` without a revision and without checksums."""

    def change(models: dict[str, Any]) -> None:
        models["open"]["files"] = {name: {} for name in FILES}
        del models["open"]["revision"]

    place.registry(change)
    return place


def test_first_fetch_pins(unpinned: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert unpinned.run("--list", "--models", "open") == 0
    assert "not pinned yet: first fetch pins it" in capsys.readouterr().out
    assert unpinned.run("--models", "open") == 0
    assert unpinned.lock()["open"]["revision"] == COMMIT
    assert unpinned.lock()["open"]["files"]["config.json"] == facts(FILES["config.json"])
    unpinned.order(clear=True)
    (unpinned.folder / "open" / "config.json").write_bytes(b'{"layers": 3}')
    assert unpinned.run("--models", "open", "--check") == 69
    assert unpinned.run("--models", "open") == 0
    # The branch may have moved on meanwhile: it is the recorded commit that is asked for.
    assert all(f"/resolve/{COMMIT}/" in request for request in unpinned.requests())


def test_a_file_nobody_vouches_for_is_fetched_anew(unpinned: Place) -> None:
    (unpinned.folder / "open").mkdir(parents=True)
    (unpinned.folder / "open" / "config.json").write_bytes(b"from somewhere")
    assert unpinned.run("--models", "open") == 0
    assert unpinned.left()["open/config.json"] == FILES["config.json"]


def test_the_checksum_that_the_hub_states_is_held_against_the_bytes(unpinned: Place) -> None:
    unpinned.order(where="storage", fault="altered", count=9)
    assert unpinned.run("--models", "open") == 69
    assert set(unpinned.left()) <= {"open/config.json"}


def test_an_unreadable_record_is_named(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.folder.mkdir()
    (place.folder / LOCK).write_text("{")
    assert place.run("--models", "open") == 78
    assert "delete it and fetch again" in capsys.readouterr().err


# -- what is wrong -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["altered", "short"])
@pytest.mark.parametrize(
    ("model", "where", "file"), [("open", "storage", "open/model.bin"), ("plain", "plain", "net.onnx")]
)
def test_wrong_bytes_are_refused(
    place: Place, model: str, where: str, file: str, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place.order(where=where, fault=fault, count=9)
    assert place.run("--models", model) == 69
    assert file not in place.left()
    assert not list(place.folder.rglob("*.part"))
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == [model, "damaged"]
    assert "nothing was kept" in shown[1]


def test_wrong_bytes_leave_the_file_that_was_there(place: Place) -> None:
    place.run("--models", "plain")
    (place.folder / "net.onnx").write_bytes(b"half a file")
    place.order(where="plain", fault="altered", count=9)
    assert place.run("--models", "plain") == 69
    assert place.left()["net.onnx"] == b"half a file"


def test_other_bytes_on_offer_are_not_even_fetched(place: Place) -> None:
    def change(models: dict[str, Any]) -> None:
        models["open"]["files"]["model.bin"]["sha256"] = sha(b"what it once was")

    place.registry(change)
    assert place.run("--models", "open") == 69
    assert "GET /storage/someone/open/model.bin" not in place.requests()


@pytest.mark.parametrize("fault", ["cut", "drop", "503", "429"])
@pytest.mark.parametrize(("model", "where"), [("open", "storage"), ("open", "head"), ("plain", "plain")])
def test_network_trouble_is_tried_again(place: Place, model: str, where: str, fault: str) -> None:
    place.order(where=where, fault=fault, count=2)
    assert place.run("--models", model) == 0
    assert any(body == BIG for body in place.left().values())


@pytest.mark.parametrize("fault", ["drop", "503"])
def test_lasting_network_trouble_is_75_and_the_rest_is_fetched(
    place: Place, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place.order(where="head", fault=fault, count=99)
    assert place.run("--models", "open", "plain") == 75
    assert place.left() == {"net.onnx": BIG}
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["open", "network"]
    assert shown[1].strip().startswith("someone/open")
    assert shown[1].endswith("try again later")


def test_a_file_that_never_comes_whole_is_not_there(place: Place) -> None:
    place.order(where="storage", fault="cut", count=99)
    assert place.run("--models", "open") == 75
    assert place.left() == {"open/config.json": FILES["config.json"]}


def test_a_run_that_is_killed_leaves_nothing_that_looks_whole(place: Place) -> None:
    def change(models: dict[str, Any]) -> None:
        models["plain"]["url"] = f"http://127.0.0.1:{listener.getsockname()[1]}"

    command = [sys.executable, "cache_models.py", "--config", str(place.config), "--to", str(place.folder)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place.registry(change)
        child = subprocess.Popen([*command, "--models", "plain"], cwd=ROOT, stderr=subprocess.DEVNULL)
        try:
            listener.settimeout(30)
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                # All but the last byte, which never comes.
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG) + BIG[:-1])
                deadline = time.monotonic() + 30
                while not list(place.folder.glob("*.part")) and time.monotonic() < deadline:
                    time.sleep(0.01)
                child.kill()
                child.wait()
        finally:
            child.kill()
            child.wait()
    assert set(place.left()) == {"net.onnx.part"}
    place.registry(lambda models: models["plain"].update(url=f"{place.url}/plain"))
    assert place.run("--models", "plain") == 0
    assert place.left() == {"net.onnx": BIG}


def test_a_server_that_is_not_there(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert place.run("--models", "open") == 75
    assert place.left() == {}


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (None, f"secret/voices is gated: sign in, accept the conditions on {PAGE}, then set HF_TOKEN"),
        ("hf_made_up_by_somebody", "the Hub does not know HF_TOKEN"),
        (STRANGER, f"the owner of HF_TOKEN may not read secret/voices: accept the conditions on {PAGE}"),
    ],
    ids=["no token", "unknown token", "conditions not accepted"],
)
def test_gated(
    place: Place, token: str | None, words: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    assert place.run("--models", "closed", "plain") == 69
    shown = capfd.readouterr()
    assert shown.out.splitlines()[0].split() == ["closed", "gated"]
    assert words in shown.out
    assert token is None or token not in shown.out + shown.err
    assert place.left() == {"net.onnx": BIG}  # the rest is fetched all the same


def test_a_token_that_may_read_gets_gated_files(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", READER)
    # The storage answers 400 to a request that carries the token, so this also shows that it stays with the Hub.
    assert place.run("--models", "closed") == 0
    assert place.left() == {f"closed/{name}": body for name, body in FILES.items()}


def test_gone_files_are_named(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    def change(models: dict[str, Any]) -> None:
        models["open"]["revision"] = "ab" * 20
        models["plain"]["files"] = {"gone.onnx": {}}

    place.registry(change)
    assert place.run("--models", "open", "plain") == 69
    shown = capsys.readouterr().out
    assert "someone/open has no config.json as pinned (answer 404)" in shown
    assert f"there is nothing at {place.url}/plain/gone.onnx (answer 404)" in shown


def test_a_missing_package_is_named(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    def change(models: dict[str, Any]) -> None:
        models["shipped"]["package"] = "not_on_this_machine/models"

    place.registry(change)
    assert place.run("--models", "shipped") == 69
    assert "pip install -c requirements.txt not-on-this-machine" in capsys.readouterr().out


def test_a_folder_that_cannot_be_made(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    (place.folder.parent / "file").write_text("")
    assert place.run("--models", "open", "--to", str(place.folder.parent / "file" / "models")) == 78
    assert "cannot be used: Not a directory" in capsys.readouterr().err


def test_a_place_that_cannot_be_written(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.folder.mkdir()
    (place.folder / "open").write_text("a file where the folder belongs")
    assert place.run("--models", "open", "plain") == 69
    shown = capsys.readouterr().out
    assert "cannot be written" in shown
    assert (place.folder / "net.onnx").read_bytes() == BIG


def test_two_runs_at_once(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.folder.mkdir()
    handle = os.open(place.folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert place.run("--models", "open") == 75
    finally:
        os.close(handle)
    assert "another cache_models.py is at work" in capsys.readouterr().err
    assert place.run("--models", "open") == 0


# -- as a person meets it ----------------------------------------------------------------------------------------------


def test_list_says_where_from_for_whom_and_what_to_accept(capsys: pytest.CaptureFixture[str]) -> None:
    assert cache_models.main(["--list", "--json"]) == 0
    rows = {row["model"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["segmentation-3.0"]["gated"] == ["https://huggingface.co/pyannote/segmentation-3.0"]
    assert rows["segmentation-3.0"]["presets"] == ["emilia", "emilia-events"]
    assert rows["silero-vad"]["presets"] == ["lite", "emilia", "emilia-community-1", "emilia-events"]
    assert rows["community-1"]["presets"] == ["emilia-community-1"]
    assert cache_models.main(["--list"]) == 0
    shown = capsys.readouterr().out
    for row in rows.values():
        assert row["model"] in shown
        assert row["source"] in shown
        assert all(page in shown for page in row["gated"])


@pytest.mark.parametrize("arguments", [["--models", "nobody"], ["--preset", "huge"]])
def test_unknown_names(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cache_models.main(["--list", *arguments]) == 78
    assert arguments[1] in capsys.readouterr().err


def test_the_command_itself(place: Place) -> None:
    command = [sys.executable, "cache_models.py", "--config", str(place.config), "--to", str(place.folder)]
    done = subprocess.run(
        [*command, "--models", "plain", "--json"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [{"model": "plain", "state": "fetched", "sentences": []}]
    assert done.stderr == f"fetching {place.url}/plain/net.onnx (1.3 MB)\n"
