"""``duplexforge data``: the folders that models are trained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duplexforge.cli_options import Json, find_site, show

if TYPE_CHECKING:
    from duplexforge.training.preparing import Clip, Prepared
    from duplexforge.training.sources import Episodes

data_app = typer.Typer(help="Prepare folders to train on.", no_args_is_help=True)


@data_app.callback()
def folders() -> None:
    """Prepare folders to train on."""


@data_app.command()
def speech(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Folders of audio (each folder in one is a speaker), files or globs, NAME=PLACE where all of it is one "
            "speaker, or a store with processed episodes (s3://BUCKET, file://FOLDER or the folder of a run)."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    test: Annotated[
        list[str] | None, typer.Option("--test", help="Speaker to keep for the test; may be given again.")
    ] = None,
    validation: Annotated[
        list[str] | None, typer.Option("--validation", help="Speaker to keep for validation; may be given again.")
    ] = None,
    flagged: Annotated[bool, typer.Option("--flagged", help="Take segments with a flag too.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which speakers are held out, where none is named.")] = 0,
    json: Json = False,
) -> None:
    """Write a training folder: 16 kHz FLAC, split 80/10/10 by whole speaker; 65 when something was unreadable."""
    report = _prepare(sources, out, test or [], validation or [], flagged=flagged, seed=seed)
    show(json, report.to_json(), report.to_text())
    raise typer.Exit(report.exit_code)


def _prepare(
    sources: list[str], out: Path, test: list[str], validation: list[str], *, flagged: bool, seed: int
) -> Prepared:
    from duplexforge.training import preparing

    stores: list[Episodes] = []
    report = preparing.prepare(
        _clips(sources, stores, flagged=flagged),
        out,
        test=test,
        validation=validation,
        seed=seed,
        left_out=lambda: [store.left_out for store in stores],
    )
    return report


def _clips(sources: list[str], stores: list[Episodes], *, flagged: bool) -> Iterator[Clip]:
    from duplexforge.training import sources as places

    for source in sources:
        site = find_site(source, "processed")
        if site is not None:
            stores.append(places.Episodes(site.store, site.layout, flagged=flagged))
            yield from stores[-1].clips()
            continue
        speaker, _, place = source.rpartition("=")
        for path in places.found(place):
            yield from places.plain(path, speaker=speaker or None)
