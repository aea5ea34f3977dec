"""``duplexforge doctor``: what this machine lacks, in words, each with its cure.

A check returns what it found; a failed one says what to do. Nothing is changed on the machine except an object that is
written to the store and removed again.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from duplexforge import config, roles
from duplexforge.config import ProcessSettings, Settings, UploadSettings
from duplexforge.errors import DuplexforgeError

_FREE_GIB = 5
_PACKAGES = {
    "download": ("yt_dlp", "av", "imageio_ffmpeg"),
    "process": ("onnxruntime", "av", "soxr", "faster_whisper", "pocketsphinx"),
    "upload": ("pyarrow", "huggingface_hub"),
    "report": ("matplotlib", "jinja2"),
}


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, whether it is well, what was seen, and the cure when it is not."""

    check: str
    ok: bool
    seen: str
    cure: str = ""


def run(store: str | None, *, as_json: bool = False) -> int:
    """Print all findings; 0 when all is well, 78 when something must be mended."""
    findings = examine(store)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1, ensure_ascii=False))
    else:
        table = Table("check", "", "seen", "what to do", box=None, pad_edge=False)
        for one in findings:
            table.add_row(one.check, "ok" if one.ok else "[bold red]no[/]", one.seen, one.cure)
        Console().print(table)
    return 0 if all(finding.ok for finding in findings) else 78


def examine(store: str | None) -> list[Finding]:
    """Run every check that the settings allow."""
    findings = [_python(), *_packages()]
    try:
        settings = config.load("run", store_url=store)
    except DuplexforgeError as error:
        return [*findings, Finding("settings", False, str(error), "correct the named variables")]
    findings.append(Finding("settings", True, "all values make sense"))
    checks: list[Callable[[Settings], Finding]] = [_store, _ffmpeg, _models, _scratch, _publishing]
    return findings + [check(settings) for check in checks]


def _python() -> Finding:
    seen = ".".join(str(part) for part in sys.version_info[:3])
    return Finding(
        "python", sys.version_info >= (3, 11), seen, "" if sys.version_info >= (3, 11) else "use 3.11 or newer"
    )


def _packages() -> list[Finding]:
    findings = []
    for role, names in _PACKAGES.items():
        missing = [name for name in names if importlib.util.find_spec(name) is None]
        cure = f"pip install -c requirements.txt 'duplexforge[{role}]'" if missing else ""
        findings.append(Finding(f"packages: {role}", not missing, ", ".join(missing) or "all there", cure))
    return findings


def _store(settings: Settings) -> Finding:
    try:
        site = roles.open_site(settings)
        site.store.now()  # reads the store's clock back: what leases expire by
    except DuplexforgeError as error:
        return Finding("store", False, str(error), "set STORE_URL, or the endpoint, bucket and keys of your store")
    return Finding("store", True, f"{site.store.url}: create-if-absent holds, its clock can be read")


def _ffmpeg(_: Settings) -> Finding:
    from duplexforge.downloading.fetch import ffmpeg_path

    path = ffmpeg_path()
    return Finding("ffmpeg", path is not None, path or "none", "" if path else "pip install imageio-ffmpeg")


def _models(settings: Settings) -> Finding:
    from duplexforge.processing import emilia

    wanted = settings[ProcessSettings]
    try:
        pipeline = emilia.load_pipeline(wanted)
    except DuplexforgeError as error:
        return Finding(f"models: {wanted.emilia_preset}", False, str(error), "see Emilia/models/README.md")
    except ImportError as error:
        return Finding(f"models: {wanted.emilia_preset}", False, str(error), "install the packages named above")
    seen = ", ".join(f"{name} {version}" for name, version in pipeline.models.items())
    pipeline.close()
    return Finding(f"models: {wanted.emilia_preset}", True, seen)


def _scratch(settings: Settings) -> Finding:
    folder = roles.scratch_folder(settings) or Path.cwd()
    free = shutil.disk_usage(folder).free / 2**30
    cure = "" if free >= _FREE_GIB else f"free some space, or point SCRATCH_DIR elsewhere ({_FREE_GIB} GiB or more)"
    return Finding("scratch space", free >= _FREE_GIB, f"{free:.0f} GiB free in {folder}", cure)


def _publishing(settings: Settings) -> Finding:
    wanted = settings[UploadSettings]
    if not wanted.hf_repo_id:
        return Finding("publishing", True, f"into the folder {wanted.publish_dir} (HF_REPO_ID is not set)")
    good = wanted.hf_token is not None
    return Finding(
        "publishing", good, f"to {wanted.hf_repo_id}", "" if good else "set HF_TOKEN to a token that may write there"
    )
