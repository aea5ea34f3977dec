"""``python -m Emilia.models.torchaudio_mend``: make the registry's torchaudio work beside a torch without CUDA.

The registry carries torchaudio as a CUDA build only; its compiled parts cannot be loaded where torch has no CUDA, and
then neither torchaudio nor anything that imports it (pyannote.audio) can be imported. Without those files torchaudio
runs on plain torch: resampling, filter banks and mel features stay, forced alignment goes. Nothing is touched where
torch has CUDA or torchaudio is a CPU build.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

__all__ = ["CURE", "mend", "needed"]

CURE = "python -m Emilia.models.torchaudio_mend"


def needed(torch: Path, torchaudio: Path) -> list[Path]:
    """The compiled parts in the package folder ``torchaudio`` that the torch in the folder ``torch`` cannot load."""
    # The versions are read, not imported: importing torchaudio is what fails.
    if _version(torch / "version.py", "cuda") != "None" or "+cu" not in _version(torchaudio / "version.py", "version"):
        return []
    return sorted((torchaudio / "lib").glob("*.so"))


def _version(file: Path, name: str) -> str:
    found = re.search(rf"^(?:__)?{name}(?:__)?\b[^=\n]*=\s*(.+?)\s*$", file.read_text(), re.MULTILINE)
    return found[1] if found else ""


def mend() -> list[Path]:
    """Remove from the installed torchaudio what :func:`needed` lists, and return it; nothing when either is absent."""
    folders = [
        Path(spec.origin).parent for name in ("torch", "torchaudio") if (spec := find_spec(name)) and spec.origin
    ]
    removed = needed(*folders) if len(folders) == 2 else []
    for file in removed:
        file.unlink()
    return removed


if __name__ == "__main__":
    for part in mend():
        print(f"removed {part.name}: it needs CUDA, and torch has none")
