"""A small world for the status tests: a store with all that the pipeline leaves in it, built record by record."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from duplexforge.config import QueueSettings, StoreSettings
from duplexforge.errors import DuplexforgeError, InputError
from duplexforge.layout import Layout
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.records import (
    AudioRecord,
    DownloadTask,
    FileEntry,
    Hours,
    LedgerEntry,
    Manifest,
    ProcessTask,
    Task,
    UploadTask,
)
from duplexforge.storage import Store, open_store

WHEN = "2026-01-02T03:04:05+00:00"


@cache
def tone(pitch: float = 220.0, seconds: float = 0.5) -> bytes:
    """A short mp3."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=24000, layout="mono")
        wave = (0.2 * np.sin(2 * np.pi * pitch * np.arange(int(24000 * seconds)) / 24000)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate = 24000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue()


def segment(episode: str, index: int, **changes: Any) -> dict[str, Any]:
    """A segment as the pipeline writes it: four seconds of the first speaker, kept, with a score."""
    audio = f"{episode}_{index:06d}.mp3"
    return {
        "segment_id": f"{episode}_{index:06d}",
        "index": index,
        "text": "so this is what was said",
        "start": 5.0 * index,
        "end": 5.0 * index + 4.0,
        "speaker": f"{episode}/S00",
        "language": "en",
        "dnsmos": 3.25,
        "dnsmos_sig": 3.5,
        "dnsmos_bak": 3.9,
        "overlap": 0.0,
        "asr": {"avg_logprob": -0.2},
        "flags": [],
        "audio": audio,
        "sha256": hashlib.sha256(tone()).hexdigest(),
        **changes,
    }


@dataclass
class World:
    """A store with its queues. Every method writes what one step of the pipeline would have written."""

    store: Store
    layout: Layout = field(default_factory=Layout)

    def __post_init__(self) -> None:
        settings = QueueSettings(lease_seconds=300)
        kinds: dict[str, type[Task]] = {"download": DownloadTask, "processing": ProcessTask, "upload": UploadTask}
        self.queues: dict[str, PrefixQueue[Any]] = {
            stage: PrefixQueue(self.store, self.layout, stage, kind, settings) for stage, kind in kinds.items()
        }

    # -- tasks: whatever shall end has to end before anything is left waiting in the same queue --------------------

    def seed(self, episode: str, **fields: Any) -> None:
        """A download task."""
        url = fields.pop("url", f"https://example.org/{episode}")
        self.queues["download"].put(DownloadTask(id=episode, episode_id=episode, url=url, **fields))

    def seed_process(self, episode: str, language: str = "en") -> None:
        """A processing task."""
        audio = f"raw_audio/{language}/web/{episode}.mp3"
        self.queues["processing"].put(ProcessTask(id=episode, episode_id=episode, language=language, audio_key=audio))

    def end(self, stage: str, error: DuplexforgeError | None = None) -> None:
        """Claim the one waiting task and end it."""
        lease = self.queues[stage].claim()
        assert lease is not None
        with lease:
            if error is None:
                lease.complete({"outcome": "ok"})
            else:
                assert lease.fail(error, permanent=True)

    def fail(self, stage: str, episode: str, message: str, reason: str = "gone", **fields: Any) -> None:
        """A task that was given up."""
        self.seed(episode, **fields) if stage == "download" else self.seed_process(episode)
        self.end(stage, InputError(message, reason=reason))

    # -- outputs ---------------------------------------------------------------------------------------------------

    def raw(self, episode: str, hours: float | None, *, language: str = "en", **fields: Any) -> None:
        """The record of a downloaded episode."""
        key = self.layout.raw_audio(language, "web", episode, "mp3")
        record = AudioRecord(
            episode_id=episode,
            language=language,
            source="web",
            audio_key=key,
            url=fields.pop("url", f"https://example.org/{episode}"),
            duration=None if hours is None else hours * 3600,
            sha256="0" * 64,
            size=1,
            collected_at=WHEN,
            **fields,
        )
        self.store.put_if_absent(key, b"x")
        self.store.put_if_absent(self.layout.raw_record(language, "web", episode), record.to_bytes())

    def manifest(
        self,
        episode: str,
        hours: Hours,
        segments: list[dict[str, Any]] | None = None,
        *,
        language: str = "en",
        outcome: str = "ok",
        **fields: Any,
    ) -> Manifest:
        """The committed output of an episode with the audio of its segments."""
        folder = self.layout.attempt(language, episode, "a1-0badcafe")
        found = segments or []
        bodies = {"all_segments.json": json.dumps(found).encode()} if found else {}
        bodies |= {str(one["audio"]): tone() for one in found}
        for name, body in bodies.items():
            self.store.put_if_absent(folder + name, body)
        flags = [flag for one in found for flag in one["flags"]]
        fields.setdefault("seconds", {"standardize": 2.0, "transcribe": 6.0})
        fields.setdefault("facts", {"engines": {"transcribe": "whisper", "score": "dnsmos"}})
        fields.setdefault("models", {"whisper-medium": "1.0"})
        manifest = Manifest(
            episode_id=episode,
            language=language,
            outcome=outcome,
            attempt="a1-0badcafe",
            folder=folder,
            files=[
                FileEntry(name=name, size=len(body), sha256=hashlib.sha256(body).hexdigest())
                for name, body in sorted(bodies.items())
            ],
            segments=len(found),
            speakers=len({one["speaker"] for one in found}),
            flagged=sum(1 for one in found if one["flags"]),
            flags={flag: flags.count(flag) for flag in sorted(set(flags))},
            hours=hours,
            audio_key="raw_audio/x.mp3",
            config_hash="c0ffee" * 8,
            committed_at=WHEN,
            **fields,
        )
        self.store.put_if_absent(self.layout.manifest(language, episode), manifest.to_bytes())
        return manifest

    def whole(self, episode: str, hours: Hours, segments: list[dict[str, Any]] | None = None, **fields: Any) -> None:
        """An episode that went all the way: both tasks, the raw record and the manifest."""
        language = fields.get("language", "en")
        self.seed(episode)
        self.end("download")
        self.raw(episode, hours.source, language=language)
        self.seed_process(episode, language)
        self.manifest(episode, hours, segments, **fields)
        self.end("processing")

    def publish(self, batch: str, episodes: list[str], **fields: Any) -> None:
        """The ledger entry of a published batch."""
        entry = LedgerEntry(
            batch=batch,
            language="en",
            shard=f"data/en/train-{batch}",
            episodes=episodes,
            **{
                "samples": 3,
                "hours": Hours(published=0.5),
                "size": 2_500_000,
                "sha256": "0" * 64,
                "target": "somebody/voices",
                "commit": f"commit{batch}",
                "published_at": WHEN,
                **fields,
            },
        )
        self.store.put_if_absent(self.layout.ledger(batch), entry.to_bytes())


def fill(world: World) -> None:
    """Eleven episodes, one or more of every class, ten hours and a half; two are of unknown length."""
    world.whole(
        "yt-one",
        Hours(source=2.0, published=1.5, flagged=0.25, no_speech=0.25),
        [segment("yt-one", 0), segment("yt-one", 1, speaker="yt-one/S01", flags=["low_mos"], dnsmos=2.1, text="")],
        title="First <b>talk</b>",
        url="https://example.org/watch?v=1",
    )
    world.whole(
        "pod-two",
        Hours(source=1.0, published=0.5, flagged=0.25, no_speech=0.25),
        [segment("pod-two", 0, dnsmos=None, end=31.5, language="de", flags=["too_long", "low_mos"])],
        language="de",
        facts={"engines": {"transcribe": "pocketsphinx"}},
        models={"pocketsphinx": "5"},
    )
    world.whole("yt-quiet", Hours(source=3.0, no_speech=3.0), outcome="no_speech", title="Silence")
    world.whole("yt-tiny", Hours(source=0.001, no_speech=0.001), outcome="too_short")
    world.fail("download", "yt-gone", "the video is private", reason="gone", title="Private")
    world.fail("download", "yt-gone2", "no such video", reason="gone")
    world.seed("yt-broken")
    world.end("download")
    world.raw("yt-broken", 1.0)
    world.fail("processing", "yt-broken", "the file is cut short", reason="corrupt")
    world.raw("yt-unseeded", 0.5, title="Downloaded only")
    world.raw("yt-nolength", None)
    world.raw("yt-next", 2.999)
    world.seed_process("yt-next")
    world.seed("yt-later")
    world.publish("000001", ["yt-one"])


@pytest.fixture(params=["memory", "file"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """An empty world in memory and in a folder."""
    url = "memory://" if request.param == "memory" else f"file://{tmp_path / 'store'}"
    return World(open_store(StoreSettings(store_url=url)))


@pytest.fixture
def full(world: World) -> Iterator[World]:
    """A world with :func:`fill` done."""
    fill(world)
    yield world
    for queue in world.queues.values():
        queue.close()
