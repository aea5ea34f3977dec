"""A stand-in for the Hub, as its own process: ``python -m tests.servers.hub --root DIR`` prints its port and serves.

It speaks what the real client speaks when it creates a data set, sends large files by LFS (checking their checksum),
commits on a parent, and looks. Commits are atomic under one lock and kept in ``DIR``. Faults are armed through
``POST /control``: ``{"fault": NAME, "where": OPERATION, "count": N, "retry_after": SECONDS}`` makes the next N requests
of that operation (create, head, paths, preupload, batch, put, part, complete, verify, commit, tree) fail. NAME
is a status (``"429"``), ``drop`` (no answer, nothing done), ``lost`` (done, then no answer) or ``lost-500`` (done, then
an answer of 500), ``empty`` (an empty list) or ``full`` (an LFS batch without room for any file); ``"says"`` is the
sentence in the body, ``"headers"`` more headers. ``{"random": SEED, "share": P, "faults": {OPERATION: [NAME…]}}``
makes each request of those operations meet one of its faults with probability P; with ``"deck": {OPERATION: [NAME…]}`` the
first requests of an operation meet these, shuffled, an empty name being luck. ``{"chunk": BYTES}`` makes files above that
size go in parts. ``{"clear": true}`` ends all that. ``GET /control`` tells what happened.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import random
import sys
import threading
import urllib.parse
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ZERO = "0" * 40


@dataclass
class Commit:
    """One commit: its id, its title and the whole tree (path → oid, size, lfs)."""

    oid: str
    title: str
    files: dict[str, dict[str, Any]]


@dataclass
class Hub:
    """The state: repositories as lists of commits, blobs below ``root``, armed faults and what was asked."""

    root: Path
    token: str | None = None
    repositories: dict[str, list[Commit]] = field(default_factory=dict)
    visibility: dict[str, str] = field(default_factory=dict)
    faults: list[dict[str, Any]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    met: list[str] = field(default_factory=list)
    chunk: int | None = None
    chance: dict[str, Any] = field(default_factory=dict)
    rng: random.Random = field(default_factory=random.Random)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def blob(self, name: str, oid: str) -> Path:
        """Where the bytes of a blob of a repository lie."""
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder / oid

    def create(self, name: str, visibility: str) -> bool:
        """A new repository with the first commit every repository has; False when it is there."""
        with self.lock:
            if name in self.repositories:
                return False
            self.repositories[name] = []
            self.visibility[name] = visibility
            attributes = b"*.tar filter=lfs\n*.parquet filter=lfs\n"
            self.commit(name, "initial commit", {".gitattributes": self.regular(name, attributes)}, None)
            return True

    def regular(self, name: str, body: bytes) -> dict[str, Any]:
        """Store a small file the way git does."""
        oid = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
        self.blob(name, oid).write_bytes(body)
        return {"oid": oid, "size": len(body), "lfs": None}

    def head(self, name: str) -> Commit:
        """The last commit."""
        return self.repositories[name][-1]

    def commit(self, name: str, title: str, changes: dict[str, dict[str, Any]], parent: str | None) -> Commit | None:
        """Add a commit; None when ``parent`` is given and is not the head."""
        with self.lock:
            commits = self.repositories[name]
            if parent and commits[-1].oid != parent:
                return None
            files = {**(commits[-1].files if commits else {}), **changes}
            before = commits[-1].oid if commits else ZERO
            body = json.dumps([before, title, len(commits), files], sort_keys=True).encode()
            made = Commit(hashlib.sha1(body).hexdigest(), title, files)
            commits.append(made)
            (self.root / f"{made.oid}.json").write_text(json.dumps(asdict(made)))
            return made

    def fault(self, operation: str) -> dict[str, Any] | None:
        """The armed fault that this request meets, counted down."""
        with self.lock:
            self.requests.append(operation)
            for fault in self.faults:
                if fault["where"] == operation and fault["count"] > 0:
                    fault["count"] -= 1
                    self.met.append(f"{operation} {fault['fault']}")
                    return fault
            if name := self.luck(operation):
                self.met.append(f"{operation} {name}")
                return {"fault": name, "retry_after": 1 if name == "429" else None}
        return None

    def luck(self, operation: str) -> str:
        """The fault that chance has for this request, or an empty name."""
        if deck := self.chance.get("deck", {}).get(operation):
            return str(deck.pop())
        names = self.chance.get("faults", {}).get(operation, [])
        return self.rng.choice(names) if names and self.rng.random() < self.chance["share"] else ""

    def arm(self, order: dict[str, Any]) -> None:
        """Do what a test asks for."""
        with self.lock:
            if order.get("clear"):
                self.faults.clear()
                self.chance, self.chunk = {}, None
            elif "random" in order:
                self.chance, self.rng = order, random.Random(order["random"])
                for deck in order.get("deck", {}).values():
                    self.rng.shuffle(deck)
            elif "chunk" in order:
                self.chunk = order["chunk"]
            else:
                self.faults.append({"count": 1, "retry_after": None, **order})

    def keep(self, name: str, oid: str, body: bytes) -> bool:
        """Store an LFS object; False when it is not what its name says."""
        if hashlib.sha256(body).hexdigest() != oid:
            return False
        # Two clients may send the same file at once; neither may see the other's half.
        part = self.blob(name, f"{oid}.{uuid.uuid4().hex}")
        part.write_bytes(body)
        part.replace(self.blob(name, oid))
        return True


class Answer(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    # Headers and body in one packet: two of them wait for each other for 40 ms.
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    hub: Hub

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: tests read ``/control``."""

    # -- the ends of a request -------------------------------------------------------------------------------------

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, status: int, body: Any = None, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body if body is not None else {}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _refused(self) -> bool:
        wanted = self.hub.token
        if wanted and self.headers.get("Authorization") != f"Bearer {wanted}":
            self._send(401, {"error": "Invalid username or password."})
            return True
        return False

    def _meet(
        self,
        operation: str,
        act: Callable[[], tuple[int, Any]],
        *,
        open_to_all: bool = False,
        more: dict[str, str] | None = None,
    ) -> None:
        """Answer a request, through the fault that is armed for it."""
        fault = self.hub.fault(operation)
        word = fault["fault"] if fault else ""
        if word.isdigit():
            assert fault is not None
            wait = {"Retry-After": str(fault["retry_after"])} if fault.get("retry_after") is not None else {}
            return self._send(
                int(word), {"error": fault.get("says", f"fault {word}")}, **wait, **fault.get("headers", {})
            )
        if word == "drop":
            return self._hang_up()
        if not open_to_all and self._refused():
            return None
        if word == "empty":
            return self._send(200, [])
        status, body = act()
        if word == "full":
            error = {"error": {"code": 403, "message": "Private repository storage limit reached"}}
            body = {"objects": [{"oid": one["oid"], "size": one["size"], **error} for one in body["objects"]]}
        if word == "lost":
            return self._hang_up()
        if word == "lost-500":
            return self._send(500, {"error": "fault after success"})
        extra = {"X-Error-Code": "RepoNotFound"} if status == 404 else {}
        return self._send(status, body, **extra, **(more or {}))

    # -- routes ----------------------------------------------------------------------------------------------------

    def do_GET(self) -> None:
        path = urllib.parse.urlparse(self.path).path
        parts = path.strip("/").split("/")
        if path == "/control":
            return self._send(200, self._state())
        if parts[:2] == ["api", "datasets"] and parts[4:5] == ["revision"]:
            return self._meet("head", lambda: self._info("/".join(parts[2:4])))
        if parts[:2] == ["api", "datasets"] and parts[4:5] == ["tree"]:
            return self._meet("tree", lambda: self._tree("/".join(parts[2:4])))
        if parts[:1] == ["datasets"] and parts[3:4] == ["resolve"]:
            return self._resolve("/".join(parts[1:3]), parts[4], "/".join(parts[5:]))
        if parts[:2] == ["api", "datasets"] and len(parts) == 4:
            return self._meet("head", lambda: self._info("/".join(parts[2:4])))
        return self._send(404, {"error": path})

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        body, parts = self._body(), urllib.parse.urlparse(self.path).path.split("/")
        name, oid = "/".join(parts[2:4]), parts[4]
        if len(parts) > 5:
            tag = {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}
            self._meet("part", lambda: self._store_part(name, oid, int(parts[5]), body), open_to_all=True, more=tag)
        else:
            self._meet("put", lambda: self._store(name, oid, body), open_to_all=True)

    def do_POST(self) -> None:
        body, path = self._body(), urllib.parse.urlparse(self.path).path
        parts = path.strip("/").split("/")
        name = "/".join(parts[2:4])
        if path == "/control":
            return self._arm(json.loads(body))
        if path == "/api/repos/create":
            return self._meet("create", lambda: self._create(json.loads(body)))
        if path == "/api/validate-yaml":
            return self._send(200, {"errors": [], "warnings": []})
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._meet("batch", lambda: self._batch("/".join(parts[1:3]).removesuffix(".git"), json.loads(body)))
        if parts[:1] == ["lfs"] and parts[4:5] == ["complete"]:
            # Signed by its address, as the parts are: the client sends no token.
            order, name = json.loads(body), "/".join(parts[1:3])
            return self._meet("complete", lambda: self._complete(name, parts[3], order), open_to_all=True)
        if parts[:1] == ["lfs"]:
            return self._meet("verify", lambda: self._verify("/".join(parts[1:3]), json.loads(body)))
        if parts[4:5] == ["preupload"]:
            return self._meet("preupload", lambda: self._preupload(name, json.loads(body)))
        if parts[4:5] == ["paths-info"]:
            return self._meet("paths", lambda: self._paths(name, parts[5], urllib.parse.parse_qs(body.decode())))
        if parts[4:5] == ["commit"]:
            return self._meet("commit", lambda: self._commit(name, body))
        return self._send(404, {"error": path})

    # -- what they do ----------------------------------------------------------------------------------------------

    def _arm(self, order: dict[str, Any]) -> None:
        self.hub.arm(order)
        self._send(200)

    def _state(self) -> dict[str, Any]:
        hub = self.hub
        with hub.lock:
            commits = {name: [asdict(commit) for commit in found] for name, found in hub.repositories.items()}
            told = {"commits": commits, "visibility": hub.visibility, "requests": list(hub.requests)}
            return {**told, "met": list(hub.met)}

    def _create(self, order: dict[str, Any]) -> tuple[int, Any]:
        name = f"{order['organization']}/{order['name']}"
        new = self.hub.create(name, order.get("visibility", "public"))
        host = self.headers["Host"]
        return (200 if new else 409), {"url": f"http://{host}/datasets/{name}", "name": name}

    def _info(self, name: str) -> tuple[int, Any]:
        if name not in self.hub.repositories:
            return 404, {"error": "Repository not found"}
        return 200, {"id": name, "sha": self.hub.head(name).oid, "private": True, "tags": [], "siblings": []}

    def _entries(self, files: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": path, "size": one["size"], "oid": one["oid"]}
            | ({"lfs": {"oid": one["lfs"], "size": one["size"], "pointerSize": 130}} if one["lfs"] else {})
            for path, one in sorted(files.items())
        ]

    def _tree(self, name: str) -> tuple[int, Any]:
        return 200, self._entries(self.hub.head(name).files)

    def _paths(self, name: str, revision: str, order: dict[str, list[str]]) -> tuple[int, Any]:
        found = next(one for one in reversed(self.hub.repositories[name]) if revision in ("main", one.oid))
        return 200, self._entries({path: found.files[path] for path in order["paths"] if path in found.files})

    def _preupload(self, name: str, order: dict[str, Any]) -> tuple[int, Any]:
        if name not in self.hub.repositories:
            return 404, {"error": "Repository not found"}
        files = self.hub.head(name).files
        answers = []
        for one in order["files"]:
            large = one["path"].endswith((".tar", ".parquet", ".png"))
            there = files.get(one["path"])
            oid = (there["lfs"] or there["oid"]) if there else None
            mode = "lfs" if large else "regular"
            answers.append({"path": one["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return 200, {"files": answers}

    def _batch(self, name: str, order: dict[str, Any]) -> tuple[int, Any]:
        host, answers = self.headers["Host"], []
        for one in order["objects"]:
            answer = {"oid": one["oid"], "size": one["size"]}
            if not self.hub.blob(name, one["oid"]).exists():
                where = f"http://{host}/lfs/{name}"
                upload = {"href": f"{where}/{one['oid']}?X-Amz-Signature=c0ffee", "header": {}}
                chunk = self.hub.chunk
                if chunk and one["size"] > chunk:
                    count = -(-one["size"] // chunk)
                    urls = {f"{n:05d}": f"{where}/{one['oid']}/{n}?X-Amz-Signature=c0ffee" for n in range(1, count + 1)}
                    upload = {"href": f"{where}/{one['oid']}/complete", "header": {"chunk_size": str(chunk), **urls}}
                answer["actions"] = {"upload": upload, "verify": {"href": f"{where}/verify"}}
            answers.append(answer)
        return 200, {"transfer": "multipart" if self.hub.chunk else "basic", "objects": answers}

    def _store(self, name: str, oid: str, body: bytes) -> tuple[int, Any]:
        return (200, {}) if self.hub.keep(name, oid, body) else (400, {"error": "checksum"})

    def _store_part(self, name: str, oid: str, number: int, body: bytes) -> tuple[int, Any]:
        # As S3 does: the whole of a part or none of it, and sending it again replaces it.
        part = self.hub.blob(name, f"{oid}.part.{uuid.uuid4().hex}")
        part.write_bytes(body)
        part.replace(self.hub.blob(name, f"{oid}.part{number}"))
        return 200, {}

    def _complete(self, name: str, oid: str, order: dict[str, Any]) -> tuple[int, Any]:
        found = [self.hub.blob(name, f"{oid}.part{number}") for number in range(1, len(order["parts"]) + 1)]
        if order["oid"] != oid or not all(path.exists() for path in found):
            return 400, {"error": "parts are missing"}
        bodies = [path.read_bytes() for path in found]
        tags = [f'"{hashlib.md5(body).hexdigest()}"' for body in bodies]
        told = [(part["partNumber"], part["etag"]) for part in order["parts"]]
        if told != list(enumerate(tags, start=1)):
            return 400, {"error": "parts are not those that were sent"}
        if any(len(body) != self.hub.chunk for body in bodies[:-1]):
            return 400, {"error": "a part has the wrong size"}
        return (200, {}) if self.hub.keep(name, oid, b"".join(bodies)) else (400, {"error": "checksum"})

    def _verify(self, name: str, order: dict[str, Any]) -> tuple[int, Any]:
        blob = self.hub.blob(name, order["oid"])
        good = blob.exists() and blob.stat().st_size == order["size"]
        return (200, {}) if good else (422, {"error": "size or checksum"})

    def _commit(self, name: str, body: bytes) -> tuple[int, Any]:
        lines = [json.loads(line) for line in body.splitlines()]
        header = lines[0]["value"]
        changes: dict[str, dict[str, Any]] = {}
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                changes[value["path"]] = self.hub.regular(name, base64.b64decode(value["content"]))
            elif not self.hub.blob(name, value["oid"]).exists():
                return 400, {"error": f"no such object {value['oid']}"}
            else:
                pointer = hashlib.sha1(value["oid"].encode()).hexdigest()
                changes[value["path"]] = {"oid": pointer, "size": value["size"], "lfs": value["oid"]}
        made = self.hub.commit(name, header["summary"], changes, header.get("parentCommit"))
        if made is None:
            return 412, {"error": "The head is not the parent of this commit"}
        url = f"http://{self.headers['Host']}/datasets/{name}/commit/{made.oid}"
        return 200, {"success": True, "commitOid": made.oid, "commitUrl": url}

    def _resolve(self, name: str, revision: str, path: str) -> None:
        if self._refused():
            return
        commits = self.hub.repositories[name]
        found = next((one for one in reversed(commits) if revision in ("main", one.oid)), None)
        one = found.files.get(path) if found else None
        if found is None or one is None:
            return self._send(404, {}, X_Error_Code="EntryNotFound" if found else "RevisionNotFound")
        oid = one["lfs"] or one["oid"]
        self._send(200, self.hub.blob(name, oid).read_bytes(), ETag=f'"{oid}"', X_Repo_Commit=found.oid)


def main() -> None:
    """Serve until standard input ends."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--root", type=Path, required=True)
    options.add_argument("--token")
    options.add_argument("--port", type=int, default=0)
    given = options.parse_args()
    given.root.mkdir(parents=True, exist_ok=True)
    Answer.hub = Hub(given.root, given.token)
    server = ThreadingHTTPServer(("127.0.0.1", given.port), Answer)
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()  # whoever started this closes the pipe, or dies, to end it


if __name__ == "__main__":
    main()
