"""Segmentation rules against the published rule as it is written upstream, per core.

    python benchmarks/segmentation.py [--quick] [--json]

Rules only, no network: rows of speakers and islands of speech go in, segments come out. The tracks are random: an hour
with some 400 rows and 1,900 islands, and twelve hours. Two peers, both written for this comparison after the published
source (Amphion's preprocessors/Emilia): "plain loops" keeps rows in dictionaries and looks through all islands for
those of a row; "pandas rows" keeps them in a DataFrame and walks it with iterrows as upstream does, and gets the islands
of every row for nothing, since upstream asks its voice detector for them. Ours is `pieces_published`, the rule under
`compat`. That its segments are the same is checked on every track and on 10,000 small random ones besides.
"""

from __future__ import annotations

from harness import Comparison, Figure, arguments, compare, report  # isort: skip

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from Emilia.config import load_config
from Emilia.merging import pieces_published
from Emilia.recording import Span, Turn

SEED = 20240703
OPTIONS = load_config(None).segment
GOAL = 5.0
Track = tuple[list[Turn], list[Span]]
Row = tuple[float, float, str]
Stamps = list[tuple[float, float]]


def track(rng: np.random.Generator, seconds: float) -> Track:
    """Rows of three speakers who follow, interrupt and overlap each other, and islands of speech."""
    turns: list[Turn] = []
    at, speaker = 0.0, 0
    while at < seconds:
        at = max(0.0, at + float(rng.choice([0.2, 0.4, 0.8, 2.0, 2.5, -0.3, -4.0])))
        length = float(np.clip(rng.lognormal(np.log(6.0), 0.9), 0.4, 95.0))
        if rng.random() < 0.05:
            length = float(rng.choice([3.0, 20.0, 30.0, 60.0]))
        speaker = (speaker + int(rng.integers(1, 3))) % 3 if rng.random() < 0.7 else speaker
        turns.append(Turn(round(at, 3), round(at + length, 3), f"S{speaker:02d}"))
        at += length
    islands: list[Span] = []
    at = 0.0
    while at < turns[-1].end:
        end = at + float(rng.lognormal(np.log(1.2), 0.6 if rng.random() < 0.99 else 2.0))
        islands.append(Span(round(at, 3), round(end, 3)))
        at = end + 0.1 + float(rng.exponential(0.35))
    return sorted(turns), islands


def upstream(rows: Iterable[Row], stamps_of: Callable[[Row], Stamps]) -> list[Row]:
    """The published rules: skip rows inside an earlier one, split long ones, merge by speaker."""
    vads: list[dict[str, Any]] = []
    last_end = 0.0
    for row in rows:
        start, end, speaker = row
        if end <= last_end:
            continue
        last_end = end
        if end - start <= 20:
            vads.append({"start": start, "end": end, "speaker": speaker})
            continue
        stamps = stamps_of(row)
        if stamps:
            intervals = [after[0] - before[1] for before, after in pairwise(stamps)]
            for first, last in halves(stamps, intervals, 0, len(stamps) - 1):
                vads.append({"start": stamps[first][0], "end": stamps[last][1], "speaker": speaker})
    return [(vad["start"], vad["end"], vad["speaker"]) for vad in by_speaker(vads) if vad["end"] > vad["start"]]


def halves(stamps: Stamps, intervals: list[float], first: int, last: int) -> list[tuple[int, int]]:
    """Cut at the longest silence until every part is under 20 s."""
    if first == last or stamps[last][1] - stamps[first][0] < 20:
        return [(first, last)]
    at = first + intervals[first:last].index(max(intervals[first:last]))
    return halves(stamps, intervals, first, at) + halves(stamps, intervals, at + 1, last)


def by_speaker(vads: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Trim to 30 s, and let a short piece extend the one before it."""
    done: list[dict[str, Any]] = []
    for vad in vads:
        last = done[-1] if done else None
        if vad["end"] - vad["start"] >= 30:
            start = vad["start"]
            while vad["end"] - start >= 30:
                done.append({**vad, "start": start, "end": start + 30})
                start += 30
            done.append({**vad, "start": start})
            continue
        apart = last is None or last["speaker"] != vad["speaker"] or vad["end"] - vad["start"] >= 3
        if apart or vad["start"] - last["end"] >= 2 or vad["end"] - last["start"] >= 30:
            done.append(vad)
        else:
            last["end"] = vad["end"]
    return done


def inside(islands: Sequence[Span], start: float, end: float) -> Stamps:
    """The islands of a row, found by looking at all."""
    return [(max(a, start), min(b, end)) for a, b in islands if b > start and a < end]


def plain_loops(one: Track) -> list[Row]:
    """Dictionaries and loops."""
    turns, islands = one
    return upstream(turns, lambda row: inside(islands, row[0], row[1]))


def pandas_rows(one: Track, known: dict[tuple[float, float], Stamps]) -> list[Row]:
    """A DataFrame built and walked as upstream does, the islands of each row known beforehand."""
    frame = pd.DataFrame([(turn, turn.speaker) for turn in one[0]], columns=["segment", "speaker"])
    frame["start"] = frame["segment"].apply(lambda turn: turn.start)
    frame["end"] = frame["segment"].apply(lambda turn: turn.end)
    rows = ((float(row["start"]), float(row["end"]), row["speaker"]) for _, row in frame.iterrows())
    return upstream(rows, lambda row: known[row[:2]])


def ours(one: Track) -> list[Turn]:
    """The rule as this package has it."""
    return pieces_published(one[0], one[1], OPTIONS)


def identical(left: list[list[Turn]], right: list[list[Row]]) -> str:
    """Both sides' segments are the same, bit for bit."""
    assert left == right
    return f"{sum(map(len, left))} segments of {len(left)} tracks are identical"


def measure(tracks: Sequence[Track], name: str, repetitions: int) -> list[Comparison]:
    """The two peers on the same tracks."""
    known = [{(a, b): inside(islands, a, b) for a, b, _ in turns if b - a > 20} for turns, islands in tracks]
    peers: dict[str, Callable[[], list[list[Row]]]] = {
        "plain loops": lambda: [plain_loops(one) for one in tracks],
        "pandas rows": lambda: [pandas_rows(one, row) for one, row in zip(tracks, known, strict=True)],
    }
    return [
        compare(
            f"{name}, {peer}",
            lambda: [ours(one) for one in tracks],
            work,
            check=identical,
            peer_name=f"the published rule, {peer}, written for this comparison",
            repetitions=repetitions,
            goal=GOAL,
        )
        for peer, work in peers.items()
    ]


def main() -> None:
    """Measure and print."""
    chosen = arguments(__doc__).parse_args()
    rng = np.random.default_rng(SEED)
    small = [track(rng, float(rng.uniform(5.0, 120.0))) for _ in range(2_000 if chosen.quick else 10_000)]
    for one in small:
        identical([ours(one)], [plain_loops(one)])
    hours = [track(rng, 3600.0) for _ in range(4 if chosen.quick else 20)]
    rows = measure(hours, "1 hour", chosen.repetitions)
    if not chosen.quick:
        rows += measure([track(rng, 12 * 3600.0) for _ in range(2)], "12 hours", chosen.repetitions)
    figures = [
        Figure("small random tracks, all identical", len(small), goal="10,000", met=len(small) >= 10_000 or None),
        Figure("rows in an hour", float(np.mean([len(turns) for turns, _ in hours]))),
        Figure("islands in an hour", float(np.mean([len(islands) for _, islands in hours]))),
    ]
    report(
        "Segmentation: processor time of the published rule over ours (compat), no network on either side",
        rows,
        figures,
        as_json=chosen.json,
        packages=["pandas", "numpy"],
        seed=SEED,
    )


if __name__ == "__main__":
    main()
