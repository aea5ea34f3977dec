"""``duplexforge data``: the folders that models are trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duplexforge.cli_options import DryRun, Json, Store, find_site, open_site, show
from duplexforge.errors import ConfigError

if TYPE_CHECKING:
    from duplexforge.training.preparing import Clip, Prepared
    from duplexforge.training.sources import Episodes

data_app = typer.Typer(help="Prepare folders to train on.", no_args_is_help=True)


@data_app.callback()
def folders() -> None:
    """Prepare folders to train on."""


Sources = Annotated[
    list[str],
    typer.Argument(
        help="Folders of audio (each folder in one is a speaker), files or globs, NAME=PLACE where all of it is one "
        "speaker, a .json list of pairs (its answers), or a store with processed episodes (s3://BUCKET, file://FOLDER or "
        "the folder of a run)."
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Folder to write.")]
Test = Annotated[list[str] | None, typer.Option("--test", help="Speaker to keep for the test; may be given again.")]
Validation = Annotated[
    list[str] | None, typer.Option("--validation", help="Speaker to keep for validation; may be given again.")
]
Flagged = Annotated[bool, typer.Option("--flagged", help="Take segments with a flag too.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Which speakers are held out, where none is named.")]


@data_app.command()
def speech(
    sources: Sources,
    out: Out,
    test: Test = None,
    validation: Validation = None,
    flagged: Flagged = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Write a training folder: 16 kHz FLAC, split 80/10/10 by whole speaker; 65 when something was unreadable."""
    report = _prepare(sources, out, test or [], validation or [], flagged=flagged, seed=seed)
    show(json, report.to_json(), report.to_text())
    raise typer.Exit(report.exit_code)


@data_app.command()
def speakers(
    sources: Sources,
    out: Out,
    test: Test = None,
    validation: Validation = None,
    flagged: Flagged = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Write such a folder with every speaker's number, and weights by which all of them are drawn alike."""
    report = _prepare(sources, out, test or [], validation or [], flagged=flagged, seed=seed, named=True)
    show(json, report.to_json(), report.to_text())
    raise typer.Exit(report.exit_code)


@data_app.command()
def dialogues(
    out: Annotated[Path, typer.Option("--out", help="Folder to write; one that was broken off is gone on with.")],
    language: Annotated[str | None, typer.Option("--language", help="Languages, e.g. en,te (default: all).")] = None,
    intents: Annotated[int | None, typer.Option("--intents", min=2, help="At most so many of each language.")] = None,
    variants: Annotated[int, typer.Option("--variants", min=1, help="Voices that ask each sentence in training.")] = 6,
    framed: Annotated[
        int, typer.Option("--framed", min=0, help="Of each, so many more with words round it, such as please.")
    ] = 2,
    speakers: Annotated[str | None, typer.Option("--speakers", help="Voices that answer (default: all four).")] = None,
    emotions: Annotated[str | None, typer.Option("--emotions", help="Emotions of the answers (default: all).")] = None,
    noise: Annotated[float, typer.Option("--noise", min=0, max=1, help="Share of the questions with noise.")] = 0.3,
    neutral: Annotated[float, typer.Option("--neutral", min=0, max=1, help="Share of answers kept neutral.")] = 0.4,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Who speaks, and how.")] = 0,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes.")] = 2,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Write a corpus of questions and answers of a closed domain, spoken by espeak-ng: train and validation pairs."""
    _need("numpy", "soundfile", "soxr")
    from duplexforge.dialogues import domain, making, report
    from duplexforge.dialogues.plan import Choice, planned
    from duplexforge.voices import find_emotion, find_voice

    chosen: dict[str, tuple[int, ...]] = {}
    if speakers is not None:
        chosen["speakers"] = tuple(sorted({find_voice(name).id for name in speakers.split(",")}))
    if emotions is not None:
        chosen["emotions"] = tuple(sorted({find_emotion(name) for name in emotions.split(",")}))
    choice = Choice(seed=seed, variants=variants, framed=framed, noise=noise, neutral=neutral, **chosen)
    found = domain.domain([name.strip() for name in language.split(",")] if language else [], intents)
    if dry_run:
        told = report.counted(planned(found, choice))
    else:
        with _bar("speaking") as progress:
            told = making.make(found, out, choice, jobs=jobs, progress=progress)
    show(json, told.to_json(), told.to_text())


Name = Annotated[str, typer.Argument(help="Its name in the store.")]


@data_app.command()
def send(folder: Annotated[Path, typer.Argument(help="Folder to train on.")], name: Name, store: Store = None) -> None:
    """Send FOLDER to the store as training/NAME, whole or not at all, so that machines of a cluster can fetch it."""
    from duplexforge.loading import sending

    site = open_site("status", store)
    sent = sending.send_training(site.store, site.layout, folder, name)
    print(f"{name}: {len(sent.files)} files, {sum(one.size for one in sent.files) / 1e6:.1f} MB")


@data_app.command()
def fetch(
    name: Name,
    out: Annotated[Path, typer.Option("--out", help="Folder to write; it appears when it is whole.")],
    store: Store = None,
) -> None:
    """Fetch a training folder that was sent; every file is compared with its checksum."""
    from duplexforge.loading import sending

    site = open_site("status", store, probe=False)
    got = sending.fetch_training(site.store, site.layout, name, out)
    print(f"{out}: {len(got.files)} files, {sum(one.size for one in got.files) / 1e6:.1f} MB")


def _need(*packages: str) -> None:
    """Raise a ConfigError that says what to install where one of ``packages`` is missing."""
    from importlib.util import find_spec

    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ConfigError(f"this needs {', '.join(missing)}: pip install 'duplexforge[train]'")


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing elsewhere; on standard error, so that ``--json`` stays JSON."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, whole: bars.update(task, completed=done, total=whole)


def _prepare(
    sources: list[str],
    out: Path,
    test: list[str],
    validation: list[str],
    *,
    flagged: bool,
    seed: int,
    named: bool = False,
) -> Prepared:
    _need("av", "numpy", "soundfile", "soxr")
    from duplexforge.training import preparing
    from duplexforge.training.speakers import Named, balanced

    stores: list[Episodes] = []
    clips = _clips(sources, stores, flagged=flagged)
    known = Named(clips)
    return preparing.prepare(
        known.clips() if named else clips,
        out,
        test=test,
        validation=validation,
        seed=seed,
        left_out=lambda: [known.left_out, *(store.left_out for store in stores)],
        finish=balanced if named else list,
    )


def _clips(sources: list[str], stores: list[Episodes], *, flagged: bool) -> Iterator[Clip]:
    from duplexforge.training import sources as places
    from duplexforge.training import speakers

    for source in sources:
        site = find_site(source, "processed")
        if site is not None:
            stores.append(places.Episodes(site.store, site.layout, flagged=flagged))
            yield from stores[-1].clips()
            continue
        speaker, _, place = source.rpartition("=")
        if not speaker and place.endswith(".json"):
            yield from speakers.answers(Path(place))
            continue
        for path in places.found(place):
            yield from places.plain(path, speaker=speaker or None)
