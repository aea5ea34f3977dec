"""The autokicker as a process of its own, against the API server stand-in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tests.servers.kube.client import KubeServer

# Nothing of the surroundings may reach the process under test.
_KEPT = ("PATH", "HOME", "LANG", "PYTHONPATH", "VIRTUAL_ENV")


def environment(kubeconfig: Path, **changes: str) -> dict[str, str]:
    """Variables of an autokicker whose times are short."""
    given = {
        "KUBECONFIG": str(kubeconfig), "TARGET_DEPLOYMENT": "emiliapipe", "INTERVAL": "2", "QUIET_SECONDS": "2",
        "ESCALATION_SECONDS": "5", "LEADER_SECONDS": "3", "CLUSTER_TIMEOUT": "3",
    }  # fmt: skip
    return {**{name: os.environ[name] for name in _KEPT if name in os.environ}, **given, **changes}


def command(folder: Path, kubeconfig: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run ``duplexforge autokick`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "duplexforge", "autokick", *arguments],
        env=environment(kubeconfig, **changes), cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


class Running:
    """A running autokicker; its log is kept."""

    def __init__(self, folder: Path, kubeconfig: Path, *arguments: str, name: str = "kicker", **changes: str) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "duplexforge", "autokick", *arguments],
                env=environment(kubeconfig, **changes), cwd=folder, stderr=sink,
            )  # fmt: skip

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=20)

    def said(self) -> str:
        """Its log so far."""
        return self.log.read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def until(check: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait until ``check`` is true; what it gave."""
    limit = time.monotonic() + seconds
    while not (found := check()):
        if time.monotonic() > limit:
            raise AssertionError(f"not so within {seconds} s")
        time.sleep(0.05)
    return found


def deployment(server: KubeServer, name: str = "emiliapipe") -> dict[str, Any]:
    """Our Deployment as the server has it."""
    return call(server, "GET", f"/apis/apps/v1/namespaces/factory/deployments/{name}")


def replicas(server: KubeServer) -> int:
    """The replicas that are wanted now."""
    return int(deployment(server)["spec"]["replicas"])


def call(
    server: KubeServer, method: str, path: str, body: Any = None, kind: str = "application/merge-patch+json"
) -> Any:
    """One request by another person, through the official client."""
    import json

    client = server.api_client()
    headers = {"Accept": "application/json", "Content-Type": kind}
    prepared = client.param_serialize(method, path, header_params=headers, body=body, auth_settings=["BearerToken"])
    answer = client.call_api(*prepared[:4]).response
    assert answer.status < 400, answer.data
    return json.loads(answer.data)
