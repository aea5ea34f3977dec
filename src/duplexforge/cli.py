"""The command line. Every command is a few lines that call a role; heavy modules load only inside the commands.

Errors end as one sentence on standard error and the exit code of their class (``errors.py``); a traceback only with
``--debug``. Commands that read take ``--json``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from duplexforge import __version__
from duplexforge.cli_autokick import autokick
from duplexforge.cli_benchmark import benchmark_app
from duplexforge.cli_codec import codec_app
from duplexforge.cli_convert import convert_app
from duplexforge.cli_data import data_app
from duplexforge.cli_duplex import duplex_app
from duplexforge.cli_options import Drain, DryRun, Json, Language, Port, Store, open_site, show
from duplexforge.cli_publish import COMMANDS as PUBLISHING
from duplexforge.cli_queue import queue_app
from duplexforge.cli_s2s import export_onnx
from duplexforge.cli_seed import search, seed_app
from duplexforge.cli_serve import serve
from duplexforge.cli_status import status
from duplexforge.cli_train import train_app
from duplexforge.cli_voices import voices_app
from duplexforge.errors import DuplexforgeError

app = typer.Typer(
    name="duplexforge",
    help="From audio sources to a speech data set, on one machine or on a cluster's idle GPUs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(seed_app, name="seed")
app.command()(search)
app.add_typer(queue_app, name="queue")
app.add_typer(convert_app, name="convert")
app.add_typer(train_app, name="train")
train_app.command("export-onnx")(export_onnx)
app.add_typer(data_app, name="data")
app.add_typer(codec_app, name="codec")
app.add_typer(benchmark_app, name="benchmark")
app.add_typer(duplex_app, name="duplex")
app.add_typer(voices_app, name="voices")
app.command()(autokick)
app.command()(serve)
for command in PUBLISHING:
    app.command()(command)


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


# -- roles -------------------------------------------------------------------------------------------------------------


@app.command()
def download(store: Store = None, drain: Drain = False, health_port: Port = None) -> None:
    """Fetch queued items into the store (yt-dlp, plain audio URLs, files)."""
    from duplexforge import service

    service.work("download", open_site("download", store), drain=drain, health_port=health_port)


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

    site = open_site("process", store)
    if child:
        service.child("process", site, drain=drain, slot=slot, health_port=health_port)
    else:
        raise typer.Exit(service.supervise("process", site, drain=drain, health_port=health_port))


@app.command()
def upload(store: Store = None, drain: Drain = False, health_port: Port = None) -> None:
    """Publish queued batches: tar shards and parquet to the Hub, or to a local folder."""
    from duplexforge import service

    service.work("upload", open_site("upload", store), drain=drain, health_port=health_port)


# -- looking -----------------------------------------------------------------------------------------------------------


app.command()(status)


@app.command()
def report(
    path: Annotated[Path, typer.Argument(help="HTML file to write.")] = Path("report.html"), store: Store = None
) -> None:
    """Write one HTML page about the data set: hours, speakers, scores, failures, samples to listen to."""
    from duplexforge.status import report as page

    site = open_site("status", store, probe=False)
    page.build(site.store, site.layout, site.queues(), path, title="duplexforge report")
    print(path)


@app.command()
def doctor(store: Store = None, json: Json = False) -> None:
    """Check this machine: settings, store, queues, models; say what is wrong and how to mend it."""
    from duplexforge import doctor as checks

    raise typer.Exit(checks.run(store, as_json=json))


@app.command()
def settings(
    json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables that stand in the README.")] = False,
) -> None:
    """List every setting: variable, default, meaning."""
    from dataclasses import asdict

    from duplexforge import variables

    if markdown:
        print(variables.markdown())
        return
    rows = variables.describe()
    lines = [f"{' or '.join(row.names)} ({row.default or 'unset'})\n    {row.meaning}" for row in rows]
    show(json, [asdict(row) for row in rows], "\n".join(lines))
