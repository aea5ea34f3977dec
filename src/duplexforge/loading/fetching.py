"""One download from a store, also in a process that was forked: there it is done by ``python -m`` this very module.

The store's client runs threads, of which none live on in a forked copy: the workers of a ``DataLoader`` would wait for
them for ever. Files are large and fetched once for a machine, so the start of a process is a small price.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from duplexforge import config, errors, log
from duplexforge.config import Settings, StoreSettings
from duplexforge.errors import DuplexforgeError, StoreError
from duplexforge.storage import Store, open_store

_forked = False


def _mark() -> None:
    global _forked
    _forked = True


os.register_at_fork(after_in_child=_mark)


def opened(settings: StoreSettings, *, create: bool = True) -> Store:
    """The store of ``settings`` in a process that nobody has set up: its keys stand in no log of it."""
    for secret in (settings.access_key_id, settings.secret_access_key):
        log.hide(secret.get_secret_value() if secret else None)
    return open_store(settings, create=create)


def fetch(settings: StoreSettings, key: str, path: Path) -> str:
    """Write an object to ``path``; its sha256. FileNotFoundError when there is none, else as the store raises."""
    return _elsewhere(settings, key, path) if _forked else opened(settings).download(key, path)


def _elsewhere(settings: StoreSettings, key: str, path: Path) -> str:
    # Keys travel in the environment, where no list of processes shows them.
    environment = config.child_environment(**config.environment_of(Settings({StoreSettings: settings})))
    command = [sys.executable, "-m", __name__, key, str(path)]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    try:
        told = json.loads(done.stdout)
    except ValueError as error:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise StoreError(f"fetching {key} ended with {done.returncode}: {log.redact(last)[:300]}") from error
    if told["kind"] == "FileNotFoundError":
        raise FileNotFoundError(key)
    if told["kind"]:
        kind: type[DuplexforgeError] = getattr(errors, told["kind"])
        raise kind(told["message"], reason=told["reason"])
    return str(told["sha256"])


def main(key: str, path: str) -> dict[str, str]:
    """Fetch with the settings of the environment; what is to be told to the one who waits."""
    try:
        settings = config.load("status")[StoreSettings]
        return {"kind": "", "sha256": fetch(settings, key, Path(path))}
    except FileNotFoundError:
        return {"kind": "FileNotFoundError"}
    except DuplexforgeError as error:
        kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__]
        return {"kind": kinds[0], "message": str(error), "reason": error.reason}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
