"""``duplexforge codec``: recordings into files of the codec and back, and what that costs in bits and in quality."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duplexforge.cli_options import Json, show
from duplexforge.errors import ConfigError, InputError, UsageError

if TYPE_CHECKING:
    from duplexforge.models.codec import Codec

codec_app = typer.Typer(help="Compress speech with the project's own codec.", no_args_is_help=True)

Mode = Annotated[
    str,
    typer.Option(
        "--mode",
        help="fidelity (best SNR), balanced (sounds better), token (fixed rate) or base (1.5 kbps, for models).",
    ),
]
Kbps = Annotated[
    float | None,
    typer.Option("--kbps", help="Mean rate of the file, all its bytes counted (default 16; not for token and base)."),
]
Stream = Annotated[
    bool,
    typer.Option(
        "--stream", help="As a live stream would: the step follows the budget, instead of one step found first."
    ),
]


@codec_app.command()
def encode(
    source: Annotated[Path, typer.Argument(help="WAV, FLAC, Ogg or MP3.")],
    target: Annotated[Path, typer.Argument(help="File to write (.dfc).")],
    mode: Mode = "fidelity",
    kbps: Kbps = None,
    stream: Stream = False,
    json: Json = False,
) -> None:
    """Compress SOURCE to TARGET at 16 kHz, one channel."""
    from duplexforge.models import audio_file, whole

    codec = _open(mode, kbps)
    wave = audio_file.read(source, codec.rate)
    data = whole.pack(codec if stream else whole.steadied(codec, wave), wave)
    _write(target, data)
    rate = whole.file_kbps(len(data), wave, codec.rate)
    seconds = len(wave) / codec.rate
    facts = {"mode": mode, "seconds": round(seconds, 3), "bytes": len(data), "kbps": round(rate, 3)}
    show(json, facts, f"{target}: {seconds:.1f} s in {len(data)} bytes, {rate:.2f} kbps")


@codec_app.command()
def decode(
    source: Annotated[Path, typer.Argument(help="File of the codec (.dfc).")],
    target: Annotated[Path, typer.Argument(help="WAV or FLAC to write.")],
    json: Json = False,
) -> None:
    """Restore TARGET from SOURCE; damaged packets are made up and counted, and 65 says that there were some."""
    from duplexforge.models import audio_file, whole

    found = whole.unpack(_read(source))
    audio_file.write(target, found.wave, found.packets.rate)
    seconds = len(found.wave) / found.packets.rate
    facts = {"mode": found.packets.mode, "seconds": round(seconds, 3)}
    facts |= {"packets": len(found.packets.packets), "damaged": found.damaged, "concealed": found.concealed}
    lost = f"; {found.damaged} packets of {facts['packets']} were damaged, and {found.concealed} made up"
    show(json, facts, f"{target}: {seconds:.1f} s{lost if found.damaged else ''}")
    if found.damaged:
        raise typer.Exit(InputError.exit_code)


@codec_app.command()
def bench(
    sources: Annotated[list[Path], typer.Argument(help="Recordings: WAV, FLAC, Ogg or MP3.")],
    mode: Mode = "fidelity",
    kbps: Kbps = None,
    stream: Stream = False,
    json: Json = False,
) -> None:
    """Compress SOURCES and restore them: rate, signal-to-noise ratio and time a packet, for each and on average."""
    from duplexforge.models import audio_file, whole
    from duplexforge.models.measure import measure, table

    codec = _open(mode, kbps)
    rows = []
    for source in sources:
        wave = audio_file.read(source, codec.rate)
        rows.append(measure(str(source), codec if stream else whole.steadied(codec, wave), wave))
    show(json, [row.to_json() for row in rows], table(rows))


@codec_app.command()
def fit(
    speech: Annotated[Path, typer.Argument(help="Folder with one sub-folder of recordings for each speaker.")],
    out: Annotated[Path, typer.Option("--out", help="Weights to write (.safetensors).")],
    pieces: Annotated[int, typer.Option("--pieces", min=1, help="Pieces of 8 seconds to learn from.")] = 240,
    seed: Annotated[int, typer.Option("--seed", help="Of the pieces, the start and the order.")] = 1,
) -> None:
    """Fit the context model of fidelity and balanced to SPEECH; needs torch, one core and a few minutes."""
    if not speech.is_dir() or not any(place.is_dir() for place in speech.iterdir()):
        raise UsageError(f"{speech} is no folder with a sub-folder for each speaker")
    try:
        from duplexforge.models import fitting
    except ImportError as error:
        raise ConfigError(f"fitting needs torch ({error}): pip install 'duplexforge[train]'") from error
    fitting.fit(fitting.pieces(speech, pieces, seed), out, fitting.Plan(seed=seed), typer.echo)


def _open(mode: str, kbps: float | None) -> Codec:
    from duplexforge.models.codec import open_codec

    return open_codec(mode, kbps=kbps)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
