"""The commands around a published data set; the upload role itself is ``duplexforge upload``."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from duplexforge.cli_options import DryRun, Json, Store, open_site, show
from duplexforge.errors import UsageError

Out = Annotated[Path, typer.Option("--out", help="Folder for the export; a new or empty one.")]
Folder = Annotated[Path | None, typer.Argument(help="The published folder, instead of PUBLISH_DIR.")]
KeepPartial = Annotated[bool, typer.Option(help="Leave the last batch of a language until it is full.")]


class Form(StrEnum):
    """The forms of an export."""

    NEMO = "nemo"
    LHOTSE = "lhotse"


def publish(
    store: Store = None,
    keep_partial: KeepPartial = False,
    check: Annotated[
        bool, typer.Option("--verify", help="Publish nothing; compare data set, manifests and queue, as `verify` does.")
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Plan what was processed and publish it: `seed upload` and `upload --drain` in one; 65 when a batch failed."""
    from duplexforge import local, roles, service

    site = open_site("upload", store, probe=not check)
    if check:
        raise typer.Exit(local.verify(site, [], as_json=json))
    plan = roles.seed_uploads(site, flush=not keep_partial, dry_run=dry_run)
    if dry_run:
        show(json, plan.to_json(), plan.to_text())
        return
    service.work("upload", site, drain=True, health_port=None)
    raise typer.Exit(local.published(site, plan, as_json=json))


def verify(
    folder: Folder = None,
    store: Store = None,
    repair: Annotated[list[str] | None, typer.Option(help="Build this batch again (en-000007) and replace it.")] = None,
    json: Json = False,
) -> None:
    """Compare the published data set with ledger, manifests and queue, sample by sample; 65 when something is wrong."""
    from duplexforge import local

    site = open_site("upload", store, probe=False, publish_dir=str(folder) if folder else None)
    raise typer.Exit(local.verify(site, repair or [], as_json=json))


def purge(
    episode: Annotated[list[str], typer.Option("--episode", help="Id of an episode to take out; may be repeated.")],
    reason: Annotated[str | None, typer.Option(help="Why, for the record and the opt-out list.")] = None,
    delete_audio: Annotated[
        bool, typer.Option("--delete-audio", help="Delete their raw and processed audio from the store too.")
    ] = False,
    store: Store = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Take episodes out of the published data set for good, and keep them from being collected or published again."""
    from tempfile import TemporaryDirectory

    from duplexforge import roles
    from duplexforge.uploading import purge as purging

    site = open_site("upload", store, probe=False)
    with TemporaryDirectory(prefix="duplexforge-", dir=roles.scratch_folder(site.settings)) as folder:
        plan = purging.purge(
            site.store,
            site.layout,
            roles.target(site, replace=True),
            episode,
            Path(folder),
            reason=reason,
            delete_audio=delete_audio,
            dry_run=dry_run,
        )
    show(json, plan.to_json(), plan.to_text())


def export(
    form: Annotated[
        Form, typer.Argument(help="nemo: manifest.jsonl with audio; lhotse: recordings, supervisions, cuts.")
    ],
    out: Out,
    tarred: Annotated[
        bool, typer.Option("--tarred", help="NeMo only: tars of audio and manifests with shard ids.")
    ] = False,
    clean: Annotated[bool, typer.Option("--clean", help="Only segments without flags.")] = False,
    language: Annotated[str | None, typer.Option(help="Only the shards of this language, e.g. en.")] = None,
    store: Store = None,
    json: Json = False,
) -> None:
    """Write what is published in the form of another toolkit, audio included, without asking the Hub."""
    from duplexforge.uploading import exports

    if tarred and form is not Form.NEMO:
        raise UsageError("--tarred is a form of nemo")
    site = open_site("upload", store, probe=False)
    kind = "nemo-tarred" if tarred else form.value
    done = exports.export(site.store, site.layout, kind, out, language=language, clean=clean)
    show(json, done.to_json(), done.to_text())


COMMANDS: tuple[Callable[..., None], ...] = (publish, verify, purge, export)
