"""Export: every segment as its own audio file, with its name and SHA-256 in the segment."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from Emilia.config import Config
from Emilia.options import ExportOptions
from Emilia.recording import Audio, Recording
from Emilia.stage import Progress, find

__all__ = ["ENGINES", "Export"]

Encode = Callable[..., None]

ENGINES = {"mp3": "Emilia.models.media:encode", "flac": "Emilia.models.media:encode"}


class Export:
    """Needs ``wave`` and ``segments``, adds ``files``: ``<episode>_<000000>.mp3`` (or ``.flac``) in
    ``recording.out``.
    """

    name = "export"
    needs: tuple[str, ...] = ("wave", "segments")
    adds: tuple[str, ...] = ("files",)

    def __init__(self, config: Config) -> None:
        self.options: ExportOptions = config.export
        self.engine = self.options.engine
        self._encode: Encode = find(ENGINES, self.engine, "audio format")
        self.models: dict[str, str] = {}

    def load(self, device: str) -> None:
        """Nothing to load."""

    def run(self, recording: Recording, progress: Progress) -> None:
        """Encode the segments one by one; a file of an earlier attempt under the same name is replaced."""
        wave, segments = recording.full_rate(), recording.pieces()
        recording.files = []
        for done, segment in enumerate(segments):
            path = recording.out / f"{segment.segment_id}.{self.engine}"
            recording.files.append(path)
            audio: Audio = wave.seconds_of(segment.start, segment.end)
            self._encode(path, audio, wave.rate, codec=self.engine, bitrate=self.options.bitrate)
            segment.audio, segment.sha256 = path.name, _sha256(path)
            progress((done + 1) / len(segments))

    def close(self) -> None:
        """Nothing to close."""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
