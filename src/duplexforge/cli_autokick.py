"""``duplexforge autokick``: lend idle GPUs to a Deployment, and give them back as soon as others wait for them."""

from __future__ import annotations

from typing import Annotated

import typer

from duplexforge.cli_options import Json, Port, Store, show
from duplexforge.errors import UsageError


def autokick(
    explain: Annotated[bool, typer.Option("--explain", help="Say what it sees and would do, and do nothing.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Decide and act once, then end.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Watch and decide as ever, and only log what would be done.")
    ] = False,
    json: Json = False,
    store: Store = None,
    health_port: Port = None,
) -> None:
    """Scale TARGET_DEPLOYMENT to the GPUs that nobody else wants, and make room when somebody does."""
    from duplexforge import config, log, service
    from duplexforge.config import AutokickSettings

    if explain and (once or health_port is not None):
        raise UsageError("--explain looks once and writes nothing: it goes with --json and --store alone")
    log.setup()
    settings = config.load("autokick", store_url=store)
    wanted = settings[AutokickSettings]
    kicker = service.autokicker(settings, dry_run=dry_run or explain)
    if not explain and not once:
        service.keep_autokicking(kicker, wanted, health_port=health_port)
        return
    from duplexforge.autokicker import explain as words

    look = kicker.look() if explain else kicker.act_once()
    show(json, words.to_json(look, wanted), words.to_text(look, wanted))
