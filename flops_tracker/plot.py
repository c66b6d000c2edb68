"""Pictures for papers, with matplotlib: loss against FLOPs, breakdown, scaling, roofline.

Each function draws into ``ax``, or into a new figure of pyplot's, and returns the Axes. Colours can
be told apart by the colour-blind; lines and points also by their markers.
"""

import csv
import math
import reprlib
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Literal, NamedTuple

from . import _core, _groups, _options, _ranks
from ._frameworks import need

# The palette of Okabe and Ito, https://jfly.uni-koeln.de/color/; its yellow is too light for lines.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_GREY, _DARK = "#999999", "#444444"
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
        ax.plot(flops, values, label=name, linewidth=1.4, markersize=size, **style)
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
                "a run is a FlopsTracker, its epoch_logs or step_logs, or a CSV file of these, not "
                f"{reprlib.repr(run)}"
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


class _CsvRecord:
    def __init__(self, row: dict[str, str]) -> None:
        self.flops_total_cum = int(row["flops_total_cum"])
        self.loss = float(row["loss"]) if row.get("loss") else None


def _read_csv(path: str | PathLike[str]) -> list[_CsvRecord]:
    """Records of PREFIX_epoch.csv or PREFIX_batch.csv; ValueError for any other file."""
    with open(path, newline="", encoding="utf-8") as file:
        try:
            return [_CsvRecord(row) for row in csv.DictReader(file)]
        except (KeyError, ValueError, TypeError):
            raise ValueError(
                f"{str(path)!r} is no file of epochs or batches: they have whole rows and a column "
                "flops_total_cum"
            ) from None


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
    the first level that has several); what is left beside the ``top`` largest is one bar.
    """
    _options.choice("by", by, _groups.AXES)
    depth, top = _options.whole_or_none("depth", depth), _options.whole("top", top, 1)
    counts = _groups.counts_of(count)
    if by == "module" and depth is None:
        depth = _groups.first_split(counts)
    key = _groups.key_of(by, depth)
    rows = [row for row in counts.rows if row.flops]
    totals = sorted(_groups.sums(rows, key).items(), key=lambda item: -item[1])
    bars = [name for name, _ in totals[:top]]
    names = [_part(name, by) for name in bars]
    shown = set(bars)
    if len(totals) > top:
        bars.append(_REST)
        names.append(f"{len(totals) - top} others")
    cells = _groups.sums(rows, lambda row: (key(row) if key(row) in shown else _REST, row.phase))
    ax = _axes(ax, height=0.9 + 0.3 * max(len(bars), 2))
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
        ax.legend(frameon=False, loc="lower right")
    return ax


def _part(name: str, by: str) -> str:
    """What a bar or point is called: operations without their library and default overload."""
    if by == "module":
        return name or _groups.OUTSIDE
    return name.removeprefix("aten.").removesuffix(".default") if by == "op" else name


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
        ax.plot(xs, flops, label=name or fitted, linewidth=1.4, markersize=5, **_style(number))
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
    peaks = _peaks(counts, peak_flops)
    memory = _bandwidth(bandwidth)
    points = _points(counts, _groups.key_of(by, depth), peaks, memory)
    if not points:
        raise ValueError("nothing that was counted has FLOPs and moves bytes")
    ax = _axes(ax, width=6.4, height=3.6)
    _draw_roofs(ax, peaks, memory, [x for _, x, _ in points])
    for number, (name, x, y) in enumerate(points[:top]):
        ax.plot([x], [y], linestyle="", markersize=7, label=_part(name, by), **_style(number))
    others = points[top:]
    if others:
        xs, ys = [p[1] for p in others], [p[2] for p in others]
        label = f"{len(others)} others"
        ax.plot(xs, ys, linestyle="", marker=".", color=_GREY, label=label, zorder=1)
    timed = getattr(counts, "_times", None) is not None
    ax.set(
        xscale="log",
        yscale="log",
        xlabel=f"arithmetic intensity (FLOPs per byte, {counts.convention})",
        ylabel="FLOP/s" if timed else "FLOP/s, at most",
    )
    _prefixes(ax.yaxis)
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize="small", **_BESIDE)
    return ax


def _peaks(counts: Any, given: Any) -> dict[str, float]:
    from ._rates import check_peak

    given = getattr(counts, "peak_flops", None) if given is None else given
    if given is None:
        raise ValueError(
            "a roofline needs the device's peak: peak_flops=, in FLOP/s or as '312 TFLOP/s' "
            "(`flops-tracker peak` measures it, `flops-tracker peak --list` has data sheets')"
        )
    peaks = check_peak(given)
    return peaks if isinstance(peaks, dict) else {"": peaks}


_BYTES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}


def _bandwidth(given: Any) -> float:
    """Bytes per second, from a number or a text."""
    problem = "bandwidth must be bytes/s above 0, as 2.04e12 or '2.04 TB/s'"
    if given is None:
        raise ValueError(f"a roofline needs the memory's bandwidth: {problem}, of the data sheet")
    value, unit = given, "B/s"
    if isinstance(given, str):
        number = given.rstrip("BKMGTPk/s ")
        value, unit = number, given[len(number) :].strip() or "B/s"
    if isinstance(value, bool) or not unit.endswith("B/s") or unit[:-3] not in _BYTES:
        raise ValueError(f"{problem}, not {given!r}")
    try:
        rate = float(value) * _BYTES[unit[:-3]]
    except (TypeError, ValueError):
        raise ValueError(f"{problem}, not {given!r}") from None
    if not 0 < rate < math.inf:
        raise ValueError(f"{problem}, not {given!r}")
    return rate


class _Call(NamedTuple):
    op: str
    module: str
    op_class: str


def _points(
    counts: Any, key: Any, peaks: dict[str, float], memory: float
) -> list[tuple[str, float, float]]:
    """Name, FLOPs per byte and FLOP/s of each part, that of most FLOPs first."""
    from ._rates import peak_for

    flops = _groups.sums(counts.rows, key)
    moved = _groups.sums(counts.rows, key, _groups.bytes_of)
    roofs: dict[str, float] = {}  # of the dtypes that a part computes in, the highest
    for row in counts.rows:
        roof = peak_for(peaks.get("", peaks), row.dtype, row.op_class) or max(peaks.values())
        if row.flops:
            roofs[key(row)] = max(roof, roofs.get(key(row), 0.0))
    seconds: dict[str, float] = {}
    if getattr(counts, "_times", None) is not None:
        for (op, module, _, op_class, *_), time in zip(counts._calls, counts._times, strict=True):
            name = key(_Call(op, module, op_class))
            seconds[name] = seconds.get(name, 0.0) + time
    points = []
    for name, count in sorted(flops.items(), key=lambda item: -item[1]):
        if not count or not moved[name]:
            continue
        intensity = count / moved[name]
        rate = _core._rate(count, seconds.get(name, 0.0)) if seconds else None
        if not seconds:
            rate = min(roofs[name], intensity * memory)
        if rate:
            points.append((name, intensity, rate))
    return points


def _draw_roofs(ax: Any, peaks: Mapping[str, float], memory: float, xs: Sequence[float]) -> None:
    """The slope of the memory, up to the highest roof, and a line for each roof."""
    ridges = [peak / memory for peak in peaks.values()]
    left, right = min(*xs, *ridges) / 3, max(*xs, *ridges) * 15  # with room for the names
    top = max(ridges)
    ax.plot([left, top], [left * memory, top * memory], color=_DARK, linewidth=1.4, zorder=0)
    for name, peak in peaks.items():
        ridge = peak / memory
        ax.plot([ridge, right], [peak, peak], color=_DARK, linewidth=1.4, zorder=0)
        text = f"{_core.format_flops(round(peak))}/s" + (f", {name}" if name else "")
        _note(ax, text, (right, peak), (0, 3), ha="right")
    _note(ax, f"{_si_bytes(memory)}/s", (left, left * memory), (6, 0), va="center")


def _note(ax: Any, text: str, at: tuple[float, float], shift: tuple[int, int], **how: Any) -> None:
    """A small text some points beside a place."""
    ax.annotate(text, at, shift, textcoords="offset points", fontsize="small", **how)


def _si_bytes(count: float) -> str:
    prefix = next((p for p, size in reversed(_BYTES.items()) if count >= size), "")
    return f"{count / _BYTES[prefix]:.3g} {prefix}B"


__all__ = ["breakdown", "loss", "roofline", "scaling"]
