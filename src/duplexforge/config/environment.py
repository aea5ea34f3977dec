"""The process environment outside the settings: GPUs, children, and what libraries only read from there."""

from __future__ import annotations

import os
from pathlib import Path

VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"


def child_environment(**changes: str) -> dict[str, str]:
    """The environment for a child process with some variables set."""
    return {**os.environ, **changes}


def visible_gpus() -> list[str] | None:
    """The GPUs that CUDA_VISIBLE_DEVICES allows, by index or UUID; None when it is not set, which allows all."""
    value = os.environ.get(VISIBLE_GPUS)
    return None if value is None else [name.strip() for name in value.split(",") if name.strip() not in ("", "-1")]


def cluster_in_sight() -> bool:
    """Whether a Kubernetes cluster may be reached without being named: from a pod, or by the usual kubeconfig."""
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST")) or (Path.home() / ".kube" / "config").is_file()


def quiet_libraries() -> None:
    """Set what libraries only read from the environment: no telemetry, no Xet transfer, no thread storms."""
    for name, value in {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        # Its warnings quote signed URLs.
        "HF_HUB_VERBOSITY": "error",
        "PYANNOTE_METRICS_ENABLED": "0",
    }.items():
        os.environ.setdefault(name, value)
