"""``duplexforge demo``: the main job on the audio that comes with the repository.

A web server on this machine serves the episodes and a podcast feed, so seeding reads a real feed and the download role
fetches over HTTP; the rest is ``duplexforge run``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from duplexforge import local
from duplexforge.errors import ConfigError

_AUDIO = Path(__file__).resolve().parents[2] / "examples" / "demo"
# The feed keeps its identity whatever port it is served from, so a second demo finds its episodes done.
_FEED_ID = "duplexforge-demo"


def run(out: Path, *, as_json: bool = False) -> int:
    """Serve the shipped audio and run the chain on it into ``out``; the exit code of the run."""
    truth = _AUDIO / "truth.json"
    if not truth.is_file():
        raise ConfigError(f"the demo's audio is not in {_AUDIO}: run it from a checkout of the repository")
    episodes = json.loads(truth.read_text(encoding="utf-8"))["files"]
    with _served(episodes) as feed:
        # The demo is its own public: it fetches from this machine, and nothing else that is private.
        return local.run([feed], out, language="en", as_json=as_json, allow_private_addresses="127.0.0.1")


@contextmanager
def _served(episodes: dict[str, dict[str, object]]) -> Iterator[str]:
    """Serve the folder and the feed on a free local port; yields the feed's URL."""

    class Pages(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/feed.xml":
                return super().do_GET()
            body = _feed(episodes, f"http://{self.headers['Host']}").encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/rss+xml; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return None

        def log_message(self, format: str, *args: object) -> None:
            """The demo's terminal belongs to the progress bars."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Pages, directory=str(_AUDIO)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/feed.xml"
    finally:
        server.shutdown()
        server.server_close()


def _feed(episodes: dict[str, dict[str, object]], base: str) -> str:
    items = "".join(
        f"<item><title>{escape(str(facts['title']))}</title><guid isPermaLink='false'>{escape(name)}</guid>"
        f"<enclosure url={quoteattr(f'{base}/{name}')} type='audio/mpeg' length='{(_AUDIO / name).stat().st_size}'/>"
        f"<copyright>{escape(str(facts['licence']))}</copyright></item>"
        for name, facts in episodes.items()
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<rss version="2.0" xmlns:podcast="https://podcastindex.org/namespace/1.0"><channel>'
        f"<title>duplexforge demo</title><language>en</language><podcast:guid>{_FEED_ID}</podcast:guid>{items}"
        "</channel></rss>"
    )
