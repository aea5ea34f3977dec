"""Export against one ffmpeg per segment: processor time from samples in memory to a hashed file, per core.

    python benchmarks/export.py [--quick] [--json] [--seconds 10]

The segments are the turns of the recordings in `examples/demo` (or, with `--seconds`, pieces of that length of the same
recordings), as float32 at 24 kHz. Ours is what the export stage does with each. The peer turns the same samples into
16 bit, starts one ffmpeg for each segment and hashes its file; of the ffmpeg that pip installs and the one on the path,
each reading samples on stdin or cutting them out of one long WAV file, the cheapest is the peer whose ratio counts, and
the cheapest way of the other program is shown beside it. Bit rates are equal. The peer's Opus is at the encoder's
default complexity of 10 and 20 ms frames, ours at 0 and 60 ms; a row of its own has both at ours.
"""

from __future__ import annotations

from harness import ROOT, Comparison, Figure, Spread, arguments, compare, report, timed  # isort: skip

import hashlib
import io
import json
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import soxr

from Emilia.models.encode import clipped, encode
from Emilia.models.media import Source
from Emilia.recording import Audio

RATE = 24000
BITRATE = 96000
GOALS = {"flac": 15.0, "opus": 4.0, "mp3": 1.3}
ENCODERS = {
    "flac": ["-c:a", "flac"],
    "opus": ["-c:a", "libopus", "-b:a", str(BITRATE)],
    "mp3": ["-c:a", "libmp3lame", "-b:a", str(BITRATE)],
}
OUR_OPUS = ["-compression_level", "0", "-frame_duration", "60"]
# LAME may flush a packet of padding alone, which ffmpeg leaves in; cutting by time may round by a sample.
PEER_SLACK = 47
FORMATS = {"flac": "flac", "opus": "ogg", "mp3": "mp3"}


@dataclass(frozen=True)
class Piece:
    """One segment: its samples and where it begins in the long WAV file, in samples."""

    samples: Audio
    at: int


@dataclass(frozen=True)
class Program:
    """One ffmpeg, told to read ``stdin`` or to cut out of ``long``."""

    path: str
    how: str
    long: Path

    @property
    def name(self) -> str:
        """Version and way of reading."""
        return f"ffmpeg {_version(self.path)} ({self.how})"


def _version(program: str) -> str:
    said = subprocess.run([program, "-version"], capture_output=True, text=True, check=True).stdout
    return said.split()[2].split("-")[0]


def material(seconds: float, count: int) -> list[Audio]:
    """``count`` segments: turns of the demo's recordings, or pieces of ``seconds``."""
    folder = ROOT / "examples" / "demo"
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))["files"]
    found: list[Audio] = []
    for name, facts in sorted(truth.items()):
        if not facts["turns"]:
            continue
        samples = _decoded(folder / name)
        times = [(turn["start"], turn["end"]) for turn in facts["turns"]]
        if seconds:
            times = [(at, at + seconds) for at in np.arange(0, len(samples) / RATE - seconds, seconds)]
        found += [samples[round(start * RATE) : round(end * RATE)] for start, end in times]
    # Evenly spaced, so that a few are from every recording.
    return found[:: max(1, len(found) // count)][:count]


def _decoded(path: Path) -> Audio:
    with Source(path) as source:
        blocks = [block.mean(axis=0) for _, block in source.blocks()]
    mono: Audio = soxr.resample(np.concatenate(blocks), source.rate, RATE).astype(np.float32)
    return mono


def long_wav(path: Path, segments: Sequence[Audio]) -> list[Piece]:
    """Write all segments behind each other as one WAV file, with two seconds between them."""
    pieces, at, gap = [], 0, np.zeros(2 * RATE, np.float32)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        for samples in segments:
            pieces.append(Piece(samples, at))
            file.writeframes(clipped(np.concatenate([samples, gap])).tobytes())
            at += len(samples) + len(gap)
    return pieces


def by_us(pieces: Sequence[Piece], codec: str, folder: Path) -> list[tuple[bytes, str]]:
    """What the export stage does once it has read the samples."""
    done = []
    for index, piece in enumerate(pieces):
        data = encode(piece.samples, RATE, codec=codec, bitrate=BITRATE)
        (folder / f"ours-{index}.{codec}").write_bytes(data)
        done.append((data, hashlib.sha256(data).hexdigest()))
    return done


def by_program(
    program: Program, pieces: Sequence[Piece], codec: str, folder: Path, more: Sequence[str] = ()
) -> list[tuple[bytes, str]]:
    """One ffmpeg per segment, on one thread as ours."""
    done = []
    for index, piece in enumerate(pieces):
        path = folder / f"peer-{index}.{codec}"
        samples = None
        if program.how == "stdin":
            samples = clipped(piece.samples).tobytes()
            source = ["-f", "s16le", "-ar", str(RATE), "-ac", "1", "-i", "-"]
        else:
            source = [
                "-ss",
                f"{piece.at / RATE:.6f}",
                "-t",
                f"{len(piece.samples) / RATE:.6f}",
                "-i",
                str(program.long),
            ]
        output = [*ENCODERS[codec], *more, "-threads", "1", "-f", FORMATS[codec], str(path)]
        command = [program.path, "-v", "error", "-y", "-threads", "1", *source, *output]
        subprocess.run(command, input=samples, check=True)
        data = path.read_bytes()
        done.append((data, hashlib.sha256(data).hexdigest()))
    return done


def checked(codec: str, pieces: Sequence[Piece]) -> Callable[[list[tuple[bytes, str]], list[tuple[bytes, str]]], str]:
    """A check that both sides hold the segments: length exact, sound as near as the codec allows."""

    def check(ours: list[tuple[bytes, str]], peer: list[tuple[bytes, str]]) -> str:
        nearness: tuple[list[float], list[float]] = ([], [])
        for piece, *sides in zip(pieces, ours, peer, strict=True):
            for (data, digest), near, slack in zip(sides, nearness, (0, PEER_SLACK), strict=True):
                assert hashlib.sha256(data).hexdigest() == digest
                heard = _heard(data)
                assert abs(len(heard) - len(piece.samples)) <= slack, (codec, len(heard), len(piece.samples))
                near.append(_decibels(piece.samples, heard))
        worst, theirs = min(nearness[0]), min(nearness[1])
        assert worst > (60.0 if codec == "flac" else theirs - 3.0), (codec, worst, theirs)
        size = [
            8 * sum(len(data) for data, _ in side) / sum(len(p.samples) / RATE for p in pieces) for side in (ours, peer)
        ]
        means = [float(np.mean(side)) for side in nearness]
        return (
            f"lengths; signal to error {means[0]:.1f} dB (peer {means[1]:.1f}), {size[0] / 1000:.0f} kbit/s (peer"
            f" {size[1] / 1000:.0f})"
        )

    return check


def _heard(data: bytes) -> Audio:
    with av.open(io.BytesIO(data)) as container:
        rate = container.streams.audio[0].rate
        samples = np.concatenate([frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)])
    scaled = samples / 32768 if samples.dtype == np.int16 else samples
    heard: Audio = soxr.resample(scaled.astype(np.float32), rate, RATE, quality="VHQ")
    return heard


def _decibels(said: Audio, heard: Audio) -> float:
    length = min(len(said), len(heard))
    error = np.square(said[:length] - heard[:length]).sum() + 1e-12
    return float(10 * np.log10(np.square(said[:length]).sum() / error))


def cheapest(codec: str, pieces: Sequence[Piece], folder: Path, long: Path) -> list[Program]:
    """The cheaper way of reading of each ffmpeg there is, the cheapest first."""
    paths = [path for path in (imageio_ffmpeg.get_ffmpeg_exe(), shutil.which("ffmpeg")) if path]
    costs: dict[str, tuple[float, Program]] = {}
    for path, how in product(paths, ("stdin", "cut")):
        program = Program(path, how, long)
        cost = timed(lambda program=program: by_program(program, pieces[:6], codec, folder))[1].cpu  # type: ignore[misc]
        if path not in costs or cost < costs[path][0]:
            costs[path] = (cost, program)
    return [program for _, program in sorted(costs.values(), key=lambda pair: pair[0])]


def measure(pieces: Sequence[Piece], folder: Path, long: Path, repetitions: int) -> list[Comparison]:
    """Every codec against every ffmpeg; the goal stands where the peer is the cheapest."""
    rows = []
    for codec, goal in GOALS.items():
        programs = cheapest(codec, pieces, folder, long)
        plans = [(codec, program, (), goal * (rank == 0)) for rank, program in enumerate(programs)]
        if codec == "opus":
            plans.append(("opus, equal settings", programs[0], OUR_OPUS, 0.0))
        for name, program, more, wanted in plans:
            rows.append(
                compare(
                    name,
                    lambda codec=codec: by_us(pieces, codec, folder),  # type: ignore[misc]
                    lambda codec=codec, program=program, more=more: by_program(  # type: ignore[misc]
                        program, pieces, codec, folder, more
                    ),
                    check=checked(codec, pieces),
                    peer_name=program.name,
                    repetitions=repetitions,
                    goal=wanted,
                )
            )
    return rows


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=0.0, help="pieces of this length (default: the demo's turns)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="export-") as scratch:
        folder = Path(scratch)
        pieces = long_wav(folder / "long.wav", material(chosen.seconds, 12 if chosen.quick else 40))
        rows = measure(pieces, folder, folder / "long.wav", chosen.repetitions)
    lengths = Spread.of([len(piece.samples) / RATE for piece in pieces])
    report(
        "Export: processor time of one ffmpeg per segment over ours",
        rows,
        [
            Figure("segments", len(pieces)),
            Figure("seconds of a segment, median", lengths.median, "s"),
            Figure("seconds of the longest", lengths.most, "s"),
        ],
        as_json=chosen.json,
        packages=["av", "soundfile", "imageio-ffmpeg"],
        notes=[
            f"MP3 and Opus at {BITRATE // 1000} kbit/s. Ours: LAME quality 7, Opus complexity 0 in 60 ms packets, FLAC 5 of 8.",
            "Peer: every encoder's defaults (LAME 5, Opus 10 in 20 ms packets, FLAC 5 of 12), -threads 1.",
        ],
    )


if __name__ == "__main__":
    main()
