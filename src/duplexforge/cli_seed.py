"""``duplexforge search`` and ``seed``: what there is to do, found and put into the queues."""

from __future__ import annotations

import json as jsonlib
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from duplexforge.cli_options import DryRun, Json, Language, Store, open_site, show
from duplexforge.errors import UsageError


class _Seed(TyperGroup):
    """``seed LIST`` is ``seed download LIST``: what is no queue's name is a source."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As the base class does, with the command filled in."""
        # A misspelt queue then ends as a source that is not there, which says as much.
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["download", *args]
        return super().parse_args(ctx, args)


seed_app = typer.Typer(
    cls=_Seed, help="Put work into a queue; what is known already is not put twice.", no_args_is_help=True
)


Sources = Annotated[
    list[str],
    typer.Argument(
        help="URLs, channels, playlists, feeds, OPML, lists (- for standard input), dumps, sources.yaml, s3://, files."
    ),
]
Licence = Annotated[str | None, typer.Option(help="Licence of the sources that do not say it themselves.")]
OnlyAudio = Annotated[
    bool | None, typer.Option("--only-audio/--no-only-audio", help="Fetch the sound alone (the default), or the video.")
]
Shuffle = Annotated[bool, typer.Option("--shuffle", help="In random order.")]
ShuffleSeed = Annotated[int | None, typer.Option(help="The same number gives the same order.")]
Count = Annotated[int | None, typer.Option(min=1, help="Queue at most this many items.")]
Defer = Annotated[
    bool, typer.Option("--defer", help="Queue feeds and channels themselves; download workers read them.")
]
Round = Annotated[str | None, typer.Option(help="With --defer: a word that makes known feeds new again.")]
MaxFeeds = Annotated[int | None, typer.Option(min=1, help="Take at most this many feeds of a dump.")]
Licences = Annotated[
    str | None, typer.Option(help="Leave out what states another licence: cc-by,cc0 (default: ALLOWED_LICENCES).")
]
OptOutFiles = Annotated[
    list[Path] | None, typer.Option(help="Another list of ids, hosts and addresses that opted out.")
]
Archive = Annotated[Path | None, typer.Option(help="yt-dlp's download archive: what it holds is known.")]


@seed_app.command("download")
def seed_download(
    sources: Sources,
    language: Language = None,
    licence: Licence = None,
    only_audio: OnlyAudio = None,
    shuffle: Shuffle = False,
    shuffle_seed: ShuffleSeed = None,
    download_count: Count = None,
    defer: Defer = False,
    round: Round = None,
    max_feeds: MaxFeeds = None,
    licences: Licences = None,
    opt_out: OptOutFiles = None,
    archive: Archive = None,
    store: Store = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Read SOURCES and queue what is new for the download role."""
    from duplexforge.config import DownloadSettings, SeedSettings, StoreSettings
    from duplexforge.downloading import plan, selection
    from duplexforge.downloading import sources as reading
    from duplexforge.downloading.licences import licence_words

    site = open_site("seed", store, allowed_licences=licences)
    settings, threads = site.settings[DownloadSettings], site.settings[SeedSettings].seed_threads
    how = reading.Reading(settings, site.settings[StoreSettings], defer, round, threads, max_feeds)
    screen = selection.screen(site.store, site.layout, settings, files=opt_out or (), archive=archive)
    words = licence_words(settings.allowed_licences)
    report = plan.seed(
        site.queue("download"),
        sources,
        defaults=plan.Defaults(language=language, licence=licence, only_audio=only_audio),
        reading=how,
        choice=plan.Choice(shuffle, shuffle_seed, download_count, words, screen),
        dry_run=dry_run,
    )
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
    from duplexforge import roles

    report = roles.seed_uploads(open_site("seed", store), flush=not keep_partial, dry_run=dry_run)
    show(json, report.to_json(), report.to_text())


class Format(StrEnum):
    """How search results are written."""

    text = "text"
    json = "json"


def search(
    words: Annotated[list[str], typer.Argument(help="What to search for.")],
    min_length: Annotated[float | None, typer.Option(min=0, help="Shortest recording, in seconds.")] = None,
    max_length: Annotated[float | None, typer.Option(min=0, help="Longest recording, in seconds.")] = None,
    max_results: Annotated[int, typer.Option(min=1, max=5000, help="As many results are enough.")] = 50,
    output_format: Annotated[
        Format | None, typer.Option(help="text for people, json for `duplexforge seed` (default: text).")
    ] = None,
    save_file: Annotated[Path | None, typer.Option(help="Write the results to this file; .json is JSON.")] = None,
) -> None:
    """Search YouTube. What it finds as JSON is a source: duplexforge seed download results.json."""
    from duplexforge import config, log
    from duplexforge.downloading import search as searching
    from duplexforge.downloading.notes import SeedReport

    log.setup()
    report = SeedReport()
    query = searching.Query(" ".join(words), min_length, max_length, max_results)
    results = searching.search(query, config.load("download")[config.DownloadSettings], report)
    as_json = output_format is Format.json or (output_format is None and save_file and save_file.suffix == ".json")
    text = jsonlib.dumps(results, indent=1, ensure_ascii=False) if as_json else searching.to_text(results)
    if save_file is None:
        print(text)
    else:
        save(save_file, f"{text}\n")
    left = ", ".join(f"{count} {reason}" for reason, count in report.left_out.items())
    print(f"{len(results)} found" + (f", left out: {left}" if left else ""), file=sys.stderr)


def save(path: Path, text: str) -> None:
    """Write ``text`` to ``path``; UsageError when that cannot be done."""
    try:
        path.expanduser().write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
