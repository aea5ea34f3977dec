"""The pipeline: stages in the configured order over one recording, and the files of the result.

``all_segments.json`` and ``filtered_segments.json`` are written last and are the same bytes for the same input and
configuration, however often a run was interrupted and repeated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from threadpoolctl import threadpool_limits

from Emilia.config import Config
from Emilia.errors import BadConfig
from Emilia.recording import Recording, Segment
from Emilia.spans import hours
from Emilia.stage import Stage, find_stage

__all__ = ["ALL", "FILTERED", "Pipeline", "Progress", "Result"]

Progress = Callable[[str, float], None]
"""Called as ``progress(stage, fraction)``; whatever it raises stops the run and reaches the caller."""

ALL = "all_segments.json"
FILTERED = "filtered_segments.json"


@dataclass(frozen=True)
class Result:
    """What became of one episode.

    ``outcome`` is ``ok``, ``no_speech``, ``too_short`` or ``unsupported_language``; ``duration`` is seconds of
    source; ``hours`` has ``source`` = ``published`` + ``flagged`` + ``no_speech``; ``seconds`` is wall time by stage;
    ``facts`` is what was measured and which engine did each stage.
    """

    episode: str
    outcome: str
    duration: float
    segments: list[Segment]
    hours: dict[str, float]
    seconds: dict[str, float] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)


class Pipeline:
    """The stages of a configuration on one device. ``load`` once, ``run`` for each episode, ``close`` at the end."""

    def __init__(self, config: Config, device: str = "cpu") -> None:
        self.config = config
        self.device = device
        self.stages: list[Stage] = [find_stage(name)(config) for name in config.pipeline.order]
        _check_order(self.stages)

    @property
    def models(self) -> dict[str, str]:
        """Name and version of every model in use, sorted by name."""
        return dict(sorted((name, version) for stage in self.stages for name, version in stage.models.items()))

    def load(self) -> None:
        """Load all models; raises ``ModelMissing`` for one that the configuration cannot do without."""
        for stage in self.stages:
            stage.load(self.device)

    def close(self) -> None:
        """Free all models."""
        for stage in self.stages:
            stage.close()

    def run(
        self, source: Path, *, episode: str, out: Path, scratch: Path, language: str | None, progress: Progress
    ) -> Result:
        """Process ``source`` into ``out``; both folders are made. ``language`` is a primary subtag or None for
        unknown.

        Raises ``BadAudio`` when the source is to blame. However it ends, nothing of this run is left in ``scratch``,
        and after an exception nothing of it is left in ``out``.
        """
        out.mkdir(parents=True, exist_ok=True)
        scratch.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="emilia-", dir=scratch) as folder:
            recording = Recording(source, episode, out, Path(folder), language)
            try:
                # One thread: sums in another order would change the last bits and with them the stored bytes.
                with threadpool_limits(1):
                    seconds = self._run_stages(recording, progress)
                return self._write(recording, seconds)
            except BaseException:
                for file in [*(recording.files or []), out / ALL, out / FILTERED]:
                    file.unlink(missing_ok=True)
                raise

    def _run_stages(self, recording: Recording, progress: Progress) -> dict[str, float]:
        seconds: dict[str, float] = {}
        for stage in self.stages:
            progress(stage.name, 0.0)
            began = time.perf_counter()
            stage.run(recording, lambda share, name=stage.name: progress(name, share))  # type: ignore[misc]
            seconds[stage.name] = round(time.perf_counter() - began, 3)
            progress(stage.name, 1.0)
            if recording.outcome in ("too_short", "no_speech"):
                break
        return seconds

    def _write(self, recording: Recording, seconds: dict[str, float]) -> Result:
        segments = recording.segments or []
        _write_json(recording.out / ALL, segments)
        _write_json(recording.out / FILTERED, [segment for segment in segments if not segment.flags])
        return Result(
            episode=recording.episode,
            outcome=recording.outcome,
            duration=recording.duration,
            segments=segments,
            hours=hours(recording.duration, segments),
            seconds=seconds,
            facts={**recording.facts, "engines": {stage.name: stage.engine for stage in self.stages}},
        )


def _write_json(path: Path, segments: Sequence[Segment]) -> None:
    text = json.dumps([segment.to_json() for segment in segments], ensure_ascii=False, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def _check_order(stages: Sequence[Stage]) -> None:
    there = {"source"}
    for stage in stages:
        if missing := [name for name in stage.needs if name not in there]:
            raise BadConfig(f"The stage {stage.name!r} comes before what gives it {', '.join(missing)}.")
        there.update(stage.adds)
