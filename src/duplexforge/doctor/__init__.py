"""``duplexforge doctor``: what this machine lacks, in words, each with its cure.

A check returns what it found; a failed one says what to do. Nothing is changed on the machine except that the store and
SCRATCH_DIR are made when they are not there, and files that are written to try a place are removed again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import distributions
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from duplexforge import config, roles
from duplexforge.config import ProcessSettings, Settings, UploadSettings
from duplexforge.doctor import gpu, packages, paths, queues, weights
from duplexforge.doctor.finding import Finding as Finding
from duplexforge.doctor.probe import probe
from duplexforge.errors import DuplexforgeError
from duplexforge.processing import emilia


def run(store: str | None, *, as_json: bool = False) -> int:
    """Print all findings; 0 when all is well, 78 when something must be mended."""
    findings = examine(store)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1, ensure_ascii=False))
    else:
        show(findings, Console())
    return 0 if all(finding.ok for finding in findings) else 78


def show(findings: list[Finding], console: Console) -> None:
    """A line for each finding; the cure stands below what was seen."""
    table = Table.grid(padding=(0, 2))
    for one in findings:
        words = Text(one.seen, overflow="fold")
        if one.cure:
            words.append(f"\n→ {one.cure}", style="bold")
        table.add_row(Text("ok") if one.ok else Text("no", style="bold red"), Text(one.check), words)
    console.print(table)


def examine(store: str | None) -> list[Finding]:
    """Run every check that the settings allow."""
    findings = [_python(), *packages.of_roles()]
    try:
        settings = config.load("run", store_url=store)
    except DuplexforgeError as error:
        return [*findings, Finding("settings", False, str(error), "correct the named variables")]
    findings.append(Finding("settings", True, "all values make sense"))
    findings += [_store(settings), *queues.of_settings(settings)]
    findings += _processing(settings[ProcessSettings])
    return [*findings, paths.scratch(settings[ProcessSettings].scratch_dir), _publishing(settings[UploadSettings])]


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    return Finding("python", good, ".".join(map(str, sys.version_info[:3])), "" if good else "use 3.11 or newer")


def _store(settings: Settings) -> Finding:
    try:
        site = roles.open_site(settings)
        site.store.now()  # reads the store's clock back: what leases expire by
    except DuplexforgeError as error:
        return Finding("store", False, str(error), "set STORE_URL, or the endpoint, bucket and keys of your store")
    return Finding("store", True, f"{site.store.url}: create-if-absent holds, its clock can be read")


def _processing(settings: ProcessSettings) -> Iterator[Finding]:
    """The pipeline from the outside in: its folder, the GPU, packages, CUDA's libraries, models, and the whole of it."""
    folder = paths.package(settings)
    yield folder
    if not folder.ok:
        return
    preset = settings.emilia_preset
    try:
        wanted = weights.configured(settings)
    except DuplexforgeError as error:
        yield Finding(f"preset {preset}", False, str(error), "set EMILIA_PRESET to a preset of Emilia/config.json")
        return
    there, used = gpu.present(preset, config.visible_gpus())
    probed = probe(packages.wanted(wanted)) if packages.wanted(wanted) else {}
    findings = [there, *packages.of_engines(preset, probed, gpu=used)]
    if used:
        names = {found.metadata["Name"].lower() for found in distributions()}
        findings += gpu.libraries(
            probed, names & {"onnxruntime", "onnxruntime-gpu"}, lambda: emilia.load_cublas(settings)
        )
    try:
        findings += weights.of_preset(settings)
    except DuplexforgeError as error:
        findings.append(Finding("models", False, str(error), "restore or delete the file that is named here"))
    yield from findings
    if all(finding.ok for finding in findings):
        yield _pipeline(settings)


def _pipeline(settings: ProcessSettings) -> Finding:
    check = f"pipeline: {settings.emilia_preset}"
    try:
        pipeline = emilia.load_pipeline(settings)
    except DuplexforgeError as error:
        return Finding(check, False, str(error), "see Emilia/models/README.md")
    except ImportError as error:
        return Finding(check, False, str(error), "install the package named here")
    seen = ", ".join(f"{name} {version}" for name, version in pipeline.models.items())
    pipeline.close()
    return Finding(check, True, seen)


def _publishing(wanted: UploadSettings) -> Finding:
    if not wanted.hf_repo_id:
        return paths.publishing(Path(wanted.publish_dir).expanduser())
    good = wanted.hf_token is not None
    cure = "" if good else "set HF_TOKEN to a token that may write there"
    return Finding("publishing", good, f"to {wanted.hf_repo_id}", cure)
