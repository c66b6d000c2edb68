"""compare(): results beside each other, and which phases and modules make the difference."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from . import _core, _groups, _options, _output, _saved, _tables, _views
from ._counts import FlopCount
from ._frameworks import need


class Compared(NamedTuple):
    """One part of all results: its FLOPs in each, their ratios and differences to the first.

    FLOPs are None where a result has no such part, which a difference takes for 0; a ratio is None
    where one of the two is, or the first is 0. ``kind`` is the class of a module.
    """

    name: str
    kind: str
    flops: tuple[int | None, ...]
    ratios: tuple[float | None, ...]
    differences: tuple[int, ...]


def compare(*counts: Any, names: Iterable[str] | None = None) -> "Comparison":
    """Set two or more results beside each other; ``print`` shows the largest differences.

    A result is a FlopCount, a Profile, a FlopCounter, a FlopsTracker(model), anything else with
    such ``counts``, or the path of a JSON file that ``to_json`` wrote. All are read under the
    convention of the first. Ratios and differences are those to the first. ``names`` are what they
    are called in tables; without, a file's, a run's or the model's class.

    TypeError for what is no result, ValueError for fewer than two, or names that don't fit.
    """
    if len(counts) < 2:
        raise ValueError(f"compare takes two results or more, not {len(counts)}")
    found = [_groups.counts_of(result) for result in counts]
    if names is None:
        called = _distinct([_name_of(*pair) for pair in zip(counts, found, strict=True)])
    else:
        called = [str(name) for name in names]
        if isinstance(names, str) or len(called) != len(found):
            raise ValueError(f"names must be one for each of {len(found)} results, not {names!r}")
        if len(set(called)) < len(called):
            raise ValueError(f"names must differ from each other: {called}")
    return Comparison(called, found)


def _name_of(result: Any, counts: FlopCount) -> str:
    if isinstance(result, str | PathLike):
        return Path(result).stem
    name = getattr(result, "run_name", None) or getattr(result, "__name__", None)
    if isinstance(name, str):
        return name
    return counts._modules[1][1] if len(counts._modules) > 1 else "count"


def _distinct(names: list[str]) -> list[str]:
    """Number those that occur more than once."""
    met: Counter[str] = Counter()
    often = Counter(names)
    result = []
    for name in names:
        met[name] += 1
        result.append(f"{name} ({met[name]})" if often[name] > 1 else name)
    return result


class Comparison:
    """Results beside each other, all under one convention.

    ``names``, ``counts`` (each a FlopCount) and ``convention``; ``total`` and the lists that
    ``by_phase()``, ``by_class()``, ``by_op()`` and ``by_module()`` give are ``Compared``.
    """

    def __init__(self, names: Sequence[str], counts: Sequence[FlopCount]) -> None:
        self.names = tuple(names)
        self.convention = counts[0].convention
        self.counts = tuple(count.under(self.convention) for count in counts)
        self._notes = [
            f"{name} was counted under {count.convention}, and is read under {self.convention} here"
            for name, count in zip(names, counts, strict=True)
            if count.convention != self.convention
        ]
        trained = [bool(count.backward) for count in counts]
        if len(set(trained)) > 1:
            alone = [name for name, both in zip(names, trained, strict=True) if not both]
            self._notes.append(f"{', '.join(alone)}: without a backward pass, which others have")
        if len({count.causal for count in counts}) > 1:
            exact = [n for n, c in zip(names, counts, strict=True) if c.causal == "exact"]
            self._notes.append(
                f"{', '.join(exact)}: causal attention as its mask leaves it; in full elsewhere"
            )

    # ---- numbers ----

    @property
    def total(self) -> Compared:
        """FLOPs of all phases."""
        return _compared("total", "", [count.total for count in self.counts])

    @property
    def params(self) -> Compared:
        """Parameters of the models, where a count knows its model; no FLOPs."""
        return _compared("parameters", "", [count.params or None for count in self.counts])

    def by_phase(self) -> list[Compared]:
        """Forward, backward, recompute and optimizer."""
        return self._parts(lambda count: count.by_phase(), ordered=True)

    def by_class(self) -> list[Compared]:
        """Classes of operations (matmul, conv, norm, ...), the largest difference first."""
        return self._parts(lambda count: count.by_class())

    def by_op(self) -> list[Compared]:
        """Operations, the largest difference first."""
        return self._parts(lambda count: count.by_op())

    def by_module(self, depth: int | None = None) -> list[Compared]:
        """Modules that the same path leads to from the model, the largest difference first.

        Each has the FLOPs of its own operations, so that differences add up to that of the totals;
        with ``depth``, a module so many levels below the model has all that is inside of it.
        """
        depth = _options.whole_or_none("depth", depth)
        key = _groups.key_of("module", depth)
        path = _groups.below_root(self.counts)
        kinds: dict[str, dict[str, None]] = {}
        for count in self.counts:
            for name, module in count.by_module(depth).items():
                kinds.setdefault(path(name), {})[module.module_class] = None
        parts = self._parts(lambda count: _groups.sums(count.rows, lambda row: path(key(row))))
        return [part._replace(kind=" / ".join(kinds.get(part.name, ()))) for part in parts]

    def _parts(
        self, sums: Callable[[FlopCount], dict[str, int]], ordered: bool = False
    ) -> list[Compared]:
        """One for each name that has FLOPs anywhere."""
        found = [sums(count) for count in self.counts]
        names = dict.fromkeys(name for part in found for name, flops in part.items() if flops)
        parts = [_compared(name, "", [part.get(name) for part in found]) for name in names]
        if ordered:
            return [part for name in found[0] for part in parts if part.name == name]
        return sorted(parts, key=lambda part: -max(map(abs, part.differences)))

    # ---- views ----

    def table(self, depth: int | None = None, top: int | None = 10) -> str:
        """Totals and phases, and modules and classes that differ, as text.

        ``depth`` is the number of levels of modules, ``top`` keeps the largest differences.
        """
        return _tables.texts(self._shown(depth, top), self._summary())

    def to_markdown(
        self,
        path: str | PathLike[str] | None = None,
        *,
        depth: int | None = None,
        top: int | None = 10,
    ) -> str:
        """Give the same as tables in Markdown, and write it where a path is given."""
        text = _tables.markdowns(self._shown(depth, top), self._summary())
        if path is not None:
            _output.write_text(path, text)
        return text

    def _shown(self, depth: int | None, top: int | None) -> list[_tables.Table]:
        top = _options.whole_or_none("top", top)
        whole = [*self.by_phase(), self.total]
        if any(self.params.flops):
            whole.append(self.params)
        tables = [_tables.Table(("", *self._titles()), [[p.name, *_cells(p)] for p in whole])]
        modules = self.by_module(depth)
        if any(part.kind for part in modules):
            tables.append(self._differences(("module", "class"), modules, top))
        tables.append(self._differences(("class of operations",), self.by_class(), top))
        return [table for table in tables if table.rows]

    def _differences(
        self, titles: tuple[str, ...], parts: list[Compared], top: int | None
    ) -> _tables.Table:
        """The parts that differ; the heading says what is left out."""
        heading = "largest difference first"
        differing = [part for part in parts if any(part.differences)]
        rows = [[*(part.name, part.kind)[: len(titles)], *_cells(part)] for part in differing[:top]]
        if len(differing) > len(rows):
            heading += f", {len(rows)} of {len(differing)}"
        if len(parts) > len(differing):
            heading += f"; {len(parts) - len(differing)} more with the same FLOPs"
        return _tables.Table((*titles, *self._titles()), rows, len(titles), heading)

    def _titles(self) -> list[str]:
        others = self.names[1:]
        if len(others) == 1:
            return [*self.names, "ratio", "difference"]
        return [*self.names, *(f"{name} ratio" for name in others)]

    def _summary(self) -> str:
        lines = [
            _sentence(name, self.names[0], flops, ratio, difference)
            for name, flops, ratio, difference in list(
                zip(self.names, *self.total[2:], strict=True)
            )[1:]
        ]
        width = max(map(len, self.names))
        for name, count in zip(self.names, self.counts, strict=True):
            lines.append(f"{name:<{width}}  {count.total:,} FLOPs · {count.trust_line}")
        return "\n".join([*lines, *self._notes])

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        ratios = ", ".join(
            f"{name} {_times(ratio)}"
            for name, ratio in zip(self.names[1:], self.total.ratios[1:], strict=True)
        )
        return f"<Comparison with {self.names[0]}: {ratios} · {self.convention}>"

    def _repr_html_(self) -> str:
        return _tables.htmls(self._shown(None, 10), self._summary())

    # ---- export ----

    def to_dict(self) -> dict[str, Any]:
        """Give all parts as plain data."""
        parts = {
            "by_phase": self.by_phase(),
            "by_module": self.by_module(),
            "by_class": self.by_class(),
            "by_op": self.by_op(),
        }
        return {
            "schema": _saved.COMPARISON,
            "names": list(self.names),
            "convention": self.convention,
            "notes": self._notes,
            "total": _plain(self.total),
            "params": _plain(self.params),
            **{axis: [_plain(part) for part in found] for axis, found in parts.items()},
        }

    def to_json(self, path: str | PathLike[str] | None = None) -> str:
        """Give the same as JSON, and write it where a path is given."""
        return _views.to_json(self, path)

    def to_csv(self, path: str | PathLike[str]) -> None:
        """Write one line for each part: phases, modules, classes and operations."""
        _output.write_text(path, _views.csv_text(self._columns(), self._lines()))

    def to_pandas(self) -> Any:
        """Give these lines as a data frame (needs pandas)."""
        pandas = need("pandas", "pandas")
        exact = pandas.DataFrame(self._lines(), columns=self._columns(), dtype=object)
        ratios = {f"{name} ratio": float for name in self.names[1:]}
        whole = [name for name in exact if not exact[name].isna().any()]  # else it makes floats
        exact[whole] = exact[whole].infer_objects()
        return exact.astype(ratios)

    def _columns(self) -> list[str]:
        others = [f"{name} {what}" for name in self.names[1:] for what in ("ratio", "difference")]
        return ["by", "name", "kind", *self.names, *others]

    def _lines(self) -> list[dict[str, Any]]:
        axes = {
            "": [self.total],
            "phase": self.by_phase(),
            "module": self.by_module(),
            "class": self.by_class(),
            "op": self.by_op(),
        }
        lines = []
        for axis, parts in axes.items():
            for part in parts:
                pairs = list(zip(part.ratios, part.differences, strict=True))[1:]
                numbers = [number for pair in pairs for number in pair]
                row = [axis, part.name, part.kind, *part.flops, *numbers]
                lines.append(dict(zip(self._columns(), row, strict=True)))
        return lines


def _compared(name: str, kind: str, flops: list[int | None]) -> Compared:
    first = flops[0]
    return Compared(
        name,
        kind,
        tuple(flops),
        tuple(None if not first or count is None else count / first for count in flops),
        tuple(_core._count_difference(count or 0, first or 0) for count in flops),
    )


def _plain(part: Compared) -> dict[str, Any]:
    return {
        field: list(value) if isinstance(value, tuple) else value
        for field, value in part._asdict().items()
    }


# ---- cells ----


def _times(ratio: float | None) -> str:
    if ratio is None:
        return "-"
    return f"{ratio:.2f} ×" if 0.1 <= ratio < 1000 else f"{ratio:.3g} ×"


def _sentence(name: str, first: str, flops: Any, ratio: float | None, difference: int) -> str:
    if difference == 0:
        return f"{name} does the same FLOPs as {first}"
    if ratio is None:
        return f"{name} does {flops:,} FLOPs, and {first} none"
    return f"{name} is {_times(ratio)} {first}: {difference:+,} FLOPs"


def _cells(part: Compared) -> list[str]:
    """FLOPs of each, and ratios; of two results the difference too."""
    cells = ["-" if flops is None else f"{flops:,}" for flops in part.flops]
    for flops, ratio in list(zip(part.flops, part.ratios, strict=True))[1:]:
        only_in_one = "gone" if flops is None else "new" if part.flops[0] is None else ""
        cells.append(only_in_one or _times(ratio))
    if len(part.flops) == 2:
        cells.append(f"{part.differences[1]:+,}" if part.differences[1] else "0")
    return cells
