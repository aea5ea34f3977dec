"""The command line. Every command is a few lines that call a role; heavy modules load only inside the commands.

Errors end as one sentence on standard error and the exit code of their class (``errors.py``); a traceback only with
``--debug``. Commands that read take ``--json``.
"""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duplexforge import __version__
from duplexforge.errors import DuplexforgeError, UsageError

if TYPE_CHECKING:
    from duplexforge.roles import Site

app = typer.Typer(
    name="duplexforge",
    help="From audio sources to a speech data set, on one machine or on a cluster's idle GPUs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
seed_app = typer.Typer(help="Put work into a queue; what is known already is not put twice.", no_args_is_help=True)
queue_app = typer.Typer(help="Look into the queues and put failed tasks back.", no_args_is_help=True)
app.add_typer(seed_app, name="seed")
app.add_typer(queue_app, name="queue")

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Store = Annotated[
    str | None, typer.Option("--store", help="Store URL, instead of STORE_URL: file://FOLDER, s3://BUCKET.")
]
Drain = Annotated[bool, typer.Option("--drain", help="End when no task is open, instead of waiting for more.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and do nothing.")]
Port = Annotated[int | None, typer.Option("--health-port", help="Serve livez, readyz and metrics on this port.")]
Language = Annotated[str | None, typer.Option(help="Language of the sources that do not say it themselves, e.g. en.")]


def main() -> None:
    """Entry point of the console command."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(arguments)
    except DuplexforgeError as error:
        if debug:
            raise
        _complain(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        _complain(f"{type(error).__name__}: {error}. This is a bug in duplexforge; --debug shows where.")
        sys.exit(DuplexforgeError.exit_code)


def _complain(sentence: str) -> None:
    from duplexforge.log import redact

    print(f"duplexforge: {redact(sentence)}", file=sys.stderr)


def _site(role: str, store: str | None = None, *, probe: bool = True) -> Site:
    from duplexforge import config, log, roles

    log.setup()
    return roles.open_site(config.load(role, store_url=store), probe=probe)


def _show(as_json: bool, data: Any, text: str) -> None:
    print(jsonlib.dumps(data, indent=1, ensure_ascii=False) if as_json else text)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"duplexforge {__version__}")
        raise typer.Exit


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something goes wrong.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Options of every command; ``--debug`` is taken off the command line before, so that it may stand anywhere."""


# -- the chain on one machine ------------------------------------------------------------------------------------------


@app.command()
def run(
    sources: Annotated[list[str], typer.Argument(help="URLs, an RSS feed, a list, files, folders or globs.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for everything: audio, queues, data set, report.")],
    language: Language = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the sources that do not say it themselves.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processing workers (default: one per core, up to 8).")
    ] = None,
    json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Download, process and publish SOURCES on this machine; run it again to go on where it stopped."""
    from duplexforge import local

    code = local.run(sources, out, language=language, licence=licence, workers=workers, as_json=json, dry_run=dry_run)
    raise typer.Exit(code)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for everything.")] = Path("demo-output"),
    json: Json = False,
) -> None:
    """Run the chain on the audio that comes with the repository, served by a local web server."""
    from duplexforge import demo as demonstration

    raise typer.Exit(demonstration.run(out, as_json=json))


# -- seeding -----------------------------------------------------------------------------------------------------------


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

    site = _site("seed", store)
    defaults = plan.Defaults(language=language, licence=licence)
    report = plan.seed(site.queue("download"), sources, defaults=defaults, dry_run=dry_run)
    _show(json, report.to_json(), report.to_text())


@seed_app.command("process")
def seed_process(store: Store = None, dry_run: DryRun = False, json: Json = False) -> None:
    """Queue every downloaded episode that was not processed yet."""
    from duplexforge.processing.plan import seed_processing

    site = _site("seed", store)
    report = seed_processing(site.store, site.layout, site.queue("processing"), dry_run=dry_run)
    _show(json, report.to_json(), report.to_text())


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

    site = _site("seed", store)
    size = site.settings[UploadSettings].shard_bytes
    queue = site.queue("upload")
    report = seed_uploads(site.store, site.layout, queue, shard_bytes=size, flush=not keep_partial, dry_run=dry_run)
    _show(json, report.to_json(), report.to_text())


# -- roles -------------------------------------------------------------------------------------------------------------


@app.command()
def download(store: Store = None, drain: Drain = False, health_port: Port = None) -> None:
    """Fetch queued items into the store (yt-dlp, plain audio URLs, files)."""
    from duplexforge import service

    service.work("download", _site("download", store), drain=drain, health_port=health_port)


@app.command()
def process(
    store: Store = None,
    drain: Drain = False,
    health_port: Port = None,
    child: Annotated[bool, typer.Option("--child", hidden=True)] = False,
    slot: Annotated[int, typer.Option("--slot", hidden=True)] = 0,
) -> None:
    """Turn queued episodes into segments: one worker process per GPU slot, or WORKERS_PER_GPU of them on the CPU."""
    from duplexforge import service

    site = _site("process", store)
    if child:
        service.child("process", site, drain=drain, slot=slot, health_port=health_port)
    else:
        raise typer.Exit(service.supervise("process", site, drain=drain, health_port=health_port))


@app.command()
def upload(store: Store = None, drain: Drain = False, health_port: Port = None) -> None:
    """Publish queued batches: tar shards and parquet to the Hub, or to a local folder."""
    from duplexforge import service

    service.work("upload", _site("upload", store), drain=drain, health_port=health_port)


# -- looking -----------------------------------------------------------------------------------------------------------


@app.command()
def status(store: Store = None, json: Json = False) -> None:
    """Show queues, failures, hours and where everything stands."""
    from duplexforge import local

    local.show(_site("status", store, probe=False), as_json=json)


@app.command()
def report(
    path: Annotated[Path, typer.Argument(help="HTML file to write.")] = Path("report.html"), store: Store = None
) -> None:
    """Write one HTML page about the data set: hours, speakers, scores, failures, samples to listen to."""
    from duplexforge.status import report as page

    site = _site("status", store, probe=False)
    page.build(site.store, site.layout, site.queues(), path, title="duplexforge report")
    print(path)


@app.command()
def verify(
    store: Store = None,
    repair: Annotated[list[str] | None, typer.Option(help="Build this batch again (en-000007) and replace it.")] = None,
    json: Json = False,
) -> None:
    """Compare the published data set with the ledger and the manifests, sample by sample; 65 when something is wrong."""
    from duplexforge import local

    raise typer.Exit(local.verify(_site("upload", store, probe=False), repair or [], as_json=json))


@app.command()
def doctor(store: Store = None, json: Json = False) -> None:
    """Check this machine: settings, store, ffmpeg, models; say what is wrong and how to mend it."""
    from duplexforge import doctor as checks

    raise typer.Exit(checks.run(store, as_json=json))


@app.command()
def settings(json: Json = False) -> None:
    """List every setting: variable, default, meaning."""
    from dataclasses import asdict

    from duplexforge.config import describe

    rows = describe()
    lines = [f"{' or '.join(row.names)} ({row.default or 'unset'})\n    {row.meaning}" for row in rows]
    _show(json, [asdict(row) for row in rows], "\n".join(lines))


@queue_app.command("stats")
def queue_stats(store: Store = None, json: Json = False) -> None:
    """Count the tasks of every queue by state."""
    from dataclasses import asdict

    counts = {stage: asdict(queue.stats()) for stage, queue in _site("status", store, probe=False).queues().items()}
    lines = [
        f"{stage}: " + ", ".join(f"{n} {state}" for state, n in states.items()) for stage, states in counts.items()
    ]
    _show(json, counts, "\n".join(lines))


@queue_app.command("dead")
def queue_dead(stage: str, store: Store = None, json: Json = False) -> None:
    """List the failed tasks of STAGE (download, processing, upload) with their reasons."""
    records = [record.model_dump(exclude_none=True) for record in _queue(stage, store).dead()]
    lines = [f"{r['id']}  {r['reason']}  after {r['failures']}: {r['message']}" for r in records]
    _show(json, records, "\n".join(lines) or f"no failed task in {stage}")


@queue_app.command("revive")
def queue_revive(
    stage: str,
    ids: Annotated[list[str] | None, typer.Argument(help="Task ids; none: all failed tasks of --reason.")] = None,
    reason: Annotated[str | None, typer.Option(help="Revive every failed task of this reason.")] = None,
    store: Store = None,
    dry_run: DryRun = False,
) -> None:
    """Put failed tasks of STAGE back with a clean count."""
    queue = _queue(stage, store)
    if not ids and not reason:
        raise UsageError("name task ids, or --reason WORD for all failed tasks of that reason")
    chosen = ids or [record.id for record in queue.dead() if record.reason == reason]
    done = [task_id for task_id in chosen if dry_run or queue.revive(task_id)]
    print(f"{'would revive' if dry_run else 'revived'} {len(done)} of {len(chosen)}")


@queue_app.command("sweep")
def queue_sweep(stage: str, store: Store = None) -> None:
    """Finish what crashed workers left half done in STAGE's queue."""
    print(f"mended {_queue(stage, store).sweep()}")


def _queue(stage: str, store: str | None) -> Any:
    from duplexforge.layout import STAGES

    if stage not in STAGES:
        raise UsageError(f"there is no queue {stage!r}: {', '.join(STAGES)}")
    return _site("status", store, probe=False).queue(stage)
