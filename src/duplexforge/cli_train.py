"""``duplexforge train`` and ``duplexforge data``: models from recipes, and the folders that they are trained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duplexforge.cli_options import Json, find_site, show
from duplexforge.errors import UsageError

if TYPE_CHECKING:
    from duplexforge.training.preparing import Clip, Prepared
    from duplexforge.training.sources import Episodes

train_app = typer.Typer(help="Train models from recipes.", no_args_is_help=True)
data_app = typer.Typer(help="Prepare folders to train on.", no_args_is_help=True)

Resume = Annotated[
    str | None,
    typer.Option("--resume", help="auto: from the newest checkpoint, if there is one; none: start over; or a file."),
]


@train_app.callback()
def trainers() -> None:
    """Train models from recipes."""


@train_app.command()
def codec(
    recipe: Annotated[Path, typer.Option("--recipe", help="TOML file with the whole run; options below change it.")],
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Folder made by duplexforge data speech.")] = None,
    output_dir: Annotated[Path | None, typer.Option("--output-dir", help="Folder of the run.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Crops a step.")] = None,
    num_epochs: Annotated[int | None, typer.Option("--num-epochs", min=1, help="Epochs.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Highest learning rate.")] = None,
    use_discriminators: Annotated[
        bool | None, typer.Option("--use-discriminators/--no-discriminators", help="Judges join the training.")
    ] = None,
    discriminator_start_epoch: Annotated[
        int | None, typer.Option("--discriminator-start-epoch", min=0, help="First epoch of the judges.")
    ] = None,
    gradient_checkpointing: Annotated[
        bool | None, typer.Option("--gradient-checkpointing/--no-gradient-checkpointing", help="Save memory.")
    ] = None,
    precision: Annotated[str | None, typer.Option("--precision", help="fp32 or bf16.")] = None,
    overfit: Annotated[bool | None, typer.Option("--overfit/--no-overfit", help="One batch, again and again.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of everything random.")] = None,
    wandb_project: Annotated[
        str | None, typer.Option("--wandb-project", help="Send figures there too; wants WANDB_API_KEY.")
    ] = None,
    resume: Resume = None,
    json: Json = False,
) -> None:
    """Train the codec's mode token; SIGTERM saves and ends with 0, --resume auto goes on. torchrun starts several."""
    changes = {
        "data.folder": data_dir,
        "output": output_dir,
        "loop.batch_size": batch_size,
        "loop.epochs": num_epochs,
        "loop.gradient_checkpointing": gradient_checkpointing,
        "loop.precision": precision,
        "loop.overfit": overfit,
        "optimizer.learning_rate": learning_rate,
        "losses.discriminators": use_discriminators,
        "losses.discriminator_start_epoch": discriminator_start_epoch,
        "seed": seed,
    }
    _run("codec", recipe, changes, resume=resume, wandb_project=wandb_project, json=json)


def _run(
    kind: str, path: Path, changes: dict[str, Any], *, resume: str | None, wandb_project: str | None, json: bool
) -> None:
    from duplexforge import config, log
    from duplexforge.config import TrainSettings
    from duplexforge.training import recipe as recipes

    log.setup()
    settings = config.load("train", wandb_project=wandb_project)[TrainSettings]
    recipe = recipes.load(path, changes)
    if recipe.trainer != kind:
        raise UsageError(f"{path} is a recipe of the trainer {recipe.trainer}, not of {kind}")
    from duplexforge.training import running

    key = settings.wandb_api_key.get_secret_value() if settings.wandb_api_key else None
    ended = running.run(recipe, resume=resume, wandb_project=settings.wandb_project, wandb_key=key)
    if ended.rank == 0:
        show(json, ended.to_json(), ended.to_text())


@data_app.command()
def speech(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Folders of audio (each folder in one is a speaker), files or globs, NAME=PLACE where all of it is one "
            "speaker, or a store with processed episodes (s3://BUCKET, file://FOLDER or the folder of a run)."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    test: Annotated[
        list[str] | None, typer.Option("--test", help="Speaker to keep for the test; may be given again.")
    ] = None,
    validation: Annotated[
        list[str] | None, typer.Option("--validation", help="Speaker to keep for validation; may be given again.")
    ] = None,
    flagged: Annotated[bool, typer.Option("--flagged", help="Take segments with a flag too.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which speakers are held out, where none is named.")] = 0,
    json: Json = False,
) -> None:
    """Write a training folder: 16 kHz FLAC, split 80/10/10 by whole speaker; 65 when something was unreadable."""
    report = _prepare(sources, out, test or [], validation or [], flagged=flagged, seed=seed)
    show(json, report.to_json(), report.to_text())
    raise typer.Exit(report.exit_code)


def _prepare(
    sources: list[str], out: Path, test: list[str], validation: list[str], *, flagged: bool, seed: int
) -> Prepared:
    from duplexforge.training import preparing

    stores: list[Episodes] = []
    report = preparing.prepare(
        _clips(sources, stores, flagged=flagged),
        out,
        test=test,
        validation=validation,
        seed=seed,
        left_out=lambda: [store.left_out for store in stores],
    )
    return report


def _clips(sources: list[str], stores: list[Episodes], *, flagged: bool) -> Iterator[Clip]:
    from duplexforge.training import sources as places

    for source in sources:
        site = find_site(source, "processed")
        if site is not None:
            stores.append(places.Episodes(site.store, site.layout, flagged=flagged))
            yield from stores[-1].clips()
            continue
        speaker, _, place = source.rpartition("=")
        for path in places.found(place):
            yield from places.plain(path, speaker=speaker or None)
