"""Overlap: how close a processing worker comes to the time of its slowest stage alone.

    python benchmarks/overlap.py [--json] [--quick] [--lanes N]

The shipped worker, queue, role and pipeline scheduler on a folder store; only the seven stages, the download and the
upload are stand-ins that sleep for a known time (as long as a GPU or a network would keep the thread waiting), drawn per
episode from a seed, +-30 %. The peer is the same worker with one episode at a time: download ahead, then stage after
stage, then upload. Overlap is wall time over the summed time of the slowest stage; 1.0 would need no first and no last
episode. Checked: every episode is committed once and has passed every stage once, on both sides.
"""

from __future__ import annotations

import io
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from harness import Figure, arguments, compare, report

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from duplexforge import log
from duplexforge.config import ProcessSettings, QueueSettings, StoreSettings
from duplexforge.layout import Layout
from duplexforge.processing.role import ProcessStep
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.records import ProcessTask
from duplexforge.storage import open_store
from duplexforge.worker import Worker

SEED = 3
GOAL = 1.10
# Seconds an episode takes at scale 1: separation is the slowest, recognition second, as published.
STAGES = {
    "standardize": 0.08, "separate": 0.25, "diarize": 0.12, "segment": 0.02, "transcribe": 0.18, "score": 0.06,
    "export": 0.06,
}  # fmt: skip
DOWNLOAD, UPLOAD = 0.10, 0.10


class Sleeper:
    """A stage that sleeps for the time drawn for the episode, one episode after the other like a device."""

    engine = "sleep"
    needs = adds = ("source",)

    def __init__(self, name: str, seconds: dict[str, float]) -> None:
        self.name = name
        self.models: dict[str, str] = {}
        self.passed: list[str] = []
        self._seconds = seconds
        self._device = threading.Lock()

    def run(self, recording: Any, progress: Callable[[float], None]) -> None:
        """Sleep."""
        with self._device:
            time.sleep(self._seconds[recording.episode])
            self.passed.append(recording.episode)
        recording.segments, recording.duration = [], 60.0
        progress(1.0)

    def load(self, device: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class TimedStep(ProcessStep):
    """The processing step with a download and an upload that take their time."""

    def fetch(self, task: ProcessTask, folder: Path) -> Any:
        """Download, slowly."""
        time.sleep(DOWNLOAD)
        return super().fetch(task, folder)

    def _commit(self, manifest: Any) -> bool:
        time.sleep(UPLOAD)
        return super()._commit(manifest)


def drawn(episodes: list[str]) -> dict[str, dict[str, float]]:
    """Seconds by stage and episode."""
    rng = np.random.default_rng(SEED)
    return {
        stage: {episode: seconds * rng.uniform(0.7, 1.3) for episode in episodes} for stage, seconds in STAGES.items()
    }


def work(step: TimedStep, episodes: list[str], lanes: int) -> dict[str, list[str]]:
    """Process all episodes with ``lanes`` at once in a store of its own; which stage saw which episode."""
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(StoreSettings(_env_file=None, store_url=f"file://{folder}"))
        layout, settings = Layout(), QueueSettings(_env_file=None)
        queue = PrefixQueue(store, layout, "processing", ProcessTask, settings)
        step._store = store
        for episode in episodes:
            store.put(f"raw_audio/en/s/{episode}.wav", b"audio")
        queue.put_many(
            ProcessTask(id=e, episode_id=e, language="en", audio_key=f"raw_audio/en/s/{e}.wav") for e in episodes
        )
        stages = [Sleeper(name, seconds) for name, seconds in drawn(episodes).items()]
        step._pipeline.stages = stages  # type: ignore[assignment]
        tally = Worker(queue, step, settings, drain=True, lanes=lanes).run()
        assert tally.completed == len(episodes), tally
        committed = [meta.key for meta in store.list("processed/") if meta.key.endswith("/manifest.json")]
        assert len(committed) == len(episodes)
        return {stage.name: sorted(stage.passed) for stage in stages}


def same(ours: dict[str, list[str]], peer: dict[str, list[str]]) -> str:
    """Both sides did everything once."""
    assert ours == peer
    assert all(len(set(passed)) == len(passed) for passed in ours.values())
    return f"{len(ours['export'])} episodes committed, each through {len(ours)} stages once"


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, one_core=False)
    parser.add_argument("--lanes", type=int, default=4, help="episodes at once (default 4, as the preset emilia)")
    chosen = parser.parse_args()
    log.setup(stream=io.StringIO(), json_lines=True)
    episodes = [f"e{number:03d}" for number in range(12 if chosen.quick else 48)]
    slowest = max(sum(seconds.values()) for seconds in drawn(episodes).values())
    # Models are loaded once in the life of a worker, so not within what is measured.
    step = TimedStep(open_store(StoreSettings(_env_file=None, store_url="memory://")), Layout(), ProcessSettings())
    result = compare(
        "worker, wall time",
        lambda: work(step, episodes, chosen.lanes),
        lambda: work(step, episodes, 1),
        check=same,
        peer_name="the same worker, one episode at a time",
        clock="wall",
        repetitions=chosen.repetitions,
    )
    overlap = result.ours_wall.median / slowest
    figures = [
        Figure("wall over the slowest stage, ours", overlap, "", f"goal <= {GOAL}", overlap <= GOAL),
        Figure("the same, one episode at a time", result.peer_wall.median / slowest),
        Figure("episodes", len(episodes)),
        Figure("episodes at once", chosen.lanes),
    ]
    notes = ["Stages sleep; figures say how the scheduler overlaps them, nothing about any model."]
    report("Overlap of stages", [result], figures, as_json=chosen.json, seed=SEED, notes=notes)


if __name__ == "__main__":
    main()
