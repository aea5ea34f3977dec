"""Plain HTTP: one streamed GET whose every failure is one of our errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from duplexforge import __version__
from duplexforge.downloading.classify import http_status, network_error
from duplexforge.errors import InputError

if TYPE_CHECKING:
    from requests import Response

_BLOCK = 1 << 16
_REDIRECTS = 10


@contextmanager
def request(url: str, timeout: float) -> Iterator[Response]:
    """The answer to GET ``url``, its body not yet read; errors in the block are translated too.

    ``timeout`` is the longest silence in seconds. Raises InputError or RetryLater as ``classify`` says.
    """
    import requests
    from urllib3.exceptions import HTTPError

    try:
        with requests.Session() as session:
            session.max_redirects = _REDIRECTS
            # Compressed audio would hide its true length, by which a cut body is noticed.
            headers = {"User-Agent": f"duplexforge/{__version__}", "Accept-Encoding": "identity", "Accept": "*/*"}
            with session.get(url, stream=True, timeout=(min(timeout, 10.0), timeout), headers=headers) as response:
                if response.status_code >= 400:
                    raise http_status(response.status_code, response.headers.get("Retry-After"))
                yield response
    except requests.TooManyRedirects as error:
        raise InputError("the server redirects in a circle", reason="gone") from error
    except (requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL, UnicodeError) as error:
        raise InputError(f"it leads to an address that is not fetched: {error}"[:300], reason="refused") from error
    except (requests.RequestException, HTTPError) as error:
        raise network_error(error, url) from error


def blocks(response: Response) -> Iterator[bytes]:
    """The body as it arrives, so that a dripping server is seen byte by byte. ``request`` reports an early end."""
    # read1 gives what is there; iter_content would wait for a whole block. urllib3 itself compares with Content-Length.
    while block := response.raw.read1(_BLOCK, decode_content=True):
        yield block
