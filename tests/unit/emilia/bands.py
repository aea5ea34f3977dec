"""Two networks whose answers are known: who speaks is read from the energy in two bands of frequencies.

A speaker is a sound in one of the bands (:func:`tests.unit.emilia.tiny_pyannote.talk` makes such audio). Within a chunk
the speaker who begins is the first, as with the real network, which knows no names either: telling who is who over
all chunks is left to the embeddings and the clustering. Imports torch, so only what needs it imports this module.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from pyannote.audio.core.model import Model
from pyannote.audio.models.embedding.wespeaker import BaseWeSpeakerResNet
from pyannote.audio.models.embedding.wespeaker.resnet import BasicBlock, ResNet

RATE, WINDOW, HOP = 16000, 400, 160
# A voice at -20 dBFS has a mean power of 0.01; what leaks from the other band is far below this.
LOUD = 1e-4
LOW, HIGH = (200.0, 1000.0), (2000.0, 4000.0)
EDGES = [0.0, 200.0, 400.0, 700.0, 1000.0, 2000.0, 2700.0, 3300.0, 4000.0]


def powers(waveforms: torch.Tensor, edges: list[float]) -> torch.Tensor:
    """Mean power between consecutive ``edges`` (Hz): (batch, 1, samples) to (batch, frames, bands)."""
    frames = waveforms[:, 0].unfold(1, WINDOW, HOP)
    window = torch.hann_window(WINDOW, periodic=False, device=waveforms.device)
    spectrum = torch.fft.rfft(frames * window).abs() ** 2 * (2 / WINDOW / window.square().sum())
    bins = torch.fft.rfftfreq(WINDOW, 1 / RATE, device=waveforms.device)
    bands = [(bins >= low) & (bins < high) for low, high in pairwise(edges)]
    return torch.stack([spectrum[..., band].sum(dim=-1) for band in bands], dim=-1)


class Framed(Model):
    """A model that looks at windows of WINDOW samples, one every HOP, as pyannote asks about it."""

    def num_frames(self, num_samples: int) -> int:
        return 1 + (num_samples - WINDOW) // HOP

    def receptive_field_size(self, num_frames: int = 1) -> int:
        return WINDOW + (num_frames - 1) * HOP

    def receptive_field_center(self, frame: int = 0) -> int:
        return WINDOW // 2 + frame * HOP


class BandSegmentation(Framed):
    """Powerset of three speakers, two at once: the log probabilities (batch, frames, 7) say 0 or -20."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        self.loud = torch.nn.Parameter(torch.tensor(LOUD))

    @property
    def dimension(self) -> int:
        return 7

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        loud = torch.stack([powers(waveforms, list(band))[..., 0] > self.loud for band in (LOW, HIGH)], dim=-1)
        begins = torch.where(loud.any(dim=1), loud.int().argmax(dim=1), loud.shape[1])
        swapped = begins[:, 1] < begins[:, 0]
        loud[swapped] = loud[swapped].flip(-1)
        # Classes in the order of pyannote's powerset: nobody, 0, 1, 2, then 0 with 1.
        kind = loud[..., 0].long() + 2 * loud[..., 1].long()
        kind[kind == 3] = 4
        return -20.0 * (1 - torch.nn.functional.one_hot(kind, 7).float())


class BandEmbedding(Framed):
    """Eight numbers: the square roots of the powers of eight bands over the weighted frames."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        self.edges = torch.nn.Parameter(torch.tensor(EDGES))

    @property
    def dimension(self) -> int:
        return len(self.edges) - 1

    def forward(self, waveforms: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        found = powers(waveforms, self.edges.tolist()).sqrt()
        if weights is None:
            return found.mean(dim=1)
        weights = torch.nn.functional.interpolate(weights[:, None], size=found.shape[1], mode="nearest")[:, 0, :, None]
        # Nobody's frames give no embedding at all, as 0 / 0 is.
        return (found * weights).sum(dim=1) / weights.sum(dim=1)


class SmallWeSpeaker(BaseWeSpeakerResNet):
    """WeSpeaker's network with an eighth of the channels and two layers a stage less: random, but of the right shape."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        self.resnet = ResNet(BasicBlock, [1, 1, 1, 1], m_channels=4, feat_dim=80, embed_dim=32, two_emb_layer=False)
