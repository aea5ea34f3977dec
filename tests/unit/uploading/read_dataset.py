"""Opens a published folder as a stranger would, offline, in a process of its own, and prints every sample as JSON.

``datasets`` refuses to touch an Audio column unless torchcodec can be imported, though it needs nothing of it to carry
the encoded bytes. Where torchcodec is missing, empty modules satisfy that look while the data set is prepared; what is
opened, typed and read is all real. With ``--bytes`` nothing of the kind is done: the card shows that way for machines
without torch.
"""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av
from datasets import Audio, Value, get_dataset_config_names, load_dataset, load_dataset_builder


@contextmanager
def importable() -> Iterator[None]:
    """Let ``import torch`` and ``from torchcodec.encoders import AudioEncoder`` succeed where there is neither."""
    if importlib.util.find_spec("torchcodec") is not None:
        yield
        return
    torch, encoders = types.ModuleType("torch"), types.ModuleType("torchcodec.encoders")
    # What the hashing of arguments asks of any torch that is loaded.
    vars(torch).update({name: type(name, (), {}) for name in ("Tensor", "Generator")})
    vars(torch)["nn"] = types.SimpleNamespace(Module=type("Module", (), {}))
    vars(encoders)["AudioEncoder"] = None
    for module in (torch, types.ModuleType("torchcodec"), encoders):
        sys.modules[module.__name__] = module
    yield
    for name in ("torch", "torchcodec", "torchcodec.encoders"):
        del sys.modules[name]


def load(folder: str, config: str | None) -> Any:
    """The data set with nothing but its path (and a config), audio left encoded."""
    with importable():
        data = load_dataset(folder, config) if config else load_dataset(folder)
    for column in [name for name in ("mp3", "flac") if name in data["train"].features]:
        assert isinstance(data["train"].features[column], Audio)
        data = data.cast_column(column, Audio(decode=False))
    return data


def load_bytes(folder: str) -> Any:
    """The same without torchcodec, as the card tells."""
    features = load_dataset_builder(folder).info.features.copy()
    features["mp3"] = Value("binary")
    return load_dataset(folder, features=features)


def main(folder: str, *configs: str) -> None:
    """Print the configs, then config and sample, one JSON line each."""
    print(json.dumps(sorted(get_dataset_config_names(folder))))
    for config in configs or (None,):
        data = load_bytes(folder) if config == "--bytes" else load(folder, config)
        assert list(data) == ["train"]
        for sample in data["train"]:
            audio = sample.get("mp3") or sample.get("flac")
            body = audio if isinstance(audio, bytes) else audio["bytes"]
            with av.open(io.BytesIO(body)) as container:
                seconds = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
            print(json.dumps([config, sample["__key__"], sample["json"], round(seconds, 2)]))


if __name__ == "__main__":
    main(*sys.argv[1:])
