"""The store's settings as an S3 client takes them: endpoint, addressing, region, keys, checksums, patience.

The defaults work on AWS and on R2. Bodies are signed with their hash, which every S3 service checks, so no further
checksum is sent unless a bucket asks for one.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr

from duplexforge.config.groups import StoreSettings


def s3_options(settings: StoreSettings, bucket: str) -> dict[str, Any]:
    """How to reach ``bucket``: obstore's options of an S3 store."""
    endpoint, virtual = addressing(settings, bucket)
    on_aws = settings.aws_region == "auto" and not endpoint
    silence = timedelta(seconds=settings.store_timeout)
    options: dict[str, Any] = {
        "region": "us-east-1" if on_aws else settings.aws_region,
        "virtual_hosted_style_request": virtual,
        "client_options": {
            # A large object may take long; a connection that gives no byte for half a minute is dead.
            "timeout": timedelta(hours=1),
            "read_timeout": silence,
            "connect_timeout": min(silence, timedelta(seconds=10)),
            "allow_http": (endpoint or "").startswith("http://"),
        },
        # Retries are ours: a repeated conditional write must know that it is a repetition.
        "retry_config": {"max_retries": 0, "retry_timeout": timedelta(seconds=60)},
    }
    if endpoint:
        options["endpoint"] = endpoint
    if settings.s3_checksum:
        options["checksum_algorithm"] = settings.s3_checksum
    if not settings.s3_bulk_delete:
        options["disable_bulk_delete"] = True
    if settings.access_key_id and settings.secret_access_key:
        # By a callback: else the client would add the environment's AWS_SESSION_TOKEN to another service's key.
        options["credential_provider"] = partial(credentials, settings)
    return options


def addressing(settings: StoreSettings, bucket: str) -> tuple[str | None, bool]:
    """The endpoint that requests for ``bucket`` go to (None: AWS's own), and whether the bucket is part of the host."""
    # A dot in a bucket's name breaks the certificate of a virtual host.
    by_itself = not settings.endpoint and "." not in bucket
    virtual = settings.s3_addressing == "virtual" or (settings.s3_addressing == "auto" and by_itself)
    if not settings.endpoint or not virtual:
        return settings.endpoint, virtual
    parts = urlsplit(settings.endpoint)
    host = parts.netloc if parts.netloc.startswith(f"{bucket}.") else f"{bucket}.{parts.netloc}"
    return urlunsplit(parts._replace(netloc=host)), True


def credentials(settings: StoreSettings) -> dict[str, Any]:
    """The key pair, with the session token that belongs to it: AWS's never goes to R2."""
    at_r2 = (urlsplit(settings.endpoint or "").hostname or "").endswith(".r2.cloudflarestorage.com")
    token = settings.r2_session_token or (None if at_r2 else settings.aws_session_token)
    return {
        "access_key_id": _plain(settings.access_key_id),
        "secret_access_key": _plain(settings.secret_access_key),
        "token": _plain(token),
        "expires_at": None,
    }


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
