"""``duplexforge duplex``: full-duplex data sets out of two-speaker recordings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from duplexforge.cli_options import DryRun, Json, Store, open_site, show
from duplexforge.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from duplexforge.duplex.build import Told, Where
    from duplexforge.duplex.stretches import StretchRules
    from duplexforge.framing import DuplexFormat

C = TypeVar("C", bound=str)

duplex_app = typer.Typer(
    help="Full-duplex data sets: what a model hears and says at the same time.", no_args_is_help=True
)

Source = Annotated[
    str | None,
    typer.Argument(
        metavar="[CORPUS]",
        help="A MagicHub folder (WAV and TXT), or processed episodes: a store (s3://BUCKET, file://FOLDER), the folder "
        "of a run, or (default) the store of STORE_URL.",
    ),
]
Kind = Annotated[
    str | None, typer.Option("--corpus", help="magichub or processed (default: as what the folder holds looks).")
]
Mode = Annotated[
    str, typer.Option("--mode", help="dataset, or script: only the texts with their tokens, one JSON list per track.")
]
Model = Annotated[
    str | None, typer.Option("--model", help="Hub name or folder of the tokenizer (default: Qwen3-Omni's).")
]
Revision = Annotated[str | None, typer.Option("--revision", help="Commit of the model on the Hub.")]
Silence = Annotated[
    str | None,
    typer.Option("--silence-token", help="Token that says nothing, or its id (default: <|object_ref_start|>)."),
]
FramesPerChunk = Annotated[
    int, typer.Option("--frames-per-chunk", min=1, help="Audio frames of 80 ms in a chunk, each one placeholder.")
]
TextTokens = Annotated[int, typer.Option("--text-tokens", min=1, help="Text tokens of a chunk that speaks.")]
Align = Annotated[
    str,
    typer.Option(
        "--alignment",
        help="When tokens are due: queue (all when the utterance starts), even (spread over it), words (at their times).",
    ),
]
Cap = Annotated[
    int | None, typer.Option("--max-event-tokens", min=1, help="Leave out tokens of an utterance beyond so many.")
]
Agent = Annotated[
    str | None, typer.Option("--agent-speaker", help="Only the sides whose agent this speaker is (default: both).")
]
Window = Annotated[float | None, typer.Option("--window", help="Also make windows of so many seconds of each side.")]
Overlap = Annotated[float, typer.Option("--overlap", help="Seconds that neighbouring windows share.")]
Splits = Annotated[str, typer.Option("--splits", help="Shares of train,validation,test; no speaker is in two.")]
Embedding = Annotated[
    str,
    typer.Option(
        "--embedding",
        help="Speaker embeddings: none, onnx:PATH of a speaker network, or PATH.safetensors of train speakers.",
    ),
]
AudioFormat = Annotated[str, typer.Option("--audio-format", help="flac or wav.")]
Shards = Annotated[bool, typer.Option("--shards", help="Write WebDataset tar shards of all windows too.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes; they change nothing in the data set.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier build has finished.")]
Language = Annotated[str | None, typer.Option("--language", help="Language of a corpus that does not say it, e.g. en.")]
Licence = Annotated[str | None, typer.Option("--licence", help="Licence of a corpus that does not say it.")]
SendAs = Annotated[str | None, typer.Option("--send", help="Then send it to the store of STORE_URL, as duplex/NAME.")]


# Of processed episodes alone.
MinSeconds = Annotated[float, typer.Option("--min-seconds", help="Episodes: leave out shorter conversations.")]
MaxSeconds = Annotated[float, typer.Option("--max-seconds", help="Episodes: cut longer conversations at a pause.")]
MaxPause = Annotated[float, typer.Option("--max-pause", help="Episodes: a longer pause ends a conversation.")]
MinTurns = Annotated[float, typer.Option("--min-turns", help="Episodes: least turns a minute.")]
MaxOverlap = Annotated[float, typer.Option("--max-overlap", help="Episodes: most of the speech in which both speak.")]
MaxOthers = Annotated[float, typer.Option("--max-others", help="Episodes: most of the speech that is a third one's.")]
MinDnsmos = Annotated[float, typer.Option("--min-dnsmos", help="Episodes: least mean DNSMOS.")]
AllowUnscored = Annotated[bool, typer.Option("--allow-unscored", help="Episodes: take segments without a DNSMOS too.")]
Languages = Annotated[str, typer.Option("--languages", help="Episodes: only these languages, e.g. en,fr.")]


@duplex_app.command()
def build(
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    source: Source = None,
    corpus: Kind = None,
    mode: Mode = "dataset",
    model: Model = None,
    revision: Revision = None,
    silence_token: Silence = None,
    frames_per_chunk: FramesPerChunk = 4,
    text_tokens: TextTokens = 2,
    alignment: Align = "queue",
    max_event_tokens: Cap = None,
    agent_speaker: Agent = None,
    window: Window = None,
    overlap: Overlap = 0.0,
    splits: Splits = "0.9,0.05,0.05",
    embedding: Embedding = "none",
    audio_format: AudioFormat = "flac",
    shards: Shards = False,
    workers: Workers = 1,
    language: Language = None,
    licence: Licence = None,
    min_seconds: MinSeconds = 20.0,
    max_seconds: MaxSeconds = 900.0,
    max_pause: MaxPause = 4.0,
    min_turns: MinTurns = 2.0,
    max_overlap: MaxOverlap = 0.3,
    max_others: MaxOthers = 0.0,
    min_dnsmos: MinDnsmos = 2.5,
    allow_unscored: AllowUnscored = False,
    languages: Languages = "",
    overwrite: Overwrite = False,
    send_as: SendAs = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Build a data set of CORPUS: each conversation from both seats; 65 when something of it had to be left out."""
    from duplexforge import log
    from duplexforge.duplex.build import PACKINGS, BuildSettings, run
    from duplexforge.duplex.stretches import StretchRules
    from duplexforge.layout import language_subtag

    log.setup()
    least: dict[str, Any] = {"min_seconds": min_seconds, "min_turns": min_turns, "min_dnsmos": min_dnsmos}
    most: dict[str, Any] = {"max_seconds": max_seconds, "max_pause": max_pause, "max_overlap": max_overlap}
    known = tuple(language_subtag(one) for one in languages.split(",") if one.strip())
    rules = StretchRules(**least, **most, max_others=max_others, allow_unscored=allow_unscored, languages=known)
    caps: dict[str, Any] = {"text_tokens": text_tokens, "max_event_tokens": max_event_tokens}
    fmt = _format(model, revision, silence_token, frames_per_chunk=frames_per_chunk, alignment=alignment, **caps)
    where = _where(source, corpus, rules, language=language, licence=licence)
    settings = BuildSettings(fmt, agent_speaker, window, overlap, _ratios(splits), embedding, shards=shards)
    ways: dict[str, Any] = {"packing": _one_of(PACKINGS, audio_format), "workers": workers, "overwrite": overwrite}
    with _bar() as told:
        report = run(where, replace(settings, **ways), out, mode=mode, dry_run=dry_run, told=told)
    show(json, report.to_json(), report.to_text())
    if send_as and not dry_run:
        send(out, send_as)
    raise typer.Exit(report.exit_code)


Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a duplex data set.")]
Tokens = Annotated[
    bool, typer.Option("--tokenizer/--no-tokenizer", help="Make the tokens again from the texts; wants the tokenizer.")
]
Tokenizer = Annotated[str | None, typer.Option("--model", help="Folder or name of the tokenizer, when it has moved.")]


@duplex_app.command()
def validate(folder: Folder, model: Tokenizer = None, tokenizer: Tokens = True, json: Json = False) -> None:
    """Derive every count, token and length of DIR again and compare; 65 with the rows named when something has drifted."""
    from duplexforge.duplex import validate as validation

    report = validation.validate(folder, model=model, tokenize=tokenizer)
    show(json, report.to_json(), report.to_text())
    raise typer.Exit(report.exit_code)


@duplex_app.command()
def send(
    folder: Folder, name: Annotated[str, typer.Argument(help="Its name in the store.")], store: Store = None
) -> None:
    """Send DIR to the store as duplex/NAME, whole or not at all; it is read as s3://BUCKET/duplex/NAME."""
    from duplexforge.loading import sending

    site = open_site("status", store)
    new = sending.send_duplex(site.store, site.layout, folder, name)
    typer.echo(f"{site.store.url}/{site.layout.duplex_set(name)}{'' if new else ' was there'}", err=True)


@duplex_app.command()
def inspect(
    folder: Folder,
    session: Annotated[
        str | None, typer.Argument(help="Session id of a side; without it, the sides are listed.")
    ] = None,
    start: Annotated[float, typer.Option("--start", min=0.0, help="Seconds from the start of the side.")] = 0.0,
    end: Annotated[float | None, typer.Option("--end", help="Seconds; at most 10 minutes are shown at a time.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with waveforms, text and sound.")] = None,
    model: Tokenizer = None,
    tokenizer: Tokens = True,
    json: Json = False,
) -> None:
    """Show a side of DIR chunk by chunk: levels of both tracks and the agent's text tokens; or write it as a page."""
    from duplexforge.duplex import inspect as inspection

    inspection.run(folder, session, (start, end), html=html, model=model, tokenize=tokenizer, as_json=json)


def _format(model: str | None, revision: str | None, silence: str | None, **fields: Any) -> DuplexFormat:
    """The format that was asked for; ConfigError when its numbers do not fit together."""
    from pydantic import ValidationError

    from duplexforge.framing import DuplexFormat

    if model:
        fields["model"] = model
    if silence:
        fields |= {"silence_token_id": int(silence)} if silence.isdecimal() else {"silence_token": silence}
    try:
        return DuplexFormat(revision=revision, **fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where}: {first['msg']}" if where else first["msg"]) from error


def _ratios(text: str) -> tuple[float, float, float]:
    try:
        train, validation, test = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--splits wants three numbers such as 0.9,0.05,0.05, not {text!r}") from error
    return train, validation, test


def _one_of(choices: tuple[C, ...], given: str) -> C:
    for choice in choices:
        if choice == given:
            return choice
    raise UsageError(f"there is no {given!r}: {', '.join(choices)}")


def _where(
    source: str | None, kind: str | None, rules: StretchRules, *, language: str | None, licence: str | None
) -> Where:
    """What ``source`` is: a store by its URL, a run's folder by its processed/, else a MagicHub folder."""
    from duplexforge import config, roles
    from duplexforge.config import StoreSettings
    from duplexforge.duplex.build import Stored, Where
    from duplexforge.layout import language_subtag

    source = source or config.load("status")[StoreSettings].url
    path = Path(source)
    if "://" not in source and not path.is_dir():
        raise UsageError(f"there is no folder {source}, and it is no store's URL")
    url = source if "://" in source else f"file://{path.absolute()}"
    # A folder is called by its name alone: the data set must not depend on where it lay.
    name = url if url.startswith("s3://") else Path(url.partition("://")[2]).resolve().name
    where = Where(kind or "magichub", name, path, None, rules, language_subtag(language), licence)
    if kind == "magichub":
        return where
    # Not by opening a store there: that wants to write, and a corpus may be read-only.
    prefix = config.load("status", store_url=url)[StoreSettings].processed_prefix
    if kind is None and path.is_dir() and not (path / prefix).is_dir():
        return where
    site = open_site("status", url, probe=False)
    there = Stored(site.store, site.layout, site.settings[StoreSettings], roles.opted_out(site))
    return replace(where, kind=kind or "processed", stored=there)


@contextmanager
def _bar() -> Iterator[Told]:
    """A bar on a terminal, nothing elsewhere; on standard error, so that ``--json`` stays JSON."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def told(what: str, done: int, whole: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=whole)
            bars.update(tasks[what], completed=done)

        yield told
