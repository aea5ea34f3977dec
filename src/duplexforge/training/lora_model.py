"""What the trainer ``lora`` moves: adapters on the thinker's attention, and the module that tells their loss.

Only adapters have gradients, are averaged, kept in a checkpoint and exported; the model under them is frozen. With several
processes each may hold a share of the frozen weights (:func:`shard`), while the adapters, which are small, lie whole in
each and take the same road through the loop as any model does.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from duplexforge.errors import ModelError
from duplexforge.framing import DuplexFormat
from duplexforge.models.qwen.forward import hidden
from duplexforge.training.lora_tables import Shape
from duplexforge.training.trainers import Place

__all__ = ["Adapters", "Learner", "adapted", "export", "shard"]

ADAPTER = "adapter"
FORMAT = "format.json"


def adapted(thinker: Any, shape: Shape, fmt: DuplexFormat, *, base: str, revision: str | None) -> Any:
    """``thinker`` with fresh adapters (a ``PeftModel``); ``base`` and ``revision`` are written down in them."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ModelError("adapters want peft: pip install -c requirements.txt -e '.[lora]'") from error
    rows = {"embed_tokens": [fmt.silence_token_id], "lm_head": [fmt.silence_token_id]}
    told = LoraConfig(
        r=shape.rank,
        lora_alpha=shape.alpha,
        lora_dropout=shape.dropout,
        target_modules=sorted(shape.targets),
        # Their attention has layers of the same names. A pattern in target_modules would be resolved to bare names.
        exclude_modules=r".*\b(audio_tower|visual)\..*",
        trainable_token_indices=rows if shape.silence_rows else None,
        base_model_name_or_path=base,
        revision=revision,
    )
    with warnings.catch_warnings():
        # It asks transformers by a name that is going out of use.
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(thinker, told)


class Learner(nn.Module):  # type: ignore[misc] # torch is no part of what mypy sees
    """The thinker and what is asked of it: the loss of each label, and the token that it would have said there."""

    def __init__(self, thinker: Any) -> None:
        super().__init__()
        self.thinker = thinker

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Losses float32[n] and likeliest tokens int64[n] at the n labels of ``batch``, row by row.

        The head is asked where there is a label and nowhere else: four of five places are sound.
        """
        labels = batch["labels"][:, 1:]
        states = hidden(self.thinker, batch)[:, :-1][labels != -100]
        logits = self.thinker.lm_head(states).float()
        losses = nn.functional.cross_entropy(logits, labels[labels != -100], reduction="none")
        return losses, logits.detach().argmax(dim=-1)


class Adapters(nn.Module):  # type: ignore[misc] # as above
    """The parameters of ``learner`` that learn, and nothing else: what a checkpoint holds and processes share."""

    def __init__(self, learner: nn.Module) -> None:
        super().__init__()
        # In a tuple, so that the whole model does not become a part of this one.
        self._whole = (learner,)
        for name, parameter in learner.named_parameters():
            if parameter.requires_grad:
                self.register_parameter(name.replace(".", "/"), parameter)

    def train(self, mode: bool = True) -> Adapters:
        """Set the whole model's mode too: its checkpointing and the adapters' dropout heed it."""
        self._whole[0].train(mode)
        super().train(mode)
        return self


def shard(learner: Learner, place: Place) -> None:
    """Spread the frozen weights over all processes, layer by layer (FSDP2); a forward is then a matter of all of them.

    It is the function that accelerate's plugin calls, which itself refuses to run without GPUs, and so without a test.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(place.device.split(":")[0], (place.size,))
    own = {parameter for parameter in learner.parameters() if parameter.requires_grad}
    for parameter in own:
        parameter.data = parameter.data.to(place.device)
    for layer in learner.thinker.model.language_model.layers:
        fully_shard(layer, mesh=mesh, ignored_params=own)
    fully_shard(learner, mesh=mesh, ignored_params=own)


def export(peft: Any, fmt: DuplexFormat, folder: Path) -> list[Path]:
    """Write the adapter into ``folder/adapter`` as peft's own files, and the data's format beside them."""
    target, temporary = folder / ADAPTER, folder / f".{ADAPTER}.part"
    temporary.mkdir(parents=True, exist_ok=True)
    peft.save_pretrained(temporary, save_embedding_layers=False)
    (temporary / FORMAT).write_text(fmt.model_dump_json(indent=2) + "\n", encoding="utf-8")
    target.mkdir(exist_ok=True)
    # The configuration comes last: an adapter without one is none to anybody.
    names = sorted((path.name for path in temporary.iterdir()), key=lambda name: name == "adapter_config.json")
    for name in names:
        # Weights come readable by their owner alone, and a server is often somebody else.
        (temporary / name).chmod(0o644)
        (temporary / name).replace(target / name)
    temporary.rmdir()
    return [target / name for name in names]
