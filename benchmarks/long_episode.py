"""Memory of a long episode: how much a worker's process grows beyond its loaded models while it processes one file.

    python benchmarks/long_episode.py [--hours 12] [--quick] [--json]

All six engines of the preset `emilia` on networks made on the spot (their sizes are tiny, their inputs and outputs the
true ones, so that everything around them is as large as it ever is), DNSMOS left out, which would take a day on a CPU.
The episode is two "speakers" of tones whom the small diarizer tells apart, so that there are as many segments as in a real
conversation; everything is separated. Peak resident memory is the kernel's own
(VmHWM, set back after loading). There is no peer: the goal is a bound, 1.5 GB.
"""

from __future__ import annotations

import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import soxr
from harness import Figure, arguments, report

from Emilia.config import load_config
from Emilia.pipeline import Pipeline
from tests.unit.emilia import tiny_mdx, tiny_pyannote, tiny_whisper

GOAL_GB = 1.5
SEED = 5
_BLOCK = 600.0


def main() -> None:
    """Make the episode, run it, print."""
    parser = arguments(__doc__, one_core=False)
    parser.add_argument("--hours", type=float, default=12.0)
    chosen = parser.parse_args()
    hours = 0.05 if chosen.quick else chosen.hours
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source = folder / "episode.m4a"
        # In a process of its own: what its encoder needed must not stand in the way of the measurement.
        making = get_context("spawn").Process(target=episode, args=(source, hours))
        making.start()
        making.join()
        pipeline = Pipeline(load_config(None, "emilia", networks(folder)))
        pipeline.load()
        loaded = status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        began = time.perf_counter()
        result = pipeline.run(
            source,
            episode="long",
            out=folder / "out",
            scratch=folder / "scratch",
            language="en",
            progress=lambda _stage, _share: None,
        )
        wall = time.perf_counter() - began
    growth = (status("VmHWM") - loaded) / 1e9
    figures = [
        Figure("hours of audio", result.duration / 3600, "h"),
        Figure("segments", len(result.segments)),
        Figure("speakers", float(str(result.facts["speakers"]))),
        Figure("resident once loaded", loaded / 1e9, "GB"),
        Figure("peak of the process", (loaded + growth * 1e9) / 1e9, "GB"),
        Figure("peak beyond that", growth, "GB", f"goal <= {GOAL_GB}", growth <= GOAL_GB),
        Figure("wall seconds an hour of audio", wall / (result.duration / 3600), "s/h"),
        *(Figure(f"  {name}", seconds / wall, "of the wall") for name, seconds in result.seconds.items()),
    ]
    notes = [f"outcome {result.outcome}; networks are tiny, so the times say nothing about a real run."]
    report("One long episode", [], figures, as_json=chosen.json, seed=SEED, notes=notes)


def status(name: str) -> int:
    """A figure of this process from the kernel, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def networks(folder: Path) -> dict[str, object]:
    """Options that point every engine at weights made here."""
    return {
        "mdx.model": str(tiny_mdx.identity(folder / "mdx.onnx")),
        "mdx.stem": "vocals",
        "separate.gate": 0,
        "pyannote.folder": str(tiny_pyannote.write_bands(folder / "diarization")),
        "transcribe.whisper_model": str(tiny_whisper.write(folder / "whisper", seed=SEED)),
        "transcribe.temperatures": [0.0],
        "score.engine": "signal",
    }


def episode(path: Path, hours: float) -> None:
    """Ten minutes in which two "speakers" of tones take turns, over and over, as stereo AAC at 44.1 kHz."""
    said = tiny_pyannote.script(_BLOCK, SEED)
    mono = soxr.resample(tiny_pyannote.talk(said, _BLOCK, SEED), tiny_pyannote.RATE, 44100)
    block = np.stack([mono, mono])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="stereo")
        done = 0
        while done < hours * 3600 * 44100:
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = 44100, done
            container.mux(stream.encode(frame))
            done += block.shape[1]
        container.mux(stream.encode(None))


if __name__ == "__main__":
    main()
