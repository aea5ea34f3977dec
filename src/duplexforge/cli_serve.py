"""``duplexforge serve``: talk to a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duplexforge.cli_options import DryRun, Json, show

if TYPE_CHECKING:
    from duplexforge.config import ServeSettings


def serve(
    backend: Annotated[str | None, typer.Option("--backend", help="s2s or echo, instead of SCA_BACKEND.")] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="TOML file such as examples/serve.toml, instead of SCA_CONFIG."),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option("--host", help="Address to listen on: 127.0.0.1 this machine alone, 0.0.0.0 everybody."),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port, instead of 8000 or else 8080 or 8010.")
    ] = None,
    slots: Annotated[int | None, typer.Option("--slots", min=1, help="Conversations at a time.")] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Weights of the speech-to-speech model (.safetensors).")
    ] = None,
    engine: Annotated[str | None, typer.Option("--engine", help="What runs them: plain (numpy), onnx, torch.")] = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Let people talk to a model: the page at /, WebSockets, HTTP, OpenAI's Realtime events."""
    from duplexforge import config as settings
    from duplexforge import log
    from duplexforge.config import ServeSettings

    log.setup()
    found = settings.load(
        "serve",
        sca_backend=backend,
        sca_config=None if config is None else str(config),
        sca_host=host,
        sca_port=port,
        sca_slots=slots,
        sca_weights=None if weights is None else str(weights),
        sca_engine=engine,
    )[ServeSettings]
    if dry_run:
        _describe(found, as_json=json)
        return
    from duplexforge.serving import role

    role.run(found, announce=lambda line: typer.echo(line, err=True))


def _describe(found: ServeSettings, *, as_json: bool) -> None:
    from duplexforge.serving.ports import listen

    place = listen(found.sca_host, found.sca_port)
    place.socket.close()
    told = {"host": found.sca_host, "port": place.port, "taken": list(place.taken)}
    told |= {"backend": found.sca_backend, "slots": found.sca_slots, "keys": len(found.keys)}
    lines = [f"{name}: {value}" for name, value in told.items() if value != []]
    show(as_json, told, "\n".join(lines))
