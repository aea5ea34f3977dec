"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, whether it is well, what was seen, and the cure when it is not."""

    check: str
    ok: bool
    seen: str
    cure: str = ""
