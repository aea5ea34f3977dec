"""``duplexforge train``: models from recipes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duplexforge.cli_options import Json, Store, open_site, show
from duplexforge.errors import UsageError

if TYPE_CHECKING:
    from duplexforge.config import Settings
    from duplexforge.training.remote import Remote

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
    """Train the codec's mode token; SIGTERM saves and ends with 0, --resume auto goes on. ``train node`` starts several."""
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


@train_app.command()
def base(
    recipe: Annotated[Path, typer.Option("--recipe", help="TOML file with the whole run; options below change it.")],
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Folder made by duplexforge data speech.")] = None,
    output_dir: Annotated[Path | None, typer.Option("--output-dir", help="Folder of the run.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Crops a step.")] = None,
    num_epochs: Annotated[int | None, typer.Option("--num-epochs", min=1, help="Epochs.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Highest learning rate.")] = None,
    overfit: Annotated[bool | None, typer.Option("--overfit/--no-overfit", help="One batch, again and again.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of everything random.")] = None,
    wandb_project: Annotated[
        str | None, typer.Option("--wandb-project", help="Send figures there too; wants WANDB_API_KEY.")
    ] = None,
    resume: Resume = None,
    json: Json = False,
) -> None:
    """Train the codec's mode base, whose codes the speech-to-speech model speaks."""
    changes = {
        "data.folder": data_dir,
        "output": output_dir,
        "loop.batch_size": batch_size,
        "loop.epochs": num_epochs,
        "loop.overfit": overfit,
        "optimizer.learning_rate": learning_rate,
        "seed": seed,
    }
    _run("base", recipe, changes, resume=resume, wandb_project=wandb_project, json=json)


@train_app.command()
def s2s(
    recipe: Annotated[Path, typer.Option("--recipe", help="TOML file with the whole run; options below change it.")],
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder made by duplexforge data dialogues.")
    ] = None,
    output_dir: Annotated[Path | None, typer.Option("--output-dir", help="Folder of the run.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Pairs a step.")] = None,
    num_epochs: Annotated[int | None, typer.Option("--num-epochs", min=1, help="Epochs.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Highest learning rate.")] = None,
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
    """Train the speech-to-speech model on pairs of question and answer."""
    changes = {
        "data.folder": data_dir,
        "output": output_dir,
        "loop.batch_size": batch_size,
        "loop.epochs": num_epochs,
        "loop.gradient_checkpointing": gradient_checkpointing,
        "loop.precision": precision,
        "loop.overfit": overfit,
        "optimizer.learning_rate": learning_rate,
        "seed": seed,
    }
    _run("s2s", recipe, changes, resume=resume, wandb_project=wandb_project, json=json)


@train_app.command()
def lora(
    recipe: Annotated[Path, typer.Option("--recipe", help="TOML file with the whole run; options below change it.")],
    data_dir: Annotated[
        str | None, typer.Option("--data-dir", help="Duplex data set: folder, s3://… or hf://….")
    ] = None,
    output_dir: Annotated[Path | None, typer.Option("--output-dir", help="Folder of the run.")] = None,
    base_model: Annotated[
        str | None, typer.Option("--base-model", help="Qwen3-Omni: folder or Hub name; unset: that of the data set.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Windows a step.")] = None,
    num_epochs: Annotated[int | None, typer.Option("--num-epochs", min=1, help="Epochs.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Highest learning rate.")] = None,
    silence_weight: Annotated[
        float | None, typer.Option("--silence-weight", min=0, help="Weight of silence in the loss; text has 1.")
    ] = None,
    four_bit: Annotated[bool | None, typer.Option("--four-bit/--no-four-bit", help="QLoRA; wants CUDA.")] = None,
    gradient_checkpointing: Annotated[
        bool | None, typer.Option("--gradient-checkpointing/--no-gradient-checkpointing", help="Save memory.")
    ] = None,
    overfit: Annotated[bool | None, typer.Option("--overfit/--no-overfit", help="One batch, again and again.")] = None,
    wandb_project: Annotated[
        str | None, typer.Option("--wandb-project", help="Send figures there too; wants WANDB_API_KEY.")
    ] = None,
    resume: Resume = None,
    json: Json = False,
) -> None:
    """Fine-tune Qwen3-Omni on a duplex data set with LoRA; ``train merge`` then makes a whole model of the adapter."""
    changes = {
        "data.folder": data_dir,
        "output": output_dir,
        "model.base": base_model,
        "model.four_bit": four_bit,
        "losses.silence_weight": silence_weight,
        "loop.batch_size": batch_size,
        "loop.epochs": num_epochs,
        "loop.gradient_checkpointing": gradient_checkpointing,
        "loop.overfit": overfit,
        "optimizer.learning_rate": learning_rate,
    }
    _run("lora", recipe, changes, resume=resume, wandb_project=wandb_project, json=json)


@train_app.command()
def merge(
    adapter: Annotated[Path, typer.Argument(help="Folder of an adapter, as train lora exports it.")],
    out: Annotated[Path, typer.Option("--out", help="New folder for the merged model.")],
    base_model: Annotated[
        str | None, typer.Option("--base-model", help="The adapter's model, where it does not lie where it did.")
    ] = None,
    json: Json = False,
) -> None:
    """Write the model with an adapter merged in: safetensors, file by file, all that was not adapted as it was."""
    from duplexforge import log
    from duplexforge.training import running

    log.setup()
    running.want_torch()
    from duplexforge.training import lora_merge

    merged = lora_merge.merge(adapter, out, base_model)
    show(json, merged.to_json(), merged.to_text())


@train_app.command()
def node(
    command: Annotated[
        list[str],
        typer.Argument(metavar="COMMAND", help="After --: what to run in each process, e.g. codec --recipe FILE."),
    ],
    nnodes: Annotated[int, typer.Option("--nnodes", min=1, help="Machines of the run.")] = 1,
    nproc_per_node: Annotated[
        str, typer.Option("--nproc-per-node", help="Processes on this machine; auto: one a GPU, else one.")
    ] = "auto",
    rdzv_endpoint: Annotated[
        str, typer.Option("--rdzv-endpoint", help="HOST:PORT at which they meet, on machine number 0 (NODE_RANK).")
    ] = "localhost:29400",
    wait: Annotated[int, typer.Option("--wait", min=1, help="Seconds to wait for the other machines.")] = 600,
) -> None:
    """This machine's part of a run on several (torchrun, c10d): 75 when it was stopped, else the run's own exit code."""
    from duplexforge import config, log
    from duplexforge.config import QueueSettings, TrainSettings
    from duplexforge.training import node as nodes

    log.setup()
    settings = config.load("train")
    mine, grace = settings[TrainSettings], settings[QueueSettings].drain_seconds
    if mine.node_rank >= nnodes:
        raise UsageError(f"this is machine number {mine.node_rank}, counted from 0, and --nnodes says {nnodes}")
    meeting = nodes.Meeting(
        nnodes,
        mine.node_rank,
        rdzv_endpoint,
        mine.train_run or "duplexforge",
        nproc_per_node,
        wait_seconds=wait,
        stop_seconds=int(grace),
    )
    raise typer.Exit(nodes.run(["train", *command], meeting))


@train_app.command()
def results(
    run: Annotated[str, typer.Argument(help="Name of the run in the store (TRAIN_RUN).")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    store: Store = None,
) -> None:
    """Fetch what a run has made last from the store; every file is compared with its checksum."""
    from duplexforge.config import TrainSettings
    from duplexforge.training.remote import Remote

    site = open_site("train", store, probe=False, train_run=run)
    record = Remote(site.store, site.layout, site.settings[TrainSettings].train_run or "").results(out)
    print("\n".join(f"{out / entry.name}  after {record.step} steps" for entry in record.files))


def _run(
    kind: str, path: Path, changes: dict[str, Any], *, resume: str | None, wandb_project: str | None, json: bool
) -> None:
    from duplexforge import config, log
    from duplexforge.config import TrainSettings
    from duplexforge.training import recipe as recipes

    log.setup()
    found = config.load("train", wandb_project=wandb_project)
    settings = found[TrainSettings]
    recipe = recipes.load(path, changes)
    if recipe.trainer != kind:
        raise UsageError(f"{path} is a recipe of the trainer {recipe.trainer}, not of {kind}")
    from duplexforge.training import running

    key = settings.wandb_api_key.get_secret_value() if settings.wandb_api_key else None
    ended = running.run(
        recipe, resume=resume, wandb_project=settings.wandb_project, wandb_key=key, open_remote=_remote(found)
    )
    if ended.rank == 0:
        show(json, ended.to_json(), ended.to_text())
    raise typer.Exit(ended.exit_code)


def _remote(settings: Settings) -> Callable[[], Remote] | None:
    """How to open what the run keeps in the store; None where TRAIN_RUN names none."""
    from duplexforge.config import TrainSettings

    name = settings[TrainSettings].train_run
    if not name:
        return None

    def opened() -> Remote:
        from duplexforge import roles
        from duplexforge.training.remote import Remote

        site = roles.open_site(settings)
        return Remote(site.store, site.layout, name)

    return opened
