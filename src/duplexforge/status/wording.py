"""How numbers and names are written, the same on the terminal and in the report.

Texts that come from outside (titles, messages, speaker names) pass through :func:`plain` before they reach a terminal
or a plot: a title must not move the cursor.
"""

from __future__ import annotations

from duplexforge.status.snapshot import FAILED, UNACCOUNTED, WAITING

# Labels of the parts of the hours and of the classes whose name alone would not say it.
_LABELS = {
    FAILED["download"]: "failed: download",
    FAILED["processing"]: "failed: processing",
    WAITING["download"]: "waiting: download",
    WAITING["processing"]: "waiting: processing",
    UNACCOUNTED: "not accounted for",
    "published": "unflagged speech",
    "flagged": "flagged speech",
}


def label(name: str) -> str:
    """The words for a class or a part of the hours."""
    return _LABELS.get(name) or plain(name).replace("_", " ")


def plain(text: str, limit: int = 200) -> str:
    """``text`` on one line without control characters, at most ``limit`` characters."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def clock(hours: float) -> str:
    """Hours as ``h:mm:ss``, so that columns can be added up by eye: 1.5 → ``1:30:00``."""
    seconds = round(abs(hours) * 3600)
    sign = "-" if hours < 0 and seconds else ""
    return f"{sign}{seconds // 3600:,}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def span(seconds: float | None) -> str:
    """A span of time in its two largest units: ``45 s``, ``3 min 20 s``, ``5 h 2 min``, ``12 d 3 h``; empty for None."""
    if seconds is None:
        return ""
    left = max(0, round(seconds))
    if left < 60:
        return f"{left} s"
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    first = next(number for number, (_, size) in enumerate(units) if left >= size)
    (name, size), (rest_name, rest_size) = units[first], units[first + 1]
    rest = left % size // rest_size
    return f"{left // size:,} {name}" + (f" {rest} {rest_name}" if rest else "")


def share(part: float, whole: float) -> str:
    """``part`` of ``whole`` in percent; empty when there is no whole."""
    return f"{part / whole:.1%}" if whole > 0 else ""


def size(count: int) -> str:
    """Bytes in decimal units, as object stores and the Hub count them."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def plural(count: int, noun: str) -> str:
    """``1 episode``, ``2,000 episodes``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def pace(factor: float) -> str:
    """A real-time factor, and what it means: ``0.050 (20 times faster than real time)``."""
    if factor <= 0:
        return "0"
    # Rounding must not turn "slightly slower" into "1.0 times faster".
    faster = f"{1 / factor:.3g} times faster" if factor < 1 else f"{factor:.3g} times slower"
    return f"{factor:.3g} ({faster} than real time)"
