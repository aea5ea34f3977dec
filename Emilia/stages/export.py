"""Export: every segment as its own audio file, with its name and SHA-256 in the segment."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from Emilia.config import Config
from Emilia.options import ExportOptions
from Emilia.recording import Audio, Recording, Segment, Waveform
from Emilia.stage import Progress, find

__all__ = ["ENGINES", "Export"]

Encode = Callable[..., bytes]

ENGINES = dict.fromkeys(("mp3", "flac", "opus"), "Emilia.models.encode:encode")


class Export:
    """Needs ``wave`` and ``segments``, adds ``files``: ``<episode>_<000000>.mp3`` (``.flac``, ``.opus``) in
    ``recording.out``.
    """

    name = "export"
    needs: tuple[str, ...] = ("wave", "segments")
    adds: tuple[str, ...] = ("files",)

    def __init__(self, config: Config) -> None:
        self.options: ExportOptions = config.export
        self.compat = config.pipeline.compat
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
            audio = self._samples(wave, segment)
            options = self.options
            data = self._encode(audio, wave.rate, codec=self.engine, bitrate=options.bitrate, compat=self.compat)
            path.write_bytes(data)
            segment.audio, segment.sha256 = path.name, hashlib.sha256(data).hexdigest()
            progress((done + 1) / len(segments))

    def _samples(self, wave: Waveform, segment: Segment) -> Audio:
        if not self.compat:
            return wave.seconds_of(segment.start, segment.end)
        # The published export cuts both times down to whole samples.
        return wave.read(int(segment.start * wave.rate), int(segment.end * wave.rate))

    def close(self) -> None:
        """Nothing to close."""
