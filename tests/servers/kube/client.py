"""How tests start the stand-in, reach it with the official client or a kubeconfig, and talk to its control page."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any, Self

from tests.servers.kube.kinds import Object
from tests.servers.kube.server import TOKEN
from tests.servers.kube.timeline import Timeline
from tests.servers.s3_client import Process


class KubeServer:
    """A stand-in in a process of its own."""

    def __init__(self, *, bare: bool = False) -> None:
        self._process = Process("tests.servers.kube", ["--bare"] if bare else [])
        self.url = self._process.url

    def close(self) -> None:
        """End the server."""
        self._process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def kubeconfig(self, path: Path, namespace: str = "factory") -> Path:
        """Write a kubeconfig that leads here."""
        written = {
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "test", "user": {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
        }  # fmt: skip
        path.write_text(json.dumps(written))
        return path

    def api_client(self) -> Any:
        """The official client's connection to here."""
        from kubernetes import client

        configuration = client.Configuration(host=self.url)
        configuration.api_key = {"authorization": f"Bearer {TOKEN}"}
        return client.ApiClient(configuration)

    def control(self, *tell: str, **wanted: Any) -> Any:
        """Tell the stand-in something; what it says of ``tell``, alone where that is one thing."""
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=30)
        try:
            connection.request("POST", "/__control", json.dumps({**wanted, "tell": tell or ["now"]}))
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"the control page refused {wanted}: {text.decode()}")
        told = json.loads(text)
        return told[tell[0]] if len(tell) == 1 else told

    def create(self, *things: Object) -> None:
        """Create objects as other people would."""
        self.control(create=list(things))

    def arm(self, action: str, **fault: Any) -> None:
        """Arm a fault (see ``faults``)."""
        self.control(arm={"action": action, **fault})

    def timeline(self) -> Timeline:
        """The timeline so far."""
        return Timeline.from_json(self.control("timeline"))

    def requests(self) -> list[dict[str, Any]]:
        """All requests so far, the control page's apart."""
        found: list[dict[str, Any]] = self.control("requests")
        return found
