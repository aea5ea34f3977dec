"""Committed episodes as the process role leaves them, with real MP3 files a fraction of a second long."""

from __future__ import annotations

import functools
import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any

import av
import numpy as np

from duplexforge.layout import Layout
from duplexforge.records import FileEntry, Hours, Manifest
from duplexforge.storage import Store

RATE = 24_000


@functools.cache
def clip(hertz: int, *, kind: str = "mp3", seconds: float = 0.25) -> bytes:
    """A tone, encoded."""
    sink = io.BytesIO()
    with av.open(sink, "w", format=kind) as container:
        stream = container.add_stream(kind, rate=RATE, layout="mono")
        times = np.arange(int(RATE * seconds)) / RATE
        wave = (0.3 * np.sin(2 * np.pi * hertz * times) * 32767).astype(np.int16)[None, :]
        frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        frame.sample_rate = RATE
        resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=RATE)
        for ready in resampler.resample(frame):
            container.mux(stream.encode(ready))
        container.mux(stream.encode(None))
    return sink.getvalue()


def segment(episode: str, index: int, name: str, body: bytes, **changes: Any) -> dict[str, Any]:
    """A segment as the pipeline writes it: nothing measured, nothing flagged, unless ``changes`` say so."""
    return {
        "segment_id": f"{episode}_{index:06d}",
        "index": index,
        "text": f"Segment {index} of {episode}: «žluťoučký kůň», 話す.",
        "start": round(index * 1.5, 3),
        "end": round(index * 1.5 + 0.25, 3),
        "speaker": f"{episode}/S{index % 2:02d}",
        "language": "en",
        "dnsmos": None,
        "dnsmos_sig": None,
        "dnsmos_bak": None,
        "overlap": None,
        "asr": {
            "avg_logprob": None,
            "no_speech_prob": None,
            "compression_ratio": None,
            "language_probability": None,
        },
        "flags": [],
        "audio": name,
        "sha256": hashlib.sha256(body).hexdigest(),
        "extra": {},
        **changes,
    }


def put_episode(
    store: Store,
    layout: Layout,
    episode: str,
    *,
    language: str = "en",
    segments: int = 3,
    changes: Sequence[dict[str, Any]] = (),
    kind: str = "mp3",
    attempt: str = "a1-nonce",
    outcome: str = "ok",
    **described: Any,
) -> Manifest:
    """Commit an episode of ``segments`` segments; ``changes`` alter the first ones."""
    where = layout.attempt(language, episode, attempt)
    files: dict[str, bytes] = {}
    rows = []
    for index in range(segments):
        name = f"{episode}_{index:06d}.{kind}"
        files[name] = clip(200 + 10 * (index % 50) + len(episode), kind=kind)
        change = changes[index] if index < len(changes) else {}
        rows.append(segment(episode, index, name, files[name], language=language, **change))
    files["all_segments.json"] = json.dumps(rows, ensure_ascii=False).encode()
    entries = []
    for name, body in sorted(files.items()):
        store.put(where + name, body)
        entries.append(FileEntry(name=name, size=len(body), sha256=hashlib.sha256(body).hexdigest()))
    manifest = Manifest(
        episode_id=episode, language=language, outcome=outcome, attempt=attempt, folder=where, files=entries,
        segments=segments, speakers=min(segments, 2), flagged=sum(1 for row in rows if row["flags"]),
        hours=Hours(source=1.0, published=0.75, flagged=0.125, no_speech=0.125),
        config_hash="c0ffee", committed_at="2026-01-01T00:00:00+00:00",
        **{
            "title": f"Title of {episode}", "url": f"https://example.org/{episode}", "source": "feed",
            "audio_key": f"raw_audio/{episode}.mp3", **described,
        },
    )  # fmt: skip
    store.put(layout.manifest(language, episode), manifest.to_bytes())
    return manifest


def measured(index: int) -> dict[str, Any]:
    """Changes for a segment on which everything was measured and something found."""
    return {
        "dnsmos": 3.25 + index / 100,
        "dnsmos_sig": 3.5,
        "dnsmos_bak": 4.0,
        "overlap": 0.125,
        "asr": {
            "avg_logprob": -0.25,
            "no_speech_prob": 0.0625,
            "compression_ratio": 1.5,
            "language_probability": 0.9375,
        },
        "flags": ["low_mos", "overlap"],
        "extra": {"snr_estimate": 21.5},
    }


class Dead(BaseException):
    """The process was killed here."""


class NoLedger(Store):
    """A store behind which the process dies as it is about to write the ledger."""

    def put_if_absent(self, key: str, body: bytes) -> bool:
        if key.endswith(".published.json"):
            raise Dead
        return super().put_if_absent(key, body)
