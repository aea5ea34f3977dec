"""The pipeline: stages in the configured order over recordings, and the files of the result.

``run`` may be called by several threads at once, one episode each: a stage works on one of them at a time, so the
episodes follow each other through the stages. ``all_segments.json`` and ``filtered_segments.json`` are written last and
are the same bytes for the same input and configuration, however often a run was interrupted and repeated and whatever
else was under way.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from threadpoolctl import threadpool_limits

from Emilia import checkpoints as kept
from Emilia import files
from Emilia.checkpoints import Checkpoints
from Emilia.config import Config
from Emilia.errors import BadConfig
from Emilia.gates import Gate, Usage
from Emilia.models.cuda import at_the_edge
from Emilia.recording import Recording, Segment
from Emilia.spans import hours
from Emilia.stage import SHARED, Stage, find_stage

__all__ = ["WAITING", "Pipeline", "Progress", "Result"]

Progress = Callable[[str, float], None]
"""Called as ``progress(stage, fraction)``; whatever it raises stops the run and reaches the caller."""

WAITING = "waiting"
"""The stage's name while an episode shows no progress of its own, because another one is using what it needs."""

_WHOLE = "run"
# Waveforms live in scratch files, which no checkpoint keeps.
_AUDIO = {"wave", "narrow"}


@dataclass(frozen=True)
class Result:
    """What became of one episode.

    ``outcome`` is ``ok``, ``no_speech``, ``too_short`` or ``unsupported_language``; ``duration`` is seconds of
    source; ``hours`` has ``source`` = ``published`` + ``flagged`` + ``no_speech``; ``seconds`` is working time by
    stage, without waiting for other episodes; ``facts`` is what was measured and which engine did each stage.
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
        self.usage = Usage()
        self._gates = {stage.name: Gate() for stage in self.stages}
        self._tickets = itertools.count()
        self._limits: threadpool_limits | None = None

    @property
    def models(self) -> dict[str, str]:
        """Name and version of every model in use, sorted by name."""
        return dict(sorted((name, version) for stage in self.stages for name, version in stage.models.items()))

    def load(self) -> None:
        """Load all models; raises ``ModelMissing`` for one that the configuration cannot do without."""
        for stage in self.stages:
            stage.load(self.device)
        # One thread: sums in another order would change the last bits and with them the stored bytes. For as long as
        # the pipeline lives, since a limit set by each run would be lifted by the first of them to end.
        self._limits = threadpool_limits(1)

    def close(self) -> None:
        """Free all models."""
        for stage in self.stages:
            stage.close()
        if self._limits:
            self._limits.restore_original_limits()

    def overlap_ratio(self) -> float | None:
        """Wall time with any episode under way over the time of the busiest stage; 1.0 is perfect overlap."""
        seconds = self.usage.seconds()
        whole = seconds.pop(_WHOLE, 0.0)
        busiest = max(seconds.values(), default=0.0)
        return round(whole / busiest, 3) if busiest else None

    def run(
        self,
        source: Path,
        *,
        episode: str,
        out: Path,
        scratch: Path,
        language: str | None,
        progress: Progress,
        checkpoints: Checkpoints | None = None,
    ) -> Result:
        """Process ``source`` into ``out``; both folders are made. ``language`` is a primary subtag or None for
        unknown; with ``checkpoints`` an interrupted episode goes on behind the last stage that was saved.

        Raises ``BadAudio`` when the source is to blame, ``DeviceLost`` when the GPU is, and ``MemoryError`` when there
        is no room. However it ends, nothing of this run is left in ``scratch``, and after an exception nothing of it is
        left in ``out``.
        """
        out.mkdir(parents=True, exist_ok=True)
        scratch.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="emilia-", dir=scratch) as folder, self.usage.of(_WHOLE):
            recording = Recording(source, episode, out, Path(folder), language)
            try:
                seconds = _Run(self, recording, progress, checkpoints, next(self._tickets)).all()
                return self._result(recording, seconds)
            except BaseException:
                for file in [*(recording.files or []), *(out / name for name in files.NAMES)]:
                    file.unlink(missing_ok=True)
                raise

    @contextmanager
    def entering(self, stage: Stage, ticket: int, waiting: Callable[[], None]) -> Iterator[None]:
        """The turn of an episode in ``stage``: at once where episodes may share it, else one after the other."""
        with ExitStack() as stack:
            if stage.name not in SHARED:
                stack.enter_context(self._gates[stage.name].passing(ticket, waiting))
            stack.enter_context(self.usage.of(stage.name))
            yield

    def _result(self, recording: Recording, seconds: dict[str, float]) -> Result:
        segments = recording.segments or []
        files.write(recording.out, segments, recording.voices, recording.events)
        facts = {**recording.facts, "engines": {stage.name: stage.engine for stage in self.stages}}
        if recording.duration:
            facts["real_time_factor"] = round(sum(seconds.values()) / recording.duration, 4)
        facts["overlap_ratio"] = self.overlap_ratio()
        for stage in self.stages:
            if idle := getattr(stage, "idle_share", None):
                facts["asr_idle_share"] = idle()
        return Result(
            episode=recording.episode,
            outcome=recording.outcome,
            duration=recording.duration,
            segments=segments,
            hours=hours(recording.duration, segments),
            seconds=seconds,
            facts=facts,
        )


class _Run:
    """One episode on its way through the stages."""

    def __init__(
        self,
        pipeline: Pipeline,
        recording: Recording,
        progress: Progress,
        checkpoints: Checkpoints | None,
        ticket: int,
    ) -> None:
        self._pipeline, self._recording, self._progress = pipeline, recording, progress
        self._checkpoints, self._ticket = checkpoints, ticket
        self._identity = {"config": pipeline.config.hash(), "models": pipeline.models, "language": recording.language}
        self._unsaved = 0.0

    def all(self) -> dict[str, float]:
        """Run the stages that are left; gives the working seconds of each."""
        recording, seconds, stages = self._recording, {}, self._left()
        with ExitStack() as coming:
            for stage in stages:
                # Else the recogniser would not wait for this episode's clips before it runs a batch that is not full.
                if announce := getattr(stage, "coming", None):
                    coming.enter_context(announce())
            for stage in stages:
                seconds[stage.name] = self._one(stage)
                if recording.outcome in ("too_short", "no_speech"):
                    break
                self._save(stage, seconds[stage.name])
        return seconds

    def _left(self) -> list[Stage]:
        """The stages to run: all, or those that make audio and those behind the checkpoint."""
        stages = self._pipeline.stages
        content = self._checkpoints.load() if self._checkpoints else None
        after = kept.restore(self._recording, content, self._identity)
        names = [stage.name for stage in stages]
        if after not in names:
            return stages
        self._recording.facts["resumed_after"] = after
        done = names.index(after)
        return [stage for index, stage in enumerate(stages) if index > done or _AUDIO & set(stage.adds)]

    def _one(self, stage: Stage) -> float:
        tell = _Teller(stage.name, self._progress)
        self._progress(stage.name, 0.0)
        with self._pipeline.entering(stage, self._ticket, lambda: self._progress(WAITING, 0.0)):
            began = time.perf_counter()
            with at_the_edge():
                stage.run(self._recording, tell)
            seconds = round(time.perf_counter() - began, 3)
        self._progress(stage.name, 1.0)
        return seconds

    def _save(self, stage: Stage, seconds: float) -> None:
        if self._checkpoints is None or not stage.adds or _AUDIO & set(stage.adds) or "files" in stage.adds:
            return
        self._unsaved += seconds
        if self._unsaved >= self._checkpoints.every:
            self._checkpoints.save(kept.capture(self._recording, stage.name, self._identity))
            self._unsaved = 0.0


class _Teller:
    """Passes on a stage's progress; one that stands still is told as waiting, so that a stage that hangs is found."""

    def __init__(self, stage: str, progress: Progress) -> None:
        self._stage, self._progress, self._last = stage, progress, 0.0

    def __call__(self, share: float) -> None:
        moved, self._last = share > self._last, max(share, self._last)
        self._progress(self._stage if moved else WAITING, self._last)


def _check_order(stages: Sequence[Stage]) -> None:
    there = {"source"}
    for stage in stages:
        if missing := [name for name in stage.needs if name not in there]:
            raise BadConfig(f"The stage {stage.name!r} comes before what gives it {', '.join(missing)}.")
        there.update(stage.adds)
