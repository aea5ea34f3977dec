"""moto's server in a process of its own: for the shape of answers, never to judge locking.

``python -m tests.servers.moto`` prints its port and ends when standard input closes.
"""

from __future__ import annotations

import sys
import threading

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from tests.servers.wire import exit_with_parent


def main() -> None:
    """Serve on a free port, print it, end when standard input closes."""
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    threading.Thread(target=exit_with_parent, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
