"""Processor time of everything outside the models, in core-seconds an hour of audio, against an upstream-style chain.

    python benchmarks/cpu_budget.py [--quick] [--json]

The source is ten synthetic minutes of stereo AAC at 44.1 kHz (two with `--quick`), scaled to an hour; one core. Turns
and speech are known beforehand and no network runs: stand-ins take the place of the diarizer, the voice detector, the
recogniser and DNSMOS, so what is left is decoding, resampling, loudness, the segment rules, Whisper's spectrograms,
DNSMOS windows, encoding, hashing and JSON. Separation is on neither side; it has a benchmark of its own.

The peer is written for this comparison after the published source and calls what that calls: one ffmpeg to decode the
whole file, `audioop` as pydub does for rate, channels and level, a resampling of the whole file (soxr HQ, librosa's
default) for each of recogniser and DNSMOS and of each long row for the voice detector, a spectrogram of 30 s for every
segment (faster-whisper's extractor), and one ffmpeg per segment. Codec and bit rate are the same on both sides.
"""

from __future__ import annotations

from harness import Comparison, Figure, arguments, compare, report, timed  # isort: skip

import hashlib
import json
import subprocess
import tempfile
import warnings
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import soxr
from faster_whisper.feature_extractor import FeatureExtractor

from Emilia.config import load_config
from Emilia.files import write
from Emilia.models.dnsmos import LENGTH, Dnsmos
from Emilia.models.whisper_mel import LogMel, lengths, shortest
from Emilia.recording import Audio, Recording, Segment, Span, Turn
from Emilia.stages.export import Export
from Emilia.stages.segment import Segmentation
from Emilia.stages.standardize import Standardize

with warnings.catch_warnings():
    # Upstream's pydub stands on it; Python 3.13 has it no more, so this benchmark wants 3.11 or 3.12.
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

SEED = 7
RATE = 44100
BITRATE = 96000
# Core-seconds an hour, outside the models.
GOALS = {"opus": 15.0, "flac": 8.0}
OUTPUT = {"opus": ["-c:a", "libopus", "-b:a", str(BITRATE), "-f", "ogg"], "flac": ["-c:a", "flac", "-f", "flac"]}


@dataclass(frozen=True)
class Episode:
    """The source file and what the models would have said of it."""

    path: Path
    seconds: float
    turns: list[Turn]
    voiced: list[Span]


@dataclass
class Parts:
    """Core-seconds by part of the chain, and the segments and files that came out."""

    seconds: dict[str, float] = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    def run(self, part: str, work: Callable[[], Any]) -> Any:
        """The result of ``work``, its processor time added to ``part``."""
        result, cost = timed(work)
        self.seconds[part] = self.seconds.get(part, 0.0) + cost.cpu
        return result


def episode(folder: Path, seconds: float) -> Episode:
    """Two voices in turn: harmonics with syllables, pauses inside turns and between them, as AAC at 128 kbit/s."""
    rng = np.random.default_rng(SEED)
    mono = np.zeros(round(seconds * RATE), np.float32)
    turns: list[Turn] = []
    voiced: list[Span] = []
    at = 0.3
    while at < seconds - 40:
        length = float(np.clip(rng.lognormal(np.log(7.0), 0.7), 1.0, 32.0))
        turns.append(Turn(round(at, 3), round(at + length, 3), f"S{len(turns) % 2:02d}"))
        end = at + length
        while at < end:
            speech = min(float(rng.lognormal(np.log(1.5), 0.5)), end - at)
            voiced.append(Span(round(at, 3), round(at + speech, 3)))
            first, last = round(at * RATE), round((at + speech) * RATE)
            mono[first:last] = _voice(last - first, 110.0 if len(turns) % 2 else 210.0, rng)
            at += speech + float(rng.uniform(0.1, 0.4))
        at = end + float(rng.uniform(0.2, 1.0))
    mono += 1e-3 * rng.standard_normal(len(mono)).astype(np.float32)
    stereo = np.stack([mono, 0.8 * np.roll(mono, 11)])
    path = folder / "episode.m4a"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="stereo")
        stream.bit_rate = 128000
        frame = av.AudioFrame.from_ndarray(stereo, format="fltp", layout="stereo")
        frame.sample_rate = RATE
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return Episode(path, seconds, turns, voiced)


def _voice(count: int, pitch: float, rng: np.random.Generator) -> Audio:
    time = np.arange(count) / RATE
    phase = 2 * np.pi * pitch * (time + 0.01 * np.sin(6 * np.pi * time))
    sound = sum(np.sin(k * phase) / k for k in range(1, 25)) + 0.05 * rng.standard_normal(count)
    voice: Audio = (0.12 * np.abs(np.sin(2 * np.pi * 2.2 * time)) * sound).astype(np.float32)
    return voice


class Still:
    """A network that answers at once."""

    def run(self, batch: Audio) -> Audio:
        """One row of ones for each window."""
        return np.ones((len(batch), 3), np.float32)


def ours(source: Episode, codec: str, scratch: Path) -> Parts:
    """The stages of the pipeline, models stood in for."""
    config = load_config(None, overrides={"export.engine": codec, "export.bitrate": BITRATE})
    parts, out = Parts(), _emptied(scratch / "ours")
    recording = Recording(source.path, "ep", out, out)
    standardize, segmentation, export = Standardize(config), Segmentation(config), Export(config)
    standardize.load("cpu")
    parts.run("decode, resample, level", lambda: standardize.run(recording, _nobody))
    recording.turns, recording.voiced = source.turns, source.voiced
    recording.facts["overlap"] = "marked"
    parts.run("segment rules", lambda: segmentation.run(recording, _nobody))
    parts.run("whisper spectrograms", lambda: _spectrograms(recording))
    parts.run("dnsmos windows", lambda: _windows(recording, config))
    parts.run("encode and hash", lambda: export.run(recording, _nobody))
    parts.run("json", lambda: write(out, recording.pieces(), {}))
    parts.segments, parts.files = recording.pieces(), recording.files or []
    return parts


def _spectrograms(recording: Recording) -> None:
    mel, windows, narrow = LogMel(FeatureExtractor().mel_filters), lengths(1.08, 80), recording.narrow_rate()
    for segment in recording.pieces():
        clip = narrow.seconds_of(segment.start, segment.end)
        mel.heard(clip, shortest(windows, min(len(clip), 480000)))


def _windows(recording: Recording, config: Any) -> None:
    scorer = Dnsmos(config)
    scorer._network = Still()  # type: ignore[assignment]
    narrow = recording.narrow_rate()
    for segment in recording.pieces():
        segment.dnsmos = scorer.score(narrow.seconds_of(segment.start, segment.end), _nobody).ovrl


def _nobody(_share: float) -> None: ...


def _emptied(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    return folder


def upstream(source: Episode, codec: str, scratch: Path, segments: list[Segment]) -> Parts:
    """The published chain's calls on the same segments, which the rules have already found."""
    parts, out = Parts(), _emptied(scratch / "peer")
    audio: Audio = parts.run("decode, resample, level", lambda: _standardized(source.path, out))
    parts.run("voice detector's input", lambda: _long_rows(audio, source.turns))
    parts.run("whisper spectrograms", lambda: _padded_spectrograms(audio, segments))
    parts.run("dnsmos windows", lambda: _published_windows(audio, segments))
    parts.run("encode and hash", lambda: _one_ffmpeg_each(audio, segments, codec, out, parts))
    parts.run("json", lambda: (out / "ep.json").write_text(json.dumps([one.to_json() for one in segments])))
    return parts


def _standardized(path: Path, out: Path) -> Audio:
    whole = out / "whole.wav"
    program = imageio_ffmpeg.get_ffmpeg_exe()
    subprocess.run([program, "-v", "error", "-y", "-i", str(path), "-f", "wav", str(whole)], check=True)
    with wave.open(str(whole)) as file:
        rate, data = file.getframerate(), file.readframes(file.getnframes())
    data, _ = audioop.ratecv(data, 2, 2, rate, 24000, None)
    data = audioop.tomono(data, 2, 0.5, 0.5)
    decibels = 20 * np.log10(audioop.rms(data, 2) / 32768)
    data = audioop.mul(data, 2, 10 ** (float(np.clip(-20 - decibels, -3, 3)) / 20))
    samples = np.frombuffer(data, np.int16).astype(np.float32)
    return samples / np.abs(samples).max()


def _long_rows(audio: Audio, turns: list[Turn]) -> None:
    for turn in turns:
        if turn.end - turn.start > 20:
            soxr.resample(audio[int(turn.start * 24000) : int(turn.end * 24000)], 24000, 16000, quality="HQ")


def _padded_spectrograms(audio: Audio, segments: list[Segment]) -> None:
    narrow, extract = soxr.resample(audio, 24000, 16000, quality="HQ"), FeatureExtractor()
    for segment in segments:
        clip = narrow[int(segment.start * 16000) : int(segment.end * 16000)]
        extract(np.pad(clip, (0, max(0, 480000 - len(clip)))))


def _published_windows(audio: Audio, segments: list[Segment]) -> None:
    narrow, network = soxr.resample(audio, 24000, 16000, quality="HQ"), Still()
    for segment in segments:
        clip = narrow[int(segment.start * 16000) : int(segment.end * 16000)]
        while len(clip) < LENGTH:
            clip = np.append(clip, clip)
        for index in range(int(np.floor(len(clip) / 16000) - 9.01) + 1):
            part = clip[index * 16000 : int((index + 9.01) * 16000)]
            if len(part) >= LENGTH:
                network.run(np.array(part).astype("float32")[np.newaxis, :])


def _one_ffmpeg_each(audio: Audio, segments: list[Segment], codec: str, out: Path, parts: Parts) -> None:
    for segment in segments:
        pcm = np.int16(audio[int(segment.start * 24000) : int(segment.end * 24000)] * 32767)
        path = out / f"{segment.segment_id}.{codec}"
        source = ["-f", "s16le", "-ar", "24000", "-ac", "1", "-i", "-"]
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *source, *OUTPUT[codec], str(path)]
        subprocess.run(command, input=pcm.tobytes(), check=True)
        hashlib.sha256(path.read_bytes()).hexdigest()
        parts.files.append(path)


def same_files(mine: Parts, theirs: Parts) -> str:
    """Both sides wrote the same segments."""
    assert len(mine.files) == len(theirs.files) > 0
    for one, other in zip(mine.files, theirs.files, strict=True):
        assert abs(_seconds(one) - _seconds(other)) < 0.001, (one, other)
    return f"{len(mine.files)} segments of the same length to a millisecond"


def _seconds(path: Path) -> float:
    with av.open(str(path)) as container:
        return float(sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0)))


def measure(source: Episode, scratch: Path, repetitions: int) -> tuple[list[Comparison], list[Figure]]:
    """Both codecs; the figures are medians of our parts, scaled to an hour."""
    rows, figures = [], []
    hour = 3600 / source.seconds
    for codec, goal in GOALS.items():
        runs: list[tuple[Parts, Parts]] = []

        def check(mine: Parts, theirs: Parts, runs: list[tuple[Parts, Parts]] = runs) -> str:
            runs.append((mine, theirs))
            return same_files(mine, theirs)

        row = compare(
            codec,
            partial(ours, source, codec, scratch),
            partial(upstream, source, codec, scratch, ours(source, codec, scratch).segments),
            check=check,
            peer_name="upstream-style chain, written for this comparison",
            repetitions=repetitions,
        )
        rows.append(row)
        spent = row.ours_cpu.median * hour
        figures.append(Figure(f"{codec}: ours, all", spent, "core-s/h", f"<= {goal:g}", spent <= goal))
        figures.append(Figure(f"{codec}: peer, all", row.peer_cpu.median * hour, "core-s/h"))
        # The first pair was to warm up.
        for side, parts in zip(("ours", "peer"), zip(*runs[1:], strict=True), strict=True):
            for part in parts[0].seconds:
                typical = float(np.median([run.seconds[part] for run in parts]))
                figures.append(Figure(f"  {codec}: {side}, {part}", typical * hour, "core-s/h"))
    return rows, figures


def main() -> None:
    """Measure and print."""
    chosen = arguments(__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="cpu-budget-") as folder:
        scratch = Path(folder)
        source = episode(scratch, 120.0 if chosen.quick else 600.0)
        rows, figures = measure(source, scratch, chosen.repetitions)
    report(
        "CPU budget: core-seconds an hour outside the models, and the upstream-style chain's over ours",
        rows,
        figures,
        as_json=chosen.json,
        packages=["av", "soxr", "soundfile", "faster-whisper", "imageio-ffmpeg", "numpy", "scipy"],
        seed=SEED,
        notes=[f"Opus at {BITRATE // 1000} kbit/s on both sides; encoder settings as in benchmarks/export.py."],
    )


if __name__ == "__main__":
    main()
