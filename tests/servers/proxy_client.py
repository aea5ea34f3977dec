"""How tests start the proxy and tell it what to break."""

from __future__ import annotations

import http.client
import json
from typing import Any

from tests.servers.s3_client import Process


class Proxy(Process):
    """A proxy before the server at ``upstream``, in its own process; ``url`` is where clients are pointed."""

    def __init__(self, upstream: str) -> None:
        super().__init__("tests.servers.proxy", ["--upstream", upstream])

    def control(self, **wanted: Any) -> dict[str, Any]:
        """Tell the proxy something; what it says about itself: requests by method, faults that struck, faults armed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("POST", "/__proxy", json.dumps(wanted))
            told: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return told

    def arm(self, action: str, **fault: Any) -> None:
        """Arm a fault, see :class:`tests.servers.proxy_faults.Fault`; a name in ``match`` keeps it to one test."""
        self.control(arm={"action": action, **fault})

    def disarm(self) -> None:
        """Pass everything on again."""
        self.control(disarm=True)

    def fired(self, action: str) -> int:
        """How often faults of this kind struck so far."""
        return int(self.control()["fired"].get(action, 0))
