"""An adapter merged into its model: the model's own files again, with the adapted weights changed and all others as they were.

It goes file by file through the safetensors, so that the memory of one file is enough and the whole Qwen3-Omni comes out as
it went in: names, precision, talker and all. Only plain LoRA and rows of embedding and head are merged, which is what the
trainer ``lora`` makes.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from duplexforge.errors import InputError, UsageError
from duplexforge.models.qwen.opening import model_folder
from duplexforge.training.lora_model import FORMAT

__all__ = ["MERGED", "Merged", "merge"]

MERGED = "merged.json"
_INDEX = "model.safetensors.index.json"
_ADAPTER = "adapter_model.safetensors"
_NAME = re.compile(r"base_model\.model\.(.+)\.(?:lora_([AB])\.weight|token_adapter\.trainable_tokens_delta)")
# Kinds of LoRA that change weights in another way than by a product.
_OTHER_KINDS = (
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "alora_invocation_tokens",
    "lora_bias",
    "rank_pattern",
    "alpha_pattern",
)


@dataclass(frozen=True)
class Merged:
    """What was written: the folder, how many weights were changed, and how many files they lie in."""

    out: str
    model: str
    changed: int
    files: int

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return vars(self).copy()

    def to_text(self) -> str:
        """For people."""
        return f"merged {self.changed} weights of {self.model} in {self.files} files: {self.out}"


def merge(adapter: Path, out: Path, model: str | None = None) -> Merged:
    """Write the model of ``adapter`` with it merged in to ``out``, a new folder; ``model`` says where it lies now.

    UsageError when ``out`` is there, InputError when adapter and model do not go together, ModelError without the model.
    """
    if out.exists():
        raise UsageError(f"{out} is there already: name a folder that is not")
    told = _configuration(adapter)
    base = model or str(told["base_model_name_or_path"])
    folder = model_folder(base, None if model else told.get("revision"))
    changes = dict(_changes(adapter, told))
    temporary = out.with_name(f".{out.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        files = _weights(folder)
        for path in files:
            _merge_file(path, temporary / path.name, changes)
        if left := [name for name, change in changes.items() if not change.used]:
            raise InputError(f"{folder} has no weight {left[0]}: the adapter is of another model", reason="other_model")
        _copy_others(folder, adapter, temporary)
        found = Merged(str(out), base, len(changes), len(files))
        # Last: a folder with it is whole.
        (temporary / MERGED).write_text(
            json.dumps(found.to_json() | {"adapter": adapter.name}) + "\n", encoding="utf-8"
        )
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return found


@dataclass
class _Change:
    """What happens to one weight: ``down`` and ``up`` of a product, or new ``rows`` at ``at``."""

    scale: float = 0.0
    down: Tensor | None = None
    up: Tensor | None = None
    rows: Tensor | None = None
    at: tuple[int, ...] = ()
    used: bool = False

    def of(self, weight: Tensor) -> Tensor:
        """The changed ``weight``, in its own precision."""
        self.used = True
        changed = weight.float()
        if self.down is not None and self.up is not None:
            changed = changed + self.scale * (self.up.float() @ self.down.float())
        if self.rows is not None:
            changed = changed.index_copy(0, torch.tensor(self.at), self.rows.float())
        return changed.to(weight.dtype).contiguous()


def _configuration(adapter: Path) -> dict[str, Any]:
    path = adapter / "adapter_config.json"
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{adapter} is no adapter: {path.name} cannot be read") from error
    if told.get("peft_type") != "LORA":
        raise InputError(f"{adapter} is an adapter of the kind {told.get('peft_type')}, not LORA")
    if odd := [name for name in _OTHER_KINDS if told.get(name)]:
        raise InputError(f"{adapter} cannot be merged here, for it was made with {', '.join(odd)}")
    return told


def _changes(adapter: Path, told: dict[str, Any]) -> Iterator[tuple[str, _Change]]:
    rank = int(told["r"])
    scale = told["lora_alpha"] / (rank**0.5 if told.get("use_rslora") else rank)
    rows: dict[str, list[int]] = told.get("trainable_token_indices") or {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in _read(adapter / _ADAPTER).items():
        found = _NAME.fullmatch(name)
        if not found:
            raise InputError(f"{adapter} has {name}, which is no part of a plain LoRA")
        parts.setdefault(found[1], {})[found[2] or "rows"] = tensor
    for name, part in sorted(parts.items()):
        at = tuple(rows.get(name.rsplit(".", 1)[-1], ()))
        yield f"{_plain(name)}.weight", _Change(scale, part.get("A"), part.get("B"), part.get("rows"), at)


def _plain(name: str) -> str:
    """A weight's name, made the same for the whole model's files, the thinker's own, and the library's."""
    return name.removeprefix("thinker.").replace("model.language_model.", "model.")


def _weights(folder: Path) -> list[Path]:
    index = folder / _INDEX
    if index.is_file():
        names = sorted({*json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    else:
        names = ["model.safetensors"]
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise InputError(f"{folder} lacks {missing[0]}")
    return [folder / name for name in names]


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read as safetensors: {error}") from error
    return found


def _merge_file(path: Path, target: Path, changes: dict[str, _Change]) -> None:
    from safetensors.torch import save_file

    tensors = _read(path)
    mine = [name for name in tensors if _plain(name) in changes]
    if not mine:
        shutil.copyfile(path, target)
        return
    for name in mine:
        try:
            tensors[name] = changes[_plain(name)].of(tensors[name])
        except RuntimeError as error:
            raise InputError(f"the adapter does not fit {name} of {path}: {error}", reason="other_model") from error
    save_file(tensors, target, metadata={"format": "pt"})
    # The library makes files that only their owner reads; a server is often somebody else.
    target.chmod(0o644)


def _copy_others(folder: Path, adapter: Path, target: Path) -> None:
    """Configuration, tokenizer and all that is no weight; and the format of the data that the adapter learnt from."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in (".json", ".txt", ".jinja", ".md") and not (target / path.name).exists():
            shutil.copyfile(path, target / path.name)
    if (adapter / FORMAT).is_file():
        shutil.copyfile(adapter / FORMAT, target / FORMAT)
