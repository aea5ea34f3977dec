"""DNSMOS P.835 (Microsoft, ``sig_bak_ovr.onnx``): windows of 9.01 s, one a second, mean over all windows.

Source: github.com/microsoft/DNS-Challenge, DNSMOS; windowing and polynomials as published, with two departures that
``compat`` takes back. The published loop computes a window's end as ``int((i + 9.01) * 16000)``, which falls one sample
short for windows 7 to 23, so that those are thrown away; here every window counts. And it doubles a clip
shorter than a window until it is longer, then slides over the copies: up to nine windows of the same speech. Here such
a clip fills one window (on the demo's 38 short segments a mean difference of 0.03, at most 0.08, none across 3.0, for a
quarter of the computing time).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from Emilia.config import Config
from Emilia.errors import ModelMissing
from Emilia.models.cuda import in_batches
from Emilia.models.onnx import Network
from Emilia.models.weights import fingerprint, resolve
from Emilia.recording import Audio
from Emilia.stage import Progress
from Emilia.stages.score import Quality

__all__ = ["LENGTH", "RATE", "Dnsmos", "locate", "windows"]

RATE = 16000
SECONDS = 9.01
LENGTH = 144160
_SIG = np.poly1d([-0.08397278, 1.22083953, 0.0052439])
_BAK = np.poly1d([-0.13166888, 1.60915514, -0.39604546])
_OVR = np.poly1d([-0.06766283, 1.11546468, 0.04602535])


def locate(model: str) -> Path:
    """The network's file: ``model`` (relative: beside this file), else the speechmos package's; raises
    ``ModelMissing``.

    The package is only looked for, never imported: its modules need librosa, which is not installed.
    """
    own = resolve(model)
    if own.is_file():
        return own
    spec = find_spec("speechmos")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        packaged = Path(folder) / "dnsmos_models" / "sig_bak_ovr.onnx"
        if packaged.is_file():
            return packaged
    raise ModelMissing("sig_bak_ovr.onnx", f"install speechmos, which carries it, or put it at Emilia/models/{model}.")


def windows(samples: int, hop: int, compat: bool = False) -> list[int]:
    """First samples of the windows over ``samples`` (at least one window long)."""
    if not compat:
        return list(range(0, samples - LENGTH + 1, hop))
    count = int(np.floor(samples / RATE) - SECONDS) + 1
    return [i * RATE for i in range(count) if int((i + SECONDS) * RATE) - i * RATE >= LENGTH]


class Dnsmos:
    """The scorer ``dnsmos``: gives all three scores."""

    def __init__(self, config: Config) -> None:
        self._options, self._onnx = config.score, config.onnx
        self._compat = config.pipeline.compat
        self.models: dict[str, str] = {}

    def load(self, device: str) -> None:
        """Open the network on ``score.device`` or else on ``device``; raises ``ModelMissing``."""
        path = locate(self._options.model)
        self._network = Network(path, self._options.device or device, self._onnx)
        self.models = {"dnsmos": fingerprint(path)}

    def close(self) -> None:
        """Free the network."""
        del self._network

    def score(self, audio: Audio, progress: Progress) -> Quality:
        """Mean scores of ``audio`` (16 kHz); what is shorter than a window is repeated until it fills one."""
        if not len(audio):
            return Quality()
        samples = np.clip(audio, -1.0, 1.0)
        while len(samples) < LENGTH:
            samples = np.concatenate([samples, samples])
        if len(audio) < LENGTH and not self._compat:
            samples = samples[:LENGTH]
        starts = windows(len(samples), round(self._options.hop * RATE), self._compat)
        rows: list[npt.NDArray[np.float32]] = []
        done = 0
        for part, scores in in_batches(
            starts,
            self._options.batch,
            lambda part: self._network.run(np.stack([samples[s : s + LENGTH] for s in part])),
        ):
            rows.append(scores)
            done += len(part)
            progress(done / len(starts))
        sig, bak, ovr = np.concatenate(rows).astype(np.float64).T
        return Quality(float(_OVR(ovr).mean()), float(_SIG(sig).mean()), float(_BAK(bak).mean()))
