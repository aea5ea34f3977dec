"""Claims of the prefix queue against the common folder protocol, on a local S3-compatible server with 30 ms a request.

Two queue lengths (1,000 and 100,000 waiting tasks) and two fleets (8 and 24 workers). The shorter queue is drained; of
the longer one every worker takes 125 tasks. Both sides use the same client, do no work between claim and completion
(so that they meet as often as they can) and run A-B-B-A. Told are tasks a second, requests a task (all of them: listings,
lost claims, tidying up), the time a claim takes, tasks that ran more than once, and what 100,000 tasks would cost.

    python benchmarks/claim.py [--quick] [--json] [--repetitions 5]
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from harness import ROOT, Figure, arguments, report

from duplexforge.layout import Layout, hashed_id
from duplexforge.records import ProcessTask
from tests.servers.s3_client import Process, S3Server

LATENCY = 0.03
THREADS = 8
FLEETS = (8, 24)
# Dollars for a thousand requests. AWS: "Amazon S3 pricing", S3 Standard, us-east-1; DELETE is free (a bulk delete is
# counted as a write here). R2: "Cloudflare R2 pricing", standard storage, class A and B operations; deletes are free.
PRICES = {"S3": {"write": 0.005, "read": 0.0004}, "R2": {"write": 0.0045, "read": 0.00036}}
WRITES, READS = ("put", "list", "bulk"), ("get", "head")


@dataclass
class Run:
    """What one run of one side showed."""

    claims: list[tuple[str, float, float]]
    requests: dict[str, int]
    began: float

    @property
    def tasks(self) -> int:
        """Different tasks that were done."""
        return len({task for task, _, _ in self.claims})

    @property
    def rate(self) -> float:
        """Tasks a second until the last one was done."""
        return self.tasks / (max(ended for _, _, ended in self.claims) - self.began)

    @property
    def twice(self) -> float:
        """Percent of the tasks that ran again."""
        return 100 * (len(self.claims) - self.tasks) / self.tasks

    def dollars(self, where: str) -> float:
        """What 100,000 tasks cost in requests."""
        price = PRICES[where]
        writes, reads = (sum(self.requests.get(kind, 0) for kind in kinds) for kinds in (WRITES, READS))
        return (writes * price["write"] + reads * price["read"]) / 1000 * 100_000 / self.tasks


@dataclass
class Side:
    """All runs of one side on one queue with one fleet."""

    runs: list[Run] = field(default_factory=list)

    def of(self, name: str) -> float:
        """The median of a property over the runs."""
        return median(getattr(run, name) for run in self.runs)

    @property
    def requests(self) -> float:
        """Requests a task, the median run."""
        return median(sum(run.requests.values()) / run.tasks for run in self.runs)

    def latency(self, share: float) -> float:
        """Seconds within which this share of all claims came."""
        waits = sorted(seconds for run in self.runs for _, seconds, _ in run.claims)
        return waits[min(len(waits) - 1, int(share * len(waits)))]


@contextmanager
def workers(wanted: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """A process of workers, started and waiting for the word."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("claim_workers.py"))],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(wanted) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def run(server: S3Server, master: str, side: str, fleet: int, quota: int, seed: int) -> Run:
    """One side on a copy of the seeded bucket."""
    bucket = server.copy(master)
    settings = {
        "store_url": f"s3://{bucket}", "endpoint": server.url, "aws_region": "us-east-1",
        "access_key_id": server.access_key, "secret_access_key": "test-secret-key",
    }  # fmt: skip
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                workers(
                    {"store": settings, "threads": THREADS, "side": side, "quota": quota, "seed": 1000 * seed + number}
                )
            )
            for number in range(0, fleet, THREADS)
        ]
        server.control(forget=bucket)
        began = time.time()
        for process in processes:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [json.loads(process.communicate(timeout=600)[0]) for process in processes]
    requests = server.requests(bucket)
    server.control(drop=bucket)
    return Run([tuple(claim) for part in told for claim in part], requests, began)


def seeded(server: S3Server, count: int) -> str:
    """A bucket with ``count`` waiting tasks."""
    layout, bucket = Layout(), server.fresh_bucket()
    ids = (hashed_id("pod", str(number)) for number in range(count))
    tasks = (ProcessTask(id=one, episode_id=one, audio_key=f"raw_audio/en/s/{one}.mp3") for one in ids)
    server.load(bucket, {layout.todo("processing", task.id): task.to_bytes().decode() for task in tasks})
    return bucket


def measure(server: S3Server, master: str, fleet: int, quota: int, repetitions: int) -> dict[str, Side]:
    """Both sides in turn."""
    sides = {"ours": Side(), "folder": Side()}
    for repetition in range(repetitions):
        for name in ("ours", "folder") if repetition % 2 == 0 else ("folder", "ours"):
            sides[name].runs.append(run(server, master, name, fleet, quota, repetition))
    return sides


def figures(label: str, sides: dict[str, Side]) -> Iterator[Figure]:
    """What is published of one queue and fleet."""
    ours, theirs = sides["ours"], sides["folder"]
    twice = max(one.twice for one in ours.runs)
    yield Figure(f"{label}: tasks run again, ours", twice, "%", "goal 0", twice == 0)
    yield Figure(f"{label}: tasks run again, folder", theirs.of("twice"), "%")
    yield Figure(f"{label}: tasks/s, ours", ours.of("rate"), "tasks/s")
    ratio = ours.of("rate") / theirs.of("rate")
    pairs = [a.rate / b.rate for a, b in zip(ours.runs, theirs.runs, strict=True)]
    note = f"pairs {min(pairs):.2f} to {max(pairs):.2f}, goal >= 1.5"
    yield Figure(f"{label}: tasks/s, ours : folder", ratio, "x", note, ratio >= 1.5)
    yield Figure(f"{label}: requests a task, ours", ours.requests, "", "goal <= 4.1", ours.requests <= 4.1)
    yield Figure(f"{label}: requests a task, folder", theirs.requests, "")
    for share, goal in ((0.5, 0.55), (0.99, 1.0)):
        ratio = ours.latency(share) / theirs.latency(share)
        yield Figure(f"{label}: claim p{share * 100:.0f}, ours : folder", ratio, "x", f"goal <= {goal}", ratio <= goal)
    for where in PRICES:
        costs = [median(run.dollars(where) for run in side.runs) for side in (ours, theirs)]
        yield Figure(f"{label}: {where} requests, ours", costs[0], "$ per 100k", f"goal 0 (folder {costs[1]:.2f})")


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, one_core=False).parse_args()
    short, long, quota = (240, 20_000, 20) if options.quick else (1_000, 100_000, 125)
    fleets = FLEETS[1:] if options.quick else FLEETS
    rates: dict[tuple[int, int], Side] = {}
    told: list[Figure] = []
    with Process("tests.servers.s3") as process:
        server = S3Server(process.url)
        masters = {count: seeded(server, count) for count in (short, long)}
        server.control(latency=LATENCY)
        for fleet in fleets:
            for count, master in masters.items():
                # Of the shorter queue a worker takes all it can get. Of the longer one so many that each worker's first
                # claim, which lists, is less than one in a hundred.
                share = count if count == short else quota
                sides = measure(server, master, fleet, share, options.repetitions)
                rates[fleet, count] = sides["ours"]
                told += figures(f"{count} tasks, {fleet} workers", sides)
            slower = 100 * (1 - rates[fleet, long].of("rate") / rates[fleet, short].of("rate"))
            told.append(
                Figure(f"{fleet} workers: slower at {long} than at {short}", slower, "%", "goal <= 5", slower <= 5)
            )
    kinds = Counter({kind: sum(run.requests.get(kind, 0) for side in rates.values() for run in side.runs)
                     for kind in (*WRITES, *READS, "delete")})  # fmt: skip
    report(
        "claim: the prefix queue against the common folder protocol",
        [],
        told,
        as_json=options.json,
        packages=("obstore",),
        seed=0,
        notes=[
            f"{LATENCY * 1000:.0f} ms a request, {options.repetitions} runs a side, A-B-B-A; folder: written for this comparison",
            f"requests of ours by kind over all runs: {dict(kinds)}",
        ],
    )


if __name__ == "__main__":
    main()
