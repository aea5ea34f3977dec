"""An address as it may stand in a record: without what signs it, which is a key and is stale tomorrow."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

# The signatures of S3, Google, Azure, CloudFront, Akamai and of podcast hosts that sell subscriptions.
_SIGNING = re.compile(
    r"(?i)x-(?:amz|goog|oss|cos)-.*|.*signature.*|.*token.*|.*secret.*|.*password.*|.*credential.*"
    r"|sig|sign|lsig|hmac|hdne[as]|hdnts|policy|key-pair-id|awsaccesskeyid|googleaccessid|(?:api_?)?key|auth|jwt"
    r"|expires?|se|sp|sv|sr|skoid|sktid|ske|sks|skv"
)


def public_url(url: str) -> str:
    """``url`` without user, password, fragment and the query's signing parts; as it is when there are none of them."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in query if not _SIGNING.fullmatch(name)]
    # Written anew only where something is left out: the spelling of a query may matter to its server.
    if len(kept) == len(query) and "@" not in parts.netloc:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, urlencode(kept), ""))
