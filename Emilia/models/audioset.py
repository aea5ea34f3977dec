"""The Audio Spectrogram Transformer (AST) trained on AudioSet: probabilities of 527 kinds of sound in a window.

Source: Gong, Chung and Glass, "AST: Audio Spectrogram Transformer" (2021), in transformers' implementation and file
layout. The network hears at most 1,024 frames of 10 ms; a shorter window is padded with zeros, as in its training. Which
of its classes make one of our event words stands in ``audioset_events.json``.

Only the safetensors file is read, which holds numbers and no code. Nothing is fetched here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from Emilia.config import Config
from Emilia.errors import BadConfig, ModelMissing
from Emilia.models.cuda import in_batches
from Emilia.models.fbank import HOP, RATE, WINDOW, fbank
from Emilia.models.weights import fingerprint, resolve
from Emilia.recording import Audio, Waveform
from Emilia.stages.events import Cell, Scores

__all__ = ["Ast", "Frontend", "locate"]

_WEIGHTS = "model.safetensors"
_FILES = ("config.json", "preprocessor_config.json", _WEIGHTS)
_WORDS = Path(__file__).with_name("audioset_events.json")


def locate(folder: str) -> dict[str, Path]:
    """The network's files by name; ``ModelMissing`` names the first that lacks."""
    files = {name: resolve(folder) / name for name in _FILES}
    for name, path in files.items():
        if not path.is_file():
            raise ModelMissing(
                f"{folder}/{name}", f"run `python cache_models.py --models ast-audioset`; it puts the file at {path}."
            )
    return files


class Frontend:
    """What the network is given, by its ``preprocessor_config.json``: ``bands`` log mel energies of ``length`` frames,
    moved by ``mean`` and divided by twice ``deviation``.
    """

    def __init__(self, path: Path) -> None:
        try:
            said = json.loads(path.read_text())
            self.bands, self.length = int(said["num_mel_bins"]), int(said["max_length"])
            self.mean, self.deviation = float(said["mean"]), float(said["std"])
            rate, moved = int(said.get("sampling_rate", RATE)), bool(said.get("do_normalize", True))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadConfig(f"{path} does not describe the input of an audio spectrogram transformer.") from error
        if rate != RATE or not moved or not self.deviation > 0.0 or self.bands < 1 or self.length < 1:
            raise BadConfig(f"{path} asks for another input than {RATE} Hz and a normalised spectrogram.")

    @property
    def seconds(self) -> float:
        """The longest window that is heard whole."""
        return ((self.length - 1) * HOP + WINDOW) / RATE

    def __call__(self, samples: Audio, spans: Sequence[tuple[int, int]]) -> npt.NDArray[np.float32]:
        """Inputs (spans, ``length``, ``bands``) of windows of ``samples``, each beginning at a multiple of 160.

        The windows overlap and their frames are the same, so every frame is computed once.
        """
        energies = fbank(samples, self.bands)
        made = np.zeros((len(spans), self.length, self.bands), np.float32)
        for window, (low, high) in zip(made, spans, strict=True):
            frames = max(0, 1 + (high - low - WINDOW) // HOP)
            heard = energies[low // HOP : low // HOP + frames][: self.length]
            window[: len(heard)] = heard
        return (made - np.float32(self.mean)) / np.float32(2.0 * self.deviation)


class Ast:
    """The listener ``ast``."""

    adds: tuple[str, ...] = ("events",)

    def __init__(self, config: Config) -> None:
        self.options = config.events
        self.models: dict[str, str] = {}
        self.labels: Sequence[str] = ()
        self.events: Mapping[str, Sequence[str]] = json.loads(_WORDS.read_text())

    def load(self, device: str) -> None:
        """Build the network on ``device``; ``ModelMissing`` for a file or package that is not there, ``BadConfig`` for
        a network that knows none of our sounds or windows that it cannot hear.
        """
        files = locate(self.options.folder)
        self._frontend = Frontend(files["preprocessor_config.json"])
        if self.options.window > self._frontend.seconds:
            raise BadConfig(f"'events.window' must be at most {self._frontend.seconds:g} s for this network.")
        self._network, self._device = _network(files[_WEIGHTS].parent), device
        self._network.to(device)
        names: Mapping[int, str] = self._network.config.id2label
        self.labels = [names[index] for index in range(len(names))]
        if not set(self.labels) & {label for labels in self.events.values() for label in labels}:
            raise BadConfig(f"The network in {self.options.folder} knows none of the sounds in {_WORDS.name}.")
        self.models = {"ast": fingerprint(files[_WEIGHTS]), "ast-events": fingerprint(_WORDS)}

    def close(self) -> None:
        """Free the network."""
        del self._network

    def scores(self, wave: Waveform, cells: Sequence[Cell]) -> Iterator[Scores]:
        """Probabilities of all labels for each window, ``events.batch`` windows at a time."""
        for _, rows in in_batches(cells, self.options.batch, lambda part: self._run(wave, part)):
            yield rows

    def _run(self, wave: Waveform, cells: Sequence[Cell]) -> Scores:
        import torch

        first = min(cell.low for cell in cells)
        samples = wave.read(first, max(cell.high for cell in cells))
        inputs = self._frontend(samples, [(cell.low - first, cell.high - first) for cell in cells])
        with torch.inference_mode():
            answer = self._network(input_values=torch.from_numpy(inputs).to(self._device)).logits
            rows: Scores = torch.sigmoid(answer.float()).cpu().numpy()
        return rows


def _network(folder: Path) -> Any:
    """The network in ``folder``, ready to be asked."""
    try:
        from safetensors import SafetensorError
        from transformers import ASTForAudioClassification
        from transformers.utils import logging
    except ImportError as error:
        cure = "install torch and transformers: pip install -c requirements.txt torch transformers."
        raise ModelMissing("ast-audioset", cure) from error
    # Its bar would stand between the lines of a worker's log.
    logging.disable_progress_bar()
    try:
        network, found = ASTForAudioClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise _useless(folder, str(error)) from error
    if lacking := sorted(found["missing_keys"]):
        # transformers would fill them with random numbers and only warn.
        raise _useless(folder, f"it has no {lacking[0]}")
    network.requires_grad_(False)
    network.train(False)
    return network


def _useless(folder: Path, why: str) -> ModelMissing:
    return ModelMissing(
        f"{folder.name}/{_WEIGHTS}", f"it cannot be loaded ({why:.200}); delete the folder and fetch it again."
    )
