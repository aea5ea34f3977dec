"""How tests and benchmarks start a server process and talk to the S3 stand-in's control page."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from duplexforge.config import StoreSettings
from tests.servers.s3 import ACCESS_KEY

ROOT = Path(__file__).resolve().parents[2]


class Process:
    """A server of ``tests.servers`` in its own process; it ends when this object is closed or this process dies."""

    def __init__(self, module: str, arguments: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.strip().isdigit():
            raise RuntimeError(f"{module} did not start")
        self.port = int(line)
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """End the server and wait for it."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class S3Server:
    """A running S3 server; ``settings`` point a store at one of its buckets."""

    url: str
    access_key: str = ACCESS_KEY

    def settings(self, bucket: str, **changes: Any) -> StoreSettings:
        """Store settings for a bucket."""
        fields = {
            "store_url": f"s3://{bucket}", "endpoint": self.url, "aws_region": "us-east-1",
            "access_key_id": self.access_key, "secret_access_key": "test-secret-key",
        }  # fmt: skip
        return StoreSettings(_env_file=None, **{**fields, **changes})

    @staticmethod
    def fresh_bucket() -> str:
        """A name nobody has used."""
        return f"b-{uuid.uuid4().hex[:12]}"

    def control(self, **wanted: Any) -> dict[str, Any]:
        """Tell the server something; what it says about itself."""
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=10)
        try:
            connection.request("POST", "/__control", json.dumps(wanted))
            told: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return told

    def load(self, bucket: str, objects: dict[str, str]) -> None:
        """Put objects into a bucket without a request each."""
        names = list(objects)
        for start in range(0, len(names), 10_000):
            self.control(bucket=bucket, load={name: objects[name] for name in names[start : start + 10_000]})

    def copy(self, bucket: str) -> str:
        """A fresh bucket with the same objects."""
        fresh = self.fresh_bucket()
        self.control(bucket=fresh, copy=bucket)
        return fresh

    def arm(self, action: str, **fault: Any) -> None:
        """Arm a fault, see :class:`tests.servers.s3_faults.Fault`; match the bucket's name to keep it to one test."""
        self.control(arm={"action": action, **fault})

    def requests(self, bucket: str) -> dict[str, int]:
        """Requests to a bucket so far, by kind."""
        counts: dict[str, int] = self.control()["requests"].get(bucket, {})
        return counts
