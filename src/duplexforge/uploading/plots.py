"""The plots of the card, drawn from the ledger alone: PNG files that are the same bytes for the same numbers.

matplotlib belongs to the extra ``report``. Without it the card goes without plots and says nothing of them.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from duplexforge.records import Hours, LedgerEntry
from duplexforge.uploading.histograms import DURATIONS, SCORES, Scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLDER = "plots/"
_MOST_LANGUAGES = 24
_CLASSES = (("published", "#2a9d8f"), ("flagged", "#e0982f"), ("no speech", "#8a94a6"))
# What a machine's own matplotlibrc says must not reach the bytes.
_STYLE: Any = {
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": "white",
}


class _Row(NamedTuple):
    """Hours of one language by where they went."""

    language: str
    published: float
    flagged: float
    no_speech: float


def available() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw(batches: Sequence[LedgerEntry]) -> dict[str, bytes]:
    """The plots there are numbers for, by path in the data set; none without matplotlib."""
    if not available():
        return {}
    found: dict[str, bytes] = {}
    if rows := _hour_rows(batches):
        found[f"{FOLDER}hours.png"] = _hours(rows)
    if any(total := DURATIONS.total(entry.durations for entry in batches)):
        found[f"{FOLDER}durations.png"] = _histogram(DURATIONS, tuple(total), "seconds (the last bar: 30 and longer)")
    if any(total := SCORES.total(entry.scores for entry in batches)):
        found[f"{FOLDER}dnsmos.png"] = _histogram(SCORES, tuple(total), "DNSMOS P.835 OVRL (1 bad to 5 excellent)")
    return found


def _hour_rows(batches: Sequence[LedgerEntry]) -> tuple[_Row, ...]:
    """The languages of most hours, the one with the most first."""
    sums: dict[str, Hours] = {}
    for entry in batches:
        sums[entry.language] = sums.get(entry.language, Hours()) + entry.hours
    rows = [_Row(name, one.published, one.flagged, one.no_speech) for name, one in sums.items() if one.source > 0]
    return tuple(sorted(rows, key=lambda row: (-sum(row[1:]), row.language))[:_MOST_LANGUAGES])


# A card is often rendered again to see whether it changed; a picture is drawn again only when its numbers did.
@functools.lru_cache(maxsize=8)
def _hours(rows: tuple[_Row, ...]) -> bytes:
    def paint(axes: Axes) -> None:
        left = [0.0] * len(rows)
        for number, (label, colour) in enumerate(_CLASSES, start=1):
            widths = [float(row[number]) for row in rows]
            axes.barh(range(len(rows)), widths, left=left, color=colour, height=0.7, label=label)
            left = [start + width for start, width in zip(left, widths, strict=True)]
        axes.set_yticks(range(len(rows)), [row.language for row in rows])
        axes.invert_yaxis()
        axes.set_xlabel("hours of recordings")
        axes.grid(axis="x", linewidth=0.5)
        axes.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1.0, 1.0))

    return _png(paint, height=1.2 + 0.27 * len(rows))


@functools.lru_cache(maxsize=8)
def _histogram(scale: Scale, counts: tuple[int, ...], unit: str) -> bytes:
    def paint(axes: Axes) -> None:
        axes.bar(scale.edges(), counts, scale.step * 0.88, align="edge", color=_CLASSES[0][1])
        axes.set_xlim(scale.low, scale.low + scale.step * scale.bins)
        axes.set_xlabel(unit)
        axes.set_ylabel("segments")
        axes.grid(axis="y", linewidth=0.5)

    return _png(paint, height=2.9)


def _png(paint: Callable[[Axes], None], *, height: float) -> bytes:
    # Costs a second to import, which only who publishes should pay. The canvas is named: pyplot would look for a display.
    from matplotlib import rc_context, rcdefaults, rcParams
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    file = io.BytesIO()
    with rc_context(), warnings.catch_warnings():
        rcdefaults()
        # Not every language name has its letters in the font; a box in their place is no reason to fail.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        rcParams.update(_STYLE)
        figure = Figure(figsize=(7.2, height), dpi=110, layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure.add_subplot())
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
