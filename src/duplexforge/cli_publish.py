"""The commands around a published data set; the upload role itself is ``duplexforge upload``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from duplexforge.cli_options import Json, Store, open_site


def verify(
    folder: Annotated[Path | None, typer.Argument(help="The published folder, instead of PUBLISH_DIR.")] = None,
    store: Store = None,
    repair: Annotated[list[str] | None, typer.Option(help="Build this batch again (en-000007) and replace it.")] = None,
    json: Json = False,
) -> None:
    """Compare the published data set with the ledger and the manifests, sample by sample; 65 when something is wrong."""
    from duplexforge import local

    site = open_site("upload", store, probe=False, publish_dir=str(folder) if folder else None)
    raise typer.Exit(local.verify(site, repair or [], as_json=json))


COMMANDS: tuple[Callable[..., None], ...] = (verify,)
