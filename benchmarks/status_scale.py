"""What a look of status costs: requests, seconds and memory with 10,000 and with 100,000 episodes.

As many tasks wait as have ended; of those one in a hundred has failed. Every episode has a manifest of twenty files. The
store is a local S3-compatible server. Three looks: the first one ever reads every manifest; the second one of the same
process and the first one of another process read what is new, which is nothing. Memory is the peak of the process over
that of one which only looked at an empty store.

    python benchmarks/status_scale.py [--quick] [--json]
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from harness import ROOT, Figure, arguments, report

from duplexforge.layout import Layout, hashed_id
from duplexforge.records import Ended, FileEntry, Hours, Manifest, ProcessTask, now
from tests.servers.s3_client import Process, S3Server

_LOOKS = """
import json, os, pathlib, re, sys, tempfile
from duplexforge import config
from duplexforge.config import StoreSettings
from duplexforge.layout import Layout
from duplexforge.status.collector import Collector
from duplexforge.status.overview import Autokick
from duplexforge.storage import open_store

os.chdir(tempfile.mkdtemp())
fields, count = json.loads(sys.argv[1]), int(sys.argv[2])
store = open_store(StoreSettings(_env_file=None, **fields))
collector = Collector(store, Layout(), config.load("status"), autokick=lambda: Autokick("off"))
for _ in range(count):
    look = collector.look()
    told = {"seconds": look.seconds, "hours": look.done.hours, "failed": sum(one.count for one in look.failures)}
    # Not ru_maxrss, which a child has from its parent.
    peak = re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]
    print(json.dumps(told | {"kib": int(peak)}), flush=True)
    sys.stdin.readline()
"""
_KEYS = Layout()


def objects(count: int) -> Iterator[tuple[str, str]]:
    """A processing stage with ``count`` waiting tasks, ``count`` ended ones, and as many episodes."""
    for number in range(count):
        name = hashed_id("pod", str(number))
        audio = f"raw_audio/en/web/{name}.mp3"
        task = ProcessTask(id=name, episode_id=name, language="en", audio_key=audio)
        yield _KEYS.todo("processing", f"w-{name}"), task.model_copy(update={"id": f"w-{name}"}).to_bytes().decode()
        outcome: Any = "failed" if number % 100 == 0 else "completed"
        key = getattr(_KEYS, outcome)("processing", name)
        yield key, Ended.of(task, outcome, 1, reason="corrupt" if outcome == "failed" else None).to_bytes().decode()
        yield _KEYS.manifest("en", name), manifest(name, audio).to_bytes().decode()


def manifest(name: str, audio: str) -> Manifest:
    """A manifest of a short episode, half an hour long."""
    folder = _KEYS.attempt("en", name, "a1-0badcafe")
    files = [FileEntry(name=f"{name}_{one:06d}.mp3", size=50_000, sha256="0" * 64) for one in range(20)]
    return Manifest(
        episode_id=name, language="en", outcome="ok", attempt="a1-0badcafe", folder=folder, files=files, segments=20,
        speakers=2, flagged=0, hours=Hours(source=0.5, published=0.5), audio_key=audio, config_hash="c0ffee",
        seconds={"diarize": 20.0, "transcribe": 40.0}, committed_at=now(),
    )  # fmt: skip


def looks(server: S3Server, bucket: str, count: int) -> Iterator[tuple[dict[str, float], dict[str, int]]]:
    """``count`` looks of one process: what each told, and its requests by kind."""
    settings = server.settings(bucket)
    names = ("store_url", "endpoint", "aws_region")
    fields = {name: getattr(settings, name) for name in names}
    for name in ("access_key_id", "secret_access_key"):
        fields[name] = getattr(settings, name).get_secret_value()
    process = subprocess.Popen(
        [sys.executable, "-c", _LOOKS, json.dumps(fields), str(count)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdin
        assert process.stdout
        before = server.requests(bucket)
        for _ in range(count):
            told = json.loads(process.stdout.readline())
            after = server.requests(bucket)
            yield told, {kind: number - before.get(kind, 0) for kind, number in after.items()}
            before = after
            process.stdin.write("\n")
            process.stdin.flush()


def measure(server: S3Server, count: int) -> list[Figure]:
    """All figures for one size."""
    empty = next(looks(server, server.fresh_bucket(), 1))[0]["kib"]
    bucket = server.fresh_bucket()
    server.load(bucket, dict(objects(count)))
    (first, asked), (second, again) = looks(server, bucket, 2)
    ((other, fresh),) = looks(server, bucket, 1)
    for told in (first, second, other):
        assert (told["hours"], told["failed"]) == (count / 2, count // 100), told
    found = []
    for words, told, requests in (
        ("first look ever", first, asked), ("second look", second, again), ("first look elsewhere", other, fresh),
    ):  # fmt: skip
        name = f"{count:,}: {words}"
        found += [
            Figure(f"{name}, reads", requests.get("get", 0), "GET"),
            Figure(f"{name}, listings", requests.get("list", 0), "LIST"),
            Figure(f"{name}, time", told["seconds"], "s"),
            Figure(f"{name}, memory", round((told["kib"] - empty) / 1024, 1), "MiB"),
        ]
    return found


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, one_core=False).parse_args()
    sizes = (1_000, 10_000) if options.quick else (10_000, 100_000)
    with Process("tests.servers.s3") as process:
        figures = [figure for size in sizes for figure in measure(S3Server(process.url), size)]
    report("What a look of status costs", [], figures, as_json=options.json, packages=["obstore"])


if __name__ == "__main__":
    main()
