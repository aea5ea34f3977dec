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

# What the trainers' commands share. An option's name says in NAMES which key of the recipe it changes.
Recipe = Annotated[Path, typer.Option("--recipe", help="TOML file with the whole run; options below change it.")]
SpeechDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder made by duplexforge data speech.")]
OutputDir = Annotated[Path | None, typer.Option("--output-dir", help="Folder of the run.")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", min=1, help="Crops, pairs or windows a step.")]
Epochs = Annotated[int | None, typer.Option("--num-epochs", min=1, help="Epochs.")]
LearningRate = Annotated[float | None, typer.Option("--learning-rate", help="Highest learning rate.")]
Checkpointing = Annotated[
    bool | None, typer.Option("--gradient-checkpointing/--no-gradient-checkpointing", help="Save memory.")
]
Precision = Annotated[str | None, typer.Option("--precision", help="fp32 or bf16.")]
Overfit = Annotated[bool | None, typer.Option("--overfit/--no-overfit", help="One batch, again and again.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of everything random.")]
Wandb = Annotated[str | None, typer.Option("--wandb-project", help="Send figures there too; wants WANDB_API_KEY.")]
Resume = Annotated[
    str | None,
    typer.Option("--resume", help="auto: from the newest checkpoint, if there is one; none: start over; or a file."),
]
NAMES = {
    "data_dir": "data.folder",
    "output_dir": "output",
    "batch_size": "loop.batch_size",
    "num_epochs": "loop.epochs",
    "learning_rate": "optimizer.learning_rate",
    "gradient_checkpointing": "loop.gradient_checkpointing",
    "precision": "loop.precision",
    "overfit": "loop.overfit",
    "seed": "seed",
    "use_discriminators": "losses.discriminators",
    "discriminator_start_epoch": "losses.discriminator_start_epoch",
    "base_model": "model.base",
    "four_bit": "model.four_bit",
    "silence_weight": "losses.silence_weight",
}


@train_app.callback()
def trainers() -> None:
    """Train models from recipes."""


@train_app.command()
def codec(
    recipe: Recipe,
    data_dir: SpeechDir = None,
    output_dir: OutputDir = None,
    batch_size: BatchSize = None,
    num_epochs: Epochs = None,
    learning_rate: LearningRate = None,
    use_discriminators: Annotated[
        bool | None, typer.Option("--use-discriminators/--no-discriminators", help="Judges join the training.")
    ] = None,
    discriminator_start_epoch: Annotated[
        int | None, typer.Option("--discriminator-start-epoch", min=0, help="First epoch of the judges.")
    ] = None,
    gradient_checkpointing: Checkpointing = None,
    precision: Precision = None,
    overfit: Overfit = None,
    seed: Seed = None,
    wandb_project: Wandb = None,
    resume: Resume = None,
    json: Json = False,
) -> None:
    """Train the codec's mode token; SIGTERM saves and ends with 0, --resume auto goes on. ``train node`` starts several."""
    _run("codec", locals())


@train_app.command()
def base(
    recipe: Recipe,
    data_dir: SpeechDir = None,
    output_dir: OutputDir = None,
    batch_size: BatchSize = None,
    num_epochs: Epochs = None,
    learning_rate: LearningRate = None,
    overfit: Overfit = None,
    seed: Seed = None,
    wandb_project: Wandb = None,
    resume: Resume = None,
    json: Json = False,
) -> None:
    """Train the codec's mode base, whose codes the speech-to-speech model speaks."""
    _run("base", locals())


@train_app.command()
def s2s(
    recipe: Recipe,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder made by duplexforge data dialogues.")
    ] = None,
    output_dir: OutputDir = None,
    batch_size: BatchSize = None,
    num_epochs: Epochs = None,
    learning_rate: LearningRate = None,
    gradient_checkpointing: Checkpointing = None,
    precision: Precision = None,
    overfit: Overfit = None,
    seed: Seed = None,
    wandb_project: Wandb = None,
    resume: Resume = None,
    json: Json = False,
) -> None:
    """Train the speech-to-speech model on pairs of question and answer."""
    _run("s2s", locals())


@train_app.command()
def speakers(
    recipe: Recipe,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder made by duplexforge data speakers.")
    ] = None,
    output_dir: OutputDir = None,
    batch_size: BatchSize = None,
    num_epochs: Epochs = None,
    learning_rate: LearningRate = None,
    precision: Precision = None,
    overfit: Overfit = None,
    seed: Seed = None,
    wandb_project: Wandb = None,
    resume: Resume = None,
    json: Json = False,
) -> None:
    """Train a speaker encoder, which ``duplex build --embedding`` takes: 192 numbers that tell whose voice it is."""
    _run("speakers", locals())


@train_app.command()
def lora(
    recipe: Recipe,
    data_dir: Annotated[
        str | None, typer.Option("--data-dir", help="Duplex data set: folder, s3://… or hf://….")
    ] = None,
    output_dir: OutputDir = None,
    base_model: Annotated[
        str | None, typer.Option("--base-model", help="Qwen3-Omni: folder or Hub name; unset: that of the data set.")
    ] = None,
    batch_size: BatchSize = None,
    num_epochs: Epochs = None,
    learning_rate: LearningRate = None,
    silence_weight: Annotated[
        float | None, typer.Option("--silence-weight", min=0, help="Weight of silence in the loss; text has 1.")
    ] = None,
    four_bit: Annotated[bool | None, typer.Option("--four-bit/--no-four-bit", help="QLoRA; wants CUDA.")] = None,
    gradient_checkpointing: Checkpointing = None,
    overfit: Overfit = None,
    seed: Seed = None,
    wandb_project: Wandb = None,
    resume: Resume = None,
    json: Json = False,
) -> None:
    """Fine-tune Qwen3-Omni on a duplex data set with LoRA; ``train merge`` then makes a whole model of the adapter."""
    _run("lora", locals())


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


def _run(kind: str, given: dict[str, Any]) -> None:
    """Run the recipe of a command, ``given`` its arguments by name."""
    from duplexforge import config, log
    from duplexforge.config import TrainSettings
    from duplexforge.training import recipe as recipes

    log.setup()
    found = config.load("train", wandb_project=given["wandb_project"])
    settings = found[TrainSettings]
    path: Path = given["recipe"]
    recipe = recipes.load(path, {NAMES[name]: value for name, value in given.items() if name in NAMES})
    if recipe.trainer != kind:
        raise UsageError(f"{path} is a recipe of the trainer {recipe.trainer}, not of {kind}")
    from duplexforge.training import running

    key = settings.wandb_api_key.get_secret_value() if settings.wandb_api_key else None
    ended = running.run(
        recipe, resume=given["resume"], wandb_project=settings.wandb_project, wandb_key=key, open_remote=_remote(found)
    )
    if ended.rank == 0:
        show(given["json"], ended.to_json(), ended.to_text())
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
