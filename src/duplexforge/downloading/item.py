"""One item that was brought to this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Item:
    """A fetched file. ``extension`` is the audio extension that its name or its server claims, None when there is none.

    The rest is what the site told about it; the task's own words win.
    """

    path: Path
    extension: str | None
    title: str | None = None
    uploader: str | None = None
    licence: str | None = None
    published: str | None = None
    extractor: str | None = None
    video_id: str | None = None
    page_url: str | None = None
