"""Episodes, stores and recordings made on the spot."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import soundfile as sf

from duplexforge.config import StoreSettings
from duplexforge.converting.episode import Episode, Sound, Speech
from duplexforge.layout import Layout
from duplexforge.records import AudioRecord, FileEntry, Hours, Manifest, Purged
from duplexforge.storage import Store, open_store

LAYOUT = Layout()


def memory() -> Store:
    """An empty store in memory."""
    return open_store(StoreSettings(_env_file=None, store_url="memory://"))


def folder_store(folder: Path) -> Store:
    """A store in a folder."""
    return open_store(StoreSettings(_env_file=None, store_url=f"file://{folder}"))


def speech(start: float, end: float, speaker: str = "S00", text: str = "", **more: Any) -> Speech:
    """A segment of speech whose id tells its times."""
    name = f"{speaker}@{start:g}-{end:g}"
    return Speech(start, end, speaker, text or name, more.get("language", "en"), (name,), more.get("flags", ()))


def sound(start: float, end: float, event: str = "laughter") -> Sound:
    """A sound."""
    return Sound(start, end, event, event.capitalize(), 0.5)


def episode(*entries: Speech | Sound, duration: float | None = 60.0, **more: Any) -> Episode:
    """An episode of those entries."""
    return Episode(
        more.pop("episode_id", "ep"),
        "en",
        tuple(one for one in entries if isinstance(one, Speech)),
        tuple(one for one in entries if isinstance(one, Sound)),
        duration=duration,
        **more,
    )


def segment(name: str, index: int, **changes: Any) -> dict[str, Any]:
    """A row of ``all_segments.json``."""
    start = 2.0 * index
    return {
        "segment_id": f"{name}_{index:06d}", "index": index, "text": f"words {index}", "start": start,
        "end": start + 1.75, "speaker": f"{name}/S00", "language": "en", "flags": [], "audio": f"{name}_{index:06d}.mp3",
        "sha256": "00", "extra": {}, "asr": {}, **changes,
    }  # fmt: skip


def commit(
    store: Store,
    name: str,
    rows: list[dict[str, Any]],
    *,
    events: list[dict[str, Any]] | None = None,
    language: str = "en",
    seconds: float = 60.0,
    **changes: Any,
) -> Manifest:
    """Commit a processed episode as the process role does."""
    folder = LAYOUT.attempt(language, name, "a1-nonce")
    files = {"all_segments.json": rows, **({"events.json": events} if events is not None else {})}
    entries = []
    for file, content in files.items():
        body = json.dumps(content).encode()
        store.put(folder + file, body)
        entries.append(FileEntry(name=file, size=len(body), sha256=hashlib.sha256(body).hexdigest()))
    fields: dict[str, Any] = {
        "episode_id": name, "language": language, "outcome": "ok", "attempt": "a1-nonce", "folder": folder,
        "files": entries, "segments": len(rows), "speakers": 1, "flagged": 0, "hours": Hours(source=seconds / 3600),
        "audio_key": f"raw_audio/{name}.mp3", "title": f"Title of {name}", "url": f"https://example.org/{name}",
        "source": "feed", "licence": "CC-BY-4.0", "config_hash": "c0ffee", "committed_at": "2026-01-01T00:00:00+00:00",
        "facts": {"events": "ast" if events is not None else "none"}, **changes,
    }  # fmt: skip
    manifest = Manifest(**fields)
    store.put(LAYOUT.manifest(language, name), manifest.to_bytes())
    return manifest


def purge(store: Store, name: str) -> None:
    """Record that an episode was taken out."""
    store.put(LAYOUT.purged(name), Purged(episode_id=name, purged_at="2026-01-01T00:00:00+00:00").to_bytes())


def tone(seconds: float = 1.0, rate: int = 44100, channels: int = 2, hertz: float = 440.0) -> npt.NDArray[np.float32]:
    """A sine (frames, channels), each channel half as loud as the one before."""
    times = np.arange(round(seconds * rate)) / rate
    wave = 0.5 * np.sin(2 * np.pi * hertz * times)
    return np.stack([wave / 2**channel for channel in range(channels)], axis=1).astype(np.float32)


def write_wav(path: Path, samples: npt.NDArray[np.float32], rate: int = 44100, subtype: str = "FLOAT") -> Path:
    """A WAV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, samples, rate, subtype=subtype)
    return path


def write_av(path: Path, samples: npt.NDArray[np.float32], codec: str, rate: int = 48000) -> Path:
    """A file in the container that the name says, with the sound encoded by ``codec``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    layout = "mono" if samples.shape[1] == 1 else "stereo"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.layout = layout
        resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples).reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate = rate
        for ready in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(ready))
        container.mux(stream.encode(None))
    return path


def put_recording(store: Store, name: str, path: Path, **changes: Any) -> AudioRecord:
    """Commit a downloaded recording as the download role does."""
    key = LAYOUT.raw_audio("en", "feed", name, path.suffix.lstrip("."))
    body = path.read_bytes()
    store.put(key, body)
    fields = {
        "episode_id": name, "language": "en", "source": "feed", "audio_key": key, "url": f"https://example.org/{name}",
        "sha256": hashlib.sha256(body).hexdigest(), "size": len(body), "collected_at": "2026-01-01T00:00:00+00:00",
        **changes,
    }  # fmt: skip
    record = AudioRecord(**fields)  # type: ignore[arg-type]
    store.put(LAYOUT.raw_record("en", "feed", name), record.to_bytes())
    return record
