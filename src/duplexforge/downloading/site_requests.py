"""yt-dlp with one way to the network: a request handler whose connections the guard makes.

yt-dlp chooses among request handlers; ours is the only one it is given, so nothing it fetches can take another way. It
is loaded where a download begins, as it loads all of yt-dlp.
"""

from __future__ import annotations

from typing import Any

import yt_dlp
from requests import PreparedRequest, Response
from urllib3.util.retry import Retry
from yt_dlp.networking._requests import RequestsHTTPAdapter, RequestsRH
from yt_dlp.networking.exceptions import RequestError
from yt_dlp.postprocessor.ffmpeg import FFmpegPostProcessor

from duplexforge.downloading.connect import check_hop, guarded_pools
from duplexforge.downloading.guard import Guard
from duplexforge.errors import DuplexforgeError


def downloader(options: dict[str, Any], guard: Guard, refusals: list[DuplexforgeError]) -> Any:
    """A ``YoutubeDL`` all of whose requests ``guard`` judges; what it refused is added to ``refusals``."""

    class Adapter(RequestsHTTPAdapter):  # type: ignore[misc]
        def init_poolmanager(self, *args: Any, **settings: Any) -> None:
            super().init_poolmanager(*args, **settings)
            self.poolmanager.pool_classes_by_scheme = guarded_pools(guard)

        def send(self, request: PreparedRequest, *args: Any, **settings: Any) -> Response:
            check_hop(guard, request.url or "", settings.get("proxies"))
            answer: Response = super().send(request, *args, **settings)
            return answer

    # yt-dlp asks for this ending of the name.
    class GuardedRH(RequestsRH):  # type: ignore[misc]
        def _create_instance(self, cookiejar: Any, legacy_ssl_support: Any = None) -> Any:
            session = super()._create_instance(cookiejar, legacy_ssl_support)
            context = self._make_sslcontext(legacy_ssl_support=legacy_ssl_support)
            for scheme in list(session.adapters):
                session.mount(scheme, Adapter(ssl_context=context, max_retries=Retry(False)))
            return session

        def _send(self, request: Any) -> Any:
            try:
                return super()._send(request)
            except DuplexforgeError as error:
                # Any other class would be taken for a fault of the handler, and its reason would be lost.
                refusals.append(error)
                raise RequestError(str(error), cause=error) from error

    class Guarded(yt_dlp.YoutubeDL):  # type: ignore[misc]
        def build_request_director(self, handlers: Any, preferences: Any = None) -> Any:  # noqa: ARG002
            return super().build_request_director([GuardedRH])

    # Without a downloader at hand yt-dlp asks this variable instead of its options where ffmpeg is.
    FFmpegPostProcessor._ffmpeg_location.set(options.get("ffmpeg_location"))
    return Guarded(options)
