"""Packages: those of each role, and those of the engines that the preset names, which are really imported."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from duplexforge.doctor.finding import Finding
from duplexforge.doctor.probe import Facts

_ROLES = {
    "download": ("yt_dlp", "av", "requests"),
    "process": ("onnxruntime", "av", "soxr", "faster_whisper", "pocketsphinx"),
    "upload": ("pyarrow", "huggingface_hub"),
    "report": ("matplotlib", "jinja2"),
}
# Roles that not everybody has: torch and what goes with it are large. What they lack is told and is no fault.
_OPTIONAL = {
    "duplex": ("av", "pyarrow", "soundfile", "soxr", "transformers"),
    "train": ("torch", "av", "safetensors", "soundfile", "tensorboard"),
    "lora": ("torch", "accelerate", "peft", "transformers"),
}
_ENGINES = {
    ("separate", "mdx"): ("torch", "onnxruntime"),
    ("diarize", "pyannote"): ("torch", "torchaudio", "torchcodec", "pyannote.audio"),
    ("transcribe", "whisper"): ("ctranslate2", "faster_whisper"),
    ("score", "dnsmos"): ("onnxruntime",),
}
_MEND = "python -m Emilia.models.torchaudio_mend"


def of_roles() -> list[Finding]:
    """One finding for each role: whether what it imports is installed."""
    findings = []
    for role, names in _ROLES.items():
        missing = _missing(names)
        findings.append(
            Finding(f"packages: {role}", not missing, ", ".join(missing) or "all there", _cure(role, missing))
        )
    for role, names in _OPTIONAL.items():
        missing = _missing(names)
        seen = f"without {', '.join(missing)}: not to be used here" if missing else "all there"
        findings.append(Finding(f"packages: {role}", True, seen, _cure(role, missing)))
    return findings


def _missing(names: Sequence[str]) -> list[str]:
    return [name for name in names if find_spec(name) is None]


def _cure(role: str, missing: Sequence[str]) -> str:
    if not missing:
        return ""
    first = "pip install -c requirements.txt torch, then " if "torch" in missing else ""
    return f"{first}pip install -c requirements.txt 'duplexforge[{role}]'"


def wanted(config: Any) -> list[str]:
    """What the engines of ``config`` (an Emilia configuration) import; torch first, for it loads CUDA's libraries."""
    found = [
        name
        for (section, engine), names in _ENGINES.items()
        if getattr(config, section).engine == engine
        for name in names
    ]
    return sorted(dict.fromkeys(found), key=lambda name: name != "torch")


def of_engines(preset: str, probed: Mapping[str, Facts], *, gpu: bool) -> list[Finding]:
    """One finding for all packages that can be imported, and one for each that cannot."""
    good = {name: facts for name, facts in probed.items() if not facts.missing and not facts.error}
    bad = [_broken(name, facts, good, gpu) for name, facts in probed.items() if name not in good]
    seen = ", ".join(f"{name} {facts.version}".strip() for name, facts in good.items())
    return [*([Finding(f"packages: preset {preset}", True, seen)] if good else []), *bad]


def _broken(name: str, facts: Facts, good: Mapping[str, Facts], gpu: bool) -> Finding:
    check, extra = f"package: {name}", "emilia,gpu" if gpu else "emilia,cpu"
    if facts.missing:
        first = "pip install -c requirements.txt torch, then " if "torch" not in good else ""
        cure = f"{first}pip install -c requirements.txt 'duplexforge[{extra}]'"
        return Finding(check, False, "not installed", cure)
    seen = f"cannot be imported: {facts.error.strip().splitlines()[0][:300]}"
    torch = good.get("torch")
    if "torchaudio" in facts.error and torch and not torch.cuda:
        # Whatever imports torchaudio fails with it, so the words count and not the name.
        return Finding(check, False, f"{seen} (a CUDA build beside a torch without CUDA)", _MEND)
    if name == "torchcodec":
        return _torchcodec(check, facts.error, seen)
    return Finding(check, False, seen, f"pip install --force-reinstall --no-deps -c requirements.txt {name}")


def _torchcodec(check: str, error: str, seen: str) -> Finding:
    lacking = re.findall(r"(lib[\w+-]+)\.so[\d.]*: cannot open shared object", error)
    if lacking and all(name.startswith(("libav", "libsw")) for name in lacking):
        return Finding(
            check, True, "cannot load FFmpeg's libraries; nothing here needs it to, audio goes in as samples"
        )
    cure = "pip install --force-reinstall --no-deps -c requirements.txt torchcodec: others do not fit this torch"
    return Finding(check, False, seen, cure)
