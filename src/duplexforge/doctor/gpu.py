"""The GPU, its driver, and the CUDA libraries that torch, onnxruntime and ctranslate2 each want for themselves.

The three do not agree on a CUDA version: torch and onnxruntime-gpu bring or find theirs by major version, ctranslate2
loads cuBLAS of CUDA 12 by name. A library that cannot be found makes onnxruntime fall back to the CPU.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from duplexforge.doctor.finding import Finding
from duplexforge.doctor.probe import Facts
from duplexforge.errors import ModelError

DRIVER = Path("/proc/driver/nvidia")
_CUDA = "CUDAExecutionProvider"
_SWAP = (
    "pip uninstall -y onnxruntime, then pip install --force-reinstall --no-deps -c requirements.txt onnxruntime-gpu: "
    "both packages own the same files"
)
# Oldest driver that runs a CUDA major version (release notes of the CUDA toolkit, "minimum required driver version").
_OLDEST_DRIVER = {12: 525, 13: 580}


def present(preset: str, visible: Sequence[str] | None, driver: Path = DRIVER) -> tuple[Finding, bool]:
    """What GPUs there are, and whether workers will use one.

    ``visible`` is what CUDA_VISIBLE_DEVICES allows (None: it is not set), ``driver`` the driver's folder in /proc.
    """
    count = len(list((driver / "gpus").iterdir())) if (driver / "gpus").is_dir() else 0
    slow = "the preset needs none" if preset == "lite" else f"preset {preset} runs on the CPU, slowly"
    if not count and not visible:
        return Finding("GPU", True, f"none; {slow}"), False
    if not count:
        seen = f"CUDA_VISIBLE_DEVICES names {', '.join(visible or ())}, and there is no driver ({driver})"
        cure = "unset CUDA_VISIBLE_DEVICES, or start the container with the NVIDIA runtime or device plugin"
        return Finding("GPU", False, seen, cure), False
    if visible is not None and not visible:
        return Finding("GPU", True, f"{count}, hidden by CUDA_VISIBLE_DEVICES; {slow}"), False
    if wrong := [name for name in visible or () if name.isdigit() and int(name) >= count]:
        seen = f"CUDA_VISIBLE_DEVICES names {', '.join(wrong)}, and the driver shows {count}, counted from 0"
        return Finding("GPU", False, seen, "name GPUs that nvidia-smi -L lists"), True
    return Finding("GPU", True, f"{len(visible) if visible else count}, driver {_driver(driver) or 'unknown'}"), True


def _driver(driver: Path) -> str:
    """The driver's version, such as ``580.65.06``; empty where it does not say."""
    try:
        said = (driver / "version").read_text()
    except OSError:
        return ""
    found = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)\s", said)
    return found[1] if found else ""


def torch(facts: Facts, driver: Path = DRIVER) -> Finding:
    """Whether torch sees a GPU, and if not, whose fault that is."""
    if facts.gpus:
        return Finding("torch on the GPU", True, f"torch {facts.version}, CUDA {facts.cuda}, {facts.gpus} GPUs")
    if not facts.cuda:
        cure = "pip install --force-reinstall -c requirements.txt torch from an index that carries CUDA builds"
        return Finding("torch on the GPU", False, f"torch {facts.version} is a CPU build", cure)
    have, need = _driver(driver), _OLDEST_DRIVER.get(_major(facts.cuda), 0)
    if have and int(have.split(".")[0]) < need:
        seen = f"driver {have} is too old for torch {facts.version}: CUDA {facts.cuda} wants {need} or newer"
        return Finding("torch on the GPU", False, seen, f"update the NVIDIA driver to {need} or newer")
    seen = f"torch {facts.version} (CUDA {facts.cuda}) finds no GPU, though the driver {have} shows one".replace(
        "  ", " "
    )
    cure = "let this user and container have /dev/nvidia0, /dev/nvidiactl and /dev/nvidia-uvm; nvidia-smi must work"
    return Finding("torch on the GPU", False, seen, cure)


def onnxruntime(facts: Facts, torch_cuda: str, installed: Iterable[str]) -> Finding:
    """Whether onnxruntime is a CUDA build for torch's CUDA; ``installed`` are the names of its distributions."""
    check, here = "onnxruntime on the GPU", sorted(installed)
    if _CUDA not in facts.providers:
        both = " hides onnxruntime-gpu" if "onnxruntime-gpu" in here else " is the CPU build"
        return Finding(check, False, f"onnxruntime {facts.version}{both}: no {_CUDA}", _SWAP)
    if facts.cuda and torch_cuda and _major(facts.cuda) != _major(torch_cuda):
        seen = f"onnxruntime {facts.version} wants CUDA {_major(facts.cuda)}, torch brings CUDA {torch_cuda}"
        cure = "pip install --force-reinstall --no-deps -c requirements.txt onnxruntime-gpu (and the same for torch)"
        return Finding(check, False, seen, cure)
    return Finding(check, True, f"onnxruntime {facts.version}, CUDA {facts.cuda or 'unknown'}")


def cublas(load: Callable[[], str]) -> Finding:
    """Whether ctranslate2 will find CUDA 12's cuBLAS; ``load`` loads it as the recogniser does and says from where."""
    try:
        return Finding("cuBLAS for ctranslate2", True, load())
    except ModelError as error:
        cure = "pip install -c requirements.txt nvidia-cublas-cu12 (or put CUDA 12's libraries on LD_LIBRARY_PATH)"
        return Finding("cuBLAS for ctranslate2", False, str(error), cure)


def libraries(
    probed: Mapping[str, Facts], installed: Iterable[str], load_cublas: Callable[[], str], driver: Path = DRIVER
) -> list[Finding]:
    """The findings for every library of ``probed`` that was imported and wants CUDA; ``load_cublas`` as for
    :func:`cublas`.
    """
    there = {name: facts for name, facts in probed.items() if not facts.missing and not facts.error}
    findings = [torch(there["torch"], driver)] if "torch" in there else []
    if "onnxruntime" in there:
        findings.append(onnxruntime(there["onnxruntime"], there.get("torch", Facts()).cuda, installed))
    if "ctranslate2" in there:
        findings.append(cublas(load_cublas))
    return findings


def _major(cuda: str) -> int:
    return int(cuda.split(".")[0])
