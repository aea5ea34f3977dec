"""How soon the autokicker reacts: from a guest found unschedulable to the scale written, on the API server stand-in.

The autokicker runs as a process of its own with the official client; the stand-in speaks HTTP, schedules, and notes on
one clock when a guest began to wait for what ours hold and when the PATCH of the scale arrived. Between the two lie the
watch event, the decision, a deletion cost for each victim and the scale itself. The clock ends before the victims do.

    python benchmarks/autokick_reaction.py [--quick] [--json] [--repetitions 10]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from harness import Figure, arguments, report

from duplexforge import config
from tests.servers.kube import objects
from tests.servers.kube.client import KubeServer

GOAL = 0.3


@dataclass(frozen=True)
class Case:
    """A cluster of ``nodes`` × 8 GPUs and guests of ``gpus`` each."""

    nodes: int
    gpus: int

    @property
    def name(self) -> str:
        """What is told in the table."""
        return f"{self.nodes} nodes, guest of {self.gpus} GPU{'s' if self.gpus > 1 else ''}"


def reactions(case: Case, repetitions: int) -> list[float]:
    """Seconds from waiting to the scale written, one for each guest."""
    with tempfile.TemporaryDirectory() as folder, KubeServer() as server:
        nodes = [objects.node(f"node-{number:03d}") for number in range(case.nodes)]
        full = case.nodes * 8
        server.create(*nodes, objects.deployment(replicas=full, sim={"stop": 0.2}))
        kicker = _started(server, Path(folder))
        try:
            _until(lambda: _placed(server) == full)
            found = [_one(server, f"guest-{number}", case.gpus, full) for number in range(repetitions)]
        finally:
            kicker.terminate()
            kicker.wait(timeout=20)
    return found


def _one(server: KubeServer, name: str, gpus: int, full: int) -> float:
    server.create(objects.guest(name, gpus=gpus, sim={"run": 0.5}))
    _until(lambda: server.timeline().ran(name) is not None)
    # All of it is ours again before the next guest comes.
    _until(lambda: _placed(server) == full)
    began = next(moment.at for moment in server.timeline().moments if name in moment.curable)
    writes = [one["at"] for one in server.requests() if one["method"] == "PATCH" and one["target"].endswith("/scale")]
    return min(at for at in writes if at >= began) - began


def _started(server: KubeServer, folder: Path) -> subprocess.Popen[bytes]:
    wanted = {"TARGET_DEPLOYMENT": "emiliapipe", "QUIET_SECONDS": "0", "GROWTH_STEP": "8", "STORE_URL": ""}
    environment = config.child_environment(KUBECONFIG=str(server.kubeconfig(folder / "kubeconfig")), **wanted)
    return subprocess.Popen(
        [sys.executable, "-m", "duplexforge", "autokick"], env=environment, cwd=folder, stderr=subprocess.DEVNULL
    )


def _placed(server: KubeServer) -> int:
    # The probe tells that the autokicker has nothing more to add.
    last = server.timeline().moments[-1]
    return len([pod for pod in last.placed if not pod.leaving]) if len(last.waiting) == 1 else -1


def _until(check: object, seconds: float = 60.0) -> None:
    assert callable(check)
    limit = time.monotonic() + seconds
    while not check():
        if time.monotonic() > limit:
            raise SystemExit("the cluster did not come to where it should")
        time.sleep(0.05)


def main() -> None:
    """Run the benchmark."""
    options = arguments(__doc__, one_core=False).parse_args()
    cases = [Case(2, 1), Case(2, 8)] if options.quick else [Case(2, 1), Case(2, 4), Case(2, 8), Case(12, 8)]
    figures = []
    for case in cases:
        seconds = reactions(case, options.repetitions)
        goal = f"goal at most {GOAL:g} s"
        figures.append(Figure(case.name, median(seconds), "s, median", goal, median(seconds) <= GOAL))
        figures.append(Figure(f"  the slowest of {len(seconds)}", max(seconds), "s"))
    notes = ["from a guest that waits for what ours hold to the scale written, both on the server's clock"]
    report("autokicker: reaction", [], figures, as_json=options.json, packages=["kubernetes"], notes=notes)


if __name__ == "__main__":
    main()
