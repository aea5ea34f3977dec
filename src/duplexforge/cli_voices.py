"""``duplexforge voices``: who speaks, in which moods, and what lies between two voices."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer

from duplexforge.cli_options import Json, show
from duplexforge.errors import InputError, ModelError

_SPEAKERS = "decoder.speakers.weight"
"""The voices' vectors in a model's weights, a row for each."""

voices_app = typer.Typer(help="The voices that answer, their emotions, and blends of them.", no_args_is_help=True)


@voices_app.callback()
def speakers() -> None:
    """The voices that answer, their emotions, and blends of them."""


@voices_app.command("list")
def list_voices(
    corpus: Annotated[
        Path | None, typer.Option("--corpus", help="Folder of data dialogues whose measured pitch to show.")
    ] = None,
    json: Json = False,
) -> None:
    """Show the voices, their pitch as it was measured on a corpus of dialogues, the emotions and the accents."""
    from dataclasses import asdict

    from duplexforge.dialogues.report import measured
    from duplexforge.voices import ACCENTS, EMOTIONS, VOICES

    pitch = measured(corpus)
    rows = [asdict(voice) | {"measured": pitch.get(voice.key, {})} for voice in VOICES]
    told = {"voices": rows, "emotions": list(EMOTIONS), "accents": list(ACCENTS)}
    lines = [f"{'':3}{'voice':<9}{'key':<21}{'pitch':>8}  measured, Hz: " + " ".join(EMOTIONS)]
    for voice in VOICES:
        mine = pitch.get(voice.key, {})
        heard = " ".join(f"{mine[name]:.0f}" if name in mine else "–" for name in EMOTIONS)
        lines.append(f"{voice.id:<3}{voice.name:<9}{voice.key:<21}{voice.pitch:>5.0f} Hz  {heard}")
    show(json, told, "\n".join([*lines, "accents: " + ", ".join(ACCENTS)]))


@voices_app.command()
def blend(
    one: Annotated[str, typer.Argument(help="A voice: its number, name or key.")],
    other: Annotated[str, typer.Argument(help="Another voice.")],
    weight: Annotated[float, typer.Option("--weight", min=0, max=1, help="Share of the other voice.")] = 0.5,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Weights of a speech-to-speech model (default: the one shipped).")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for the blend.")] = None,
    json: Json = False,
) -> None:
    """Blend the vectors of two voices of a model on the sphere; the result is a voice of that model."""
    import numpy as np

    from duplexforge.voices import find_voice, slerp

    first, last = find_voice(one), find_voice(other)
    table, source = _table(weights)
    vector = slerp(table[first.id], table[last.id], weight)
    likeness = {voice.name: _cosine(vector, table[voice.id]) for voice in (first, last)}
    told = {
        "voices": {first.name: 1 - weight, last.name: weight},
        "model": source,
        "likeness": likeness,
        "vector": np.round(vector, 6).tolist(),
    }
    if out is not None:
        _write(out, told)
    text = ", ".join(f"{share:.0%} {name} (cosine {likeness[name]:.3f})" for name, share in told["voices"].items())
    show(json, told, f"{text}; {len(vector)} numbers{f' in {out}' if out else ''}")


def _table(weights: Path | None) -> tuple[Any, str]:
    """The speakers' vectors (speakers × width) of a model, and a name for it."""
    from duplexforge.models.s2s import weights as files
    from duplexforge.models.weights_file import FOLDER
    from duplexforge.voices import VOICES

    path = weights or FOLDER / files.NAME
    if not path.exists():
        missing = "no speech-to-speech model comes with this version" if weights is None else f"there is no file {path}"
        raise ModelError(f"{missing}: name the weights of a trained one with --weights")
    table = files.read(path).arrays.get(_SPEAKERS)
    if table is None or table.ndim != 2 or len(table) < len(VOICES):
        raise ModelError(f"{path} has no vectors of the {len(VOICES)} voices ({_SPEAKERS})")
    return table, path.name


def _cosine(one: Any, other: Any) -> float:
    import numpy as np

    return round(float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other))), 4)


def _write(path: Path, told: dict[str, Any]) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(jsonlib.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
