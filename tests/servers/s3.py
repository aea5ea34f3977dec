"""An S3-speaking server, atomic per key: ``python -m tests.servers.s3 [--port 0]``.

Every request is handled in one step of one thread, so conditional writes are exact, which a mock that checks and then
writes is not. Buckets exist as soon as they are named: a test takes a fresh one. ``/__control`` (JSON) tells requests
by bucket and kind, and takes personalities (``aws``, ``ignores_conditions``, ``r2``), denied prefixes, faults, and whole
buckets at once for benchmarks (``load``, ``copy``, ``drop``), see :class:`tests.servers.s3_client.S3Server`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter, defaultdict
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tests.servers import wire
from tests.servers.s3_answers import error, is_intact, of_listing, of_object, unframed, xml
from tests.servers.s3_faults import Fault, Faults
from tests.servers.s3_objects import Bucket
from tests.servers.wire import Answer, Request

ACCESS_KEY = "test-access-key"
_MIN_PART = 5 * 1024 * 1024


class S3:
    """The handler of all requests."""

    def __init__(self, access_key: str) -> None:
        self._access_key = access_key
        self._buckets: dict[str, Bucket] = defaultdict(Bucket)
        self._counts: dict[str, Counter[str]] = defaultdict(Counter)
        self._personality: dict[str, str] = defaultdict(lambda: "aws")
        self._denied: list[str] = []
        self._latency = 0.0
        self._faults = Faults(lambda delay, apply: asyncio.get_running_loop().call_later(delay, apply))

    def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        if request.path == "/__control":
            return self._control(request)
        name, _, key = request.path.lstrip("/").partition("/")
        kind = _kind(request, key)
        self._counts[name][kind] += 1
        if refusal := self._refusal(request, name, key):
            return refusal
        operation = getattr(self, f"_{kind}")
        answer = self._faults.around(request, lambda: operation(self._buckets[name], name, key, request))
        answer.delay = max(answer.delay, self._latency)
        return answer

    def _refusal(self, request: Request, name: str, key: str) -> Answer | None:
        credential = request.headers.get("authorization", "") + unquote(request.query.get("X-Amz-Credential", ""))
        if not credential:
            return error("AccessDenied", "anonymous requests are not allowed")
        if f"{self._access_key}/" not in credential:
            return error("InvalidAccessKeyId")
        if any(f"{name}/{key or request.query.get('prefix', '')}".startswith(prefix) for prefix in self._denied):
            return error("AccessDenied")
        return None

    # -- objects ---------------------------------------------------------------------------------------------------

    def _get(self, bucket: Bucket, name: str, key: str, request: Request) -> Answer:
        found = bucket.objects.get(key)
        if found is None:
            return error("NoSuchKey")
        if request.headers.get("if-none-match") == found.etag:
            return error("NotModified")
        if request.headers.get("if-match", found.etag) != found.etag:
            return error("PreconditionFailed")
        return of_object(found, request.headers.get("range"))

    def _head(self, bucket: Bucket, name: str, key: str, request: Request) -> Answer:
        answer = self._get(bucket, name, key, request)
        return answer if answer.status < 300 else Answer(answer.status)

    def _put(self, bucket: Bucket, name: str, key: str, request: Request) -> Answer:
        if "x-amz-copy-source" in request.headers:
            return error("NotImplemented")
        body = unframed(request.headers, request.body)
        if not is_intact(request.headers, body):
            return error("XAmzContentSHA256Mismatch")
        if refusal := self._condition(bucket, name, key, request):
            return refusal
        written = bucket.put(key, body)
        return Answer(200, headers={"ETag": written.etag})

    def _condition(self, bucket: Bucket, name: str, key: str, request: Request) -> Answer | None:
        """What refuses a write of ``key``, by the bucket's personality."""
        if self._personality[name] == "ignores_conditions":
            return None
        found, match = bucket.objects.get(key), request.headers.get("if-match")
        if request.headers.get("if-none-match") == "*" and found is not None:
            return error("PreconditionFailed")
        if match is not None and found is None:
            return error("NoSuchKey")
        if match is not None and found is not None and match != found.etag:
            return error("PreconditionFailed")
        if self._personality[name] == "r2":
            # R2 takes one write a second to the same key.
            before, bucket.written[key] = bucket.written.get(key, 0.0), time.monotonic()
            if bucket.written[key] - before < 1.0:
                bucket.written[key] = before
                return error("TooManyRequests")
        return None

    def _delete(self, bucket: Bucket, name: str, key: str, request: Request) -> Answer:
        bucket.delete(key)
        return Answer(204)

    def _bulk(self, bucket: Bucket, name: str, key: str, request: Request) -> Answer:
        keys = [node.text or "" for node in ElementTree.fromstring(request.body).iter() if node.tag.endswith("Key")]
        for one in keys:
            bucket.delete(one)
        return xml("DeleteResult", "".join(f"<Deleted><Key>{escape(one)}</Key></Deleted>" for one in keys))

    def _list(self, bucket: Bucket, name: str, key: str, request: Request) -> Answer:
        query = request.query
        after = unquote(query["continuation-token"]) if "continuation-token" in query else query.get("start-after", "")
        limit = min(int(query.get("max-keys", 1000)), 1000)
        page = bucket.page(query.get("prefix", ""), query.get("delimiter", ""), after, limit)
        return of_listing(bucket, page, query)

    def _bucket(self, bucket: Bucket, name: str, key: str, request: Request) -> Answer:
        return Answer(200)

    # -- multipart -------------------------------------------------------------------------------------------------

    def _begin(self, bucket: Bucket, name: str, key: str, request: Request) -> Answer:
        upload = bucket.begin(key)
        inner = f"<Bucket>{name}</Bucket><Key>{escape(key)}</Key><UploadId>{upload}</UploadId>"
        return xml("InitiateMultipartUploadResult", inner)

    def _part(self, bucket: Bucket, name: str, key: str, request: Request) -> Answer:
        query = request.query
        if query["uploadId"] not in bucket.uploads:
            return error("NoSuchUpload")
        body = unframed(request.headers, request.body)
        if not is_intact(request.headers, body):
            return error("XAmzContentSHA256Mismatch")
        bucket.uploads[query["uploadId"]].parts[int(query["partNumber"])] = body
        return Answer(200, headers={"ETag": f'"{query["partNumber"]}-{len(body)}"'})

    def _finish(self, bucket: Bucket, name: str, key: str, request: Request) -> Answer:
        upload = request.query["uploadId"]
        if upload not in bucket.uploads:
            return error("NoSuchUpload")
        tree = ElementTree.fromstring(request.body).iter()
        numbers = [int(node.text or 0) for node in tree if node.tag.endswith("PartNumber")]
        parts = bucket.uploads[upload].parts
        if any(number not in parts for number in numbers):
            return error("InvalidPart")
        if any(len(parts[number]) < _MIN_PART for number in numbers[:-1]):
            return error("EntityTooSmall")
        if refusal := self._condition(bucket, name, key, request):
            return refusal
        written = bucket.put(key, *bucket.assemble(upload, numbers))
        del bucket.uploads[upload]
        return xml("CompleteMultipartUploadResult", f"<Key>{escape(key)}</Key><ETag>{escape(written.etag)}</ETag>")

    def _abort(self, bucket: Bucket, name: str, key: str, request: Request) -> Answer:
        return Answer(204) if bucket.uploads.pop(request.query["uploadId"], None) else error("NoSuchUpload")

    def _uploads(self, bucket: Bucket, name: str, key: str, request: Request) -> Answer:
        inner = "".join(
            f"<Upload><Key>{escape(one.key)}</Key><UploadId>{upload}</UploadId></Upload>"
            for upload, one in bucket.uploads.items()
        )
        return xml("ListMultipartUploadsResult", f"<IsTruncated>false</IsTruncated>{inner}")

    # -- control ---------------------------------------------------------------------------------------------------

    def _control(self, request: Request) -> Answer:
        wanted: dict[str, Any] = json.loads(request.body or b"{}")
        if bucket := wanted.get("forget"):
            self._counts.pop(bucket, None)
        if "personality" in wanted:
            self._personality[wanted["bucket"]] = wanted["personality"]
        if "deny" in wanted:
            self._denied = wanted["deny"]
        if "latency" in wanted:
            self._latency = wanted["latency"]
        for key, body in wanted.get("load", {}).items():
            self._buckets[wanted["bucket"]].put(key, body.encode())
        if "copy" in wanted:
            self._buckets[wanted["bucket"]] = self._buckets[wanted["copy"]].copy()
        if "drop" in wanted:
            self._buckets.pop(wanted["drop"], None)
        if "arm" in wanted:
            self._faults.armed.append(Fault(**wanted["arm"]))
        if wanted.get("disarm"):
            self._faults.armed.clear()
        told = {
            "requests": self._counts,
            "armed": sum(fault.times for fault in self._faults.armed),
            "unfinished": {name: len(bucket.uploads) for name, bucket in self._buckets.items()},
            "clock": time.time(),
        }
        return Answer(200, json.dumps(told).encode(), {"Content-Type": "application/json"})


def _kind(request: Request, key: str) -> str:
    """The operation: the name of the method that does it, and the word under which it is counted."""
    method, query = request.method, request.target.partition("?")[2]
    if not key:
        kinds = {"POST": "bulk", "GET": "uploads" if query.startswith("uploads") else "list"}
        return kinds.get(method, "bucket")
    if method == "POST":
        return "begin" if query.startswith("uploads") else "finish"
    if "uploadId=" in query:
        return {"PUT": "part", "DELETE": "abort"}.get(method, "get")
    return method.lower()


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--access-key", default=ACCESS_KEY)
    wire.main(S3(options.parse_known_args()[0].access_key), options)
