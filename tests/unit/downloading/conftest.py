"""Tones made here, a web site in a process of its own, and a real store, queue and worker in a folder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import requests

from duplexforge.config import DownloadSettings, QueueSettings, StoreSettings
from duplexforge.downloading.fetch import Ways
from duplexforge.downloading.role import DownloadStep
from duplexforge.layout import Layout
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.records import AudioRecord, DownloadTask, Ended
from duplexforge.storage import Store, open_store
from duplexforge.worker import Tally, Worker

REPOSITORY = Path(__file__).parents[3]
RATE = 24_000
# file name -> codec, container
TONES = {
    "tone.mp3": ("libmp3lame", "mp3"),
    "tone.m4a": ("aac", "ipod"),
    "tone.opus": ("libopus", "ogg"),
    "tone.wav": ("pcm_s16le", "wav"),
    "tone.flac": ("flac", "flac"),
    "tone.webm": ("libopus", "webm"),
    "tone.aac": ("aac", "adts"),
    "tone.ts": ("aac", "mpegts"),
    "tone.aiff": ("pcm_s16be", "aiff"),
}


def write_tone(path: Path, codec: str, container: str, seconds: float = 1.0, frequency: float = 440.0) -> Path:
    """A sine wave, mono, 24 kHz."""
    samples = np.sin(np.arange(int(RATE * seconds)) * 2 * np.pi * frequency / RATE) * 8000
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=RATE)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(samples.astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    return path


def write_video(path: Path, *, sound: bool = True) -> Path:
    """A second of grey picture, with a tone (PCM, so that taking it out must encode) or without."""
    with av.open(str(path), "w", format="matroska") as out:
        picture = out.add_stream("mpeg4", rate=5)
        picture.width, picture.height, picture.pix_fmt = 32, 32, "yuv420p"
        tone = out.add_stream("pcm_s16le", rate=RATE) if sound else None
        if tone is not None:
            tone.layout = "mono"
            samples = (np.sin(np.arange(RATE) * 0.1) * 8000).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            frame.sample_rate = RATE
            out.mux(tone.encode(frame))
            out.mux(tone.encode(None))
        for _ in range(5):
            out.mux(picture.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), 90, np.uint8), format="rgb24")))
        out.mux(picture.encode(None))
    return path


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tone in every container, and a video."""
    folder = tmp_path_factory.mktemp("tones")
    for name, (codec, container) in TONES.items():
        write_tone(folder / name, codec, container)
    write_video(folder / "talk.mkv")
    write_video(folder / "mute.mkv", sound=False)
    return folder


@dataclass(frozen=True)
class Site:
    """A running test site. Files put into ``root`` are served below ``/files/``."""

    base: str
    root: Path

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"{self.base}/{path}"

    def asked(self, path: str) -> int:
        """How often the site was asked for a path."""
        seen = requests.get(self.url("seen"), timeout=10).json()
        return sum(1 for line in seen if line.endswith(f" /{path}"))


@pytest.fixture(scope="session")
def site(tones: Path) -> Iterator[Site]:
    """The test site over the tones."""
    command = [sys.executable, "-m", "tests.servers.site", "--root", str(tones)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield Site(f"http://127.0.0.1:{int(server.stdout.readline())}", tones)
        server.kill()


def settings_with(**settings: Any) -> DownloadSettings:
    """Settings of a download role that may reach the test site and the files of this machine."""
    usual = {"allow_file_urls": True, "socket_timeout": 2.0, "allow_private_addresses": "127.0.0.1"}
    return DownloadSettings(**{**usual, **settings})


class Place:
    """A store in a folder with its download queue, and a worker at hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store: Store = open_store(StoreSettings(store_url=f"file://{folder}"))
        self.layout = Layout()
        self.settings = QueueSettings(lease_seconds=30, attempt_limit=1, retry_seconds=0)
        self.queue = PrefixQueue(self.store, self.layout, "download", DownloadTask, self.settings)

    def step(self, **settings: Any) -> DownloadStep:
        """A step; local files and this machine's test site are allowed unless told otherwise."""
        return DownloadStep(self.store, self.layout, Ways.of(settings_with(**settings)))

    def drain(self, **settings: Any) -> Tally:
        """Work until no task is open."""
        return Worker(self.queue, self.step(**settings), self.settings, drain=True).run()

    def records(self) -> dict[str, AudioRecord]:
        """All committed records by key."""
        metas = self.store.list(self.layout.raw)
        keys = [meta.key for meta in metas if meta.key.endswith(".json")]
        return {key: AudioRecord.model_validate(json.loads(self.store.get(key))) for key in keys}

    def record(self) -> AudioRecord:
        """The only record."""
        (found,) = self.records().values()
        return found

    def failures(self) -> dict[str, Ended]:
        """Failed tasks by id."""
        return {ended.id: ended for ended in self.queue.dead()}

    def failure(self) -> Ended:
        """The only failed task."""
        (found,) = self.failures().values()
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty store."""
    return Place(tmp_path / "store")


class Calm:
    """Progress of a worker that is neither stopped nor fenced off; counts what it was shown."""

    def __init__(self) -> None:
        self.beats: list[str] = []

    def beat(self, what: str = "", fraction: float = 0.0) -> None:
        """Count."""
        self.beats.append(what)

    def check_lease(self) -> None:
        """Count."""
        self.beats.append("lease")
