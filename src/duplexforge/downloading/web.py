"""Plain HTTP: one streamed GET whose every failure is one of our errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from duplexforge import __version__
from duplexforge.downloading.classify import http_status, network_error
from duplexforge.downloading.guard import Guard
from duplexforge.errors import InputError

if TYPE_CHECKING:
    from requests import Response, Session

AGENT = "duplexforge"
_BLOCK = 1 << 16
_REDIRECTS = 10
PUBLIC_ONLY = Guard()


@contextmanager
def request(
    url: str,
    timeout: float,
    *,
    guard: Guard = PUBLIC_ONLY,
    proxy: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Iterator[Response]:
    """The answer to GET ``url``, its body not yet read; errors in the block are translated too.

    ``timeout`` is the longest silence in seconds. ``guard`` decides of every hop where it may lead; ``headers`` are
    added to ours. Raises InputError or RetryLater as ``classify`` says.
    """
    import requests
    from urllib3.exceptions import HTTPError

    # Compressed audio would hide its true length, by which a cut body is noticed.
    ours = {"User-Agent": f"{AGENT}/{__version__}", "Accept-Encoding": "identity", "Accept": "*/*"}
    try:
        with _session(guard, proxy) as session:
            waits = (min(timeout, 10.0), timeout)
            with session.get(url, stream=True, timeout=waits, headers={**ours, **(headers or {})}) as response:
                if response.status_code >= 400:
                    raise http_status(response.status_code, response.headers.get("Retry-After"))
                yield response
    except requests.TooManyRedirects as error:
        raise InputError("the server redirects in a circle", reason="gone") from error
    except (requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL, UnicodeError) as error:
        raise InputError(f"it leads to an address that is not fetched: {error}"[:300], reason="refused") from error
    except (requests.RequestException, HTTPError) as error:
        raise network_error(error, url) from error


@dataclass(frozen=True)
class Route:
    """How downloads leave this machine: longest silence in seconds, guard, proxy."""

    timeout: float
    guard: Guard = PUBLIC_ONLY
    proxy: str | None = None

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> AbstractContextManager[Response]:
        """As :func:`request`."""
        return request(url, self.timeout, guard=self.guard, proxy=self.proxy, headers=headers)


def _session(guard: Guard, proxy: str | None) -> Session:
    import requests

    from duplexforge.downloading.connect import GuardedAdapter

    session = requests.Session()
    session.max_redirects = _REDIRECTS
    # A proxy or a password of the environment would lead round the guard, or into a stranger's log.
    session.trust_env = False
    session.proxies = {"http": proxy, "https": proxy} if proxy else {}
    for scheme in ("http://", "https://"):
        session.mount(scheme, GuardedAdapter(guard))
    return session


def blocks(response: Response) -> Iterator[bytes]:
    """The body as it arrives, so that a dripping server is seen byte by byte. ``request`` reports an early end."""
    # read1 gives what is there; iter_content would wait for a whole block. urllib3 itself compares with Content-Length.
    while block := response.raw.read1(_BLOCK, decode_content=True):
        yield block
