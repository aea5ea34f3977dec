"""``duplexforge convert``: recordings and their segments in other shapes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duplexforge.cli_options import DryRun, Json, find_site, show
from duplexforge.errors import UsageError

if TYPE_CHECKING:
    from duplexforge.converting.episode import Source as Episodes
    from duplexforge.converting.timeline import Rules

convert_app = typer.Typer(help="Turn recordings and published segments into other shapes.", no_args_is_help=True)

Source = Annotated[
    str,
    typer.Argument(
        help="A store (s3://BUCKET, file://FOLDER or the folder of a run), a published data set's folder, or a folder "
        "that the pipeline wrote."
    ),
]
Merge = Annotated[
    float | None,
    typer.Option("--merge-threshold", help="Merge neighbours of one speaker over pauses of at most so many seconds."),
]
MinDuration = Annotated[float, typer.Option("--min-duration", help="Leave out shorter entries (after merging).")]
MaxDuration = Annotated[
    float | None,
    typer.Option("--max-duration", help="Merge up to this length; a longer single segment is kept with a flag."),
]
CutStart = Annotated[float, typer.Option("--cut-start", help="Leave out the first seconds of every recording.")]
CutEnd = Annotated[float, typer.Option("--cut-end", help="Leave out the last seconds of every recording.")]
MinSpeech = Annotated[
    float, typer.Option("--min-speech-duration", help="Leave out recordings with fewer seconds of speech.")
]
Clean = Annotated[bool, typer.Option("--clean", help="Leave out segments that carry a flag.")]


@convert_app.command()
def timeline(
    source: Source,
    out: Annotated[Path, typer.Option("--out", help="JSONL file to write, one line a recording.")],
    merge_threshold: Merge = None,
    min_duration: MinDuration = 0.0,
    max_duration: MaxDuration = None,
    cut_start: CutStart = 0.0,
    cut_end: CutEnd = 0.0,
    min_speech_duration: MinSpeech = 0.0,
    clean: Clean = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Write one JSON line for each recording of SOURCE: {video_id, timeline: […], …}; 65 when one was unreadable."""
    from duplexforge.converting import convert

    rules = _rules(merge_threshold, min_duration, max_duration, (cut_start, cut_end), min_speech_duration, clean=clean)
    report = convert.timelines(_episodes(source), rules, out, dry_run=dry_run)
    show(json, report.to_json(), report.to_text())
    raise typer.Exit(report.exit_code)


@convert_app.command()
def dataset(
    source: Source,
    out: Annotated[Path, typer.Option("--out", help="Folder to write; load_dataset opens it.")],
    shape: Annotated[str, typer.Option("--format", help="jsonl or parquet.")] = "parquet",
    audio: Annotated[
        Path | None, typer.Option("--audio", help="Folder of whole recordings, as convert audio makes it.")
    ] = None,
    merge_threshold: Merge = None,
    min_duration: MinDuration = 0.0,
    max_duration: MaxDuration = None,
    cut_start: CutStart = 0.0,
    cut_end: CutEnd = 0.0,
    min_speech_duration: MinSpeech = 0.0,
    clean: Clean = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Write the recordings of SOURCE as a Hugging Face data set folder, one row a recording; 65 when one was
    unreadable.
    """
    from duplexforge.converting import convert

    rules = _rules(merge_threshold, min_duration, max_duration, (cut_start, cut_end), min_speech_duration, clean=clean)
    report = convert.data_set(_episodes(source), rules, out, shape=shape, audio=audio, dry_run=dry_run)
    show(json, report.to_json(), report.to_text())
    raise typer.Exit(report.exit_code)


@convert_app.command()
def audio(
    source: Annotated[
        str, typer.Argument(help="A folder, a file, a glob, or a store (its committed raw audio): s3://BUCKET.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    to: Annotated[str, typer.Option("--to", help="flac or wav.")] = "flac",
    rate: Annotated[int | None, typer.Option("--rate", help="Samples a second (default: as the source has).")] = None,
    channels: Annotated[
        int | None, typer.Option("--channels", help="1 or 2 (default: as the source has, at most 2).")
    ] = None,
    only: Annotated[str | None, typer.Option("--from", help="Take only files of this extension, e.g. webm.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Recordings at a time.")] = 2,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Convert whole recordings to FLAC or WAV; what is there already is left alone, and 65 says that some failed."""
    from duplexforge.converting import audio as whole
    from duplexforge.converting.media import Shape

    site = find_site(source, "raw")
    found = whole.of_store(site.store, site.layout, only) if site else whole.of_folder(source, only, out)
    report = whole.convert_audio(found, out, Shape(to, rate, channels), jobs=jobs, dry_run=dry_run)
    show(json, report.to_json(), report.to_text())
    raise typer.Exit(report.exit_code)


def _rules(
    merge: float | None, least: float, most: float | None, cut: tuple[float, float], speech: float, *, clean: bool
) -> Rules:
    from duplexforge.converting.timeline import Rules

    return Rules(
        merge_threshold=merge,
        min_duration=least,
        max_duration=most,
        cut_start=cut[0],
        cut_end=cut[1],
        min_speech_duration=speech,
        clean=clean,
    )


def _episodes(source: str) -> Episodes:
    from duplexforge.converting import convert

    site = find_site(source, "processed")
    if site:
        return convert.store_source(site.store, site.layout)
    if not Path(source).is_dir():
        raise UsageError(f"there is no folder {source}, and it is no store's URL")
    return convert.folder_source(Path(source))
