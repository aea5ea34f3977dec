"""``duplexforge train``: models from recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from duplexforge.cli_options import Json, show
from duplexforge.errors import UsageError

train_app = typer.Typer(help="Train models from recipes.", no_args_is_help=True)

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
