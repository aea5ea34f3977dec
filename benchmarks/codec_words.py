"""What a recogniser still understands of coded English, and what the coding does to pitch, voicing and loudness.

Clips are sentences of our own that espeak-ng speaks (synthetic), and prompts of ``asterisk-core-sounds-en`` (recorded; this
speaker is among those that the codec learned from). Of espeak's the words are known; of the prompts, what the recogniser
hears in the original counts as right. The recogniser is pocketsphinx with the US English model of its wheel: a weak one,
which errs a lot in the clean clips too, so only the difference says something.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile as sf
import soxr

RATE = 16_000
SENTENCES = (
    "the weather is very nice today and we will go to the park",
    "please tell me the time of the next train to the city",
    "she said that the meeting would start at nine in the morning",
    "i would like to have a cup of coffee and some bread",
    "he lives in a small house near the river with his family",
    "can you help me find the way to the hospital",
    "the children are playing in the garden behind the school",
    "we have been waiting for the bus for more than an hour",
    "my brother works in a large company in the south of the country",
    "it is going to rain this evening so take an umbrella with you",
    "the price of the ticket is twenty five dollars",
    "there are seven days in a week and twelve months in a year",
    "they bought a new car last year because the old one was broken",
    "you can call me tomorrow after five in the afternoon",
    "the doctor told him to drink more water and sleep longer",
)
VOICE = ("en-us+f2", "50", "150")
"""Voice, pitch and words a minute of espeak-ng: near 190 Hz, and the one of the four that pocketsphinx understands best."""
PROMPTS = "/usr/share/asterisk/sounds/en_US_f_Allison"
_MARKS = re.compile(r"<[^>]*>|\[[^\]]*\]|\+\+[^+]*\+\+|\(\d+\)")

Wave = npt.NDArray[np.float32]


def spoken(count: int) -> list[tuple[str, Wave]]:
    """The first ``count`` sentences and how espeak-ng says them."""
    voice, pitch, speed = VOICE
    found = []
    for text in SENTENCES[:count]:
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            command = ["espeak-ng", "-v", voice, "-p", pitch, "-s", speed, "-w", file.name, text]
            subprocess.run(command, check=True)
            sound, rate = sf.read(file.name, dtype="float32")
        found.append((text, soxr.resample(sound, rate, RATE, quality="VHQ").clip(-1, 1)))
    return found


class Recogniser:
    """pocketsphinx."""

    def __init__(self) -> None:
        self._decoder: Any = import_module("pocketsphinx").Decoder(samprate=RATE, loglevel="FATAL", fwdflat=False)

    def words(self, wave: Wave) -> str:
        """What it hears in ``wave``."""
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        sound = (wave.clip(-1, 1) * 32767).astype("<i2").tobytes()
        self._decoder.process_raw(sound, no_search=False, full_utt=True)
        self._decoder.end_utt()
        heard = self._decoder.hyp()
        return " ".join(_MARKS.sub(" ", heard.hypstr).split()) if heard else ""


def word_error(right: list[str], heard: list[str]) -> float:
    """Word errors in percent of the words that are right."""
    return 100 * float(import_module("jiwer").wer(right, heard))


def prompts(count: int, read: Callable[[Path], Wave]) -> list[Wave]:
    """``count`` recorded prompts of three to eight seconds; none where the package is not installed."""
    paths = sorted(Path(PROMPTS).glob("**/*.g722"))
    # G.722 at 64 kbps: 8,000 bytes a second.
    long = [path for path in paths if 24_000 < path.stat().st_size < 64_000]
    return [read(path) for path in long[:: max(1, len(long) // count)][:count]]


def voice_scores(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> dict[str, float]:
    """Of the pitch tracks (Hz, 0: none) of the clean and the coded wave: the median error of pitch where both have one, the
    share of those beyond 10 %, and the share of 10 ms that have a pitch in one wave alone (all in percent).
    """
    both = (first > 0) & (second > 0)
    error = 100 * np.abs(second[both] / first[both] - 1) if both.any() else np.array([np.nan])
    return {
        "f0_err": float(np.median(error)),
        "f0_gross": 100 * float(np.mean(error > 10)),
        "voicing": 100 * float(np.mean((first > 0) != (second > 0))),
    }
