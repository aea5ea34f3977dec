"""Where models are fetched from, as its own process: model repositories as the Hub serves them, and plain addresses.

``python -m tests.servers.models --root DIR`` prints its port. ``DIR/<owner>/<name>/`` holds the files of a repository
and ``.repo.json`` (``commit``, ``gated``, ``lfs``: the large ones); ``DIR/plain/`` what plain addresses give. As on the
Hub, large files are stored elsewhere (another origin, which no token may reach) and their SHA-256 is in the headers of
the redirect. ``POST /control`` arms a fault, ``{"where": "head"|"storage"|"plain", "fault": NAME, "count": N}`` with NAME
a status, ``drop`` (no answer), ``cut`` (the connection ends in the middle), ``short`` (half the file, as if it were
whole) or ``altered`` (one byte is another); ``GET /control`` lists the requests so far.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from tests.servers.wire import Answer, Request, main

READER = "hf_may_read_gated_models"
STRANGER = "hf_has_not_accepted_anything"


class Site:
    """The repositories below ``root``, the armed faults and what was asked."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._faults: list[dict[str, Any]] = []
        self._requests: list[str] = []

    def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        if request.path == "/control":
            return self._control(request)
        self._requests.append(f"{request.method} {request.path}")
        parts = request.path.strip("/").split("/")
        if parts[0] == "storage":
            return self._storage(request, "/".join(parts[1:3]), "/".join(parts[3:]))
        if parts[0] == "plain":
            return self._meet("plain", self._body(self._root / request.path.strip("/")))
        if parts[2:3] == ["resolve"]:
            return self._meet("head", self._resolve(request, "/".join(parts[:2]), parts[3], "/".join(parts[4:])))
        return Answer(404)

    def _control(self, request: Request) -> Answer:
        if request.method == "GET":
            return Answer(body=json.dumps(self._requests).encode())
        order = json.loads(request.body)
        self._faults = [] if order.get("clear") else [*self._faults, {"count": 1, **order}]
        self._requests = [] if order.get("clear") else self._requests
        return Answer()

    def _meet(self, where: str, answer: Answer) -> Answer:
        """``answer``, through the fault that is armed for it."""
        fault = next((one for one in self._faults if one["where"] == where and one["count"] > 0), None)
        if not fault:
            return answer
        fault["count"] -= 1
        word, half = fault["fault"], len(answer.body) // 2
        if word.isdigit():
            return Answer(int(word))
        if word == "drop":
            answer.dropped = True
        elif word == "cut":
            answer.sent = half
        elif word == "short":
            answer.body = answer.body[:half]
        elif word == "altered":
            answer.body = answer.body[:half] + bytes([answer.body[half] ^ 1]) + answer.body[half + 1 :]
        return answer

    def _body(self, file: Path) -> Answer:
        return Answer(body=file.read_bytes()) if file.is_file() else Answer(404)

    def _resolve(self, request: Request, repo: str, revision: str, name: str) -> Answer:
        facts = json.loads((self._root / repo / ".repo.json").read_text())
        if refusal := _refusal(request, facts["gated"]):
            return refusal
        if revision not in ("main", facts["commit"]):
            return Answer(404, headers={"X-Error-Code": "RevisionNotFound"})
        file = self._root / repo / name
        if not file.is_file():
            return Answer(404, headers={"X-Error-Code": "EntryNotFound"})
        body = file.read_bytes()
        if name not in facts["lfs"]:
            tag = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
            return Answer(body=body, headers={"ETag": f'"{tag}"', "X-Repo-Commit": facts["commit"]})
        digest = facts["lfs"][name] or hashlib.sha256(body).hexdigest()
        port = request.headers["host"].rpartition(":")[2]
        headers = {
            "Location": f"http://localhost:{port}/storage/{repo}/{name}?X-Amz-Signature=c0ffee",
            "X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(body)), "X-Repo-Commit": facts["commit"],
        }  # fmt: skip
        return Answer(302, headers=headers)

    def _storage(self, request: Request, repo: str, name: str) -> Answer:
        if "authorization" in request.headers:
            return Answer(400)  # a signed link with a second credential is refused, and the token has leaked
        return self._meet("storage", self._body(self._root / repo / name))


def _refusal(request: Request, gated: bool) -> Answer | None:
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    if token and token not in (READER, STRANGER):
        return Answer(401, headers={"X-Error-Message": "Invalid credentials in Authorization header"})
    if gated and token != READER:
        return Answer(403 if token else 401, headers={"X-Error-Code": "GatedRepo"})
    return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    given, _ = parser.parse_known_args()
    main(Site(given.root), parser)
