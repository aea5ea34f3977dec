"""What an answer's audio says, in whose voice and how high, as far as small judges can tell.

Each judge knows true recordings alone, and none the model: a grammar of all English answers for pocketsphinx, the nearest of
the true recordings by dynamic time warping, a linear probe of voices. What they make of the true answer through the codec is
their ceiling, and stands beside whatever they say of the model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from duplexforge.dialogues.domain import bare
from duplexforge.dialogues.pitch import contour
from duplexforge.models.s2s.features import RATE, log_mel

__all__ = ["Grammar", "Recording", "Shelf", "Voices", "distances", "sounds", "traits"]

Floats = npt.NDArray[np.float64]
Wave = npt.NDArray[np.float32]

LAUGH = "ha ha ha"
"""What the corpus says before an answer that laughs."""
SAID = {
    "charminar": "CH AA R M IH N AA R",
    "godavari": "G OW D AA V ER IY",
    "kathmandu": "K AE T M AE N D UW",
    "konark": "K OW N AA R K",
    "lakh": "L AE K",
    "vijayawada": "V IH JH AY AH W AA D AH",
}
"""Words of the answers that the recogniser's dictionary has not."""
_MARGIN = RATE // 10
"""Silence round a clip: the grammar wants some at both ends."""


# -- words -------------------------------------------------------------------------------------------------------------


def grammar(answers: Sequence[str]) -> str:
    """The JSGF grammar that says one of ``answers`` (bare words), with or without a laugh before it."""
    return f"#JSGF V1.0; grammar answers; public <answer> = [{LAUGH}] ( {' | '.join(answers)} );"


class Grammar:
    """pocketsphinx with the US English model of its wheel, which may hear nothing but one of ``answers``."""

    def __init__(self, answers: Sequence[str]) -> None:
        # The search for a best path drops one answer in ten as unfinished, and is the slower half.
        options = {"samprate": RATE, "loglevel": "FATAL", "lm": None, "bestpath": False}
        self._decoder: Any = import_module("pocketsphinx").Decoder(**options)
        for word, sound in SAID.items():
            if self._decoder.lookup_word(word) is None:
                self._decoder.add_word(word, sound, True)
        told = {answer: bare(answer) for answer in answers}
        self.unknown = {word for text in told.values() for word in text.split() if not self._decoder.lookup_word(word)}
        """Words that nobody has told it how to say; it hears no answer that has one."""
        self._answers = {text: answer for answer, text in told.items() if not self.unknown & set(text.split())}
        self._decoder.add_jsgf_string("answers", grammar(list(self._answers)))
        self._decoder.activate_search("answers")

    def knows(self, answer: str) -> bool:
        """Whether it may hear ``answer`` at all."""
        return answer in self._answers.values()

    def heard(self, wave: Wave) -> str:
        """The answer that it hears in ``wave``; empty when none fits to the end."""
        # The noise tracker of the front end would carry over from the clip before.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        sound = (np.pad(wave, _MARGIN).clip(-1, 1) * 32767).astype("<i2")
        self._decoder.process_raw(sound.tobytes(), no_search=False, full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        text = re.sub(r"<[^>]*>|\(\d+\)", " ", found.hypstr) if found else ""
        return self._answers.get(" ".join(text.split()).removeprefix(f"{LAUGH} "), "")


# -- the nearest recording ---------------------------------------------------------------------------------------------

_BANDS, _CEPSTRA = 80, 16
_DEPTH = 50 / 10 * np.log(10)
"""So far below its loudest band (natural logarithm of power) an answer is followed, ..."""
_QUIET = 35 / 10 * np.log(10)
"""... and so far below its loudest frame it has not begun."""
_COSINES = np.cos(np.pi / _BANDS * np.outer(np.arange(_BANDS) + 0.5, np.arange(1, _CEPSTRA + 1))) * np.sqrt(2 / _BANDS)


def _logs(wave: Wave) -> Floats:
    """Logarithms of mel power (10 ms × 80), the loudest sample at full scale, nothing fainter than the depth."""
    peak = float(np.abs(wave).max(initial=0.0))
    # Scaled first: what is heard of a quiet voice would end at the floor of the features.
    logs = log_mel(wave / np.float32(peak) if peak else wave).astype(np.float64)
    return np.asarray(np.maximum(logs, logs.max(initial=-np.inf) - _DEPTH), np.float64)


def sounds(wave: Wave) -> Floats:
    """Cepstra (20 ms × 16) of what is spoken in ``wave``, mean taken off: the sounds, with little of pitch and level."""
    logs = _logs(wave)
    if len(logs) < 2:
        return np.zeros((1, _CEPSTRA))
    logs = logs[: len(logs) // 2 * 2].reshape(-1, 2, _BANDS).mean(axis=1)
    loud = logs.max(axis=1)
    spoken = np.flatnonzero(loud > loud.max() - _QUIET)
    found = logs[spoken[0] : spoken[-1] + 1] @ _COSINES
    return np.asarray(found - found.mean(axis=0), np.float64)


def distances(one: Floats, others: Sequence[Floats]) -> Floats:
    """How far ``one`` (frames × n) is from each of ``others`` by dynamic time warping: mean distance along the best path.

    Symmetric steps (Sakoe and Chiba, 1978): a diagonal counts twice, so that every path is as long as both together.
    """
    lengths = np.array([len(other) for other in others])
    padded = np.zeros((len(others), lengths.max(), one.shape[1]))
    for place, other in enumerate(others):
        padded[place, : len(other)] = other
    square = np.square(one).sum(1)[:, None, None] + np.square(padded).sum(2)[None]
    costs = np.sqrt(np.maximum(square - 2 * np.einsum("id,kjd->ikj", one, padded, optimize=True), 0))
    # Row by row over all others at once; what comes from the left in a row is the only loop left.
    row = np.cumsum(costs[0], axis=1) + costs[0, :, :1]
    for cost in costs[1:]:
        below = row + cost
        below[:, 1:] = np.minimum(below[:, 1:], row[:, :-1] + 2 * cost[:, 1:])
        # min over starts s of below[s] + the costs from s on, by running sums: no second loop.
        sums = np.cumsum(cost, axis=1)
        row = np.minimum.accumulate(below - sums, axis=1) + sums
    return np.asarray(row[np.arange(len(others)), lengths - 1] / (len(one) + lengths), np.float64)


class Recording(NamedTuple):
    """A true recording: its name, the answer that it says, its emotion, and its sounds."""

    name: str
    answer: str
    emotion: int
    sounds: Floats


class Shelf:
    """True recordings of one voice and language; tells which answer one is nearest to."""

    def __init__(self, recordings: Sequence[Recording], most: int) -> None:
        self._most = most
        self._answers: dict[str, list[Recording]] = {}
        for one in recordings:
            self._answers.setdefault(one.answer, []).append(one)

    def nearest(self, wanted: Floats, emotion: int, without: str) -> str:
        """The answer whose recording is nearest to ``wanted``.

        Of each answer so many recordings are tried as there may be: of the same ``emotion`` first, then of the lowest.
        The recording called ``without`` is not: the true answer would be found by itself.
        """
        tried: list[Recording] = []
        for some in self._answers.values():
            rest = [one for one in some if one.name != without]
            tried += sorted(rest, key=lambda one: (one.emotion != emotion, one.emotion))[: self._most]
        found = distances(wanted, [one.sounds for one in tried])
        return tried[int(np.argmin(found))].answer


# -- the voice ---------------------------------------------------------------------------------------------------------


def traits(wave: Wave) -> Floats:
    """What tells voices apart in ``wave``: mean and spread of its mel bands beside its level, and its pitch."""
    logs = _logs(wave)
    loud = logs.max(axis=1)
    spoken = logs[loud > loud.max(initial=-np.inf) - _QUIET]
    if not len(spoken):
        return np.zeros(2 * _BANDS + 4)
    pitch = contour(wave, RATE)
    voiced = np.log2(pitch[~np.isnan(pitch)] / 100)
    high = np.percentile(voiced, (10, 50, 90)) if len(voiced) else np.zeros(3)
    return np.concatenate([spoken.mean(0) - spoken.mean(), spoken.std(0), high, [len(voiced) / max(len(pitch), 1)]])


@dataclass(frozen=True)
class Voices:
    """A linear probe: least squares from traits to voices."""

    middle: Floats
    spread: Floats
    weights: Floats

    @classmethod
    def learnt(cls, traits: Floats, voices: Sequence[int], ridge: float = 30.0) -> Voices:
        """The probe that tells ``voices`` (n) by ``traits`` (n × m)."""
        middle, spread = traits.mean(0), np.maximum(traits.std(0), 1e-3)
        seen = np.c_[(traits - middle) / spread, np.ones(len(traits))]
        wanted = np.eye(max(voices) + 1)[list(voices)]
        weights = np.linalg.solve(seen.T @ seen + ridge * np.eye(seen.shape[1]), seen.T @ wanted)
        return cls(middle, spread, weights)

    def heard(self, traits: Floats) -> int:
        """The voice that ``traits`` sound like most."""
        return int(np.argmax(np.append((traits - self.middle) / self.spread, 1.0) @ self.weights))
