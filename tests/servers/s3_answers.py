"""Answers of the S3 stand-in: XML bodies, error codes, header dates, the framing of signed uploads."""

from __future__ import annotations

import hashlib
import time
from functools import lru_cache
from urllib.parse import quote
from xml.sax.saxutils import escape

from tests.servers.s3_objects import Bucket, Object, Page
from tests.servers.wire import Answer

_XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
_STATUS = {
    "AccessDenied": 403,
    "ConditionalRequestConflict": 409,
    "EntityTooSmall": 400,
    "InternalError": 500,
    "InvalidAccessKeyId": 403,
    "InvalidPart": 400,
    "InvalidRange": 416,
    "NoSuchKey": 404,
    "NoSuchUpload": 404,
    "NotImplemented": 501,
    "NotModified": 304,
    "PreconditionFailed": 412,
    "RequestTimeTooSkewed": 403,
    "SlowDown": 503,
    "TooManyRequests": 429,
    "XAmzContentSHA256Mismatch": 400,
}


def xml(root: str, inner: str, status: int = 200) -> Answer:
    """An XML answer."""
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} {_XMLNS}>{inner}</{root}>'
    return Answer(status, body.encode(), {"Content-Type": "application/xml"})


def error(code: str, message: str = "") -> Answer:
    """An S3 error by its code."""
    inner = f"<Code>{code}</Code><Message>{escape(message or code)}</Message><RequestId>0</RequestId>"
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'
    return Answer(_STATUS[code], body.encode(), {"Content-Type": "application/xml"})


def http_date(seconds: float) -> str:
    """A time as a header tells it."""
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(seconds))


@lru_cache(maxsize=1024)
def iso_date(seconds: float) -> str:
    """A time as a listing tells it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


def of_object(found: Object, wanted_range: str | None) -> Answer:
    """A whole object or the range that was asked for."""
    headers = {
        "ETag": found.etag,
        "Last-Modified": http_date(found.modified),
        "Content-Type": "application/octet-stream",
        "Accept-Ranges": "bytes",
    }
    if not wanted_range or not wanted_range.startswith("bytes="):
        return Answer(200, found.body, headers)
    first, _, last = wanted_range[6:].partition("-")
    size = len(found.body)
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last), size - 1) if first and last else size - 1
    if start >= size or end < start:
        return error("InvalidRange")
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    return Answer(206, found.body[start : end + 1], headers)


def of_listing(bucket: Bucket, page: Page, query: dict[str, str]) -> Answer:
    """A page of a ListObjectsV2."""
    name = (lambda key: quote(key)) if query.get("encoding-type") == "url" else escape
    parts = [f"<Name>b</Name><Prefix>{name(query.get('prefix', ''))}</Prefix>"]
    parts.append(f"<KeyCount>{len(page.keys) + len(page.prefixes)}</KeyCount><MaxKeys>1000</MaxKeys>")
    parts.append(f"<IsTruncated>{'false' if page.next_token is None else 'true'}</IsTruncated>")
    if query.get("encoding-type"):
        parts.append("<EncodingType>url</EncodingType>")
    if page.next_token is not None:
        parts.append(f"<NextContinuationToken>{escape(quote(page.next_token))}</NextContinuationToken>")
    for key in page.keys:
        found = bucket.objects[key]
        parts.append(
            f"<Contents><Key>{name(key)}</Key><LastModified>{iso_date(found.modified)}</LastModified>"
            f"<ETag>{escape(found.etag)}</ETag><Size>{len(found.body)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )
    parts += [f"<CommonPrefixes><Prefix>{name(prefix)}</Prefix></CommonPrefixes>" for prefix in page.prefixes]
    return xml("ListBucketResult", "".join(parts))


def unframed(headers: dict[str, str], body: bytes) -> bytes:
    """The payload of an upload that came in signed chunks, or the body itself."""
    if "aws-chunked" not in headers.get("content-encoding", ""):
        return body
    payload, at = b"", 0
    while at < len(body):
        end = body.index(b"\r\n", at)
        size = int(body[at:end].split(b";")[0], 16)
        if size == 0:
            break
        payload += body[end + 2 : end + 2 + size]
        at = end + 2 + size + 2
    return payload


def is_intact(headers: dict[str, str], body: bytes) -> bool:
    """Whether the body is the one that was signed; signed chunks and unsigned bodies carry other words there."""
    signed = headers.get("x-amz-content-sha256", "")
    return len(signed) != 64 or hashlib.sha256(body).hexdigest() == signed
