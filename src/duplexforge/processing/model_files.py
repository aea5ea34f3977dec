"""Fetches one file of a model, from the Hub or from a plain address, so that it is either right or not there.

A file is written beside its place and moved there once its size and SHA-256 are what they must be: what the caller
pins, and what the Hub states (for large files it names the SHA-256). Refusals come as sentences for a person.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from duplexforge import log

_BLOCK = 1 << 20
_TIMEOUT = 60.0
_TOKENS = "https://huggingface.co/settings/tokens"


class Access(NamedTuple):
    """Whom to ask and in whose name: the Hub's address (None: the public one) and a token (None: nobody's)."""

    endpoint: str | None = None
    token: str | None = None


class Content(NamedTuple):
    """What a file is: SHA-256 as 64 hex digits and bytes, None where nobody said."""

    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class Offer:
    """A file as its server offers it: address, headers to ask with, what the server says it is, and the commit."""

    url: str
    content: Content = field(default_factory=Content)
    revision: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class Refused(Exception):
    """The file cannot be had; ``state`` is ``missing``, ``gated``, ``damaged`` or ``network``."""

    def __init__(self, state: str, sentence: str) -> None:
        super().__init__(log.redact(sentence))
        self.state = state


class Unreachable(Refused):
    """Nobody's fault: the same request may do later."""

    def __init__(self, place: str, what: str) -> None:
        super().__init__("network", f"{place} {what}: try again later")


def ask_hub(repo: str, name: str, revision: str, access: Access, pages: tuple[str, ...] = ()) -> Offer:
    """What the Hub says of ``name`` in ``repo``; ``pages`` are where its conditions are accepted. Raises ``Refused``."""
    import huggingface_hub

    token = access.token or False  # None would let the library look for a token of its own
    where = huggingface_hub.hf_hub_url(repo, name, revision=revision, endpoint=access.endpoint)
    with _translated(repo, name, access, pages):
        stated = huggingface_hub.get_hf_file_metadata(where, token=token, timeout=_TIMEOUT, endpoint=access.endpoint)
    # A small file's tag is git's own checksum of it.
    large = stated.etag if stated.etag and re.fullmatch("[0-9a-f]{64}", stated.etag) else None
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return Offer(where, Content(large, stated.size), stated.commit_hash or revision, headers)


@contextmanager
def _translated(repo: str, name: str, access: Access, pages: tuple[str, ...]) -> Iterator[None]:
    from huggingface_hub.errors import HfHubHTTPError

    try:
        with _network(repo):
            yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        page = " and ".join(pages) or f"https://huggingface.co/{repo}"
        if status in (408, 429) or status >= 500:
            raise Unreachable(repo, f"answered {status}") from error
        if status == 401 and access.token:
            raise Refused("gated", f"the Hub does not know HF_TOKEN: set it to one made on {_TOKENS}") from error
        if status == 401:
            cure = f"sign in, accept the conditions on {page}, then set HF_TOKEN to a token that may read it"
            raise Refused("gated", f"{repo} is gated: {cure}") from error
        if status == 403:
            cure = f"accept the conditions on {page}; a fine-grained token must be allowed to read gated repositories"
            raise Refused("gated", f"the owner of HF_TOKEN may not read {repo}: {cure}") from error
        raise Refused("missing", f"{repo} has no {name} as pinned (answer {status})") from error


@contextmanager
def _network(place: str) -> Iterator[None]:
    import httpx2
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        yield
    except (httpx2.TransportError, OfflineModeIsEnabled) as error:
        word = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Unreachable(place, f"could not be reached ({word})") from error


def download(offer: Offer, must: Content, target: Path) -> Content:
    """Fetch ``offer`` into ``target``, which is only touched once every byte is right; what was found.

    Raises ``Refused``, and OSError when the place cannot be written. The caller keeps other writers of the folder out.
    """
    if must.sha256 and offer.content.sha256 not in (None, must.sha256):
        raise Refused("damaged", f"{offer.url} offers other bytes than the registry pins: nothing was fetched")
    part = target.with_name(f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        found = _stream(offer, part, must.size or offer.content.size)
        for other in (must, offer.content):
            if other.sha256 not in (None, found.sha256) or other.size not in (None, found.size):
                seen = f"{found.size} bytes, SHA-256 {str(found.sha256)[:12]}"
                raise Refused("damaged", f"{offer.url} sent something else ({seen}): nothing was kept")
        part.replace(target)
        _settle(target.parent)
    finally:
        part.unlink(missing_ok=True)
    return found


def _stream(offer: Offer, part: Path, size: int | None) -> Content:
    import huggingface_hub

    print(f"fetching {offer.url} ({megabytes(size)})", file=sys.stderr)
    digest, count = hashlib.sha256(), 0
    with (
        _network(offer.url),
        part.open("wb") as file,
        huggingface_hub.get_session().stream(
            "GET", offer.url, headers=dict(offer.headers), follow_redirects=True, timeout=_TIMEOUT
        ) as answer,
    ):
        if answer.status_code in (404, 410):
            raise Refused("missing", f"there is nothing at {offer.url} (answer {answer.status_code})")
        # The Hub has just allowed this very file: a refusal now comes from its storage, of a link that is too old.
        if answer.status_code != 200:
            raise Unreachable(offer.url, f"answered {answer.status_code}")
        for block in answer.iter_bytes(_BLOCK):
            digest.update(block)
            count += file.write(block)
            if size is not None and count > size:
                break  # the caller compares sizes; a server that never stops must not fill the disk
        file.flush()
        os.fsync(file.fileno())
    return Content(digest.hexdigest(), count)


def _settle(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def megabytes(size: int | None) -> str:
    """``size`` bytes as a person reads them."""
    return f"{size / 1e6:,.1f} MB" if size else "size not known"
