"""The autokicker as a process, started and stopped as a pod would be, and scenarios in real time against a server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.cluster.remote import RemoteCluster
from tests.cluster.scenario import LOAD, Scenario
from tests.servers.kube.client import KubeServer
from tests.servers.kube.kinds import Object
from tests.servers.kube.rules import GPU, gpus
from tests.servers.kube.timeline import Timeline

HANG_GUARD = 60.0


@dataclass
class Autokicker:
    """One ``duplexforge autokick`` with variables of its own, its log in ``folder``."""

    folder: Path
    kubeconfig: Path
    settings: dict[str, float | str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    name: str = "kicker"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def start(self) -> None:
        """Start it, or start it again."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "duplexforge", "autokick", *self.arguments],
                cwd=self.folder, env=self.environment(), stdout=log, stderr=log,
            )  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Nothing of this process's but the path: a pod inherits nothing either."""
        told = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in self.settings.items()}
        fixed = {"KUBECONFIG": str(self.kubeconfig), "NAMESPACE": "factory", "TARGET_DEPLOYMENT": "emiliapipe"}
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), **fixed, **told}

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command that ends by itself, with the same variables."""
        return subprocess.run(
            [sys.executable, "-m", "duplexforge", "autokick", *arguments], cwd=self.folder, env=self.environment(),
            capture_output=True, text=True, timeout=HANG_GUARD,
        )  # fmt: skip

    @property
    def _log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def words(self) -> str:
        """What it has logged."""
        return self._log.read_text()

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(HANG_GUARD)

    def kill(self) -> None:
        """``kill -9``."""
        self.process.kill()
        self.process.wait()


def wait_until(condition: Callable[[], Any], what: str, pause: float = 0.05) -> None:
    """Poll until ``condition`` holds."""
    deadline = time.monotonic() + HANG_GUARD
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(pause)


def leader(server: KubeServer) -> str:
    """Who holds the autokickers' Lease; empty while nobody does."""
    return next((str(one["spec"].get("holderIdentity") or "") for one in server.control("leases")), "")


def prepare(server: KubeServer, scenario: Scenario) -> None:
    """Fill the cluster and wait until ours have loaded."""
    server.create(*scenario.nodes, *scenario.more, scenario.ours)
    time.sleep(float(scenario.ours["spec"]["template"]["metadata"]["annotations"].get("sim/load", LOAD)) + 0.1)
    if scenario.lost:
        server.control(lost=list(scenario.lost))


def queued(folder: Path, tasks: int) -> dict[str, float | str]:
    """Variables of a store in ``folder`` whose processing queue has so many tasks."""
    from duplexforge import config, roles
    from duplexforge.records import ProcessTask

    url = f"file://{folder / 'store'}"
    site = roles.open_site(config.load("autokick", store_url=url))
    bodies = [
        ProcessTask(id=f"task-{n}", episode_id=f"task-{n}", audio_key=f"raw_audio/en/a/{n}.mp3") for n in range(tasks)
    ]
    site.queue("processing").put_many(bodies)
    return {"STORE_URL": url, "QUEUE_SECONDS": 1.0}


def run(scenario: Scenario, folder: Path, *, pace: float) -> tuple[Timeline, str]:
    """Run a scenario against a stand-in of its own; the timeline from its start on, and the autokicker's log."""
    paced = scenario.paced(pace)
    settings = paced.all_settings() | (queued(folder, paced.open_tasks) if paced.open_tasks is not None else {})
    with KubeServer() as server:
        prepare(server, paced)
        kubeconfig = server.kubeconfig(folder / "kubeconfig")
        with Autokicker(folder, kubeconfig, settings) as kicker:
            wait_until(lambda: leader(server) or kicker.process.poll() is not None, "a leader")
            start = float(server.control("now"))
            server.control(plan=[_plan(step.at, step.verb, step.thing) for step in paced.steps])
            time.sleep(paced.length)
            timeline = server.timeline().after(start)
            # The end belongs to every scenario: SIGTERM, the Lease given back, exit code 0.
            assert kicker.stop() == 0, kicker.words
        return timeline, kicker.words


def run_remote(
    scenario: Scenario, folder: Path, kubeconfig: Path, *, pace: float, kickers: int = 1
) -> tuple[Timeline, str]:
    """The same on a control plane that runs already; with more than one autokicker one leads and the others stand by."""
    from kubernetes import config

    paced = scenario.paced(pace)
    settings = paced.all_settings() | (queued(folder, paced.open_tasks) if paced.open_tasks is not None else {})
    with RemoteCluster(config.new_client_from_config(str(kubeconfig))) as cluster, ExitStack() as stack:
        cluster.create(*paced.nodes, *paced.more, paced.ours)
        nodes = sum(int(one["status"]["allocatable"].get(GPU, 0)) for one in paced.nodes)
        held = min(
            int(paced.ours["spec"]["replicas"]), nodes - sum(gpus(one) for one in paced.more if one["kind"] == "Pod")
        )
        wait_until(lambda: _ready(cluster) >= held, f"{held} of ours are ready")
        cluster.note_lost(paced.lost)
        started = [
            stack.enter_context(Autokicker(folder, kubeconfig, settings, name=f"kicker-{n}")) for n in range(kickers)
        ]
        wait_until(lambda: cluster.leader() or started[0].process.poll() is not None, "a leader")
        start = cluster.now
        cluster.follow(paced.steps, paced.length)
        timeline = cluster.timeline.after(start)
        codes, words = [kicker.stop() for kicker in started], "".join(kicker.words for kicker in started)
        assert codes == [0] * kickers, words
        return timeline, words


def _ready(cluster: RemoteCluster) -> int:
    moments = cluster.timeline.moments
    return sum(pod.ready for pod in moments[-1].ours) if moments else 0


def _plan(after: float, verb: str, thing: Object) -> dict[str, Any]:
    return {"after": after, verb: thing}
