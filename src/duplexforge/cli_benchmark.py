"""``duplexforge benchmark``: what this machine makes of the models, by the clock."""

from __future__ import annotations

import json as jsonlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duplexforge.cli_options import Json, show
from duplexforge.errors import InputError, UsageError

if TYPE_CHECKING:
    from duplexforge.latency.report import Report

benchmark_app = typer.Typer(help="Measure the models on this machine.", no_args_is_help=True)


@benchmark_app.callback()
def common() -> None:
    """Measure the models on this machine."""


@benchmark_app.command()
def latency(
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="Weights file, or folder of graphs for onnx (default: the shipped model)."),
    ] = None,
    random: Annotated[
        bool, typer.Option("--random", help="Draw the weights: times mean something, words do not.")
    ] = False,
    width: Annotated[int | None, typer.Option("--width", min=2, help="Of a drawn model (default 256).")] = None,
    layers: Annotated[
        int | None, typer.Option("--layers", min=1, help="Of a drawn model, in encoder and decoder each (default 4).")
    ] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", help="plain, onnx or torch (default: plain on the CPU, torch elsewhere).")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, or with torch cuda.")] = "cpu",
    question: Annotated[
        Path | None, typer.Option("--question", help="What the user says: WAV, FLAC, Ogg or MP3 (default: a tone).")
    ] = None,
    repeat: Annotated[int, typer.Option("--repeat", min=1, help="Answers that are measured.")] = 20,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Most threads of the libraries.")] = 1,
    clock: Annotated[
        str, typer.Option("--clock", help="wall: what a person waits; cpu: this process's own work, on a busy machine.")
    ] = "wall",
    out: Annotated[Path | None, typer.Option("--out", help="Folder for latency.json and latency.png.")] = None,
    json: Json = False,
) -> None:
    """Time from the user's last chunk to the first token, the first sound and the end; every step; the codec."""
    from duplexforge.latency.measuring import Asked, measure, shape_of

    if not random and (width or layers):
        raise UsageError("--width and --layers are of a drawn model: add --random")
    shape = shape_of(width or 256, layers or 4) if random else None
    chosen = engine or ("plain" if device == "cpu" else "torch")
    asked = Asked(weights, shape, chosen, device, question=question, repeat=repeat, threads=threads, clock=clock)
    if out is not None:
        _check(out)
    report = measure(asked)
    written, missed = ([], None) if out is None else _write(out, report)
    show(json, report.to_json(), "\n".join([report.to_text(), *map(str, written)]))
    if missed:
        typer.echo(missed, err=True)


def _check(out: Path) -> None:
    """Refuse a folder that cannot be made before minutes are spent, not after; nothing is left behind by looking."""
    there = next(place for place in (out, *out.parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError(f"cannot write to {out}: {there} is no folder that may be written to")


def _write(out: Path, report: Report) -> tuple[list[Path], str | None]:
    """The files written to ``out``, and what to say when there is no picture."""
    from duplexforge.latency import picture

    bodies = {"latency.json": (jsonlib.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n").encode()}
    if picture.available():
        bodies["latency.png"] = picture.draw(report)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, body in bodies.items():
            (out / name).write_bytes(body)
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error.strerror}") from error
    missed = None if picture.available() else "no latency.png: matplotlib is not installed (duplexforge[report])"
    return [out / name for name in bodies], missed
