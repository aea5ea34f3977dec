"""Who spoke when, and what was said: DER and WER of the pipeline's `lite` preset on the audio of `examples/demo`.

    python benchmarks/dialogue.py [--json] [--out DIR] [--quick]

Runs `python -m Emilia` on every file of `examples/demo/truth.json` in which somebody speaks and compares the segments
with the truth. Diarization error rate (pyannote.metrics): the speaker of a segment for the whole of the segment,
overlap counted, over the whole file (the UEM is stated), with pyannote's collar of 0.25 s, that is 0.125 s on either
side of each reference boundary (NIST's md-eval would call the same thing 0.125), and without a collar. Word error
rate (jiwer): all reference words of a file against all recognised words in time order, so a sentence put under the
wrong speaker costs nothing here and everything there. "All" adds up seconds and words, it does not average rates.

`score_der` and `score_wer` are plain functions for tests. Nothing here talks to a network.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jiwer
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "examples" / "demo"
COLLAR = 0.25
# Shortest file with more than one speaker, for a look under a minute.
QUICK = ("interview.webm",)
# fmt: off
SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
# fmt: on
# Recognisers write the title, scripts the word.
TITLES = {"mr": "mister", "mrs": "missus", "dr": "doctor"}

DER_PARTS = {
    "total": "total",
    "correct": "correct",
    "confusion": "confusion",
    "missed": "missed detection",
    "false_alarm": "false alarm",
}
WER_PARTS = ("words", "substitutions", "deletions", "insertions")

Turn = Mapping[str, Any]
Errors = dict[str, float]


@dataclass(frozen=True)
class Score:
    """Everything measured on one file, or on all together (see `score_der` and `score_wer`)."""

    seconds: float
    segments: int
    speakers_true: int
    speakers_found: int
    der: Errors
    der_without_collar: Errors
    wer: Errors


def score_der(
    reference: Sequence[Turn], hypothesis: Sequence[Turn], duration: float, *, collar: float = COLLAR
) -> Errors:
    """Diarization errors of `hypothesis` against `reference` over a file of `duration` seconds.

    Both are mappings with `speaker`, `start` and `end`; the names of the speakers need not agree, the best one-to-one
    mapping is found. `collar` is in pyannote's sense: half of it is left out on either side of a reference boundary.
    Gives seconds of `missed`, `false_alarm`, `confusion`, `correct` and `total` speech, and `der`, errors over total.
    """
    metric = DiarizationErrorRate(collar=collar, skip_overlap=False)
    whole = Timeline([Segment(0.0, duration)])
    parts = metric(_annotation(reference), _annotation(hypothesis), uem=whole, detailed=True)
    return _with_der({name: float(parts[long]) for name, long in DER_PARTS.items()})


def _annotation(turns: Iterable[Turn]) -> Annotation:
    annotation = Annotation()
    for track, turn in enumerate(turns):
        annotation[Segment(turn["start"], turn["end"]), track] = str(turn["speaker"])
    # Merged per speaker: nobody speaks twice at a time, and two segments that overlap by a pad are no false alarm.
    return annotation.support()


def _with_der(seconds: Errors) -> Errors:
    wrong = seconds["confusion"] + seconds["missed"] + seconds["false_alarm"]
    return {"der": _rate(wrong, seconds["total"]), **seconds}


def score_wer(reference: Sequence[Turn], hypothesis: Sequence[Turn]) -> Errors:
    """Word errors of the hypothesis' `text` against the reference's, each joined in the order of `start`.

    Gives counts of the reference's `words`, of `substitutions`, `deletions` and `insertions`, and `wer`, their share.
    """
    said, heard = (words(_in_time_order(turns)) for turns in (reference, hypothesis))
    found = jiwer.process_words(" ".join(said), " ".join(heard))
    counts = (len(said), found.substitutions, found.deletions, found.insertions)
    return _with_wer(dict(zip(WER_PARTS, counts, strict=True)))


def _with_wer(counts: Errors) -> Errors:
    wrong = counts["substitutions"] + counts["deletions"] + counts["insertions"]
    return {"wer": _rate(wrong, counts["words"]), **counts}


def _rate(wrong: float, total: float) -> float:
    # pyannote's rule where there is nothing to find: all is wrong as soon as anything is found.
    return wrong / total if total else float(wrong > 0)


def _in_time_order(turns: Sequence[Turn]) -> str:
    return " ".join(str(turn["text"]) for turn in sorted(turns, key=lambda turn: float(turn["start"])))


def words(text: str) -> list[str]:
    """A text as comparable words: lower case, no punctuation, whole numbers below a million spelt as cardinals."""
    plain = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text.lower())
    # An apostrophe joins ("don't" is one word however it is written), every other mark parts.
    plain = re.sub(r"['’]", "", plain)
    spelt = (_spelt(int(word)) if re.fullmatch("[0-9]{1,6}", word) else word for word in re.findall(r"\w+", plain))
    return [TITLES.get(word, word) for phrase in spelt for word in phrase.split()]


def _spelt(number: int) -> str:
    if number < 20:
        return SMALL[number]
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = number % size
            return f"{_spelt(number // size)} {name}" + (f" {_spelt(rest)}" if rest else "")
    return TENS[number // 10] + (f" {SMALL[number % 10]}" if number % 10 else "")


def score(truth: Mapping[str, Any], segments: Sequence[Turn]) -> Score:
    """Everything measured on one file: its entry of the truth against the pipeline's segments."""
    turns, duration = truth["turns"], float(truth["duration"])
    return Score(
        seconds=duration,
        segments=len(segments),
        speakers_true=len({turn["speaker"] for turn in turns}),
        speakers_found=len({segment["speaker"] for segment in segments}),
        der=score_der(turns, segments, duration),
        der_without_collar=score_der(turns, segments, duration, collar=0.0),
        wer=score_wer(turns, segments),
    )


def overall(scores: Iterable[Score]) -> Score:
    """All files as one: seconds, words and speakers added up."""
    files = list(scores)
    return Score(
        seconds=sum(one.seconds for one in files),
        segments=sum(one.segments for one in files),
        speakers_true=sum(one.speakers_true for one in files),
        speakers_found=sum(one.speakers_found for one in files),
        der=_with_der(_added([one.der for one in files], DER_PARTS)),
        der_without_collar=_with_der(_added([one.der_without_collar for one in files], DER_PARTS)),
        wer=_with_wer(_added([one.wer for one in files], WER_PARTS)),
    )


def _added(rows: Sequence[Errors], names: Iterable[str]) -> Errors:
    return {name: sum(row[name] for row in rows) for name in names}


def process(file: Path, out: Path, language: str) -> None:
    """Run the pipeline on one file as a user would, in a process of its own; its table goes to stderr."""
    command = [sys.executable, "-m", "Emilia", str(file), "--out", str(out), "--preset", "lite"]
    # Offline, so that the figure cannot depend on a model that happened to be fetched.
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    command += ["--episode", file.stem, "--language", language]
    subprocess.run(command, cwd=ROOT, check=True, env=environment, stdout=sys.stderr)


def measure(out: Path, names: Sequence[str], *, run: bool) -> dict[str, Score]:
    """Score the named files (all with turns when none is named) from the segments below `out`, made first if `run`."""
    truth = json.loads((DEMO / "truth.json").read_text(encoding="utf-8"))["files"]
    scores = {}
    for name, facts in truth.items():
        if not facts["turns"] or (names and name not in names):
            continue
        folder = out / Path(name).stem
        if run:
            process(DEMO / name, folder, facts["language"])
        segments = json.loads((folder / "all_segments.json").read_text(encoding="utf-8"))
        scores[name] = score(facts, segments)
    return scores


def table(scores: Mapping[str, Score]) -> str:
    """The figures as lines for a terminal; errors in percent of the reference's speech or words."""
    errors = f"{'missed':>7}{'false':>7}{'confus':>7}{'DER':>7}"
    lines = [
        f"{'':16}{'':>9}{'speakers':>12} | {f'collar {COLLAR} s':^28} | {'no collar':^28} |",
        f"{'file':16}{'seconds':>9}{'found/true':>12} | {errors} | {errors} | {'WER':>6} of words",
    ]
    for name, one in scores.items():
        speakers = f"{one.speakers_found}/{one.speakers_true}"
        parts = " | ".join(_percentages(der) for der in (one.der, one.der_without_collar))
        lines.append(
            f"{name:16}{one.seconds:9.1f}{speakers:>12} | {parts} | {one.wer['wer']:6.1%} of {one.wer['words']}"
        )
    return "\n".join(lines)


def _percentages(der: Errors) -> str:
    parts = (der["missed"], der["false_alarm"], der["confusion"])
    return "".join(f"{part / max(der['total'], 1e-9):7.1%}" for part in parts) + f"{der['der']:7.1%}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    parser.add_argument("--out", type=Path, help="keep the pipeline's output in this folder (default: thrown away)")
    parser.add_argument("--score-only", action="store_true", help="score what an earlier run left in --out")
    chosen = parser.parse_args()
    if chosen.score_only and not chosen.out:
        parser.error("--score-only needs --out")
    with tempfile.TemporaryDirectory(prefix="dialogue-") as scratch:
        out = (chosen.out or Path(scratch)).resolve()
        scores = measure(out, QUICK if chosen.quick else (), run=not chosen.score_only)
    scores["all"] = overall(scores.values())
    versions = {name: version(name) for name in ("pyannote.metrics", "jiwer")}
    if chosen.json:
        print(
            json.dumps(
                {"versions": versions, "collar": COLLAR, "scores": {name: asdict(one) for name, one in scores.items()}},
                indent=1,
            )
        )
        return
    print(table(scores))
    print(", ".join(f"{name} {number}" for name, number in versions.items()), end="; ")
    print(f"collar {COLLAR} s in pyannote's sense ({COLLAR / 2} s on either side of a boundary), overlap counted")


if __name__ == "__main__":
    main()
