"""Runs the pods of a rendered Job as processes of this machine: their own words, variables, folders and exit codes.

What a cluster gives and a machine does not is put in place of it: absolute folders become the pod's own, the host name of the
first pod becomes this machine, ``tini`` goes when it is not installed. Nothing else of a command is changed.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.manifests.kustomize import Object, pod_specs
from tests.manifests.tree import variables

TINI = shutil.which("tini")


@dataclass
class Pod:
    """One pod of a Job: init containers first, then its container. ``scratch`` is all the disk that it has."""

    objects: list[Object]
    job: Object
    index: int
    scratch: Path
    meeting: int
    given: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Run the init containers to their end, and start the container; one that fails is the end of the pod."""
        (spec,) = pod_specs(self.job)
        self.scratch.mkdir(parents=True)
        self._files(spec)
        for container in spec.get("initContainers", ()):
            self.process = self._popen(container)
            if self.process.wait(120):
                return
        self.process = self._popen(spec["containers"][0])

    def kick(self) -> None:
        """SIGTERM to the first process, as a kubelet sends it."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """The node is gone: every process of the pod with it, those in sessions of their own too."""
        assert self.process
        if self.process.poll() is None:
            for pid in [self.process.pid, *_descendants(self.process.pid)]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def end(self, seconds: float) -> int:
        """The exit code, at most so many seconds from now; what it wrote is kept in ``log``."""
        assert self.process
        code = self.process.wait(seconds)
        return code

    @property
    def log(self) -> str:
        """What its containers wrote."""
        return "".join(path.read_text() for path in sorted(self.scratch.glob("*.log")))

    def _files(self, spec: Object) -> None:
        """The volumes that are ConfigMaps."""
        maps = {one["metadata"]["name"]: one["data"] for one in self.objects if one["kind"] == "ConfigMap"}
        mounts = {mount["name"]: mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
        for volume in spec["volumes"]:
            if "configMap" in volume:
                folder = self.scratch / mounts[volume["name"]].strip("/")
                folder.mkdir()
                for name, text in maps[volume["configMap"]["name"]].items():
                    (folder / name).write_text(self._here(text))

    def _here(self, text: str) -> str:
        text = re.sub(r"(?<![\w.])/(scratch|recipe)\b", rf"{self.scratch}/\1", text)
        return re.sub(r"\btrain-0\.train:\d+", f"127.0.0.1:{self.meeting}", text)

    def _popen(self, container: Object) -> subprocess.Popen[str]:
        words = [self._here(word) for word in container["command"]]
        assert words[:3] == ["tini", "--", "duplexforge"]
        (self.scratch / "scratch").mkdir(exist_ok=True)
        env = {name: value for name, value in variables(self.objects, container).items() if isinstance(value, str)}
        env = {name: self._here(value) for name, value in env.items()}
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
        with (self.scratch / f"{container['name']}.log").open("w") as log:
            return subprocess.Popen(
                [*([TINI, "--"] if TINI else []), sys.executable, "-m", "duplexforge", *words[3:]],
                env={**kept, **env, **self.given, "JOB_COMPLETION_INDEX": str(self.index)},
                cwd=self.scratch, stdout=log, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            )  # fmt: skip


def _descendants(pid: int) -> list[int]:
    """All processes below ``pid``."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    found = list(children.get(pid, ()))
    for child in found:
        found += children.get(child, ())
    return found


def verdict(job: Object, code: int) -> str:
    """What the Job makes of a pod that ended with ``code``: Complete, Ignore, FailJob or Count."""
    if code == 0:
        return "Complete"
    for rule in job["spec"]["podFailurePolicy"]["rules"]:
        if code in rule.get("onExitCodes", {}).get("values", ()):
            return str(rule["action"])
    return "Count"
