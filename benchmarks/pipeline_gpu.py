"""The preset `emilia` on a GPU with randomly initialised networks of the true sizes: speed against the computed limit.

    python benchmarks/pipeline_gpu.py [--episodes N] [--minutes M] [--json]
    python benchmarks/pipeline_gpu.py --rehearse      # tiny networks on the CPU: that the program works, no figure

Wants a CUDA GPU and the extras `emilia`, `gpu`, `heavy`. Separation is an MDX-Net (TFC-TDF U-Net, 16.7 M parameters,
758.9 GFLOP a window of 5.78 s, twice for the denoising), recognition a Whisper medium, diarization pyannote's PyanNet and
WeSpeaker's ResNet34, all random; DNSMOS and Silero are the real ones. Random weights cost what trained ones cost, except
where a network decides how long it runs: the recogniser is made to say as many tokens as twelve seconds of speech have,
whatever it hears, from a vocabulary of 1,900 instead of 51,865, and the diarizer's turns are arbitrary. Texts and scores
mean nothing.

The limit is computed in the same run: operations of separation and of the recogniser's encoder for a second of audio over
the rate that a large half-precision matrix product reaches on the same card. "Busy" is nvidia-smi's own utilisation.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import ROOT, Figure, arguments, report

from Emilia.config import load_config
from Emilia.pipeline import Pipeline
from tests.unit.emilia import tiny_pyannote, tiny_whisper

WINDOW_SECONDS = (1024 * 255 - 6144) / 44100
SEPARATION_GFLOP = 758.9
# Encoder of Whisper medium: 24 layers of width 1024 on 1,500 positions, 2 operations a multiply-add.
ENCODER_GFLOP = 2 * 24 * (12 * 1024**2 * 1500 + 2 * 1500**2 * 1024) / 1e9
# About 3.3 tokens a second, and segments of twelve seconds.
TEXT_TOKENS = 40
SEED = 4


@dataclass
class Watch:
    """Samples the card's utilisation while a block runs, where nvidia-smi is there."""

    shares: list[float] = field(default_factory=list)

    def __enter__(self) -> Watch:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--id=0"]
        while shutil.which("nvidia-smi") and not self._over.wait(0.5):
            told = subprocess.run(command, capture_output=True, text=True).stdout.split()
            self.shares += [float(told[0]) / 100] if told else []


def main() -> None:
    """Build the networks, run the episodes, print."""
    parser = arguments(__doc__, one_core=False)
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=30.0, help="length of each episode")
    parser.add_argument("--rehearse", action="store_true", help="tiny networks on the CPU; no figure is claimed")
    chosen = parser.parse_args()
    import torch

    if not chosen.rehearse and not torch.cuda.is_available():
        sys.exit("There is no CUDA GPU here; --rehearse shows that the program works.")
    if chosen.rehearse or chosen.quick:
        chosen.episodes, chosen.minutes = 2, 1.0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        options = networks(folder, tiny=chosen.rehearse)
        config = load_config(None, "emilia", options)
        pipeline = Pipeline(config, "cpu" if chosen.rehearse else "cuda:0")
        pipeline.load()
        source = audio(folder / "episode.flac", chosen.minutes)
        run_all(pipeline, source, folder / "warm", 1)
        with Watch() as watch:
            began = time.perf_counter()
            results = run_all(pipeline, source, folder / "runs", chosen.episodes)
            wall = time.perf_counter() - began
    report(
        "Pipeline on the CPU, tiny networks: a rehearsal" if chosen.rehearse else "Pipeline on a GPU",
        [],
        figures(results, wall, watch, None if chosen.rehearse else matmul_rate()),
        as_json=chosen.json,
        packages=["torch", "onnxruntime" if chosen.rehearse else "onnxruntime-gpu", "ctranslate2", "pyannote-audio"],
        seed=SEED,
        notes=["CPU" if chosen.rehearse else torch.cuda.get_device_name(0), "Random weights: texts mean nothing."],
    )


def run_all(pipeline: Pipeline, source: Path, folder: Path, episodes: int) -> list[Any]:
    """``episodes`` copies of ``source``, as many at once as the preset says; their results."""
    results: list[Any] = []
    places = threading.Semaphore(pipeline.config.pipeline.episodes)

    def one(number: int) -> None:
        with places:
            results.append(
                pipeline.run(
                    source,
                    episode=f"e{number}",
                    out=folder / str(number),
                    scratch=folder / "scratch",
                    language="en",
                    progress=lambda _stage, _share: None,
                )
            )

    threads = [threading.Thread(target=one, args=(number,)) for number in range(episodes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == episodes, "an episode failed"
    return results


def figures(results: list[Any], wall: float, watch: Watch, rate: float | None) -> list[Figure]:
    """Speed, seconds per stage, and how near the limit that is."""
    seconds = sum(result.duration for result in results)
    speed = seconds / wall
    segments = [segment for result in results for segment in result.segments]
    assert segments, "nothing was recognised"
    assert all(segment.text for segment in segments), "an empty text: the recogniser did no work"
    # Two who speak at once are read twice.
    read = sum(segment.end - segment.start for segment in segments) / seconds
    rows = [Figure("audio seconds per wall second", speed, "x real time"), Figure("speech read", read, "s/s of audio")]
    if rate:
        needed = 2 * SEPARATION_GFLOP / WINDOW_SECONDS + read * ENCODER_GFLOP / 30
        limit = rate / needed
        rows += [
            Figure("operations needed", needed, "GFLOP/s"),
            Figure("matrix product reached", rate / 1e3, "TFLOP/s"),
            Figure("computed limit", limit, "x real time"),
            Figure("share of the limit", speed / limit),
        ]
    if watch.shares:
        rows.append(Figure("GPU busy", statistics.fmean(watch.shares)))
    for stage in results[0].seconds:
        rows.append(Figure(f"  {stage}", sum(result.seconds[stage] for result in results) / seconds, "s/s of audio"))
    rows.append(Figure("wall over the busiest stage", float(results[-1].facts["overlap_ratio"])))
    return rows


def matmul_rate(size: int = 8192, rounds: int = 50) -> float:
    """GFLOP/s of a half-precision matrix product on the first card."""
    import torch

    left, right = (torch.randn(size, size, device="cuda", dtype=torch.half) for _ in range(2))
    for _ in range(5):
        left @ right
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(rounds):
        left @ right
    torch.cuda.synchronize()
    return 2 * size**3 * rounds / (time.perf_counter() - began) / 1e9


def audio(path: Path, minutes: float) -> Path:
    """The shipped dialogues over quiet music-like tones, repeated to ``minutes``: nothing in it counts as clean."""
    import numpy as np
    import soundfile as sf

    spoken, rate = sf.read(ROOT / "examples" / "demo" / "novel.flac", dtype="float32")
    times = np.arange(round(minutes * 60 * rate)) / rate
    music = sum(0.01 * np.sin(2 * np.pi * pitch * times) for pitch in (220.0, 277.2, 329.6))
    mono = spoken if spoken.ndim == 1 else spoken.mean(axis=1)
    sf.write(path, (np.resize(mono, len(times)) + music).astype(np.float32), rate)
    return path


def networks(folder: Path, *, tiny: bool) -> dict[str, object]:
    """Weights of the true sizes (or tiny ones) and the options that name them."""
    width = {"layers": 1, "width": 16, "heads": 2} if tiny else {"layers": 24, "width": 1024, "heads": 16}
    whisper = tiny_whisper.write(folder / "whisper", seed=SEED, length=TEXT_TOKENS, **width)
    return {
        "mdx.model": str(mdx(folder / "mdx.onnx", growth=2 if tiny else 48)),
        "pyannote.folder": str(tiny_pyannote.write(folder / "diarization", seed=SEED, full=not tiny)),
        "transcribe.whisper_model": str(whisper),
        "transcribe.temperatures": [0.0],
    }


def mdx(path: Path, growth: int) -> Path:
    """A random TFC-TDF U-Net as ONNX, of 16.7 M parameters and 758.9 GFLOP a window with a ``growth`` of 48."""
    import warnings

    import torch
    from mdx_net import MdxNet

    torch.manual_seed(SEED)
    network = MdxNet(growth).eval()
    with warnings.catch_warnings():
        # The older exporter is deprecated, but it needs no further package than onnx.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (torch.zeros(1, 4, 3072, 256),),
            str(path),
            dynamo=False,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
        )
    return path


if __name__ == "__main__":
    main()
