"""Imports packages in a process of their own, and tells how that went.

A package that was built for another CUDA or another torch fails on import in many ways; some take the interpreter with
them. So ``python -m duplexforge.doctor.probe NAME…`` prints a line of JSON after each import, and whoever reads them
knows on which one the process died.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from duplexforge import config

_SECONDS = 180.0
_LONGEST = 4000


@dataclass(frozen=True)
class Facts:
    """A package: its version, or why it cannot be imported (``missing``: it is not installed at all).

    ``cuda`` is the CUDA version that it was built for, empty for none. ``gpus`` counts those that torch can use;
    ``providers`` are onnxruntime's.
    """

    version: str = ""
    missing: bool = False
    error: str = ""
    cuda: str = ""
    gpus: int = 0
    providers: tuple[str, ...] = ()


def probe(names: Sequence[str], command: Sequence[str] = (sys.executable, "-m", __name__)) -> dict[str, Facts]:
    """The facts of the packages ``names``, imported in this order by a child process."""
    try:
        done = subprocess.run(
            [*command, *names],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            env=config.child_environment(PYANNOTE_METRICS_ENABLED="0"),
        )
        output, end = done.stdout, f"importing it ends Python with code {done.returncode}"
    except subprocess.TimeoutExpired as late:
        # On a time-out the output comes as bytes, whatever was asked for.
        output = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else late.stdout or ""
        end = f"importing it takes longer than {_SECONDS:.0f} s"
    found = {}
    for line in output.splitlines():
        if line.startswith('{"name": '):
            facts = json.loads(line)
            name = facts.pop("name")
            found[name] = Facts(**{**facts, "providers": tuple(facts["providers"])})
    return {name: found.get(name, Facts(error=end)) for name in names}


def look(name: str) -> Facts:
    """Import ``name`` in this process."""
    try:
        if find_spec(name) is None:
            return Facts(missing=True)
    except ModuleNotFoundError:  # the package around it
        return Facts(missing=True)
    try:
        return _facts(name, import_module(name))
    except Exception as error:  # noqa: BLE001 - a broken package raises what it likes; that is what is asked here
        return Facts(error=f"{type(error).__name__}: {error}"[:_LONGEST])


def _facts(name: str, module: Any) -> Facts:
    version = str(getattr(module, "__version__", ""))
    if name == "torch":
        gpus = module.cuda.device_count() if module.cuda.is_available() else 0
        return Facts(version, cuda=module.version.cuda or "", gpus=gpus)
    if name == "onnxruntime":
        # Only the CUDA builds say for which version they were made.
        cuda = str(getattr(module, "cuda_version", "") or "")
        return Facts(version, cuda=cuda, providers=tuple(module.get_available_providers()))
    return Facts(version)


if __name__ == "__main__":
    for package in sys.argv[1:]:
        print(json.dumps({"name": package, **asdict(look(package))}), flush=True)
