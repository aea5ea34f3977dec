"""A real control plane for the tests: the one that KUBECONFIG leads to, or one started from KUBEBUILDER_ASSETS."""

from __future__ import annotations

import json
import os
import secrets
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

NEITHER = (
    "no control plane: set KUBECONFIG to a cluster made for tests (its nodes must have no GPUs), "
    "or KUBEBUILDER_ASSETS to a folder with etcd and kube-apiserver"
)
_START_SECONDS = 60.0


def available() -> bool:
    """Whether either variable is set."""
    return bool(os.environ.get("KUBECONFIG") or os.environ.get("KUBEBUILDER_ASSETS"))


@contextmanager
def opened(folder: Path) -> Iterator[Path]:
    """A kubeconfig for a control plane; one that is started here ends with the block."""
    if given := os.environ.get("KUBECONFIG"):
        yield Path(given)
        return
    with ExitStack() as stack:
        yield _start(Path(os.environ["KUBEBUILDER_ASSETS"]), folder, stack)


def _start(assets: Path, folder: Path, stack: ExitStack) -> Path:
    etcd, peer, port = _free_port(), _free_port(), _free_port()
    _process(stack, folder / "etcd.log", [
        assets / "etcd", f"--data-dir={folder / 'etcd'}", f"--listen-client-urls=http://127.0.0.1:{etcd}",
        f"--advertise-client-urls=http://127.0.0.1:{etcd}", f"--listen-peer-urls=http://127.0.0.1:{peer}",
    ])  # fmt: skip
    token, key = secrets.token_hex(16), folder / "accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    (folder / "tokens.csv").write_text(f"{token},tester,tester,system:masters\n")
    server = _process(stack, folder / "apiserver.log", [
        assets / "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{etcd}", f"--secure-port={port}",
        "--bind-address=127.0.0.1", f"--cert-dir={folder / 'certs'}", f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC", "--service-cluster-ip-range=10.0.0.0/24", f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}", "--service-account-issuer=https://127.0.0.1",
        # Nobody makes service accounts here, and pods are refused without.
        "--disable-admission-plugins=ServiceAccount",
    ])  # fmt: skip
    url = f"https://127.0.0.1:{port}"
    _wait(url, token, server, folder / "apiserver.log")
    return _kubeconfig(folder / "kubeconfig", url, token)


def _process(stack: ExitStack, log: Path, command: list[Path | str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        process = subprocess.Popen([str(part) for part in command], stdout=output, stderr=output)

    def end() -> None:
        process.terminate()
        process.wait(30)

    stack.callback(end)
    return process


def _wait(url: str, token: str, server: subprocess.Popen[bytes], log: Path) -> None:
    # The certificate was made a second ago by the server itself, for 127.0.0.1: there is nobody who could have signed it.
    unsigned = ssl._create_unverified_context()
    request = urllib.request.Request(f"{url}/readyz", headers={"Authorization": f"Bearer {token}"})
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, context=unsigned, timeout=5):
                return
        except (urllib.error.URLError, OSError) as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"kube-apiserver did not start: {log.read_text()[-2000:]}") from error
            time.sleep(0.2)


def _kubeconfig(path: Path, url: str, token: str) -> Path:
    path.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }))  # fmt: skip
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
