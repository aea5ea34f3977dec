"""Process one episode: bring the audio, run the pipeline, send the segments, commit the manifest.

Files go below ``processed/<language>/<episode>/<attempt>/`` where the attempt carries a nonce; the manifest, created if
absent, is the commit and names the files of the one attempt that won. An attempt that lost takes its own files away.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duplexforge import metrics
from duplexforge.config import ProcessSettings
from duplexforge.errors import ConfigError, DeviceLost, DuplexforgeError, InputError, ModelError, RetryLater
from duplexforge.layout import UNKNOWN_LANGUAGE, Layout
from duplexforge.processing import emilia
from duplexforge.processing.checkpoint import Checkpoint
from duplexforge.records import AudioRecord, FileEntry, Hours, Manifest, ProcessTask, now, parse
from duplexforge.storage import Store
from duplexforge.worker import Progress

if TYPE_CHECKING:
    from Emilia import Pipeline, Result


@dataclass(frozen=True)
class Episode:
    """An episode on this machine: the audio file and, where one was committed, its record."""

    path: Path
    sha256: str
    record: AudioRecord | None


class ProcessStep:
    """``worker.Step`` of the processing role. Models are loaded once, before the first task is claimed."""

    def __init__(self, store: Store, layout: Layout, settings: ProcessSettings, *, device: str = "cpu") -> None:
        self._store, self._layout, self._settings = store, layout, settings
        self._pipeline: Pipeline = emilia.load_pipeline(settings, device)
        self._emilia = emilia.package(settings)
        self.lanes = self._pipeline.config.pipeline.episodes

    def done(self, task: ProcessTask) -> bool:
        """Whether the episode's manifest exists."""
        try:
            return committed(self._store, self._layout, task)
        except ValueError as error:  # an id that cannot be part of a key
            raise InputError(f"task {task.id}: {error}", reason="bad_record") from error

    def fetch(self, task: ProcessTask, folder: Path) -> Episode:
        """Download the audio. InputError(``input_missing``) when it is gone, RetryLater when it arrived changed."""
        record = self._record(task)
        path = folder / f"source.{task.audio_key.rsplit('.', 1)[-1].lower()[:8]}"
        try:
            digest = self._store.download(task.audio_key, path)
        except FileNotFoundError as error:
            message = f"the audio {task.audio_key} is not in the store"
            raise InputError(message, reason="input_missing") from error
        except ConfigError as error:
            # The store let us claim, so it is this object that is closed to us: the others go on.
            raise InputError(f"the audio {task.audio_key} may not be read: {error}", reason="denied") from error
        if record and record.audio_key == task.audio_key and digest != record.sha256:
            raise RetryLater(f"the audio {task.audio_key} does not have the recorded checksum", reason="checksum")
        return Episode(path, digest, record)

    def _record(self, task: ProcessTask) -> AudioRecord | None:
        body = self._store.find(task.record_key) if task.record_key else None
        return parse(AudioRecord, body, str(task.record_key)) if body else None

    def work(self, task: ProcessTask, fetched: Episode, attempt: str, progress: Progress) -> dict[str, Any]:
        """Run the pipeline, send its files, commit. Returns outcome, segments and hours for the task's record."""
        out = fetched.path.parent / "out"
        out.mkdir()
        checkpoint = self._checkpoint(task, fetched, attempt)
        with self._translated(fetched):
            result = self._pipeline.run(
                fetched.path,
                episode=task.episode_id,
                out=out,
                scratch=fetched.path.parent,
                language=self._language(task),
                progress=lambda what, share: _show(progress, what, share),
                checkpoints=checkpoint,
            )
        where = self._layout.attempt(task.language, task.episode_id, attempt)
        files = self._store.send_folder(out, where)
        names = [where + entry.name for entry in files]
        try:
            progress.check_lease()
        except DuplexforgeError:
            self._store.delete(names)
            raise
        # A commit that raises may have been applied with its answer lost: only a clear "no" lets files be deleted.
        if not self._commit(self._manifest(task, fetched, result, files, where)):
            self._store.delete(names)
            return {"outcome": "committed by another attempt"}
        checkpoint.delete()
        self._count(result)
        return {"outcome": result.outcome, "segments": len(result.segments), "seconds": round(result.duration, 3)}

    def _checkpoint(self, task: ProcessTask, fetched: Episode, attempt: str) -> Checkpoint:
        content = f"{self._pipeline.config.hash()}-{fetched.sha256[:12]}"
        key = self._layout.checkpoint("processing", task.id, content)
        # The first attempt finds nothing, so it does not ask.
        again = not attempt.startswith("a1-")
        return Checkpoint(self._store, key, self._settings.checkpoint_seconds, look=again)

    def _language(self, task: ProcessTask) -> str | None:
        language = self._settings.asr_language or task.language
        return None if language == UNKNOWN_LANGUAGE else language

    @contextmanager
    def _translated(self, episode: Episode) -> Iterator[None]:
        """The pipeline's errors as ours, about the title a person knows and not the scratch file."""
        try:
            yield
        except self._emilia.BadAudio as error:
            title = episode.record.title if episode.record else None
            message = str(error).replace(episode.path.name, title) if title else str(error)
            raise InputError(message, reason=error.reason) from error
        except self._emilia.ModelMissing as error:
            raise ModelError(str(error)) from error
        except self._emilia.DeviceLost as error:
            raise DeviceLost(str(error)) from error
        except (MemoryError, OSError) as error:
            raise RetryLater(f"this machine could not do it: {error}", reason="machine") from error

    def _manifest(
        self, task: ProcessTask, episode: Episode, result: Result, files: list[FileEntry], where: str
    ) -> Manifest:
        record = episode.record
        flags = [flag for segment in result.segments for flag in segment.flags]
        described = record.model_dump(include={"title", "url", "source", "licence", "origins"}) if record else {}
        return Manifest(
            episode_id=task.episode_id,
            language=task.language,
            outcome=result.outcome,
            attempt=where.rstrip("/").rsplit("/", 1)[-1],
            folder=where,
            files=files,
            segments=len(result.segments),
            speakers=len({segment.speaker for segment in result.segments}),
            flagged=sum(1 for segment in result.segments if segment.flags),
            flags={flag: flags.count(flag) for flag in sorted(set(flags))},
            hours=Hours(**result.hours),
            audio_key=task.audio_key,
            source_sha256=episode.sha256,
            config_hash=self._pipeline.config.hash(),
            models=dict(self._pipeline.models),
            facts=result.facts,
            seconds={name: round(value, 3) for name, value in result.seconds.items()},
            committed_at=now(),
            **described,
        )

    def _commit(self, manifest: Manifest) -> bool:
        key = self._layout.manifest(manifest.language, manifest.episode_id)
        return self._store.put_if_absent(key, manifest.to_bytes())

    def _count(self, result: Result) -> None:
        for name, seconds in result.seconds.items():
            metrics.STAGE_SECONDS.labels(name).inc(seconds)
        for name, hours in result.hours.items():
            metrics.AUDIO_HOURS.labels(name).inc(hours)
        for name, gauge in metrics.SPEED.items():
            value = result.facts.get(name)
            if isinstance(value, int | float):
                gauge.set(value)


def _show(progress: Progress, what: str, share: float) -> None:
    """The pipeline's progress as the worker's; ``waiting`` is what Emilia says while another episode has the stage."""
    if what == "waiting":
        progress.wait(what, share)
    else:
        progress.beat(what, share)


def committed(store: Store, layout: Layout, task: ProcessTask) -> bool:
    """Whether the episode of ``task`` has a manifest: what makes the task done, whoever wrote it."""
    return store.head(layout.manifest(task.language, task.episode_id)) is not None
