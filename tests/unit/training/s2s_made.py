"""Pairs made of tones, and a codec that needs no weights: enough to learn who is asked and what to answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile as sf

RATE = 16_000
QUESTIONS = {"low": 300.0, "high": 2400.0, "middle": 900.0, "పైన": 4200.0}
ANSWERS = {"low": "go down now", "high": "please go up", "middle": "stay", "పైన": "పైకి వెళ్ళండి"}


class Loudness:
    """A codec of two books: how loud a frame is, and its strongest band."""

    books, entries, weights = 2, 16, 0x1234ABCD

    def tokens(self, wave: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
        frames = wave[: len(wave) // 640 * 640].reshape(-1, 640)
        level = np.clip(np.log2(np.abs(frames).max(axis=1) + 1e-4) + 14, 0, 15)
        band = np.abs(np.fft.rfft(frames)).argmax(axis=1) * 16 // 321
        return np.stack([level, band], axis=1).astype(np.int16)


def tone(hertz: float, seconds: float, seed: int = 0) -> npt.NDArray[np.float32]:
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return (0.2 * np.sin(2 * np.pi * hertz * time) + 0.001 * noise).astype(np.float32)


def pairs_folder(folder: Path, count: int = 16) -> Path:
    """A folder as ``data dialogues`` makes it: ``count`` pairs to learn, half as many held out."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, many in (("train", count), ("validation", count // 2)):
        pairs = [_pair(folder, f"{split}-{number}", number) for number in range(many)]
        (folder / f"{split}_pairs.json").write_text(json.dumps(pairs), encoding="utf-8")
    return folder


def _pair(folder: Path, name: str, number: int) -> dict[str, Any]:
    question = list(QUESTIONS)[number % len(QUESTIONS)]
    words = ANSWERS[question].split()
    sf.write(folder / f"{name}-in.flac", tone(QUESTIONS[question], 0.4 + 0.02 * (number % 5), number), RATE)
    sf.write(folder / f"{name}-out.flac", tone(150 + 50 * (number % 4), 0.16 * len(words) + 0.2), RATE)
    return {
        "input_path": f"{name}-in.flac",
        "target_path": f"{name}-out.flac",
        "speaker_id": number % 4,
        "emotion_id": number % 9,
        "language": "en",
        "intent": question,
        "question": question,
        "answer": ANSWERS[question],
        "words": [{"word": word, "start": 0.16 * at, "end": 0.16 * at + 0.1} for at, word in enumerate(words)],
        "synthetic": True,
    }


def recipe_text(folder: Path, output: Path, *, epochs: int = 2, **tables: str) -> str:
    """A recipe small enough for a test; ``tables`` add lines to a table."""
    extra = {name: tables.get(name, "") for name in ("data", "model", "losses", "optimizer", "loop")}
    return f"""
trainer = "s2s"
output = "{output}"
seed = 3
[data]
folder = "{folder}"
{extra["data"]}
[model]
width = 32
heads = 2
encoder_layers = 1
decoder_layers = 2
encoder_inner = 32
decoder_inner = 32
kernel = 3
left = 16
memory = 64
steps = 64
lead = 2
vocabulary = 60
dropout = 0.0
evaluate_pairs = 8
placing = "words"
{extra["model"]}
[losses]
{extra["losses"]}
[optimizer]
learning_rate = 3e-3
betas = [0.9, 0.98]
warmup_steps = 5
{extra["optimizer"]}
[loop]
epochs = {epochs}
steps_per_epoch = 3
batch_size = 4
threads = 1
{extra["loop"]}
"""
