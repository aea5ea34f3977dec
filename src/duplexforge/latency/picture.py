"""The report as a picture: a bar to the median, a line to the worst, for everything that was timed.

matplotlib belongs to the extra ``report``; ask :func:`available` first.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from duplexforge.latency.figures import Measure, Spread
from duplexforge.latency.report import Report, known

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["available", "draw"]

_BAR, _LINE, _GOAL = "#2a9d8f", "#33415c", "#c1121f"


def available() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw(report: Report) -> bytes:
    """A PNG of ``report``: milliseconds on a logarithmic scale, with the goals of the 95th percentile as marks."""
    # Costs a second to import, which only who draws should pay. The canvas is named: pyplot would look for a display.
    from matplotlib import rc_context, rcdefaults, rcParams
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    measures = known()
    rows = [(measures[name], spread) for name, spread in report.spreads().items() if measures[name].unit == "ms"]
    file = io.BytesIO()
    with rc_context(), warnings.catch_warnings():
        rcdefaults()
        # A file may be called anything; a box in place of a letter is no reason to fail.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        rcParams.update(
            {"font.size": 8, "text.parse_math": False, "axes.spines.top": False, "axes.spines.right": False}
        )
        figure = Figure(figsize=(9.0, 1.6 + 0.3 * len(rows)), dpi=110, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _paint(axes, rows)
        axes.set_xlabel("milliseconds" if report.clock == "wall" else "milliseconds of the processor")
        figure.suptitle(f"{report.model.title}\n{report.machine.title}", fontsize=7)
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _paint(axes: Axes, rows: Sequence[tuple[Measure, Spread]]) -> None:
    places = range(len(rows))
    # A logarithm has no zero, and a decoder that was given no whole packet took next to no time.
    medians = [max(spread.p50, 1e-3) for _, spread in rows]
    axes.barh(places, medians, height=0.6, color=_BAR, label="median")
    axes.hlines(places, medians, [spread.most for _, spread in rows], color=_LINE, linewidth=1, label="to the worst")
    axes.plot([spread.p95 for _, spread in rows], places, "o", color=_LINE, markersize=4, label="p95")
    goals = [(measure.goal, place) for place, (measure, _) in enumerate(rows) if measure.goal is not None]
    if goals:
        axes.plot(
            [goal for goal, _ in goals], [place for _, place in goals], "|", color=_GOAL, markersize=13, label="goal"
        )
    axes.set_yticks(places, [f"{measure.title} (n={spread.n})" for measure, spread in rows])
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.invert_yaxis()
    axes.grid(axis="x", linewidth=0.4)
    axes.legend(frameon=False, ncols=4, loc="lower right", bbox_to_anchor=(1.0, 1.0))
