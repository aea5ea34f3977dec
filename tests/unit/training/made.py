"""Voices, folders and recipes made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile as sf

from duplexforge.training import preparing, sources

RATE = 16_000
Wave = npt.NDArray[np.float32]


def voice(seconds: float, pitch: float, seed: int = 0) -> Wave:
    """Something like speech: harmonics of a wandering pitch under two formants, in syllables, with a little noise."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    track = pitch * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * time + random.uniform(0, 6)))
    phase = 2 * np.pi * np.cumsum(track) / RATE
    formants = 500 + 200 * np.sin(2 * np.pi * 1.3 * time), 1500 + 500 * np.sin(2 * np.pi * 0.9 * time + 1)
    wave = np.zeros_like(time)
    for number in range(1, int(3800 / pitch)):
        height = sum(np.exp(-(((number * track - middle) / 300) ** 2)) for middle in formants)
        wave += (0.05 + height) / number**0.5 * np.sin(number * phase)
    syllables = np.clip(np.sin(2 * np.pi * 2.1 * time), 0, None) ** 0.5
    wave = wave * syllables + 0.01 * random.standard_normal(len(time))
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)


def recordings(folder: Path, speakers: int = 3, files: int = 2, seconds: float = 1.5) -> Path:
    """A folder of WAV files, one folder a speaker."""
    for speaker in range(speakers):
        (folder / f"s{speaker}").mkdir(parents=True, exist_ok=True)
        for number in range(files):
            wave = voice(seconds, 100 + 40 * speaker, seed=10 * speaker + number)
            sf.write(folder / f"s{speaker}" / f"{number}.wav", wave, RATE)
    return folder


def training_folder(folder: Path, **more: float) -> Path:
    """What ``duplexforge data speech`` makes of such recordings."""
    source = recordings(folder / "recordings", **more)  # type: ignore[arg-type]
    preparing.prepare(sources.plain(source), folder / "speech")
    return folder / "speech"


def recipe_text(speech: Path, output: Path, *, epochs: int = 2, **tables: str) -> str:
    """A recipe small enough for a test; ``tables`` add lines to a table."""
    extra = {name: tables.get(name, "") for name in ("data", "model", "losses", "optimizer", "loop")}
    return f"""
trainer = "codec"
output = "{output}"
seed = 3
[data]
folder = "{speech}"
seconds = 0.25
{extra["data"]}
[model]
hop = 80
entries = 16
groups = [1, 1]
hidden = 8
start_seconds = 2.0
start_rounds = 2
start_steps = 3
mend_every = 2
{extra["model"]}
[losses]
{extra["losses"]}
[optimizer]
warmup_steps = 2
{extra["optimizer"]}
[loop]
epochs = {epochs}
steps_per_epoch = 3
batch_size = 4
threads = 1
{extra["loop"]}
"""
