"""Sessions that one core carries: the server with its echo, against a thread for each session and one lock round the same stub.

    python benchmarks/serve_capacity.py [--quick] [--soak SECONDS]

Clients in a process of their own, on another core, speak a recording in real time in chunks of 320 ms over real WebSockets
(``/ws/pcm16``) and wait for the JSON of each chunk, which comes when the model has heard it. Ours is ``duplexforge serve
--backend echo`` as anybody starts it: voice activity, turns, events, limits and all; the peer (``serve_peer.py``) does the same
Silero windows and steps of the echo, and no more. Measured are the seconds from a chunk sent to its answer, processor time
and memory of the server, and how soon one session too many is refused. Checked: every chunk was answered.
"""

from __future__ import annotations

from harness import Comparison, Figure, Spread, arguments, report  # isort: skip

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from serve_sides import Server, ours, peer

HERE = Path(__file__).parent
SPEECH = HERE.parent / "examples" / "demo" / "novel.flac"
RATE = 16_000
GOAL_SESSIONS, GOAL_P99, GOAL_REFUSAL, GOAL_MEMORY = 150, 0.040, 0.100, 1.0


@dataclass
class Run:
    """What a crowd saw of a server."""

    sessions: int
    seconds: float
    cpu: float
    answers: np.ndarray
    slip: float
    lost: int
    refusals: list[float]
    taken_in: int
    troubles: list[str]
    memory: list[float] = field(default_factory=list)

    @property
    def p99(self) -> float:
        """Seconds within which 99 of 100 chunks were answered."""
        return float(np.percentile(self.answers, 99)) if len(self.answers) else float("inf")

    @property
    def share(self) -> float:
        """Processor seconds for each second of one session."""
        return self.cpu / (self.sessions * self.seconds)


def _cores() -> tuple[int, int]:
    """A core for the server, and another one for its clients if there is one."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[0], cores[-1]


def crowd(server: Server, sound: Path, core: int, sessions: int, seconds: float, *, refusals: int = 0) -> Run:
    """Let so many talk to ``server`` for so long."""
    command = [sys.executable, str(HERE / "serve_clients.py"), server.url, str(sound), "--sessions", str(sessions)]
    command += ["--seconds", str(seconds), "--refusals", str(refusals), "--core", str(core)]
    before, memory = server.cpu, list[float]()
    # A file and no pipe: nobody reads while they talk, and a pipe that is full would stop them.
    with tempfile.TemporaryFile("w+") as told:
        clients = subprocess.Popen(command, stdout=told, text=True)
        while clients.poll() is None:
            memory.append(server.memory)
            time.sleep(0.2)
        told.seek(0)
        seen = json.loads(told.read())
    return Run(
        sessions,
        seconds,
        server.cpu - before,
        np.asarray(seen["answers"]),
        float(np.percentile(seen["slips"], 99)),
        seen["lost"],
        seen["refusals"],
        seen["taken_in"],
        seen["closed"],
        memory,
    )


def recording(folder: Path) -> Path:
    """Somebody who reads, at 16 kHz."""
    import soundfile
    import soxr

    wave, rate = soundfile.read(SPEECH, dtype="float32", always_2d=True)
    path = folder / "speech.npy"
    np.save(path, soxr.resample(wave.mean(axis=1), rate, RATE))
    return path


def compared(mine: list[Run], theirs: list[Run], name: str, unit: str, *, goal: float = 0.0) -> Comparison:
    """A row of the table: ``unit`` is the property that counts, as "seconds"."""
    left, right = ([getattr(run, unit) for run in runs] for runs in (mine, theirs))
    pairs = [b / a for a, b in zip(left, right, strict=True)]
    ours_spread, peer_spread = Spread.of(left), Spread.of(right)
    lost = sum(run.lost for run in mine + theirs)
    return Comparison(
        name=name,
        peer="a thread for each session and one lock, written for this comparison",
        clock="wall",
        ours_cpu=ours_spread,
        peer_cpu=peer_spread,
        ours_wall=ours_spread,
        peer_wall=peer_spread,
        ratio=Spread(peer_spread.median / ours_spread.median, min(pairs), max(pairs)),
        checked=f"{sum(len(run.answers) for run in mine + theirs)} chunks answered, {lost} lost",
        goal=goal,
    )


def ladder(
    server: Server, sound: Path, core: int, *, seconds: float, step: int = 50, most: int = 1000
) -> tuple[int, list[str]]:
    """The most sessions with p99 within the goal and no chunk lost, in steps; and what was seen on the way."""
    carried, seen = 0, []
    for sessions in range(step, most + 1, step):
        run = crowd(server, sound, core, sessions, seconds)
        seen.append(f"{sessions}: {1000 * run.p99:.0f} ms, {100 * run.cpu / seconds:.0f} % of the core")
        if run.lost or run.p99 > GOAL_P99:
            break
        carried = sessions
    return carried, seen


def soaked(server: Server, sound: Path, core: int, sessions: int, seconds: float) -> list[Figure]:
    """A long run: nothing is lost and nothing grows."""
    run = crowd(server, sound, core, sessions, seconds)
    third = len(run.memory) // 3
    # The first third fills pools and caches.
    growth = median(run.memory[-third:]) - median(run.memory[third : 2 * third])
    return [
        Figure("soak: chunks lost", run.lost, f"of {round(seconds / 0.32) * sessions}", "goal none", run.lost == 0),
        Figure(
            "soak: memory's growth",
            growth / sessions * 1024,
            "KiB a session",
            "goal below 10",
            growth / sessions * 1024 < 10,
        ),
        Figure("soak: p99", 1000 * run.p99, "ms", f"goal {1000 * GOAL_P99:.0f}", run.p99 <= GOAL_P99),
    ]


def interleaved(
    given: argparse.Namespace, sound: Path, sessions: int, seconds: float
) -> tuple[list[Run], list[Run], float]:
    """The runs of both servers A-B-B-A, and the memory of ours before anybody but a few came."""
    server_core, client_core = _cores()
    mine: list[Run] = []
    theirs: list[Run] = []
    with ours(sessions, server_core) as left, peer(server_core) as right:
        # The first to come make each side load what it loads late.
        for server in (left, right):
            crowd(server, sound, client_core, 5, 1.0)
        base = left.memory
        for repetition in range(given.repetitions):
            for side in ("ours", "peer") if repetition % 2 == 0 else ("peer", "ours"):
                if side == "ours":
                    mine.append(crowd(left, sound, client_core, sessions, seconds, refusals=5))
                else:
                    theirs.append(crowd(right, sound, client_core, sessions, seconds))
    return mine, theirs, base


def ladders(sound: Path, seconds: float) -> tuple[list[Figure], list[str]]:
    """How far each side gets; and what was seen on the way."""
    server_core, client_core = _cores()
    figures, notes = [], []
    for name, start in (("ours", lambda: ours(1000, server_core)), ("peer", lambda: peer(server_core))):
        with start() as server:
            carried, seen = ladder(server, sound, client_core, seconds=seconds)
        met = carried >= GOAL_SESSIONS if name == "ours" else None
        goal = f"goal {GOAL_SESSIONS}" if name == "ours" else ""
        figures.append(Figure(f"sessions a core, {name}", carried, "", goal, met))
        notes.append(f"p99 by sessions, {name}: {'; '.join(seen)}")
    return figures, notes


def main() -> None:
    parser = arguments(__doc__, one_core=False)
    parser.add_argument("--sessions", type=int, help=f"sessions of the comparison (default {GOAL_SESSIONS}, quick 50)")
    parser.add_argument("--soak", type=float, default=0.0, help="seconds of a long run behind it")
    given = parser.parse_args()
    sessions = given.sessions or (50 if given.quick else GOAL_SESSIONS)
    seconds = 2.0 if given.quick else 10.0
    server_core, client_core = _cores()
    where = "another core" if client_core != server_core else "the same core"
    notes = [f"{sessions} sessions of {seconds:g} s; clients on {where}"]
    with tempfile.TemporaryDirectory() as folder:
        sound = recording(Path(folder))
        mine, theirs, base = interleaved(given, sound, sessions, seconds)
        figures = _figures(mine, base)
        if not given.quick:
            more, seen = ladders(sound, seconds)
            figures, notes = figures + more, notes + seen
        if given.soak:
            with ours(sessions, server_core) as server:
                figures += soaked(server, sound, client_core, sessions, given.soak)
    troubles = {trouble for run in mine + theirs for trouble in run.troubles}
    report(
        "Sessions a core, chunks of 320 ms over WebSockets",
        [compared(mine, theirs, "p99 of a chunk's answer", "p99"), compared(mine, theirs, "processor time", "share")],
        figures,
        as_json=given.json,
        packages=["uvicorn", "websockets", "onnxruntime"],
        notes=[*notes, *(f"trouble: {trouble}" for trouble in sorted(troubles)[:5])],
    )


def _figures(mine: list[Run], base: float) -> list[Figure]:
    p99 = median(run.p99 for run in mine)
    refusals = [one for run in mine for one in run.refusals]
    worst = max(refusals, default=float("inf"))
    memory = (max(max(run.memory) for run in mine) - base) / mine[0].sessions
    lost = sum(run.lost for run in mine)
    return [
        Figure("p50", 1000 * median(float(np.median(run.answers)) for run in mine), "ms"),
        Figure("p99", 1000 * p99, "ms", f"goal {1000 * GOAL_P99:.0f}", p99 <= GOAL_P99),
        Figure("chunks lost", lost, "", "goal none", lost == 0),
        Figure("share of the core", 100 * median(run.cpu / run.seconds for run in mine), "%"),
        Figure(
            "refusal of one too many, slowest",
            1000 * worst,
            "ms",
            f"goal {1000 * GOAL_REFUSAL:.0f}",
            worst <= GOAL_REFUSAL,
        ),
        Figure(
            "taken in beyond capacity",
            sum(run.taken_in for run in mine),
            "",
            "goal none",
            not any(run.taken_in for run in mine),
        ),
        Figure("memory of a session", memory, "MiB", f"goal {GOAL_MEMORY:g}", memory <= GOAL_MEMORY),
        Figure("clients' own lateness, p99", 1000 * median(run.slip for run in mine), "ms"),
    ]


if __name__ == "__main__":
    main()
