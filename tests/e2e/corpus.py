"""Audio files for the end-to-end tests, cut from the demo's dialogues: real speech in every container that we take."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import soundfile

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo"
RATE = 24_000

# extension → (container, codec, rate that the codec takes)
CONTAINERS = {
    "mp3": ("mp3", "mp3", 24_000),
    "m4a": ("ipod", "aac", 24_000),
    "wav": ("wav", "pcm_s16le", 24_000),
    "flac": ("flac", "flac", 24_000),
    "aac": ("adts", "aac", 24_000),
    "ogg": ("ogg", "vorbis", 24_000),
    "opus": ("ogg", "libopus", 24_000),
    "wma": ("asf", "wmav2", 22_050),
    "webm": ("webm", "libopus", 24_000),
}

Samples = npt.NDArray[np.int16]


def demo_audio(name: str) -> Samples:
    """A whole file of the demo as 24 kHz mono 16-bit samples."""
    blocks = []
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    with av.open(str(DEMO / name)) as container:
        for frame in container.decode(audio=0):
            blocks += [out.to_ndarray()[0] for out in resampler.resample(frame)]
    blocks += [out.to_ndarray()[0] for out in resampler.resample(None)]
    return np.concatenate(blocks).astype(np.int16)


def turns() -> list[tuple[str, float, float]]:
    """(file, start, end) of every turn of the demo that lasts at least three seconds, longest files first."""
    truth = json.loads((DEMO / "truth.json").read_text(encoding="utf-8"))["files"]
    return [
        (name, turn["start"], turn["end"])
        for name, facts in sorted(truth.items())
        for turn in facts.get("turns", [])
        if turn["end"] - turn["start"] >= 3.0
    ]


def encode(samples: Samples, path: Path) -> None:
    """Write ``samples`` (24 kHz mono) into the container that the extension of ``path`` names."""
    container_format, codec, rate = CONTAINERS[path.suffix.lstrip(".").lower()]
    if codec == "vorbis":  # PyAV's wheel carries no encoder for it, libsndfile's does
        soundfile.write(path, samples, RATE, format="OGG", subtype="VORBIS")
        return
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = "mono"
        if not codec.startswith(("pcm", "flac")):
            stream.bit_rate = 64_000  # Windows Media has no default
        frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
        frame.sample_rate = RATE
        frame.time_base = Fraction(1, RATE)
        resampler = av.AudioResampler(stream.format, "mono", rate, frame_size=stream.frame_size or None)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))


def make_folder(folder: Path) -> dict[str, str]:
    """Twenty files in ``folder``: every container, seventeen with speech, one each corrupt, empty and silent.

    Returns file name → what must become of it. One of the good ones has a hostile name, one an upper-case extension.
    """
    folder.mkdir(parents=True)
    cuts = turns()
    whole = {name: demo_audio(name) for name in {name for name, _, _ in cuts}}
    names = [f"episode-{index:02d}.{extension}" for index, extension in enumerate([*CONTAINERS, *CONTAINERS][:15])]
    names += ["LOUD.MP3", '-rf $(touch pwned); "quoted" \n ünï→💥 ' + "x" * 120 + ".wav"]
    fates = {}
    for name, (source, start, end) in zip(names, cuts, strict=False):
        encode(whole[source][int(start * RATE) : int(end * RATE)], folder / name)
        fates[name] = "ok"
    assert len(fates) == 17, "the demo has too few turns for this corpus"
    # Half of an M4A lacks its index, which stands at the end: there is no audio to be had from it.
    half = (folder / "episode-01.m4a").read_bytes()
    (folder / "corrupt.m4a").write_bytes(half[: len(half) // 2])
    (folder / "empty.flac").touch()
    encode(np.zeros(RATE * 6, np.int16), folder / "silent.ogg")
    return fates | {"corrupt.m4a": "failed", "empty.flac": "failed", "silent.ogg": "no_speech"}
