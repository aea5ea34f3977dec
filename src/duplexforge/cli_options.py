"""What the commands share: their common options, how they reach the store, how they print."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from duplexforge.roles import Site

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Store = Annotated[
    str | None, typer.Option("--store", help="Store URL, instead of STORE_URL: file://FOLDER, s3://BUCKET.")
]
Drain = Annotated[bool, typer.Option("--drain", help="End when no task is open, instead of waiting for more.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and do nothing.")]
Port = Annotated[int | None, typer.Option("--health-port", help="Serve livez, readyz and metrics on this port.")]
Language = Annotated[str | None, typer.Option(help="Language of the sources that do not say it themselves, e.g. en.")]


def open_site(role: str, store: str | None = None, *, probe: bool = True, **flags: Any) -> Site:
    """The site of ``role``; ``flags`` are settings given on the command line."""
    from duplexforge import config, log, roles

    log.setup()
    return roles.open_site(config.load(role, store_url=store, **flags), probe=probe)


def find_site(source: str, prefix: str) -> Site | None:
    """The store that ``source`` means: a URL, or a folder that has the layout's ``prefix``; None for any other place."""
    if "://" in source:
        return open_site("status", source, probe=False)
    folder = Path(source)
    if not folder.is_dir():
        return None
    site = open_site("status", f"file://{folder.absolute()}", probe=False)
    return site if (folder / getattr(site.layout, prefix)).is_dir() else None


def show(as_json: bool, data: Any, text: str) -> None:
    """Print ``data`` as JSON, or ``text``."""
    print(jsonlib.dumps(data, indent=1, ensure_ascii=False) if as_json else text)
