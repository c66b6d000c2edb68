"""FLOPs and loss of runs over their steps, as SVG by matplotlib, an extra."""

import io
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from .._imports import same_random
from .markup import escape

_POINTS = 400  # of a line: more are not seen
_INK = "#010203"  # stands for the colour of the page's text
_COLOURS = ("#4c8bd0", "#e8871e", "#4fa64f", "#b0569c", "#c9a227", "#6c7a89")

MISSING = (
    '<p class="warn">The plots of FLOPs and loss need matplotlib: '
    "pip install flops-tracker[plot]</p>"
)


class Line(NamedTuple):
    """A line of a plot: what it is of, and its points."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


class Plot(NamedTuple):
    """Axes and lines of a plot; FLOPs along an axis have units with prefixes."""

    title: str
    x_label: str
    y_label: str
    lines: list[Line]


def figures(plots: list[Plot]) -> str:
    """Draw what has points side by side; what is missing is said where matplotlib is."""
    wanted = [plot for plot in plots if any(len(line.x) for line in plot.lines)]
    if not wanted:
        return ""
    with same_random():  # importing it may draw random numbers
        try:
            import matplotlib as mpl
        except ModuleNotFoundError as error:
            if error.name != "matplotlib":
                raise
            return MISSING
        return f'<div class="plots">{"".join(_svg(mpl, plot) for plot in wanted)}</div>'


def _svg(mpl: Any, plot: Plot) -> str:
    from matplotlib.figure import Figure

    style = {
        **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor"), _INK),
        **dict.fromkeys(("xtick.color", "ytick.color", "axes.titlecolor"), _INK),
        "svg.fonttype": "none",
        "svg.hashsalt": plot.title,  # so that two plots of a page share no id
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "text.parse_math": False,  # names of runs may have dollars
    }
    text = io.StringIO()
    with mpl.rc_context(style):
        figure = Figure(figsize=(4.6, 2.9), layout="constrained")
        draw(figure.subplots(), plot)
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    return f"<figure>{_clean(text.getvalue(), plot.title)}</figure>"


def draw(axes: Any, plot: Plot) -> None:
    """Draw a plot on axes of matplotlib."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    for at, line in enumerate(plot.lines):
        kept = _thinned(len(line.x))
        marker = "o" if len(line.x) <= 60 else ""
        axes.plot(
            [line.x[n] for n in kept],
            [line.y[n] for n in kept],
            marker=marker,
            markersize=3,
            color=_COLOURS[at % len(_COLOURS)],
            label=line.label,
        )
    axes.set_title(plot.title, fontsize=10, loc="left")
    for axis, label in ((axes.xaxis, plot.x_label), (axes.yaxis, plot.y_label)):
        axis.set_label_text(label)
        if label.startswith("FLOP"):
            axis.set_major_formatter(EngFormatter())
            if axis is axes.yaxis:
                axes.set_ylim(bottom=0)
        elif label in ("epoch", "step"):
            axis.set_major_locator(MaxNLocator(integer=True))
    if len(plot.lines) > 1:
        axes.legend()


def _thinned(count: int) -> list[int]:
    """Give the numbers of the points that are drawn, the last one among them."""
    step = max(1, -(-count // _POINTS))
    kept = list(range(0, count, step))
    return kept if not count or kept[-1] == count - 1 else [*kept, count - 1]


def _clean(svg: str, title: str) -> str:
    """Make it a part of a page: no head, no ids that are not needed, the page's colour of text."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"| version="1.1"', "", svg)
    svg = re.sub(r"<!--.*?-->|\n\s*", " ", svg, flags=re.DOTALL)
    return svg.replace(_INK, "currentColor").replace(
        "<svg", f'<svg role="img" aria-label="{escape(title)}"', 1
    )
