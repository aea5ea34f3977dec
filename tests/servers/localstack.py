"""LocalStack in its own environment: S3 and SQS as an implementation that nobody here wrote.

``python -m tests.servers.localstack`` prints its port and ends when standard input closes. The environment is
``.venv-localstack`` (``make .venv-localstack/.ready``).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-localstack" / "bin" / "python"
_STARTED_WITHIN = 120.0


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


def _start(port: int, folder: str) -> subprocess.Popen[bytes]:
    variables = {
        "PATH": os.environ.get("PATH", ""), "HOME": folder, "FILESYSTEM_ROOT": folder,
        "GATEWAY_LISTEN": f"127.0.0.1:{port}", "SERVICES": "s3,sqs", "EAGER_SERVICE_LOADING": "0",
        "DISABLE_EVENTS": "1", "SKIP_SSL_CERT_DOWNLOAD": "1", "SKIP_INFRA_DOWNLOADS": "1", "DNS_ADDRESS": "0",
        "SQS_ENDPOINT_STRATEGY": "path", "ACTIVATE_PRO": "0", "LS_LOG": "error",
    }  # fmt: skip
    return subprocess.Popen(
        [str(PYTHON), "-m", "localstack.runtime.main"],
        cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _STARTED_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_localstack/health", timeout=2).close()
            return
        except (OSError, urllib.error.URLError):
            time.sleep(0.2)
    raise SystemExit("LocalStack did not start")


def main() -> None:
    """Serve on a free port, print it, end when standard input closes."""
    if not PYTHON.exists():
        raise SystemExit("there is no .venv-localstack: make .venv-localstack/.ready")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        port = _free_port()
        process = _start(port, folder)
        try:
            _wait(process, port)
            sys.stdout.write(f"{port}\n")
            sys.stdout.flush()
            while os.read(0, 1024):
                continue
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


if __name__ == "__main__":
    main()
