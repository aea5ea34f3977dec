"""``duplexforge data speech``: a training folder from processed episodes or from plain audio.

::

    <out>/manifest.jsonl                 a line a file: path, speaker, split, samples, sha256, source, licence, language,
                                         synthetic
    <out>/speech.json                    hours and speakers by split, what was left out and why
    <out>/audio/<speaker>/<n>.flac       16 kHz, mono, 16 bit

Splits are by whole speaker. What has no known speaker is trained on and never scored on: the same voice could be on both
sides. A speaker whose name begins with ``synthetic-`` is a machine, and every line and the summary say so. The manifest is
written last, so that a folder which has one is whole.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from duplexforge.errors import InputError, UsageError
from duplexforge.layout import hashed_id
from duplexforge.training.speech import MANIFEST, RATE, SpeechRow

__all__ = ["SYNTHETIC", "UNKNOWN", "Clip", "Prepared", "Source", "prepare", "splits"]

UNKNOWN = "unknown"
"""The speaker of what says none."""
SYNTHETIC = "synthetic-"
"""How the name of a speaker begins that is a machine."""
SUMMARY = "speech.json"
_SHARES = (("train", 0.8), ("validation", 0.1), ("test", 0.1))
_FEWEST_SPEAKERS = 3
_LEAST_SECONDS = 0.3

Wave = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Clip:
    """One piece of speech: who, where it comes from, and its samples at 16 kHz, or why there are none."""

    name: str
    speaker: str
    wave: Wave | None = None
    reason: str = ""
    sentence: str = ""
    licence: str | None = None
    language: str = "unknown"


Source = Iterator[Clip]


@dataclass
class Prepared:
    """What came of it. ``bad`` has (name, reason, sentence) of each clip that could not be used."""

    hours: dict[str, float] = field(default_factory=dict)
    speakers: dict[str, int] = field(default_factory=dict)
    files: int = 0
    bad: list[tuple[str, str, str]] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0, or 65 when something was unreadable: what could be used is there all the same."""
        return InputError.exit_code if self.bad else 0

    def to_json(self) -> dict[str, Any]:
        """Everything, for machines and for ``speech.json``."""
        return {
            "files": self.files,
            "hours": {name: round(value, 4) for name, value in self.hours.items()},
            "speakers": self.speakers,
            "left_out": self.left_out,
            "bad": [{"name": name, "reason": reason, "message": sentence} for name, reason, sentence in self.bad],
            "notes": self.notes,
        }

    def to_text(self) -> str:
        """The same for people."""
        parts = [
            f"{name} {self.hours[name]:.2f} h of {self.speakers[name]}" for name, _ in _SHARES if name in self.hours
        ]
        lines = [f"{self.files} files; speakers: {', '.join(parts)}", *self.notes]
        lines += [f"left out: {count} {reason}" for reason, count in sorted(self.left_out.items())]
        lines += [f"{name}: {sentence}" for name, _, sentence in self.bad[:20]]
        if len(self.bad) > 20:
            lines.append(f"… and {len(self.bad) - 20} more in {SUMMARY}")
        return "\n".join(lines)


def prepare(
    clips: Source,
    out: Path,
    *,
    test: Sequence[str] = (),
    validation: Sequence[str] = (),
    seed: int = 0,
    left_out: Callable[[], Sequence[Mapping[str, int]]] = tuple,
    finish: Callable[[Sequence[SpeechRow]], list[SpeechRow]] = list,
) -> Prepared:
    """Write the folder ``out`` from ``clips``; speakers of ``test`` and ``validation`` go there, whatever the shares.

    ``left_out`` is asked at the end for what the sources did not give, counted by reason; ``finish`` has the last word on the
    manifest's rows.
    """
    if (out / MANIFEST).exists():
        raise UsageError(f"{out} holds a training folder already: choose another --out, or remove it")
    out.mkdir(parents=True, exist_ok=True)
    done = Prepared()
    rows: list[SpeechRow] = []
    numbers: Counter[str] = Counter()
    for clip in clips:
        reason = _wrong(clip)
        if reason:
            done.bad.append((clip.name, *reason))
            continue
        numbers[clip.speaker] += 1
        rows.append(_write(clip, out, numbers[clip.speaker]))
    if not rows:
        raise InputError(f"nothing usable was found: {done.bad[0][2] if done.bad else 'there is no audio'}")
    lengths: dict[str, int] = defaultdict(int)
    for row in rows:
        lengths[row.speaker] += row.samples
    chosen = splits(lengths, test=test, validation=validation, seed=seed)
    rows = finish([row.model_copy(update={"split": chosen[row.speaker]}) for row in rows])
    done.left_out = dict(sum((Counter(counts) for counts in left_out()), Counter[str]()))
    _summarise(done, rows, lengths)
    (out / SUMMARY).write_text(json.dumps(done.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    _write_whole(out / MANIFEST, "".join(row.model_dump_json() + "\n" for row in rows))
    return done


def splits(
    lengths: Mapping[str, int], *, test: Sequence[str] = (), validation: Sequence[str] = (), seed: int = 0
) -> dict[str, str]:
    """The split of every speaker, given how much there is of each: 80/10/10 by length as far as whole speakers allow.

    Speakers that the caller names go where they are told, and then the rest is trained on. Who is unknown is trained on, and
    so is everybody when there are fewer than three.
    """
    missing = sorted({*test, *validation} - lengths.keys())
    if missing:
        raise UsageError(f"there is no speaker {', '.join(missing)}; there are {', '.join(sorted(lengths))}")
    both = sorted(set(test) & set(validation))
    if both:
        raise UsageError(f"{', '.join(both)} cannot be in the split test and in validation")
    chosen = dict.fromkeys(lengths, "train")
    chosen |= dict.fromkeys(validation, "validation") | dict.fromkeys(test, "test")
    known = sorted(lengths.keys() - {UNKNOWN})
    if test or validation or len(known) < _FEWEST_SPEAKERS:
        return chosen
    # An order that depends on names and seed alone; the share is what decides, the order only who.
    order = sorted(known, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    total = sum(lengths[name] for name in known)
    for place, (split, share) in enumerate(_SHARES[1:], 1):
        free = [name for name in order if chosen[name] == "train"]
        # The speaker who brings the split nearest to its share, then more while that brings it nearer still.
        taken = 0
        while len(free) > len(_SHARES) - place:
            best = min(free, key=lambda name: abs(taken + lengths[name] - share * total))
            if taken and abs(taken + lengths[best] - share * total) >= abs(taken - share * total):
                break
            chosen[best], taken = split, taken + lengths[best]
            free.remove(best)
    return chosen


def _wrong(clip: Clip) -> tuple[str, str] | None:
    if clip.wave is None:
        return clip.reason, clip.sentence
    if len(clip.wave) < _LEAST_SECONDS * RATE:
        return "too_short", f"{len(clip.wave) / RATE:.2f} s are too short to learn from"
    if not np.isfinite(clip.wave).all() or not clip.wave.any():
        return "silent", "there is no sound in it"
    return None


def _write(clip: Clip, out: Path, number: int) -> SpeechRow:
    import soundfile as sf

    assert clip.wave is not None
    folder = out / "audio" / hashed_id("speaker", clip.speaker)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{number:06d}.flac"
    sf.write(path, np.clip(clip.wave, -1.0, 1.0), RATE, subtype="PCM_16")
    return SpeechRow(
        path=path.relative_to(out).as_posix(),
        speaker=clip.speaker,
        split="train",
        samples=len(clip.wave),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        source=clip.name,
        licence=clip.licence,
        language=clip.language,
        synthetic=clip.speaker.startswith(SYNTHETIC),
    )


def _summarise(done: Prepared, rows: Sequence[SpeechRow], lengths: Mapping[str, int]) -> None:
    done.files = len(rows)
    for split, _ in _SHARES:
        mine = [row for row in rows if row.split == split]
        if mine:
            done.hours[split] = sum(row.samples for row in mine) / RATE / 3600
            done.speakers[split] = len({row.speaker for row in mine})
            made = sum(row.samples for row in mine if row.synthetic) / RATE / 60
            if made:
                done.notes.append(f"{split}: {made:.1f} minutes are synthetic speech")
    if UNKNOWN in lengths:
        count = sum(row.speaker == UNKNOWN for row in rows)
        done.notes.append(f"{count} files name no speaker: they are trained on and never scored on")
    if "validation" not in done.hours:
        done.notes.append("there are too few speakers to hold one out for validation: name one with --validation")


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
