"""``duplexforge train export-onnx``: a speech-to-speech model as graphs that run without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from duplexforge.cli_options import Json, show


def export_onnx(
    weights: Annotated[Path, typer.Argument(help="Weights of a speech-to-speech model (.safetensors).")],
    out: Annotated[Path, typer.Option("--out", help="New folder for the graphs.")],
    int8: Annotated[bool, typer.Option("--int8", help="Matrices in 8 bits: a quarter of the size.")] = False,
    json: Json = False,
) -> None:
    """Write a speech-to-speech model as ONNX graphs; the engine onnx runs them without torch."""
    from duplexforge import log
    from duplexforge.models.s2s.onnx_export import export
    from duplexforge.models.s2s.opening import read_weights

    log.setup()
    exported = export(read_weights(weights), out, int8=int8)
    show(json, exported.to_json(), exported.to_text())
