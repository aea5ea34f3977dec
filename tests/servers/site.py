"""A web site in a process of its own: audio files, a feed, pages, and everything that goes wrong on the way to them.

``python -m tests.servers.site --root DIR`` prints its port and ends when standard input closes. Files of DIR are served
below ``/files/`` (with ranges); in ``.xml``, ``.html`` and ``.opml`` files ``{base}`` becomes the server's address. Other paths:

``/status/CODE`` that status (429 and 503 with Retry-After: 7) · ``/typed/NAME?TYPE`` a file with that content type,
none when empty · ``/chunked/NAME`` without a length · ``/gzip/NAME`` compressed · ``/redirect/NAME`` ·
``/redirect-to-file`` · ``/loop`` · ``/html.mp3`` · ``/empty.mp3`` · ``/cut/NAME`` half of what was promised ·
``/away?URL`` redirects
there · ``/endless.mp3`` never ends · ``/resume/NAME?cuts=100,50&tag=etag`` breaks off the first answer after 100 bytes,
the second after 50, with the validator ``tag`` (etag, weak, date, fresh, changing, none) and, without ``ranges=no``, takes
ranges · ``/robots.txt`` the folder's, or the status that its ``robots.status`` names ·
``/cut-chunked/NAME`` · ``/hang/NAME`` half, then silence · ``/drip.mp3`` a byte every 20 ms for ever · ``/huge.mp3``
promises a terabyte · ``/seen`` the requests so far.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import sys
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

_PAGE = b"<!DOCTYPE html><html><head><title>Nothing here</title></head><body>No audio at all.</body></html>"
# Written down, because every machine has other ideas (.ts is also a translation file).
_TYPES = {
    ".mp3": "audio/mpeg", ".m4a": "audio/mp4", ".opus": "audio/ogg", ".wav": "audio/x-wav", ".flac": "audio/flac",
    ".webm": "video/webm", ".aac": "audio/aac", ".ts": "video/mp2t", ".mkv": "video/x-matroska", ".html": "text/html",
    ".xml": "application/rss+xml", ".json": "application/json", ".m3u8": "application/vnd.apple.mpegurl",
}  # fmt: skip
_RANGE = re.compile(r"bytes=(\d+)-(\d*)$")


class Site(BaseHTTPRequestHandler):
    """One request. ``root`` and ``seen`` belong to the server and are set by ``main``."""

    protocol_version = "HTTP/1.1"
    root: Path
    seen: list[str]

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on standard error."""

    def do_GET(self) -> None:
        """Answer by the first part of the path."""
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        if path != "/seen":
            self.seen.append(f"{self.command} {self.path}")
        first, _, rest = path.lstrip("/").partition("/")
        answer = getattr(self, f"_{first.split('.')[0].replace('-', '_')}", None)
        if answer is None:
            self._send(404, b"no such page", "text/plain")
        else:
            answer(rest, parts.query)

    do_HEAD = do_GET

    # -- answers, by first part of the path ------------------------------------------------------------------------

    def _files(self, name: str, query: str) -> None:
        path = self.root / name
        if not path.is_file():
            return self._send(404, b"no such file", "text/plain")
        body = path.read_bytes()
        if path.suffix in (".xml", ".html", ".opml"):
            body = body.replace(b"{base}", f"http://{self.headers['Host']}".encode())
        kind = _TYPES.get(path.suffix, "application/octet-stream")
        match = _RANGE.match(self.headers.get("Range", ""))
        if not match:
            return self._send(200, body, kind)
        start, end = int(match[1]), min(int(match[2] or len(body) - 1), len(body) - 1)
        return self._send(206, body[start : end + 1], kind, {"Content-Range": f"bytes {start}-{end}/{len(body)}"})

    def _typed(self, name: str, query: str) -> None:
        self._send(200, (self.root / name).read_bytes(), unquote(query))

    def _gzip(self, name: str, query: str) -> None:
        body = gzip.compress((self.root / name).read_bytes())
        self._send(200, body, "audio/mpeg", {"Content-Encoding": "gzip"})

    def _chunked(self, name: str, query: str) -> None:
        self._in_chunks((self.root / name).read_bytes(), end=True)

    def _cut_chunked(self, name: str, query: str) -> None:
        body = (self.root / name).read_bytes()
        self._in_chunks(body[: len(body) // 2], end=False)

    def _cut(self, name: str, query: str) -> None:
        self._half(name)
        self.close_connection = True

    def _hang(self, name: str, query: str) -> None:
        self._half(name)
        time.sleep(30)

    def _away(self, rest: str, query: str) -> None:
        self._send(302, b"", "text/plain", {"Location": unquote(query)})

    def _endless(self, rest: str, query: str) -> None:
        self._head(200, "audio/mpeg", None)
        try:
            while True:
                self.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        except OSError:
            self.close_connection = True

    def _robots(self, rest: str, query: str) -> None:
        rules, status = self.root / "robots.txt", self.root / "robots.status"
        if rules.is_file():
            self._send(200, rules.read_bytes(), "text/plain")
        else:
            self._send(int(status.read_text()) if status.is_file() else 404, b"none", "text/plain")

    def _resume(self, name: str, query: str) -> None:
        """A file whose first answers break off, as a server that knows its version (or says so) gives it."""
        words = dict(word.split("=", 1) for word in query.split("&") if "=" in word)
        turn = sum(1 for line in self.seen if line == f"{self.command} {self.path}") - 1
        body = (self.root / name).read_bytes()
        tag = words.get("tag", "etag")
        if tag == "changing" and turn:
            body = bytes(255 - byte for byte in body)
        headers = _validators(tag, turn)
        mine = headers.get("ETag") or headers.get("Last-Modified")
        match = _RANGE.match(self.headers.get("Range", ""))
        if match and words.get("ranges") != "no" and self.headers.get("If-Range", mine) == mine:
            start = int(match[1])
            if start >= len(body):
                return self._send(416, b"", "text/plain", {"Content-Range": f"bytes */{len(body)}"})
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            status, body = 206, body[start:]
        else:
            status = 200
        cuts = [int(cut) for cut in words.get("cuts", "").split(",") if cut]
        self._head(status, "audio/mpeg", len(body), headers)
        self.wfile.write(body[: cuts[turn]] if turn < len(cuts) else body)
        self.close_connection = turn < len(cuts)
        return None

    def _drip(self, rest: str, query: str) -> None:
        self._head(200, "audio/mpeg", 10**9)
        try:
            while True:
                self.wfile.write(b"x")
                time.sleep(0.02)
        except OSError:
            self.close_connection = True

    def _huge(self, rest: str, query: str) -> None:
        self._head(200, "audio/mpeg", 10**12)
        self.close_connection = True

    def _html(self, rest: str, query: str) -> None:
        self._send(200, _PAGE, "audio/mpeg")

    def _page(self, rest: str, query: str) -> None:
        self._send(200, _PAGE, "text/html")

    def _empty(self, rest: str, query: str) -> None:
        self._send(200, b"", "audio/mpeg")

    def _status(self, code: str, query: str) -> None:
        headers = {"Retry-After": "7"} if code in ("429", "503") else {}
        self._send(int(code), b"<html><body>sorry</body></html>", "text/html", headers)

    def _redirect(self, name: str, query: str) -> None:
        self._send(302, b"", "text/plain", {"Location": f"/files/{name}"})

    def _redirect_to_file(self, rest: str, query: str) -> None:
        self._send(302, b"", "text/plain", {"Location": "file:///etc/hostname"})

    def _loop(self, rest: str, query: str) -> None:
        self._send(302, b"", "text/plain", {"Location": "/loop"})

    def _seen(self, rest: str, query: str) -> None:
        self._send(200, json.dumps(self.seen).encode(), "application/json")

    # -- sending ---------------------------------------------------------------------------------------------------

    def _head(self, status: int, kind: str, length: int | None, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
        if length is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self._head(status, kind, len(body), headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _half(self, name: str) -> None:
        body = (self.root / name).read_bytes()
        self._head(200, "audio/mpeg", len(body))
        self.wfile.write(body[: len(body) // 2])
        self.wfile.flush()

    def _in_chunks(self, body: bytes, *, end: bool) -> None:
        self._head(200, "audio/mpeg", None)
        for start in range(0, len(body), 1000):
            piece = body[start : start + 1000]
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        if end:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True


def _validators(tag: str, turn: int) -> dict[str, str]:
    """Headers that tell one version of a file from another, as strongly as ``tag`` says."""
    if tag in ("etag", "changing"):
        return {"ETag": f'"version-{turn if tag == "changing" else 0}"'}
    if tag == "weak":
        return {"ETag": 'W/"version"'}
    if tag in ("date", "fresh"):
        age = 86_400 if tag == "date" else 0
        return {"Last-Modified": formatdate(time.time() // 86_400 * 86_400 - age if age else time.time(), usegmt=True)}
    return {}


class _Server(ThreadingHTTPServer):
    """Threads that do not outlive the process, and no word about clients that hang up."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that broke off is what half of the tests are about."""


def _end_with_parent() -> None:
    while os.read(0, 1024):
        continue
    os._exit(0)


def main() -> None:
    """Serve the folder on a free port until standard input closes."""
    options = argparse.ArgumentParser()
    options.add_argument("--root", type=Path, required=True)
    Site.root, Site.seen = options.parse_args().root, []
    server = _Server(("127.0.0.1", 0), Site)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
