"""Pictures for papers, with matplotlib: loss against FLOPs, breakdown, scaling, roofline.

Each function draws into ``ax``, or into a new figure of pyplot's, and returns the Axes. Colours can
be told apart by the colour-blind; lines and points also by their markers.
"""

import reprlib
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple

from . import _core, _groups, _options, _ranks, _roofline, _run_files, _views
from ._frameworks import need

# The palette of Okabe and Ito, https://jfly.uni-koeln.de/color/; its yellow is too light for lines.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_GREY, _DARK = "#999999", "#444444"
_LEAST = 0.001  # of the total, for a bar of its own
_ABOVE: dict[str, Any] = {
    **{"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0, "frameon": False},
    **{"fontsize": "small", "handlelength": 1.2, "columnspacing": 1.2},
}
_BESIDE: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
_REST = "\0"  # no module's name, nor any other
_PHASES = dict(zip(("forward", "backward", "recompute", "optimizer"), COLOURS, strict=False))


def _axes(ax: Any, width: float = 5.0, height: float = 3.4) -> Any:
    """The Axes to draw into; a new figure in inches where none is given."""
    need("matplotlib", "plot")
    if ax is not None:
        if not hasattr(ax, "plot") or not hasattr(ax, "figure"):
            raise TypeError(f"ax must be an Axes of matplotlib, not {ax!r}")
        return ax
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _prefixes(axis: Any) -> None:
    """Write large numbers as 20 M, 1.5 T."""
    from matplotlib.ticker import EngFormatter

    axis.set_major_formatter(EngFormatter())


def _few_ticks(ax: Any) -> None:
    ax.locator_params(axis="x", nbins=6)
    _prefixes(ax.xaxis)


def _legible(label: Any) -> str | None:
    """A label as a legend shows it: matplotlib leaves those out that begin with an underscore."""
    return None if label is None else f" {label}" if str(label).startswith("_") else str(label)


def _style(number: int) -> dict[str, str]:
    """Colour and marker of the n-th line."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


# ---- loss ----


def loss(
    runs: Any,
    losses: Any = None,
    *,
    label: str | None = None,
    ax: Any = None,
) -> Any:
    """Draw the loss against the cumulative training FLOPs of a run; returns the Axes.

    ``runs`` is a FlopsTracker, its ``epoch_logs`` or ``step_logs``, the path of a CSV file of them,
    or a dict of these by label, one line each. ``losses`` are the run's, one for each epoch or for
    each step (a dict by the same labels for several runs); without them, the mean training losses
    that the epochs have. A tracker of one process of several has the FLOPs of its rank.

    ValueError where there is no loss, or not as many as epochs or steps.
    """
    if isinstance(runs, Mapping):
        several, given = dict(runs), losses
        if given is None:
            given = dict.fromkeys(several)
        if not isinstance(given, Mapping) or set(given) != set(several):
            raise ValueError(f"losses of several runs are a dict with the keys {list(several)}")
    else:
        name = getattr(runs, "run_name", None) if label is None else label
        several, given = {name: runs}, {name: losses}
    curves = {name: _curve(run, given[name]) for name, run in several.items()}
    ax = _axes(ax)
    for name, (flops, values) in curves.items():
        style = _style(len(ax.get_lines()))
        size = 4 if len(flops) <= 30 else 0
        ax.plot(flops, values, label=_legible(name), linewidth=1.4, markersize=size, **style)
    rank = _ranks.label()
    of = f", {rank}" if rank and any(hasattr(run, "epoch_logs") for run in several.values()) else ""
    ax.set(xlabel=f"cumulative training FLOPs{of}", ylabel="loss")
    if ax.get_xscale() == "linear":
        _few_ticks(ax)
    ax.grid(alpha=0.25)
    if len(ax.get_lines()) > 1 or label is not None:
        ax.legend(frameon=False)
    return ax


def _curve(run: Any, losses: Any) -> tuple[list[float], list[float]]:
    """Cumulative FLOPs and losses of one run."""
    if hasattr(run, "epoch_logs"):
        logs = {"epochs": run.epoch_logs, "steps": run.step_logs}
    else:
        records = _read_csv(run) if isinstance(run, str | PathLike) else run
        if not isinstance(records, list) or not all(
            hasattr(record, "flops_total_cum") for record in records
        ):
            raise TypeError(
                "a run is a FlopsTracker, its epoch_logs or step_logs, or a CSV file of these "
                f"(several are a dict by label), not {reprlib.repr(run)}"
            )
        logs = {"records": records}
    lengths = " and ".join(f"{len(records)} {kind}" for kind, records in logs.items())
    if losses is None:
        known = [r for r in next(iter(logs.values())) if getattr(r, "loss", None) is not None]
        if not known:
            raise ValueError(
                f"this run has {lengths} and no loss: pass losses, one for each of them"
            )
        return [float(r.flops_total_cum) for r in known], [float(r.loss) for r in known]
    values = [float(value) for value in losses]
    for records in logs.values():
        if len(records) == len(values) > 0:
            return [float(record.flops_total_cum) for record in records], values
    raise ValueError(f"losses has {len(values)} values, and the run {lengths}")


class _Record(NamedTuple):
    """A row of a file, as a record of a tracker."""

    flops_total_cum: int
    loss: float | None


def _read_csv(path: str | PathLike[str]) -> list[_Record]:
    """Whole rows of PREFIX_epoch.csv or PREFIX_batch.csv; ValueError for any other file."""
    file = _run_files.read(Path(path))
    if file.kind == "batch":
        return [_Record(total, None) for total in file.totals]
    return [_Record(epoch.total, epoch.loss) for epoch in file.epochs.values()]


# ---- breakdown ----


def breakdown(
    count: Any,
    by: Literal["module", "op", "class", "phase", "dtype"] = "module",
    *,
    depth: int | None = None,
    top: int = 10,
    ax: Any = None,
) -> Any:
    """Draw where the FLOPs are: a bar for each part, split by phase; returns the Axes.

    ``count`` is any result: a FlopCount, a Profile, a FlopCounter, a FlopsTracker. Bars add up to
    its total: modules ``depth`` levels below the root have all that is inside of them (without it,
    the first level that has several). What is left beside the ``top`` largest, and what is below
    0.1 %, is one bar.
    """
    _options.choice("by", by, _groups.AXES)
    depth, top = _options.whole_or_none("depth", depth), _options.whole("top", top, 1)
    counts = _groups.counts_of(count)
    if by == "module" and depth is None:
        depth = _groups.first_split(counts)
    key = _groups.key_of(by, depth)
    rows = [row for row in counts.rows if row.flops]
    totals = sorted(_groups.sums(rows, key).items(), key=lambda item: -item[1])
    bars = [name for name, flops in totals[:top] if flops >= _LEAST * counts.total]
    label_of = _labels(counts, by)
    names = [label_of(name) for name in bars]
    shown = set(bars)
    if len(totals) > len(bars):
        names.append(_views.number_of(len(totals) - len(bars), "other"))
        bars.append(_REST)
    cells = _groups.sums(rows, lambda row: (key(row) if key(row) in shown else _REST, row.phase))
    ax = _axes(ax, width=5.6, height=1.2 + 0.3 * max(len(bars), 2))
    used = [phase for phase in _PHASES if any(row.phase == phase for row in rows)]
    ends = [0.0] * len(bars)
    for phase in used:
        widths = [float(cells.get((bar, phase), 0)) for bar in bars]
        ax.barh(range(len(bars)), widths, left=ends, color=_PHASES[phase], label=phase, height=0.7)
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
    for place, end in enumerate(ends):
        share = f" {100 * end / counts.total:.1f} %"
        ax.text(end, place, share, va="center", fontsize="small")
    ax.set_yticks(range(len(bars)), names)
    ax.tick_params(axis="y", length=0)
    ax.invert_yaxis()  # the largest on top
    ax.set_xlim(0, 1.15 * max(ends, default=1.0))  # with room for the shares
    ax.set_xlabel(f"FLOPs ({counts.convention})" + (f", {counts.ranks}" if counts.ranks else ""))
    _few_ticks(ax)
    if len(used) > 1 and by != "phase":
        ax.legend(ncols=len(used), **_ABOVE)
    return ax


def _labels(counts: Any, by: str) -> Callable[[str], str]:
    """What bars and points are called: modules by their paths below the model, 3 by 3 Conv2d."""
    if by == "op":
        return lambda name: name.removeprefix("aten.").removesuffix(".default")
    if by != "module":
        return str
    path_of, modules = _groups.below_root([counts]), counts.by_module()

    def label(name: str) -> str:
        path = path_of(name)
        return f"{path} {modules[name].module_class}" if path.isdecimal() else path

    return label


# ---- scaling ----


def scaling(
    result: Any, axis: str | None = None, *, label: str | None = None, ax: Any = None
) -> Any:
    """Draw the counts of a Scaling against one of its axes, both logarithmic; returns the Axes.

    A line for each combination of the other axes; ``axis`` is the first where none is named. Grey
    lines from the first point show what growth in proportion, and with the square, would be. To
    compare several, draw the next into the same ``ax``, each with a ``label``.
    """
    from ._scaling import Scaling

    if not isinstance(result, Scaling):
        raise TypeError(f"plot.scaling draws what scaling(...) gives, not {result!r}")
    lines = result._lines(axis)
    curves = [curve for curve in lines.curves if all(curve[2])]
    if not curves:
        raise ValueError("no FLOPs were counted: there is nothing to draw on logarithmic axes")
    exponent = result.fit(axis).exponent
    fitted = "FLOPs" if exponent is None else f"fitted exponent {exponent:.2f}"
    if label is not None:
        fitted = f"{label}, {fitted}"
    ax = _axes(ax, width=5.0 if len(curves) == 1 else 6.2)
    drawn = [line for line in ax.get_lines() if line.get_color() != _GREY]
    for number, (name, xs, flops) in enumerate(curves, len(drawn)):
        ax.plot(
            xs, flops, label=_legible(name or fitted), linewidth=1.4, markersize=5, **_style(number)
        )
    _, xs, flops = curves[0]
    for power, name, dashes in ((1, lines.axis, (1, 2)), (2, f"{lines.axis}²", (4, 2))):
        if not drawn:
            guide = [flops[0] * (x / xs[0]) ** power for x in xs]
            ax.plot(xs, guide, color=_GREY, linewidth=1, dashes=dashes, label=f"∝ {name}", zorder=0)
    ax.set(xscale="log", yscale="log", xlabel=lines.axis, ylabel=f"FLOPs ({result.convention})")
    ticks = xs[:: -(-len(xs) // 8)]
    ax.set_xticks(ticks, [f"{x:g}" for x in ticks])
    ax.xaxis.minorticks_off()
    ax.grid(alpha=0.25)
    legend: dict[str, Any] = {"frameon": False, "fontsize": "small"}
    if len(curves) > 1:
        legend |= {**_BESIDE, "title": fitted, "title_fontsize": "small"}
    ax.legend(**legend)
    return ax


# ---- roofline ----


def roofline(
    result: Any,
    peak_flops: Any = None,
    bandwidth: Any = None,
    *,
    by: Literal["op", "module", "class"] = "op",
    depth: int | None = None,
    top: int = 7,
    ax: Any = None,
) -> Any:
    """Draw FLOP/s against arithmetic intensity (FLOPs per byte), under a device's roofline.

    ``result`` is any result; points of a Profile with times stand at the FLOP/s that they reached,
    those of others on the roof, at what the device could do at most. Bytes are each tensor
    argument read once and each result written once, as without fusion or caches. ``peak_flops`` is
    in FLOP/s: a number, a text ("312 TFLOP/s") or a dict by dtype, one roof each; without it that
    of the profile. ``bandwidth`` is that of its memory in bytes/s: a number or a text ("2 TB/s").
    The model of S. Williams, A. Waterman and D. Patterson, "Roofline", CACM 52(4), 2009.

    The ``top`` parts of most FLOPs have a marker and a name, others are grey. Returns the Axes.
    ValueError where a peak is not known.
    """
    _options.choice("by", by, ("op", "module", "class"))
    depth, top = _options.whole_or_none("depth", depth), _options.whole("top", top, 1)
    counts = _groups.counts_of(result)
    peaks = _roofline.peaks_of(counts, peak_flops)
    memory = _roofline.bandwidth_of(bandwidth)
    points = _roofline.points(counts, _groups.key_of(by, depth), peaks, memory)
    if not points:
        raise ValueError("nothing that was counted has FLOPs and moves bytes")
    ax = _axes(ax, width=6.4, height=3.6)
    _draw_roofs(ax, peaks, memory, [x for _, x, _ in points])
    label_of = _labels(counts, by)
    for number, (name, x, y) in enumerate(points[:top]):
        label = _legible(label_of(name))
        ax.plot([x], [y], linestyle="", markersize=7, label=label, **_style(number))
    others = points[top:]
    if others:
        xs, ys = [p[1] for p in others], [p[2] for p in others]
        label = _views.number_of(len(others), "other")
        ax.plot(xs, ys, linestyle="", marker=".", color=_GREY, label=label, zorder=1)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel=f"arithmetic intensity (FLOPs per byte, {counts.convention})",
        ylabel="FLOP/s" if _roofline.is_timed(counts) else "FLOP/s, at most",
    )
    _prefixes(ax.yaxis)
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize="small", **_BESIDE)
    return ax


def _draw_roofs(ax: Any, peaks: Mapping[str, float], memory: float, xs: Sequence[float]) -> None:
    """The slope of the memory, up to the highest roof, and a line for each roof."""
    ridges = [peak / memory for peak in peaks.values()]
    left, right = min(*xs, *ridges) / 3, max(*xs, *ridges) * 40  # with room for the names
    top = max(ridges)
    ax.plot([left, top], [left * memory, top * memory], color=_DARK, linewidth=1.4, zorder=0)
    for name, peak in peaks.items():
        ridge = peak / memory
        ax.plot([ridge, right], [peak, peak], color=_DARK, linewidth=1.4, zorder=0)
        text = f"{_core.format_flops(round(peak))}/s" + (f", {name}" if name else "")
        _note(ax, text, (right, peak), (0, 3), ha="right")
    _note(ax, f"{_roofline.bytes_text(memory)}/s", (left, left * memory), (6, 0), va="center")


def _note(ax: Any, text: str, at: tuple[float, float], shift: tuple[int, int], **how: Any) -> None:
    """A small text some points beside a place."""
    ax.annotate(text, at, shift, textcoords="offset points", fontsize="small", **how)


__all__ = ["breakdown", "loss", "roofline", "scaling"]
