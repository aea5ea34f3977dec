"""The report's plots as inline SVG, drawn by matplotlib without pyplot, a display or the environment.

The same numbers give the same bytes: ids are salted by the plot's name and no date is written. Text stays text (it can
be searched and takes the page's font), and ink is a CSS variable, so that one drawing reads on light and dark paper.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from duplexforge.status.measures import Histogram, Measures
from duplexforge.status.snapshot import Snapshot
from duplexforge.status.wording import clock, label, plain, share

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 12
"""Bars of a plot that has one bar for each name; the page says in words what is left out."""

COLOURS = {
    "published": "#2a9d8f",
    "flagged": "#e0982f",
    "no_speech": "#8a94a6",
    "failed": "#d1495b",
    "waiting": "#4a7fc1",
}
"""Mid tones that stand out from white and from black; the page's legend uses the same."""

# Stand-ins that the SVG text is searched for and that become CSS variables of the page.
_INK, _FAINT = "#010203", "#040506"
_VARIABLES = {_INK: "var(--ink)", _FAINT: "var(--line)"}
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "grid.color": _FAINT,
    "grid.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.constrained_layout.h_pad": 0.07,
}
_WIDTH = 6.4
_LABEL = 26


def hours(snapshot: Snapshot) -> str | None:
    """Hours by where they went; None when there are none."""
    parts = snapshot.hours.parts
    if snapshot.hours.source <= 0:
        return None
    rows = [(label(name), value) for name, value in parts.items()]
    texts = [f"{clock(value)} · {share(value, snapshot.hours.source)}" for _, value in rows]
    return _bars("Hours by class", rows, colours=[COLOURS[name] for name in parts], texts=texts, unit="hours")


def durations(measures: Measures) -> str | None:
    """Histogram of segment lengths in seconds."""
    return _histogram("Segment duration", measures.durations, "seconds (the last bar: 30 and longer)")


def scores(measures: Measures) -> str | None:
    """Histogram of DNSMOS P.835 OVRL; None when nothing was scored."""
    return _histogram("DNSMOS", measures.scores, "DNSMOS P.835 OVRL (1 bad to 5 excellent)")


def speakers(measures: Measures) -> str | None:
    """Hours of segments of the speakers who speak most."""
    rows = measures.longest_speakers(MOST_BARS)
    return _bars("Hours by speaker", rows, texts=[clock(value) for _, value in rows], unit="hours")


def flags(snapshot: Snapshot) -> str | None:
    """How many segments carry each flag."""
    rows = [(name, float(count)) for name, count in list(snapshot.flags.items())[:MOST_BARS]]
    return _bars(
        "Flags",
        rows,
        colours=[COLOURS["flagged"]],
        texts=[f"{count:,.0f} · {share(count, snapshot.segments)}" for _, count in rows],
        unit="segments",
    )


def stages(snapshot: Snapshot) -> str | None:
    """Computing seconds by pipeline stage, in the order of the pipeline."""
    rows = list(snapshot.stage_seconds.items())
    whole = sum(snapshot.stage_seconds.values())
    texts = [f"{seconds:,.1f} s · {share(seconds, whole)}" for _, seconds in rows]
    return _bars("Seconds per stage", rows, texts=texts, unit="seconds", colours=[COLOURS["waiting"]])


def _bars(
    title: str,
    rows: Sequence[tuple[str, float]],
    *,
    texts: Sequence[str],
    unit: str,
    colours: Sequence[str] = (COLOURS["published"],),
) -> str | None:
    """Horizontal bars, first row on top, each with its value written behind it."""
    if not rows:
        return None
    values = [value for _, value in rows]
    widest = max(values) or 1.0

    def draw(axes: Axes) -> None:
        bars = axes.barh(range(len(rows)), values, color=list(colours), height=0.68)
        axes.set_yticks(range(len(rows)), [_short(name) for name, _ in rows])
        axes.invert_yaxis()
        axes.bar_label(bars, texts, padding=5)
        # Room for the texts behind the longest bar.
        axes.set_xlim(0, widest * (1.12 + 0.015 * max(len(text) for text in texts)))
        axes.set_xlabel(unit)
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)

    return _svg(title, draw, height=0.9 + 0.27 * len(rows))


def _short(name: str) -> str:
    # Both ends tell names apart: the episode at the front, the speaker's number at the back.
    name = plain(name)
    return name if len(name) <= _LABEL else f"{name[: _LABEL - 9]}…{name[-8:]}"


def _histogram(title: str, histogram: Histogram, unit: str) -> str | None:
    if not histogram.total:
        return None
    from matplotlib.ticker import MaxNLocator

    def draw(axes: Axes) -> None:
        edges, width = histogram.edges(), histogram.step * 0.88
        below = histogram.kept
        axes.bar(edges, below, width, align="edge", color=COLOURS["published"], label="unflagged")
        axes.bar(edges, histogram.flagged, width, bottom=below, align="edge", color=COLOURS["flagged"], label="flagged")
        # A little room on the left keeps the two axes' first numbers apart.
        axes.set_xlim(histogram.low - 0.015 * (histogram.high - histogram.low), histogram.high)
        axes.set_xlabel(unit)
        axes.set_ylabel("segments")
        # Half a segment is no count.
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.grid(axis="y")
        axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)

    return _svg(title, draw, height=2.9)


def _svg(title: str, draw: Callable[[Axes], None], *, height: float) -> str:
    """The drawing as an ``<svg>`` element whose ids no other drawing on the page has."""
    # Costs a second to import, which only a report should pay.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    name = re.sub(r"[^a-z]+", "-", title.lower())
    file = io.StringIO()
    style: Any = {**_STYLE, "svg.hashsalt": name}
    with rc_context(style), warnings.catch_warnings():
        # The browser draws the text with its own fonts; that ours lacks a glyph only makes its width a guess.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure.add_subplot())
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None, "Title": title}
        figure.savefig(file, format="svg", transparent=True, metadata=metadata)
    return _inline(file.getvalue(), name, title)


def _inline(document: str, name: str, title: str) -> str:
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    # The page sets the width; without a fixed one the viewBox keeps the proportions.
    svg = re.sub(r'<svg ([^>]*?)\b(?:width|height)="[^"]*" ?', r"<svg \1", svg, count=1)
    svg = re.sub(r'<svg ([^>]*?)\b(?:width|height)="[^"]*" ?', r"<svg \1", svg, count=1)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
