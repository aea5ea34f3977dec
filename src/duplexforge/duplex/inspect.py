"""``duplexforge duplex inspect``: one side as a timeline in the terminal, or as a page to look at and listen to."""

from __future__ import annotations

import base64
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import soxr
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from duplexforge.duplex.look import Look, look, side_row
from duplexforge.duplex.validate import opened, tokenizer_of
from duplexforge.errors import ConfigError
from duplexforge.loading.packing import Pcm
from duplexforge.loading.schema import STORAGE
from duplexforge.loading.tables import batches_of, table_files

_BARS = " ▁▂▃▄▅▆▇█"
_FLOOR_DB = -60.0
_PIXELS_PER_SECOND = 100
_HALF_HEIGHT = 40
# What a browser takes as one page, sound included.
_MOST_SECONDS = 600.0


def run(
    folder: Path,
    session: str | None,
    span: tuple[float, float | None],
    *,
    html: Path | None,
    model: str | None,
    tokenize: bool,
    as_json: bool,
) -> None:
    """The command: list the sides, or show or write one of them from ``span[0]`` to ``span[1]`` seconds."""
    manifest, fmt = opened(folder)
    if session is None:
        _list(folder, as_json)
        return
    tokenizer = tokenizer_of(fmt, model) if tokenize else None
    start, end = span
    end = min(start + _MOST_SECONDS, math.inf if end is None else end)
    found = look(side_row(folder, manifest, session), fmt, tokenizer, start=start, end=end)
    if html:
        write_page(found, html)
    if as_json:
        print(json.dumps(to_json(found), indent=1, ensure_ascii=False))
    elif html:
        print(f"{found.seconds:.2f} s of {session} written to {html}")
    else:
        Console().print(timeline(found))


def _list(folder: Path, as_json: bool) -> None:
    names = ["session_id", "split", "user_speaker", "agent_speaker", "chunks", "tokens", "capped", "silent_chunks"]
    rows = [
        row
        for path in table_files(folder / STORAGE)
        for batch in batches_of(path)
        for row in batch.select(names).to_pylist()
    ]
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = Table()
    for heading in ("side", "split", "user", "agent", "chunks", "tokens", "capped", "silent"):
        # A usual name of a side is to be copied in one piece, however narrow the window is.
        whole = max((min(len(row["session_id"]), 40) for row in rows), default=0) if heading == "side" else None
        table.add_column(heading, no_wrap=heading != "side", overflow="fold", min_width=whole)
    for row in rows:
        table.add_row(*(str(row[name]) for name in names))
    Console().print(table)


def timeline(look: Look) -> Group:
    """A row for each chunk: its time, how loud both tracks are, and what the agent's text stream says there."""
    table = Table()
    table.add_column("s", justify="right")
    table.add_column("user")
    table.add_column("agent")
    table.add_column("text", overflow="fold")
    user, agent = look.levels(look.user), look.levels(look.agent)
    for number, said in enumerate(look.said):
        seconds = float((look.first + number) * look.fmt.chunk_seconds)
        words = Text("|".join(piece.replace("\n", "⏎") for piece in said)) if said else Text("·", style="dim")
        table.add_row(f"{seconds:.2f}", _bar(user[number]), _bar(agent[number]), words)
    note = Text("levels in dB of full scale; a bar stands between two tokens", style="dim")
    return Group(Text(look.session_id, style="bold"), Text(_caption(look)), note, table)


def _bar(level: float) -> Text:
    share = (level - _FLOOR_DB) / -_FLOOR_DB
    return Text(_BARS[round(min(max(share, 0.0), 1.0) * (len(_BARS) - 1))] * 3 + f" {level:4.0f}")


def _caption(look: Look) -> str:
    about = look.about
    return (
        f"user {about['user_speaker']}, agent {about['agent_speaker']}, {about['split']}, {about['chunks']} chunks of "
        f"{float(look.fmt.chunk_seconds):g} s, {about['tokens']} tokens, {about['capped']} capped; "
        f"flags: {', '.join(about['flags'] or []) or 'none'}"
    )


def to_json(look: Look) -> dict[str, Any]:
    """The same for machines: levels in dB and text by chunk."""
    user, agent = look.levels(look.user).round(1).tolist(), look.levels(look.agent).round(1).tolist()
    return {
        **look.about,
        "start": look.start_seconds,
        "timeline": [
            {"chunk": look.first + number, "user_db": user[number], "agent_db": agent[number], "text": said}
            for number, said in enumerate(look.said)
        ],
    }


def write_page(look: Look, path: Path) -> None:
    """Write the page: both waveforms, the events and the tokens over time, and both tracks as stereo (user on the left)."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((Path(__file__).parent / "inspect.html.j2").read_text("utf-8"))
    page = template.render(
        look=look,
        caption=_caption(look),
        width=round(look.seconds * _PIXELS_PER_SECOND),
        per_second=_PIXELS_PER_SECOND,
        height=_HALF_HEIGHT,
        tracks=[(name, _wave(pcm, look)) for name, pcm in (("user", look.user), ("agent", look.agent))],
        audio=base64.b64encode(stereo(look)).decode(),
    )
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write to {path}: {error.strerror or error}") from error


def stereo(look: Look) -> bytes:
    """Both tracks as FLAC at the agent's rate: the user on the left, the agent on the right."""
    user = soxr.resample(look.user, look.fmt.user_rate, look.fmt.agent_rate)[: len(look.agent)]
    both = np.zeros((len(look.agent), 2), dtype=np.int16)
    both[: len(user), 0], both[:, 1] = user, look.agent
    body = io.BytesIO()
    sf.write(body, both, look.fmt.agent_rate, format="FLAC", subtype="PCM_16")
    return body.getvalue()


def _wave(pcm: Pcm, look: Look) -> str:
    """The outline of a track as the points of an SVG polygon: maxima forth, minima back, a column a pixel."""
    columns = max(1, round(look.seconds * _PIXELS_PER_SECOND))
    edges = np.linspace(0, len(pcm), columns + 1).astype(np.int64)[:-1]
    upper = _HALF_HEIGHT * (1 - np.maximum.reduceat(pcm, edges) / 32768.0)
    lower = _HALF_HEIGHT * (1 - np.minimum.reduceat(pcm, edges) / 32768.0)
    forth = [f"{x},{y:.1f}" for x, y in enumerate(upper)]
    back = [f"{x},{y:.1f}" for x, y in reversed(list(enumerate(lower)))]
    return " ".join([*forth, *back])
