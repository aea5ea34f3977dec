"""Seeding millions of lines: a generated list goes through the real seeding into a store, twice, at two sizes.

Each size runs in a process of its own, whose peak memory is told by the kernel. The second run must add nothing. Flat
means that ten times the lines take no more than the page caches of the ids on disk, which are full soon. The store is
the S3-compatible test server in a process of its own (``--on s3``) or a folder (``--on folder``: one file a task, so
mind the disk's inodes).

    python benchmarks/seed_scale.py --items 4000000 [--on s3] [--quick] [--json]
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import ROOT, Figure, arguments, report

from duplexforge.config import QueueSettings, StoreSettings
from duplexforge.layout import Layout
from duplexforge.records import DownloadTask
from duplexforge.storage import open_store
from tests.servers.s3_client import Process, S3Server

# MiB: two sets of ids, each with a cache of 32 MiB, and some slack.
GROWTH = 100.0


def write_list(path: Path, count: int) -> None:
    """A JSONL list of ``count`` recordings; the names are spread so that ids come in no order."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            show, episode = number % 40_009, number // 40_009
            line = {
                "url": f"https://cdn.example.org/{show}/{episode}.mp3",
                "title": f"{show}: {episode}",
                "language": "en",
            }
            file.write(json.dumps(line) + "\n")


def seed_once(listed: Path, store: dict[str, Any]) -> dict[str, float]:
    """Seed the list; what was added and what it took, this process's peak memory included."""
    from duplexforge.downloading.plan import seed
    from duplexforge.queues.prefix import PrefixQueue

    opened = open_store(StoreSettings(_env_file=None, **store))
    queue = PrefixQueue(opened, Layout(), "download", DownloadTask, QueueSettings(_env_file=None))
    began = time.perf_counter()
    told = seed(queue, [str(listed)])
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"added": told.added, "offered": told.offered, "seconds": seconds, "mib": peak}


def in_a_process(listed: Path, store: dict[str, Any]) -> dict[str, float]:
    """``seed_once`` in a fresh interpreter."""
    command = [sys.executable, __file__, "--child", json.dumps({"listed": str(listed), "store": store})]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


@contextmanager
def fresh_store(kind: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Settings of an empty store that goes when the measurement ends."""
    if kind == "folder":
        with tempfile.TemporaryDirectory(dir=folder) as place:
            yield {"store_url": f"file://{place}"}
        return
    with Process("tests.servers.s3") as process:
        server = S3Server(process.url)
        yield {
            "store_url": f"s3://{server.fresh_bucket()}", "endpoint": server.url, "aws_region": "us-east-1",
            "access_key_id": server.access_key, "secret_access_key": "test-secret-key",
        }  # fmt: skip


def measure(count: int, kind: str, folder: Path) -> list[dict[str, float]]:
    """Seed ``count`` lines, and again."""
    listed = folder / f"{count}.jsonl"
    write_list(listed, count)
    with fresh_store(kind, folder) as store:
        runs = [in_a_process(listed, store) for _ in range(2)]
    listed.unlink()
    assert (runs[0]["added"], runs[1]["added"]) == (count, 0), f"{count} lines: {runs}"
    return runs


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, one_core=False)
    parser.add_argument("--items", type=int, default=200_000, help="lines of the larger list (default 200,000)")
    parser.add_argument("--on", choices=("s3", "folder"), default="s3", help="the store to seed into")
    parser.add_argument("--scratch", type=Path, default=None, help="where lists and folders go (default: the system's)")
    parser.add_argument("--child", help="internal: seed once in this process")
    options = parser.parse_args()
    if options.child:
        wanted = json.loads(options.child)
        print(json.dumps(seed_once(Path(wanted["listed"]), wanted["store"])))
        return
    items = 20_000 if options.quick else options.items
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        small, large = (measure(count, options.on, Path(folder)) for count in (items // 10, items))
    told: list[Figure] = []
    for count, runs in ((items // 10, small), (items, large)):
        for name, one in zip(("first", "again"), runs, strict=True):
            told.append(Figure(f"{count} lines, {name}: tasks added", one["added"], "tasks"))
            told.append(Figure(f"{count} lines, {name}: lines a second", count / one["seconds"], "lines/s"))
            told.append(Figure(f"{count} lines, {name}: peak memory", one["mib"], "MiB"))
    for name, few, many in zip(("first", "again"), small, large, strict=True):
        growth = many["mib"] - few["mib"]
        told.append(
            Figure(f"more at ten times the lines, {name}", growth, "MiB", f"goal <= {GROWTH:g}", growth <= GROWTH)
        )
    report(f"seeding {items} lines", [], told, as_json=options.json, packages=("obstore",))


if __name__ == "__main__":
    main()
