"""``duplexforge seed``: what there is to do, put into the queues."""

from __future__ import annotations

from typing import Annotated

import typer

from duplexforge.cli_options import DryRun, Json, Language, Store, open_site, show

seed_app = typer.Typer(help="Put work into a queue; what is known already is not put twice.", no_args_is_help=True)


@seed_app.command("download")
def seed_download(
    sources: Annotated[list[str], typer.Argument(help="URLs, an RSS feed, a list, files, folders or globs.")],
    language: Language = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the sources that do not say it themselves.")] = None,
    store: Store = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Read SOURCES and queue what is new for the download role."""
    from duplexforge.downloading import plan

    site = open_site("seed", store)
    defaults = plan.Defaults(language=language, licence=licence)
    report = plan.seed(site.queue("download"), sources, defaults=defaults, dry_run=dry_run)
    show(json, report.to_json(), report.to_text())


@seed_app.command("process")
def seed_process(store: Store = None, dry_run: DryRun = False, json: Json = False) -> None:
    """Queue every downloaded episode that was not processed yet."""
    from duplexforge.processing.plan import seed_processing

    site = open_site("seed", store)
    report = seed_processing(site.store, site.layout, site.queue("processing"), dry_run=dry_run)
    show(json, report.to_json(), report.to_text())


@seed_app.command("upload")
def seed_upload(
    store: Store = None,
    keep_partial: Annotated[bool, typer.Option(help="Leave the last batch of a language until it is full.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Group processed episodes into batches and queue them for the upload role."""
    from duplexforge.config import UploadSettings
    from duplexforge.uploading.plan import seed_uploads

    site = open_site("seed", store)
    size = site.settings[UploadSettings].shard_bytes
    queue = site.queue("upload")
    report = seed_uploads(site.store, site.layout, queue, shard_bytes=size, flush=not keep_partial, dry_run=dry_run)
    show(json, report.to_json(), report.to_text())
