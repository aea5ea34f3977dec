"""Separation round the network: our transforms, windows and seams against the plain path, with the same stand-in network.

    python benchmarks/separation.py [--quick] [--json] [--repetitions N] [--hours H]

The stand-in answers what it is asked, at no cost, so what is measured is everything else: windows cut from a 44.1 kHz
mono signal, spectrograms, both signs for denoising, the answers combined and turned back, the pieces put together. The
peer was written for this comparison in the manner of the published pipeline: for every window a two-channel
``torch.stft``, ``view_as_real``, permutes and reshapes, the network called once for each sign, zero bins appended,
``torch.istft`` of both channels, trimmed, concatenated. It computes the necessary windows only, without the margins of the
published blocks. Resampling is the same for both and outside. One thread.

A second part runs the whole stage over a long episode in a process of its own, with an identity network as an ONNX file,
and reports that process's greatest resident memory, torch and onnxruntime included.
"""

from __future__ import annotations

from harness import ROOT, Comparison, Figure, arguments, compare, report  # isort: skip

import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from Emilia.config import Config, load_config
from Emilia.models.mdx import MdxNet
from Emilia.models.streams import Overlap, Track
from Emilia.models.windows import Grid, Window, overlapping
from Emilia.recording import Recording, WaveformWriter

SEED = 3
GOAL = 2.5
WINDOWS_GOAL = 1.02
MEMORY_GOAL = 1.5
RATE = 44100

Audio = npt.NDArray[np.float32]


class StandIn:
    """A network that answers what it is asked."""

    cuda = half = False
    shape = (None, 4, 3072, 256)

    def run(self, batch: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return batch

    def run_tensor(self, batch: Any) -> Any:
        return batch


class Whole:
    """The mix as an array at the network's rate, in place of the resampled stream."""

    def __init__(self, samples: Audio) -> None:
        self.samples, self.frames = samples, len(samples)

    def read(self, start: int, stop: int) -> Audio:
        found = np.zeros(stop - start, np.float32)
        low, high = max(start, 0), min(stop, self.frames)
        found[low - start : high - start] = self.samples[low:high]
        return found


class Kept(Track):
    """Keeps the pieces, in place of resampling and writing them."""

    def __init__(self) -> None:
        self.pieces: list[Audio] = []

    def add(self, samples: Audio, last: bool = False) -> None:  # noqa: ARG002
        self.pieces.append(samples)


class Ours:
    """The shipped engine between its two resamplers, its network replaced."""

    def __init__(self, config: Config, samples: Audio) -> None:
        from Emilia.models.stft import Spectrograms

        self.engine, self.mix, self.options = MdxNet(config), Whole(samples), config.mdx
        self.engine._network = StandIn()  # type: ignore[assignment]
        self.engine._spectrograms, self.engine._where = Spectrograms(config.mdx, "cpu"), "cpu"
        self.windows = plan(config, len(samples))

    def __call__(self) -> Audio:
        kept = Kept()
        self.engine._stream(self.mix, self.windows, Overlap([kept], RATE))  # type: ignore[arg-type]
        return np.concatenate(kept.pieces)


def plan(config: Config, frames: int) -> list[Window]:
    """The windows that the engine computes for a recording that is separated from end to end."""
    return overlapping([(0, frames)], frames, Grid.of(config.mdx), config.mdx.overlap)


class Plain:
    """One window after the other, two channels, with whatever copies the steps make."""

    def __init__(self, config: Config, samples: Audio) -> None:
        import torch

        self.options, self.samples, self.network = config.mdx, samples, StandIn()
        self.grid, self.hann = Grid.of(config.mdx), torch.hann_window(config.mdx.n_fft)

    def __call__(self) -> Audio:
        import torch

        half, usable = self.grid.half, self.grid.usable
        pad = -len(self.samples) % usable
        mix = np.pad(np.stack([self.samples, self.samples]), ((0, 0), (half, half + pad)))
        parts = []
        with torch.no_grad():
            for first in range(0, len(self.samples) + pad, usable):
                window = torch.tensor(mix[:, first : first + self.grid.span].copy())
                parts.append(self._window(window)[:, half:-half])
        return np.concatenate(parts, axis=-1)[0, : len(self.samples)]

    def _window(self, window: Any) -> npt.NDArray[np.float32]:
        import torch

        options, bins = self.options, self.grid.half + 1
        transform = {"n_fft": options.n_fft, "hop_length": options.hop, "window": self.hann, "center": True}
        found = torch.view_as_real(torch.stft(window, **transform, return_complex=True))
        found = (
            found.permute([0, 3, 1, 2]).reshape([-1, 2, 2, bins, options.dim_t]).reshape([-1, 4, bins, options.dim_t])
        )
        asked = found[:, :, : options.dim_f]
        answer = torch.tensor(-self.network.run(-asked.numpy()) * 0.5 + self.network.run(asked.numpy()) * 0.5)
        answer = torch.cat([answer, torch.zeros([1, 4, bins - options.dim_f, options.dim_t])], -2)
        answer = answer.reshape([-1, 2, 2, bins, options.dim_t]).reshape([-1, 2, bins, options.dim_t])
        answer = torch.view_as_complex(answer.permute([0, 2, 3, 1]).contiguous())
        back: npt.NDArray[np.float32] = torch.istft(answer, **transform).numpy()
        return back


def same(ours: Audio, peer: Audio) -> str:
    """Both outputs agree everywhere, seams included: the stand-in gives back what went in."""
    assert ours.shape == peer.shape
    difference = float(np.abs(ours - peer).max())
    assert difference < 1e-5, f"the outputs differ by {difference:g}"
    return f"outputs differ by {difference:.1g} at most, seams included"


def speed(config: Config, seconds: float, repetitions: int) -> Comparison:
    """The comparison on ``seconds`` of noise."""
    import torch

    torch.set_num_threads(1)
    noise = 0.1 * np.random.default_rng(SEED).standard_normal(round(seconds * 24000), np.float32)
    samples = soxr.resample(noise, 24000, RATE, quality="VHQ")
    return compare(
        "front and back end",
        Ours(config, samples),
        Plain(config, samples),
        check=same,
        peer_name=f"plain two-channel torch.stft/istft a window, written for this; torch {version('torch')}",
        repetitions=repetitions,
        goal=GOAL,
    )


def excess(config: Config, hours: float) -> Figure:
    """Windows computed over windows necessary."""
    frames = round(hours * 3600 * RATE)
    ratio = len(plan(config, frames)) / -(-frames // Grid.of(config.mdx).usable)
    return Figure(f"windows over necessary, {hours:g} h", ratio, "", f"at most {WINDOWS_GOAL}", ratio <= WINDOWS_GOAL)


def episode(hours: float) -> None:
    """Separate a long recording and print this process's greatest resident memory in bytes."""
    from tests.unit.emilia import tiny_mdx

    with tempfile.TemporaryDirectory(prefix="separation-") as name:
        folder = Path(name)
        model = tiny_mdx.identity(folder / "identity.onnx")
        engine = MdxNet(load_config(None, overrides={"mdx.model": str(model)}))
        engine.load("cpu")
        recording = Recording(folder / "a", "a", folder, folder)
        minute = 0.1 * np.random.default_rng(SEED).standard_normal(24000 * 60, np.float32)
        for field, rate in (("wave", 24000), ("narrow", 16000)):
            with WaveformWriter(folder / f"{field}.f32", rate) as writer:
                for _ in range(round(hours * 60)):
                    writer.write(minute[: rate * 60])
                setattr(recording, field, writer.done())
        engine.separate(recording, lambda _share: None)
        assert recording.full_rate().seconds == round(hours * 60) * 60
    # Not getrusage: its figure begins with what the parent had when it started this process.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split()[0]) * 1024)


def memory(hours: float) -> Figure:
    """Greatest resident memory of a process that separates ``hours``, in GB."""
    command = [sys.executable, str(Path(__file__).resolve()), "--episode", str(hours)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    gigabytes = json.loads(done.stdout) / 1e9
    return Figure(
        f"memory, {hours:g} h episode", gigabytes, "GB resident", f"at most {MEMORY_GOAL}", gigabytes <= MEMORY_GOAL
    )


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--hours", type=float, default=12.0, help="length of the long episode (default 12; quick: 0.5)")
    parser.add_argument("--episode", type=float, help="only separate an episode of so many hours (used by the program)")
    chosen = parser.parse_args()
    if chosen.episode:
        episode(chosen.episode)
        return
    config = load_config(None, preset="emilia")
    seconds, hours = (60.0, 0.5) if chosen.quick else (300.0, chosen.hours)
    report(
        "Separation without its network",
        [speed(config, seconds, chosen.repetitions)],
        [excess(config, one) for one in (1 / 6, 1.0, 12.0)] + [memory(hours)],
        as_json=chosen.json,
        packages=("torch", "numpy", "soxr", "onnxruntime"),
        seed=SEED,
        notes=(
            f"{seconds:g} s of mono noise at 24 kHz, resampled to {RATE} Hz; n_fft 6144, hop 1024, 3072 x 256 a window, "
            "denoise on",
        ),
    )


if __name__ == "__main__":
    main()
