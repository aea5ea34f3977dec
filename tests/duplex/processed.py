"""Processed episodes made on the spot, and how much of one speaker is heard on the other's track."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile as sf

from duplexforge.config import StoreSettings
from duplexforge.duplex.corpus import Audio
from duplexforge.layout import Layout
from duplexforge.records import FileEntry, Hours, Manifest
from duplexforge.storage import Store, open_store

LAYOUT = Layout()
DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo"
TRUTH: dict[str, dict[str, Any]] = json.loads((DEMO / "truth.json").read_text(encoding="utf-8"))["files"]
DIALOGUES = ("harbour.mp3", "interview.webm")
RATE = 24000

Samples = npt.NDArray[np.float32]
Spans = Sequence[tuple[float, float]]


def settings_of(folder: Path) -> StoreSettings:
    """Settings of a store in a folder."""
    return StoreSettings(_env_file=None, store_url=f"file://{folder}")


def store_in(folder: Path) -> tuple[Store, StoreSettings]:
    """A store in a folder, and its settings."""
    settings = settings_of(folder)
    return open_store(settings), settings


def row(episode: str, index: int, start: float, end: float, speaker: str = "S00", **changes: Any) -> dict[str, Any]:
    """An object of ``all_segments.json``."""
    return {
        "segment_id": f"{episode}_{index:06d}", "index": index, "text": f"words {index}", "start": start, "end": end,
        "speaker": f"{episode}/{speaker}", "language": "en", "dnsmos": 3.0, "overlap": None, "flags": [],
        "audio": f"{episode}_{index:06d}.flac", "sha256": "", "asr": {}, "extra": {}, **changes,
    }  # fmt: skip


def rows_of(episode: str, turns: Sequence[tuple[float, float, str]], **changes: Any) -> list[dict[str, Any]]:
    """Rows of (start, end, speaker)."""
    return [row(episode, index, *turn, **changes) for index, turn in enumerate(turns)]


def chat(turns: int = 20, length: float = 2.0, pause: float = 0.5) -> list[tuple[float, float, str]]:
    """Two speakers by turns, all of one length."""
    step = length + pause
    return [(0.5 + n * step, 0.5 + n * step + length, f"S{n % 2:02d}") for n in range(turns)]


def commit(
    store: Store,
    episode: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    recording: bytes | None = None,
    files: Mapping[str, bytes] | None = None,
    **changes: Any,
) -> Manifest:
    """Commit an episode as the process role does, with further files; ``recording`` is its downloaded audio (FLAC)."""
    folder, key = LAYOUT.attempt("en", episode, "a1-nonce"), LAYOUT.raw_audio("en", "feed", episode, "flac")
    if recording is not None:
        store.put(key, recording)
    entries = []
    for name, body in {"all_segments.json": json.dumps(list(rows)).encode(), **(files or {})}.items():
        store.put(folder + name, body)
        entries.append(FileEntry(name=name, size=len(body), sha256=hashlib.sha256(body).hexdigest()))
    fields: dict[str, Any] = {
        "episode_id": episode, "language": "en", "outcome": "ok", "attempt": "a1-nonce", "folder": folder,
        "files": entries, "segments": len(rows), "speakers": 2, "flagged": 0, "hours": Hours(), "audio_key": key,
        "source_sha256": hashlib.sha256(recording).hexdigest() if recording is not None else None,
        "title": f"Title of {episode}", "url": f"https://example.org/{episode}", "licence": "CC-BY-4.0",
        "config_hash": "c0ffee", "committed_at": "2026-01-01T00:00:00+00:00", **changes,
    }  # fmt: skip
    manifest = Manifest(**fields)
    store.put(LAYOUT.manifest("en", episode), manifest.to_bytes())
    return manifest


def flac(samples: Samples, rate: int = RATE) -> bytes:
    """16-bit FLAC in memory."""
    file = io.BytesIO()
    sf.write(file, samples, rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def cuts(samples: Samples, rows: Sequence[Mapping[str, Any]], rate: int = RATE) -> dict[str, bytes]:
    """The segments' files, cut out of the whole as the pipeline does."""
    return {one["audio"]: flac(samples[round(one["start"] * rate) : round(one["end"] * rate)], rate) for one in rows}


def voices(turns: Sequence[tuple[float, float, str]], seconds: float, rate: int = RATE) -> dict[str, Samples]:
    """A steady tone for each speaker where they speak, silence elsewhere; of the whole length."""
    times = np.arange(round(seconds * rate)) / rate
    found = {}
    for number, speaker in enumerate(sorted({turn[2] for turn in turns})):
        on = np.zeros(len(times), bool)
        for start, end, who in turns:
            on |= (times >= start) & (times < end) & (who == speaker)
        found[speaker] = (0.25 * np.sin(2 * np.pi * (300 + 400 * number) * times) * on).astype(np.float32)
    return found


def listen(audio: Audio, rate: int = RATE) -> Samples:
    """All of a track."""
    return np.concatenate(list(audio.blocks(rate)))


def energy(samples: Samples, spans: Spans, rate: int = RATE) -> float:
    """Energy within the spans (seconds from the first sample)."""
    parts = [samples[max(0, round(start * rate)) : max(0, round(end * rate))] for start, end in spans]
    return sum(float(np.square(part, dtype=np.float64).sum()) for part in parts)


def decibels(track: Samples, whole: Samples, spans: Spans, rate: int = RATE) -> float:
    """How loud ``track`` is within the spans, against ``whole``; −100 stands for true silence."""
    return float(10 * np.log10(energy(track, spans, rate) / energy(whole, spans, rate) + 1e-10))


def turns_of(name: str, speaker: str, start: float, end: float) -> list[tuple[float, float]]:
    """The true turns of a demo file's speaker that lie within ``start`` and ``end``, counted from ``start``."""
    turns = [turn for turn in TRUTH[name]["turns"] if turn["speaker"] == speaker]
    return [
        (turn["start"] - start, turn["end"] - start) for turn in turns if turn["start"] >= start and turn["end"] <= end
    ]
