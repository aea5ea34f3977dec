"""``duplexforge status``: what is going on, once, again and again, or as metrics for others."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duplexforge.cli_options import Json, Store, open_site
from duplexforge.errors import UsageError

if TYPE_CHECKING:
    from duplexforge.roles import Site

_MOST = 86400.0


def status(
    seconds: Annotated[
        float | None,
        typer.Argument(
            min=0.2, max=_MOST, help="With --watch or --serve: seconds between two looks, instead of STATUS_SECONDS."
        ),
    ] = None,
    store: Store = None,
    json: Json = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every SECONDS until Ctrl-C; one line a look in a pipe.")
    ] = False,
    serve: Annotated[
        int | None,
        typer.Option(
            "--serve", min=0, max=65535, help="Serve /metrics, /status.json, /livez and /readyz on this port."
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Read every record too, and say where every episode and hour is.")
    ] = False,
) -> None:
    """Show queues, workers, failures, hours done, costs, and what the autokicker did."""
    _check(seconds, watch=watch, serve=serve, full=full, json=json)
    site = open_site("status", store, probe=False)
    if serve is not None:
        _serve(site, serve, seconds)
    elif watch:
        _watch(site, seconds, as_json=json)
    else:
        _once(site, full=full, as_json=json)


def _check(seconds: float | None, *, watch: bool, serve: int | None, full: bool, json: bool) -> None:
    if watch and serve is not None:
        raise UsageError("--watch shows it here, --serve to others: one at a time")
    if full and (watch or serve is not None):
        raise UsageError(
            "--full reads every record, which is not to be done again and again: without --watch or --serve"
        )
    if json and serve is not None:
        raise UsageError("--serve has JSON at /status.json: leave --json away")
    if seconds is not None and not watch and serve is None:
        raise UsageError(f"{seconds:g} seconds between what? Add --watch or --serve PORT")


def _collector(site: Site) -> Any:
    from duplexforge.status.collector import Collector

    return Collector(site.store, site.layout, site.settings)


def _pause(site: Site, seconds: float | None) -> float:
    from duplexforge.config import StatusSettings

    return seconds if seconds is not None else site.settings[StatusSettings].status_seconds


def _serve(site: Site, port: int, seconds: float | None) -> None:
    from duplexforge.status.server import StatusServer
    from duplexforge.supervisor import stop_on_signals

    server = StatusServer(_collector(site), port, _pause(site, seconds))
    stop_on_signals(server.stop)
    typer.echo(f"serving /metrics and /status.json on port {server.port}", err=True)
    server.run()


def _watch(site: Site, seconds: float | None, *, as_json: bool) -> None:
    from rich.console import Console

    from duplexforge.status.watching import Watch
    from duplexforge.supervisor import stop_on_signals

    with closing(_collector(site)) as collector:
        watching = Watch(collector, _pause(site, seconds), Console(), as_json=as_json)
        stop_on_signals(watching.stop)
        watching.run()


def _once(site: Site, *, full: bool, as_json: bool) -> None:
    from rich.console import Console

    from duplexforge.status import collect, table, watching

    def account() -> tuple[dict[str, Any], Any]:
        snapshot = collect.collect(site.store, site.layout, site.queues())
        return snapshot.to_json(), table.render(snapshot)

    with closing(_collector(site)) as collector:
        watching.once(collector, Console(), account=account if full else None, as_json=as_json)
