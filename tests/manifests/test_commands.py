"""What the containers are told to run is what the program understands, and SIGTERM reaches it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import typer.main

from duplexforge.cli import app
from duplexforge.cli_train import train_app
from tests.manifests.kustomize import pod_specs
from tests.manifests.tree import deployments, workloads

COMMANDS = {
    tuple(container["command"])
    for one in workloads(deployments()).values()
    for spec in pod_specs(one)
    for container in [*spec.get("initContainers", ()), *spec["containers"]]
}
DOWNLOAD = ["tini", "--", "duplexforge", "download", "--health-port", "8080"]
TINI = shutil.which("tini")
_PATIENCE = 60.0


@pytest.mark.parametrize("words", sorted(COMMANDS), ids=lambda words: " ".join(words[3:]))
def test_the_program_has_the_command(words: tuple[str, ...]) -> None:
    command = typer.main.get_command(app)
    rest = list(words[3:])
    # As click itself goes down the tree; an option that is not there, or an argument too many, raises UsageError.
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    context = command.make_context("test", rest)
    if words[3:5] == ("train", "node"):
        inner, *options = context.params["command"]
        typer.main.get_command(train_app).commands[inner].make_context("test", options)  # type: ignore[attr-defined]


def test_every_role_is_run() -> None:
    services = {"seed", "download", "process", "upload", "autokick", "status"}
    assert {words[3] for words in COMMANDS} == services | {"data", "duplex", "train"}


# -- SIGTERM -------------------------------------------------------------------------------------------------------------


def local(words: list[str], port: int) -> list[str]:
    """A container's command as it can be run here: this interpreter's duplexforge, another port, no init where none is."""
    assert words[:3] == ["tini", "--", "duplexforge"]
    init = [TINI, "--"] if TINI else []
    return [*init, sys.executable, "-m", "duplexforge", *words[3:-1], str(port)]


@contextmanager
def started(command: list[str], folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process that says it is ready; whatever is left of its group is killed in the end."""
    environment = {**os.environ, "STORE_URL": f"file://{folder}/store", "DRAIN_SECONDS": "1"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until(lambda: answers(port))
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(condition: object) -> None:
    """Until ``condition()`` holds."""
    assert callable(condition)
    until = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def answers(port: int) -> bool:
    """Whether the worker says that it is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_sigterm_reaches_the_program(tmp_path: Path, free_port: int) -> None:
    with started(local(DOWNLOAD, free_port), tmp_path, free_port) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(_PATIENCE) == 0


def test_through_a_shell_and_a_pipe_it_does_not(tmp_path: Path, free_port: int) -> None:
    words = [*local(DOWNLOAD, free_port)]
    with started(["sh", "-c", f"{' '.join(words)} | tee log"], tmp_path, free_port) as process:
        process.send_signal(signal.SIGTERM)
        # The shell is gone, with a code that says nothing; the worker never heard of it.
        assert process.wait(_PATIENCE) == -signal.SIGTERM
        assert answers(free_port)
