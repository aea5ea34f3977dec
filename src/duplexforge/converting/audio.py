"""The command ``audio``: whole recordings of a folder or a store as FLAC or WAV, several at a time, resumable.

A file is written beside its place and moved there once it is whole. Inside stands a stamp (the source's SHA-256 and the
wanted form), by which another run knows what is done already; a file without our stamp is somebody's and is never
replaced.
"""

from __future__ import annotations

import glob
import hashlib
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

from duplexforge.converting.media import CODECS, Shape, stamp_of, transcode
from duplexforge.errors import ConfigError, InputError, UsageError
from duplexforge.layout import AUDIO_EXTENSIONS, Layout, safe_name
from duplexforge.records import AudioRecord, parse
from duplexforge.storage import Store

__all__ = ["AudioReport", "Recording", "convert_audio", "of_folder", "of_store"]

# Video containers whose sound is a recording too.
_VIDEO = ("mp4", "mkv", "mov", "mka", "aif", "aiff", "avi", "3gp")
_RATES = (1000, 384_000)
_SHOWN = 20

Fetch = Callable[[Path], Path]


@dataclass(frozen=True)
class Recording:
    """One input: ``name`` is where its output goes, below the output folder and without ending.

    ``fetch`` gives a local file, using the folder it is given where it must bring one; ``sha256`` is known where
    somebody recorded it.
    """

    name: str
    fetch: Fetch
    sha256: str | None = None


@dataclass
class AudioReport:
    """What became of the recordings. ``failed`` has (name, reason, sentence), ``damaged`` (name, packets left out) of
    those that were converted all the same; ``seconds`` is the length of what was converted now.
    """

    out: str
    dry_run: bool = False
    found: int = 0
    converted: int = 0
    there: int = 0
    seconds: float = 0.0
    damaged: list[tuple[str, int]] = field(default_factory=list)
    failed: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0, or 65 when a recording could not be converted."""
        return InputError.exit_code if self.failed else 0

    def to_json(self) -> dict[str, Any]:
        """The outcome for machines."""
        return asdict(self)

    def to_text(self) -> str:
        """The outcome for people."""
        verb = "would be converted" if self.dry_run else f"converted ({self.seconds:.1f} s)"
        lines = [
            f"{self.found} recordings found: {self.converted} {verb} to {self.out}, {self.there} there already, "
            f"{len(self.failed)} failed"
        ]
        lines += [f"damaged: {name}: {count} packets left out" for name, count in self.damaged[:_SHOWN]]
        lines += [f"failed: {name}: {sentence}" for name, _, sentence in self.failed[:_SHOWN]]
        if len(self.failed) > _SHOWN:
            lines.append(f"failed: {len(self.failed) - _SHOWN} more")
        return "\n".join(lines)


def of_folder(place: str, only: str | None = None, without: Path | None = None) -> list[Recording]:
    """The audio and video files below a folder, of a glob, or one file, in order; outputs keep the folders.

    ``only`` takes files of that extension alone; what lies in the folder ``without`` is no input. UsageError when
    there is nothing at ``place``.
    """
    root = Path(place)
    if root.is_dir():
        files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    elif root.is_file():
        files, root = [root], root.parent
    else:
        root, pattern = _split(root)
        files = [path for path in sorted(root.glob(pattern)) if path.is_file()] if pattern else []
    if not files:
        raise UsageError(f"there is no recording at {place}")
    wanted = (only.lower().lstrip("."),) if only else (*AUDIO_EXTENSIONS, *_VIDEO)
    hidden = without.resolve() if without else None
    return [
        Recording(_name(path, root), _here(path))
        for path in files
        if path.suffix.lower().lstrip(".") in wanted and not (hidden and path.resolve().is_relative_to(hidden))
    ]


def _split(place: Path) -> tuple[Path, str]:
    """The folder before the first wildcard of a glob, and the pattern behind it ("" when there is none)."""
    parts = place.parts
    first = next((index for index, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return Path(*parts[:first]), "/".join(parts[first:])


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).with_suffix("").as_posix()


def _here(path: Path) -> Fetch:
    return lambda _folder: path


def of_store(store: Store, layout: Layout, only: str | None = None) -> Iterator[Recording | InputError]:
    """The committed recordings of a store, named by episode; a record that cannot be read comes as its error."""
    for meta in store.list(layout.raw):
        if not meta.key.endswith(".json"):
            continue
        body = store.find(meta.key)
        if body is None:
            continue
        try:
            record = parse(AudioRecord, body, meta.key)
            name = safe_name(record.episode_id)
        except (InputError, ValueError) as error:
            yield InputError(f"{meta.key}: {error}", reason="bad_record")
            continue
        if only is None or record.audio_key.lower().endswith(f".{only.lower().lstrip('.')}"):
            yield Recording(name, _from_store(store, record), record.sha256)


def _from_store(store: Store, record: AudioRecord) -> Fetch:
    def fetch(folder: Path) -> Path:
        path = folder / f"source.{record.audio_key.rsplit('.', 1)[-1][:8]}"
        try:
            found = store.download(record.audio_key, path)
        except FileNotFoundError as error:
            raise InputError(f"{record.audio_key} is not in the store", reason="input_missing") from error
        if found != record.sha256:
            raise InputError(f"{record.audio_key} does not have the recorded checksum", reason="checksum")
        return path

    return fetch


def convert_audio(
    recordings: Iterator[Recording | InputError] | Sequence[Recording],
    out: Path,
    shape: Shape,
    *,
    jobs: int = 1,
    dry_run: bool = False,
) -> AudioReport:
    """Convert all ``recordings`` into ``out``, ``jobs`` at a time; what fails is counted and the others go on."""
    _check(shape)
    report = AudioReport(str(out), dry_run)
    wanted = _unique(recordings, report)
    if not dry_run:
        _prepare(out)
    with ThreadPoolExecutor(jobs, thread_name_prefix="convert") as pool:
        one = _Job(out, shape, dry_run=dry_run)
        try:
            for recording, outcome in zip(wanted, pool.map(one, wanted), strict=True):
                _count(report, recording.name, outcome)
        except BaseException:
            # Else a full disk, or Ctrl-C, would be met again by everything that still waits.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    report.seconds = round(report.seconds, 3)
    return report


def _check(shape: Shape) -> None:
    if shape.kind not in CODECS:
        raise UsageError(f"--to {shape.kind!r} is not one of {', '.join(CODECS)}")
    if shape.rate is not None and not _RATES[0] <= shape.rate <= _RATES[1]:
        raise UsageError(f"--rate must be {_RATES[0]} to {_RATES[1]} Hz")
    if shape.channels not in (None, 1, 2):
        raise UsageError("--channels must be 1 or 2")


def _prepare(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        # Tried once here: else every recording would be blamed for a folder that nobody may write to.
        with TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise ConfigError(f"cannot write to {out}: {error.strerror}") from error


def _unique(recordings: Iterator[Recording | InputError] | Sequence[Recording], report: AudioReport) -> list[Recording]:
    """The recordings in order of their names; the second one of a name would replace the first, so it fails."""
    seen: dict[str, Recording] = {}
    for one in recordings:
        report.found += 1
        if isinstance(one, InputError):
            report.failed.append(("a record", one.reason, str(one)))
        elif one.name in seen:
            sentence = "another recording of the same name was taken: rename one of them, or choose one with --from"
            report.failed.append((one.name, "same_name", sentence))
        else:
            seen[one.name] = one
    return [seen[name] for name in sorted(seen)]


@dataclass(frozen=True)
class _Outcome:
    """``state`` is converted, there or the reason of a failure."""

    state: str
    seconds: float = 0.0
    damaged: int = 0
    sentence: str = ""


def _count(report: AudioReport, name: str, outcome: _Outcome) -> None:
    if outcome.sentence:
        report.failed.append((name, outcome.state, outcome.sentence))
        return
    report.there += outcome.state == "there"
    report.converted += outcome.state == "converted"
    report.seconds += outcome.seconds
    if outcome.damaged:
        report.damaged.append((name, outcome.damaged))


class _Job:
    """Converts one recording. Failures of one are its outcome; a full disk is everybody's and is raised."""

    def __init__(self, out: Path, shape: Shape, *, dry_run: bool) -> None:
        self._out, self._shape, self._dry_run = out, shape, dry_run

    def __call__(self, recording: Recording) -> _Outcome:
        target = self._out / f"{recording.name}.{self._shape.kind}"
        try:
            with TemporaryDirectory(prefix="duplexforge-") as folder:
                return self._one(recording, target, Path(folder))
        except InputError as error:
            return _Outcome(error.reason, sentence=str(error))
        except (PermissionError, FileNotFoundError) as error:
            return _Outcome("unreadable", sentence=f"{error.filename}: {error.strerror}")
        except OSError as error:
            raise ConfigError(f"cannot write {target}: {error.strerror or error}") from error

    def _one(self, recording: Recording, target: Path, folder: Path) -> _Outcome:
        path = None if recording.sha256 else recording.fetch(folder)
        digest = recording.sha256 or _sha256(path or target)
        stamp = f"duplexforge {digest} {self._shape.kind} {self._shape.rate or '-'} {self._shape.channels or '-'}"
        if target.exists():
            found = stamp_of(target)
            if found == stamp:
                return _Outcome("there")
            if not (found or "").startswith("duplexforge "):
                sentence = f"{target} is there and was not written by this command: take it away first"
                return _Outcome("occupied", sentence=sentence)
        if self._dry_run:
            return _Outcome("converted")
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
        try:
            done = transcode(path or recording.fetch(folder), part, self._shape, stamp)
            with part.open("rb") as file:
                # Without this a power cut may leave the new name without bytes, and without the stamp.
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return _Outcome("converted", done.seconds, done.damaged)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
