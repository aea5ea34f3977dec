"""The framing of duplex data against a straight per-chunk loop, per core; its memory; and a whole build beside it.

    python benchmarks/duplex_builder.py [--quick] [--json]

Framing takes a side, that is two tracks (int16, 16 and 24 kHz) and the events of the agent, and makes what training
reads: the token sequence as int64[n], and both tracks by chunk. Ten hours, as twenty conversations of half an hour, each
heard from both seats; the turns are drawn as speech has them (some three seconds, 2.5 words a second, 1.3 tokens a word,
now and then on top of each other). The tracks are noise, the same for all conversations: nothing here looks at them.

Ours is `stream_of` and two reshaped views. The peer is a plain loop written for this comparison, as one would write it
first and with nothing needless in it: for each chunk it slices both tracks, moves the events that start in the chunk to a
queue, appends four placeholders and then one silence or two tokens of the queue to a Python list, which becomes an array
at the end. It looks at every event once and hoists what does not change. There are three rows, because the ratio lives by
what is asked for: the tokens alone; besides them a list of slices of each track; and the tracks as arrays [chunks,
samples], which is the item that training gets. For that the loop copies its slices together, and ours copies nothing: that
is most of the last ratio. Sequences are compared in full in every run, tracks in full for the last side.

Memory is the peak of a process that frames one hour and of one that frames ten.

The second table is the whole build of a made corpus (WAV at 16, 44.1 and 48 kHz, mono and stereo; FLAC cells; one
process): how fast it is, and what share of its processor time each step takes when it is done alone on the same corpus.
It says what the first table is worth: a build is decoding, resampling and encoding.
"""

from __future__ import annotations

from harness import ROOT, Comparison, Figure, arguments, compare, report, timed  # isort: skip

import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np
import numpy.typing as npt

from duplexforge.duplex.alignment import events as align
from duplexforge.duplex.audio import FileAudio, header_of, to_pcm
from duplexforge.duplex.build import BuildSettings, build
from duplexforge.duplex.corpus import Track
from duplexforge.duplex.magichub import MagicHub
from duplexforge.duplex.tokens import bind, load_tokenizer
from duplexforge.framing import DuplexFormat, Ints
from duplexforge.loading.packing import pack
from duplexforge.loading.schema import Event
from duplexforge.loading.sequence import stream_of
from tests.duplex.magichub import make_corpus
from tests.duplex.tokenizer import tiny_tokenizer

SEED = 20261121
GOAL = 20.0
SECONDS = 30 * 60
CHILD = "--child-hours"
FORMAT = DuplexFormat()
Pcm = npt.NDArray[np.int16]
Wanted = Literal["tokens", "slices", "arrays"]


@dataclass(frozen=True)
class Side:
    """A conversation from one seat: who is heard, who is to speak, and what the latter says."""

    user: Pcm
    agent: Pcm
    events: list[Event]


@dataclass(frozen=True)
class Framed:
    """The sequence of a side, and its tracks by chunk (nothing when only tokens were wanted)."""

    sequence: Ints
    user: Pcm | list[Pcm]
    agent: Pcm | list[Pcm]


def turns(rng: np.random.Generator) -> tuple[list[Event], list[Event]]:
    """Who says what: two speakers mostly in turn, with pauses and overlaps."""
    said: tuple[list[Event], list[Event]] = ([], [])
    at, speaker = 0.5, 0
    while at < SECONDS - 20:
        length = float(np.clip(rng.lognormal(np.log(2.5), 0.7), 0.4, 15.0))
        tokens = [int(number) for number in rng.integers(0, 151_000, max(1, round(length * 2.5 * 1.3)))]
        said[speaker].append(Event(start=at, end=at + length, text="", input_ids=tokens, duration=length))
        at = max(0.0, at + length + float(rng.normal(0.2, 0.4)))
        speaker = 1 - speaker if rng.random() < 0.7 else speaker
    for events in said:
        events.sort(key=lambda event: event.start)
    return said


def sides(hours: float) -> Iterator[Side]:
    """Both seats of as many conversations as make ``hours``, one after the other."""
    rng = np.random.default_rng(SEED)
    user, agent = (
        [rng.integers(-3000, 3000, rate * SECONDS, dtype=np.int16) for _ in range(2)]
        for rate in (FORMAT.user_rate, FORMAT.agent_rate)
    )
    for _ in range(round(hours * 3600 / SECONDS)):
        for seat, events in enumerate(turns(rng)):
            yield Side(user[1 - seat], agent[seat], events)


def ours(side: Side, wanted: Wanted) -> Framed:
    """As this program frames a side."""
    user, agent = (
        side.user.reshape(-1, FORMAT.user_samples), side.agent.reshape(-1, FORMAT.agent_samples)
    )  # fmt: skip
    sequence = stream_of(side.events, FORMAT, len(user)).sequence
    return Framed(sequence, user, agent) if wanted != "tokens" else Framed(sequence, [], [])


def plain(side: Side, wanted: Wanted) -> Framed:
    """The straight loop over the chunks."""
    user_samples, agent_samples, rate = FORMAT.user_samples, FORMAT.agent_samples, FORMAT.user_rate
    silence, per_chunk = FORMAT.silence_token_id, FORMAT.text_tokens
    placeholders = [FORMAT.placeholder_id] * FORMAT.frames_per_chunk
    sequence: list[int] = []
    user: list[Pcm] = []
    agent: list[Pcm] = []
    queue: deque[int] = deque()
    events, coming = side.events, 0
    for chunk in range(len(side.user) // user_samples):
        if wanted != "tokens":
            user.append(side.user[chunk * user_samples : (chunk + 1) * user_samples])
            agent.append(side.agent[chunk * agent_samples : (chunk + 1) * agent_samples])
        while coming < len(events) and round(events[coming].start * rate) < (chunk + 1) * user_samples:
            queue.extend(events[coming].input_ids)
            coming += 1
        sequence += placeholders
        if queue:
            for _ in range(per_chunk):
                sequence.append(queue.popleft() if queue else silence)
        else:
            sequence.append(silence)
    tokens = np.asarray(sequence, dtype=np.int64)
    return Framed(tokens, np.stack(user), np.stack(agent)) if wanted == "arrays" else Framed(tokens, user, agent)


def all_sides(frame: Callable[[Side, Wanted], Framed], given: list[Side], wanted: Wanted) -> tuple[list[Ints], Framed]:
    """Every sequence, and the last side whole: ten hours of copied tracks would not fit into memory."""
    sequences = []
    for side in given:
        framed = frame(side, wanted)
        sequences.append(framed.sequence)
    return sequences, framed


def same(left: tuple[list[Ints], Framed], right: tuple[list[Ints], Framed]) -> str:
    """AssertionError unless both sides made the same."""
    assert all(np.array_equal(*pair) for pair in zip(left[0], right[0], strict=True))
    mine, theirs = left[1], right[1]
    for track, other in ((mine.user, theirs.user), (mine.agent, theirs.agent)):
        assert len(track) == len(other)
        assert all(np.array_equal(*pair) for pair in zip(track, other, strict=True))
    tracks = f", tracks of the last side in {len(mine.user):,} chunks" if len(mine.user) else ""
    return f"{len(left[0])} equal sequences, {sum(map(len, left[0])):,} numbers{tracks}"


def against_loop(hours: float, repetitions: int) -> list[Comparison]:
    """The first table."""
    given = list(sides(hours))
    rows: list[tuple[str, Wanted, float]] = [
        ("tokens alone", "tokens", 0.0),
        ("and tracks as slices", "slices", 0.0),
        ("and tracks as arrays", "arrays", GOAL),
    ]
    return [
        compare(
            name, partial(all_sides, ours, given, wanted), partial(all_sides, plain, given, wanted), check=same,
            peer_name="a plain loop over the chunks, written for this comparison", repetitions=repetitions, goal=goal,
        )
        for name, wanted, goal in rows
    ]  # fmt: skip


def peak(hours: float) -> float:
    """Most memory, in MiB, of a process of its own that frames ``hours``."""
    command = [sys.executable, __file__, CHILD, str(hours)]
    told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return int(told) / 1024


def child(hours: float) -> None:
    """Frame, keep nothing, and print the peak in KiB."""
    for side in sides(hours):
        framed = ours(side, "arrays")
        assert framed.user.shape == (SECONDS / FORMAT.chunk_seconds, FORMAT.user_samples)  # type: ignore[union-attr]
    # Not getrusage: its figure begins with what the parent had when it started this process.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split()[0]))


def whole_build(folder: Path, sessions: int, seconds: float, repetitions: int) -> list[Figure]:
    """The second table: a build, and its steps alone. Every side reads both tracks, so a file is read twice at each rate."""
    corpus = make_corpus(folder / "corpus", sessions=sessions, seconds=seconds, seed=SEED).folder
    model = str(tiny_tokenizer(folder / "tokenizer"))
    fmt = FORMAT.model_copy(update={"model": model})
    numbers = iter(range(10**6))

    def built() -> None:
        found = build(MagicHub(corpus), BuildSettings(fmt), folder / f"out{next(numbers)}", source="made")
        assert found.totals["train"].sides == 2 * sessions

    tokenizer = load_tokenizer(model)
    bound = bind(fmt, tokenizer)
    tracks = [track for one in MagicHub(corpus).conversations() for track in one.tracks]
    rates = (bound.user_rate, bound.agent_rate)
    pcm = {(track.speaker, rate): decoded(track, rate) for track in tracks for rate in rates}

    def texts() -> None:
        for track in tracks:
            stream_of(align(track.utterances, bound, tokenizer).events, bound, bound.chunks(seconds))

    def reads(resample: bool) -> None:
        for track in tracks:
            assert isinstance(track.audio, FileAudio)
            own = header_of(Path(track.audio.path)).rate
            for rate in rates:
                for _ in track.audio.blocks(rate if resample else own):
                    pass

    def encodes() -> None:
        for (_, rate), samples in pcm.items():
            pack(samples, rate)

    def cost(step: Callable[[], None]) -> float:
        return median(timed(step)[1].cpu for _ in range(repetitions))

    built()
    whole = cost(built)
    decoding, reading = cost(partial(reads, False)), cost(partial(reads, True))
    shares = {
        "decoding": decoding,
        "resampling": reading - decoding,
        "encoding FLAC": cost(encodes),
        "tokens, alignment and framing": cost(texts),
    }
    shares["the rest (int16, checksums, Arrow, …)"] = whole - sum(shares.values())
    hours = sessions * seconds / 3600
    return [
        Figure(f"a build of {hours:.2g} h of conversation", hours * 3600 / whole, "x real time, one core"),
        *(Figure(f"  {name}", 100 * spent / whole, "% of it") for name, spent in shares.items()),
    ]


def decoded(track: Track, rate: int) -> Pcm:
    """A whole track as the build packs it."""
    return np.concatenate([to_pcm(block) for block in track.audio.blocks(rate)])


def main() -> None:
    """Print both tables."""
    parser = arguments(__doc__)
    parser.add_argument(CHILD, type=float, help="frame so many hours and print the peak of memory in KiB")
    given = parser.parse_args()
    if given.child_hours:
        child(given.child_hours)
        return
    hours = 2.0 if given.quick else 10.0
    comparisons = against_loop(hours, given.repetitions)
    least, most = peak(1.0), peak(hours)
    figures = [
        Figure("peak of memory, 1 h (mostly its tracks)", least, "MiB"),
        Figure(f"peak of memory, {hours:g} h", most, "MiB", "flat: at most 5 % more", most <= 1.05 * least),
    ]
    with tempfile.TemporaryDirectory() as folder:
        size = (2, 60.0) if given.quick else (4, 300.0)
        figures += whole_build(Path(folder), *size, 3 if given.quick else given.repetitions)
    report(
        f"Framing {hours:g} hours of two-track audio, from both seats", comparisons, figures,
        as_json=given.json, packages=("numpy", "soundfile", "soxr", "transformers"), seed=SEED,
    )  # fmt: skip


if __name__ == "__main__":
    main()
