"""The thinker's files and the thinker itself, from a folder or the Hub; a ModelError in one sentence when it cannot be had.

A folder holds the whole Qwen3-Omni or its thinker alone; of the whole one only the thinker is read. Nothing in the files
is run: weights are safetensors, and code that comes with a model is not loaded.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from duplexforge import config, log
from duplexforge.config import UploadSettings
from duplexforge.errors import ConfigError, DuplexforgeError, InputError, ModelError, RetryLater
from duplexforge.framing import DuplexFormat

__all__ = ["Precision", "check_format", "commit_of", "load_adapter", "load_thinker", "model_folder"]

Precision = Literal["fp32", "bf16"]

_FILES = ["*.json", "*.safetensors", "*.txt", "*.jinja"]
_EXTRA = "pip install -c requirements.txt torch && pip install -c requirements.txt -e '.[lora]'"


def model_folder(model: str, revision: str | None = None) -> Path:
    """The folder of ``model``: itself, or where the Hub's client keeps its commit ``revision`` (fetched if need be).

    Raises ModelError when it is missing or gated, RetryLater when the Hub does not answer.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(f"{model} holds no config.json: it is no model's folder")
        return folder
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise ModelError(f"there is no folder {model}: give one that holds config.json, or OWNER/NAME of the Hub")
    return _fetched(model, revision)


def _fetched(model: str, revision: str | None) -> Path:
    config.quiet_libraries()
    settings = config.load("upload")[UploadSettings]
    token = settings.hf_token.get_secret_value() if settings.hf_token else None
    log.hide(token)
    try:
        import huggingface_hub
    except ImportError as error:
        raise ModelError(f"a model of the Hub wants huggingface-hub: {_EXTRA}") from error
    try:
        found = huggingface_hub.snapshot_download(
            model, revision=revision, token=token, endpoint=settings.hf_endpoint, allow_patterns=_FILES
        )
    except Exception as error:  # the boundary to the Hub's client
        raise _ours(error, model, revision) from error
    return Path(found)


def _ours(error: Exception, model: str, revision: str | None) -> DuplexforgeError:
    kind = type(error).__name__
    status = getattr(getattr(error, "response", None), "status_code", None)
    if kind == "RevisionNotFoundError":
        return ModelError(f"the model {model} has no revision {revision}: pin a commit that is there")
    if kind == "GatedRepoError" or status == 403:
        return ModelError(f"the model {model} is gated: accept its terms on the Hub and set HF_TOKEN", reason="gated")
    if kind in ("RepositoryNotFoundError", "HFValidationError") or status in (401, 404):
        return ModelError(f"the Hub shows no model {model}: check the name, and that HF_TOKEN may read it")
    told = (" ".join(str(error).split()) or kind)[:200]
    return RetryLater(f"the Hub did not give the model {model}: {log.redact(told)}", reason="hub")


def commit_of(folder: Path) -> str | None:
    """The commit of the Hub that ``folder`` is; None for a folder of one's own."""
    return folder.name if folder.parent.name == "snapshots" else None


def load_thinker(folder: Path, *, device: str = "cpu", precision: Precision = "bf16", four_bit: bool = False) -> Any:
    """The thinker in ``folder`` on ``device``, frozen and in evaluation mode.

    ``four_bit`` keeps its linear layers in 4 bits (NF4), which wants CUDA and bitsandbytes: a ModelError says what is
    missing. The experts are no linear layers to that library and stay as they are.
    """
    if four_bit:
        _can_do_four_bit(device)
    try:
        import torch
        from transformers import Qwen3OmniMoeThinkerForConditionalGeneration as Thinker
        from transformers.utils import logging as chatter
    except ImportError as error:
        raise ModelError(f"Qwen3-Omni wants torch and transformers: {_EXTRA}") from error
    # A progress bar of a second in a log of JSON lines.
    chatter.disable_progress_bar()
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    options: dict[str, Any] = {"quantization_config": _four_bit()} if four_bit else {}
    if device != "cpu":
        options["device_map"] = {"": device}
    try:
        thinker, told = Thinker.from_pretrained(
            folder, dtype=kind, local_files_only=True, trust_remote_code=False, output_loading_info=True, **options
        )
    except Exception as error:  # what broken files raise is the library's affair
        raise ModelError(f"{folder} cannot be loaded as Qwen3-Omni's thinker: {_first_line(error)}") from error
    if told["missing_keys"]:
        # The library would go on with random numbers in their place.
        raise ModelError(f"{folder} lacks {len(told['missing_keys'])} weights, such as {min(told['missing_keys'])}")
    return thinker.requires_grad_(False).eval()


def load_adapter(thinker: Any, folder: Path) -> Any:
    """``thinker`` with the adapter in ``folder`` on top, for use; InputError when they do not go together."""
    try:
        import warnings

        from peft import PeftModel
    except ImportError as error:
        raise ModelError(f"adapters want peft: {_EXTRA}") from error
    if not (folder / "adapter_config.json").is_file():
        raise InputError(f"{folder} holds no adapter_config.json: it is no adapter")
    try:
        with warnings.catch_warnings():
            # It asks transformers by a name that is going out of use.
            warnings.simplefilter("ignore", FutureWarning)
            return PeftModel.from_pretrained(thinker, folder).get_base_model().eval()
    except Exception as error:  # sizes and names that differ raise what they like
        raise InputError(f"the adapter {folder} does not fit the model: {_first_line(error)}") from error


def check_format(folder: Path, thinker: Any, fmt: DuplexFormat) -> None:
    """ConfigError when the tokens of ``fmt`` are not those of the model in ``folder``."""
    told = thinker.config
    size = told.text_config.vocab_size
    if fmt.silence_token_id >= size:
        raise ConfigError(f"the silence token {fmt.silence_token_id} is beyond the model's {size} tokens")
    words = _controls(folder)
    for name, word, number in (
        ("silence", fmt.silence_token, fmt.silence_token_id),
        ("audio", fmt.audio_token, told.audio_token_id),
    ):
        if words and words.get(word) != number:
            raise ConfigError(
                f"the {name} token {word} is {number} here and {words.get(word)} in the tokenizer of {folder}: "
                "the data set was built for another model"
            )


def _controls(folder: Path) -> dict[str, int]:
    """Control tokens and their ids, as whichever of the tokenizer's two files has them; empty without a tokenizer."""
    found: dict[str, int] = {}
    whole, notes = folder / "tokenizer.json", folder / "tokenizer_config.json"
    if notes.is_file():
        decoder = json.loads(notes.read_text(encoding="utf-8")).get("added_tokens_decoder", {})
        found |= {entry["content"]: int(number) for number, entry in decoder.items()}
    if whole.is_file():
        added = json.loads(whole.read_text(encoding="utf-8")).get("added_tokens", [])
        found |= {entry["content"]: int(entry["id"]) for entry in added}
    return found


def _can_do_four_bit(device: str) -> None:
    missing = []
    if not device.startswith("cuda"):
        missing.append("a CUDA device")
    if find_spec("bitsandbytes") is None:
        missing.append("bitsandbytes (pip install bitsandbytes)")
    if missing:
        raise ModelError(f"4-bit weights want {' and '.join(missing)}: set model.four_bit = false to go without")


def _four_bit() -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=["lm_head", "audio_tower", "visual"],
    )


def _first_line(error: Exception) -> str:
    lines = (str(error).strip() or type(error).__name__).splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.: ')[:300]}"
