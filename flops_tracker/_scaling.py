"""scaling(): counts over a grid of sizes, and with which power of each size they grow."""

import inspect
import itertools
import math
import statistics
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from os import PathLike
from typing import Any, Literal, NamedTuple

from . import _count, _output, _saved, _tables, _views
from ._counts import FlopCount
from ._frameworks import need
from ._optimizers import optimizer_for

_LARGEST = 8  # operations in a table
_CURVED = 0.05  # where local exponents differ by more, no single power describes the growth


class ScalingPoint(NamedTuple):
    """One point of the grid: a value for each axis, and what was counted there."""

    values: dict[str, Any]
    counts: FlopCount


class Fit(NamedTuple):
    """FLOPs are fitted as a power of an axis, by least squares of their logarithms.

    ``residual`` is the root mean square of what is left of log FLOPs: 0.05 is about 5 %. Both are
    None where the axis has fewer than two numbers above 0, or there are no FLOPs.
    """

    exponent: float | None
    residual: float | None


def scaling(
    build: Callable[..., Any],
    *,
    backward: bool = False,
    loss_fn: Callable[[Any], Any] | None = None,
    optimizer: Any = None,
    on: str = "fake",
    convention: str = "standard",
    causal: Literal["full", "exact"] = "full",
    strict: bool = False,
    **axes: Iterable[Any],
) -> "Scaling":
    """Count over a grid of sizes, on fake copies: ``scaling(build, seq_len=[128, 256, 512])``.

    Each further keyword is an axis with its values. ``build`` is called with a value of each, by
    name, and returns what is counted there: ``(model, *inputs)``, a function without arguments, or
    a FlopCount, which is taken as it is. The options are those of ``count``; ``optimizer`` is a
    name ("adamw"), a class, or a function that takes the model.

    What ``build`` makes is real; under ``with torch.device("meta"):`` in it, it takes no memory.
    An error of ``build`` or of the model is raised with a note of the point.
    """
    if not callable(build):
        raise TypeError(f"build must be a function of the axes, not {build!r}")
    grid = {name: _values(name, values) for name, values in axes.items()}
    if not grid:
        raise TypeError("scaling needs an axis, such as seq_len=[128, 256, 512]")
    options = {
        "backward": backward,
        "loss_fn": loss_fn,
        "on": on,
        "convention": convention,
        "causal": causal,
        "strict": strict,
    }
    points = []
    for combination in itertools.product(*grid.values()):
        values = dict(zip(grid, combination, strict=True))
        try:
            points.append(ScalingPoint(values, _count_at(build, values, optimizer, options)))
        except Exception as error:
            error.add_note(f"in scaling, at {_point_text(values)}")
            raise
    return Scaling(grid, points)


def _values(name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        own = [
            p.name
            for p in inspect.signature(scaling).parameters.values()
            if p.kind is p.KEYWORD_ONLY
        ]
        near = get_close_matches(name, own, 1, 0.75)
        hint = f"did you mean the option {near[0]!r}?" if near else "give a list of values"
        raise TypeError(f"{name}={values!r} is no axis: {hint}")
    # NumPy's and torch's numbers are as good as Python's.
    found = tuple(v.item() if getattr(v, "ndim", None) == 0 else v for v in values)
    if not found:
        raise ValueError(f"the axis {name} has no values")
    if len({value if _is_size(value) else repr(value) for value in found}) < len(found):
        raise ValueError(f"the axis {name} has a value twice: {list(found)}")
    return found


def _count_at(
    build: Callable[..., Any], values: dict[str, Any], optimizer: Any, options: dict[str, Any]
) -> FlopCount:
    made = build(**values)
    if isinstance(made, FlopCount):
        return made.under(str(options["convention"]))
    if callable(made):
        made = (made,)
    if not isinstance(made, tuple | list) or not made or not callable(made[0]):
        raise TypeError(
            "build must return (model, *inputs), a function without arguments or a FlopCount, not "
            f"{made!r}"
        )
    model, *inputs = made
    own = optimizer_for(model, optimizer)
    return _count.count(model, *inputs, optimizer=own, **options)


def _point_text(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={_text(value)}" for name, value in values.items())


class _Lines(NamedTuple):
    """For a picture: name, values and FLOPs of each curve along an axis."""

    axis: str
    curves: list[tuple[str, list[float], list[float]]]


class Scaling:
    """Counts over a grid: ``axes`` (values by name), ``points``, ``convention``.

    ``fit(axis)`` and ``local_exponents(axis)`` say how FLOPs grow.
    """

    def __init__(self, axes: dict[str, tuple[Any, ...]], points: list[ScalingPoint]) -> None:
        self.axes = axes
        self.points = points
        self.convention = points[0].counts.convention

    # ---- growth ----

    def fit(self, axis: str | None = None, part: str | None = None) -> Fit:
        """Fit the power of an axis (the first without a name) with which FLOPs grow.

        All combinations of the other axes share it, each with a factor of its own. ``part`` fits an
        operation or a class of them alone, such as "aten.bmm.default" or "matmul".
        """
        logs: list[tuple[float, float]] = []
        for line in self._slices(self._axis(axis), part):
            if any(flops == 0 for _, flops in line):
                continue
            xs, ys = ([math.log(number) for number in side] for side in zip(*line, strict=True))
            x_mean, y_mean = statistics.fmean(xs), statistics.fmean(ys)
            logs += [(x - x_mean, y - y_mean) for x, y in zip(xs, ys, strict=True)]
        if not any(x for x, _ in logs):
            return Fit(None, None)
        xs, ys = [list(side) for side in zip(*logs, strict=True)]
        slope = statistics.linear_regression(xs, ys, proportional=True).slope
        left = statistics.fmean((y - slope * x) ** 2 for x, y in logs)
        return Fit(slope, math.sqrt(left))

    def local_exponents(self, axis: str | None = None) -> list[list[float | None]]:
        """Give the power between neighbours along an axis, a list for each combination of others.

        Where these grow along the axis, a term of a higher power takes over.
        """
        return [
            [_local(before, after) for before, after in itertools.pairwise(line)]
            for line in self._slices(self._axis(axis), None)
        ]

    def _axis(self, axis: str | None) -> str:
        if axis is None:
            return next(iter(self.axes))
        if axis not in self.axes:
            raise ValueError(f"there is no axis {axis!r}, only {', '.join(self.axes)}")
        return axis

    def _slices(self, axis: str, part: str | None) -> list[list[tuple[float, int]]]:
        """(value, FLOPs) along an axis, for each combination of the others; [] without numbers."""
        if not all(_is_size(value) for value in self.axes[axis]):
            return []
        slices: dict[tuple[int, ...], list[tuple[float, int]]] = {}
        for point in self.points:
            # By their ids: two functions or classes may have one name.
            others = tuple(id(value) for name, value in point.values.items() if name != axis)
            counts = point.counts
            parts = {} if part is None else counts.by_class() | counts.by_op()
            flops = counts.total if part is None else parts.get(part, 0)
            slices.setdefault(others, []).append((point.values[axis], flops))
        return list(slices.values())

    def _lines(self, axis: str | None) -> _Lines:
        name = self._axis(axis)
        if not all(_is_size(value) for value in self.axes[name]):
            raise ValueError(f"the axis {name} has values that are no numbers above 0")
        others = [axis for axis in self.axes if axis != name]
        combinations = itertools.product(*(self.axes[axis] for axis in others))
        curves = []
        for values, line in zip(combinations, self._slices(name, None), strict=True):
            ordered = sorted(line)
            label = _point_text(dict(zip(others, values, strict=True)))
            curves.append(
                (label, [float(x) for x, _ in ordered], [float(flops) for _, flops in ordered])
            )
        return _Lines(name, curves)

    # ---- views ----

    def table(self) -> str:
        """Counts with their local exponents, and the fitted ones by operation, as text."""
        return _tables.texts(self._shown(), self._summary())

    def to_markdown(self, path: str | PathLike[str] | None = None) -> str:
        """Give the same as tables in Markdown, and write it where a path is given."""
        text = _tables.markdowns(self._shown(), self._summary())
        if path is not None:
            _output.write_text(path, text)
        return text

    def plot(self, axis: str | None = None, *, label: str | None = None, ax: Any = None) -> Any:
        """Draw the counts along an axis, both logarithmic (needs matplotlib); returns the Axes."""
        from . import plot

        return plot.scaling(self, axis, label=label, ax=ax)

    def _shown(self) -> list[_tables.Table]:
        exponents = [f"{axis} exponent" for axis in self.axes]
        rows = [
            [
                *map(_text, point.values.values()),
                f"{point.counts.total:,}",
                *map(_power, self._local(number)),
            ]
            for number, point in enumerate(self.points)
        ]
        points = _tables.Table((*self.axes, "FLOPs", *exponents), rows, 0)
        last = self.points[-1].counts
        rows = []
        for name, flops in [("total", last.total), *list(last.by_op().items())[:_LARGEST]]:
            fits = [self.fit(axis, None if name == "total" else name) for axis in self.axes]
            if flops:
                cells = [_views.share(flops, last.total), *(_power(fit.exponent) for fit in fits)]
                rows.append([name, *cells, *(_power(fit.residual, 3) for fit in fits)])
        residuals = [f"{axis} residual" for axis in self.axes]
        share = f"share at {_point_text(self.points[-1].values)}"
        return [points, _tables.Table(("operation", share, *exponents, *residuals), rows)]

    def _local(self, number: int) -> list[float | None]:
        """For each axis the exponent between a point and the one before it along the axis."""
        exponents: list[float | None] = []
        stride = len(self.points)
        here = self.points[number]
        for axis, values in self.axes.items():
            stride //= len(values)  # the last axis varies fastest
            first = number // stride % len(values) == 0
            if first or not all(map(_is_size, values)):
                exponents.append(None)
                continue
            before = self.points[number - stride]
            pairs = ((point.values[axis], point.counts.total) for point in (before, here))
            exponents.append(_local(*pairs))
        return exponents

    def _summary(self) -> str:
        lines = []
        for axis in self.axes:
            fit = self.fit(axis)
            if fit.exponent is None or fit.residual is None:
                lines.append(f"{axis}: no exponent, which takes two numbers above 0 and FLOPs")
                continue
            line = f"FLOPs grow as {axis}^{fit.exponent:.2f}, residual {_power(fit.residual, 3)}"
            local = [x for slice_ in self.local_exponents(axis) for x in slice_ if x is not None]
            if max(local) - min(local) > _CURVED:
                line += f"; by no single power: locally from {min(local):.2f} to {max(local):.2f}"
            lines.append(line)
        return "\n".join(
            [*lines, f"{len(self.points)} points · {self.points[-1].counts.trust_line}"]
        )

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        powers = ", ".join(f"{axis}^{_power(self.fit(axis).exponent)}" for axis in self.axes)
        return f"<Scaling {powers} · {len(self.points)} points · {self.convention}>"

    def _repr_html_(self) -> str:
        return _tables.htmls(self._shown(), self._summary())

    # ---- export ----

    def to_dict(self) -> dict[str, Any]:
        """Give the grid, counts and exponents as plain data."""
        return {
            "schema": _saved.SCALING,
            "convention": self.convention,
            "axes": {
                name: [_plain(value) for value in values] for name, values in self.axes.items()
            },
            "points": [
                {
                    "values": {name: _plain(value) for name, value in point.values.items()},
                    "flops": point.counts.total,
                    "by_phase": point.counts.by_phase(),
                    "by_class": point.counts.by_class(),
                }
                for point in self.points
            ],
            "fits": {
                axis: {**self.fit(axis)._asdict(), "local_exponents": self.local_exponents(axis)}
                for axis in self.axes
            },
        }

    def to_json(self, path: str | PathLike[str] | None = None) -> str:
        """Give the same as JSON, and write it where a path is given."""
        return _views.to_json(self, path)

    def to_csv(self, path: str | PathLike[str]) -> None:
        """Write one line for each point: values, FLOPs, those by phase, local exponents."""
        _output.write_text(path, _views.csv_text(self._columns(), self._rows()))

    def to_pandas(self) -> Any:
        """Give these lines as a data frame (needs pandas)."""
        pandas = need("pandas", "pandas")
        return pandas.DataFrame(self._rows(), columns=self._columns())

    def _columns(self) -> list[str]:
        phases = list(self.points[0].counts.by_phase())
        return [*self.axes, "flops", *phases, *(f"{axis} exponent" for axis in self.axes)]

    def _rows(self) -> list[dict[str, Any]]:
        columns = self._columns()
        rows = []
        for number, point in enumerate(self.points):
            counts = point.counts
            sums = (counts.total, *counts.by_phase().values())
            row = (*map(_plain, point.values.values()), *sums, *self._local(number))
            rows.append(dict(zip(columns, row, strict=True)))
        return rows


def _is_size(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and 0 < value < math.inf


def _local(before: tuple[float, int], after: tuple[float, int]) -> float | None:
    """The power that leads from one (value, FLOPs) to the next."""
    if before[1] == 0 or after[1] == 0:
        return None
    return (math.log(after[1]) - math.log(before[1])) / (math.log(after[0]) - math.log(before[0]))


def _power(exponent: float | None, digits: int = 2) -> str:
    return "-" if exponent is None else f"{round(exponent, digits) + 0.0:.{digits}f}"  # no -0.00


def _text(value: Any) -> str:
    return str(getattr(value, "__name__", value))


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str | None) else _text(value)
