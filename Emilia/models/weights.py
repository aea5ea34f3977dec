"""Where weight files lie, and what they are: every engine finds its files and names their version through here."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["FOLDER", "fingerprint", "resolve"]

FOLDER = Path(__file__).parent
"""The folder that relative names in the configuration are looked for in."""


def resolve(name: str) -> Path:
    """The file or folder that an option names; an absolute path is taken as it is. It need not exist."""
    return FOLDER / name


def fingerprint(path: Path) -> str:
    """Version of a weight file as manifests state it: ``sha256:`` and twelve hex digits."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"
