"""What people read of a FlopCount: table, tree, JSON, CSV, data frame. No arithmetic here."""

import csv
import html
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from . import _core, _options, _output, _saved, _terminal
from ._frameworks import need
from ._imports import same_random

MODULE_TITLES = ("module", "class", "calls", "own FLOPs", "with inside", "share")
OP_TITLES = ("operation", "class", "calls", "FLOPs", "share")


class Text(str):
    """Text that a notebook or IPython shows line by line and not as the repr of a string."""

    __slots__ = ()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self)}</pre>"


def share(part: int, total: int) -> str:
    """A part in per cent of a total."""
    return f"{100 * part / total:.1f} %" if total else "-"


def number_of(count: int, noun: str) -> str:
    """1 operation, 2 operations."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


# ---- table and tree ----


def _limits(depth: Any, top: Any) -> tuple[int | None, int | None]:
    return _options.whole_or_none("depth", depth), _options.whole_or_none("top", top)


def module_rows(counts: Any, depth: int | None, top: int | None) -> list[list[str]]:
    """Module, class, calls, own and inclusive FLOPs, share; in the order of the model."""
    modules = counts.by_module(depth)
    kept = set(sorted(modules, key=lambda name: -modules[name].inclusive)[:top])
    rows = []
    for name, module in modules.items():
        if name in kept:
            names = " = ".join([name, *module.aliases])
            numbers = (f"{module.calls:,}", f"{module.own:,}", f"{module.inclusive:,}")
            rows.append(
                [names, module.module_class, *numbers, share(module.inclusive, counts.total)]
            )
    if counts.outside or not rows:
        outside = counts.outside
        rows.append(
            ["(outside of modules)", "", "", f"{outside:,}", "", share(outside, counts.total)]
        )
    return rows


def op_rows(counts: Any, top: int | None) -> list[list[str]]:
    """Operation, class, calls, FLOPs, share; the largest first, those of nothing left out."""
    rows = []
    called = counts._op_calls()
    for op, flops in list(counts.by_op().items())[:top]:
        op_class, calls = called[op]
        if flops or op_class == "unknown":
            rows.append([op, op_class, f"{calls:,}", f"{flops:,}", share(flops, counts.total)])
    return rows


def summary(counts: Any) -> str:
    """Total and trust line, phases, what has no rule."""
    total = counts.total
    rounded = f" ({_core.format_flops(total)})" if total >= 1000 else ""  # the same below
    lines = [f"{total:,} FLOPs{rounded} · {counts.trust_line}"]
    phases = [f"{phase} {flops:,}" for phase, flops in counts.by_phase().items() if flops]
    if phases:
        lines.append(" · ".join(phases))
    for op, shapes in counts.unknown.items():
        lines.append(f"not counted: {op} on {shapes or 'no tensor'}")
    return "\n".join(lines)


def table(counts: Any, depth: int | None, top: int | None, stream: Any = None) -> str:
    """Modules and operations with their FLOPs, and the summary below; styled as a stream is."""
    depth, top = _limits(depth, top)
    tables: list[tuple[Sequence[str], list[list[str]]]] = [(OP_TITLES, op_rows(counts, top))]
    if len(counts.by_module()) > 0:
        tables.insert(0, (MODULE_TITLES, module_rows(counts, depth, top)))
    parts = [_terminal.text_table(titles, rows, titles[2:], stream) for titles, rows in tables]
    return Text("\n\n".join([*parts, _terminal.lines(summary(counts), stream)]))


def tree(counts: Any, depth: int | None) -> str:
    """The modules as a tree, each with its inclusive FLOPs and share."""
    with same_random():
        from rich.text import Text as Cell
        from rich.tree import Tree

    root = Tree(Cell(f"{counts.total:,} FLOPs · {counts.trust_line}"))
    branches = {"": root}
    for name, module in counts.by_module(depth).items():
        parent, _, own_name = name.rpartition(".")
        itself = f", {module.own:,} of its own" if 0 < module.own < module.inclusive else ""
        label = (
            f"{own_name} {module.module_class} {module.inclusive:,} "
            f"({share(module.inclusive, counts.total)}){itself}"
        )
        branches[name] = branches.get(parent, root).add(Cell(label))
    if counts.outside:
        root.add(Cell(f"(outside of modules) {counts.outside:,}"))
    return Text(_terminal.render(root))


# ---- export ----


def to_dict(counts: Any) -> dict[str, Any]:
    """Plain data: numbers, names and rows, as JSON takes them."""
    return {
        "schema": _saved.COUNT,
        "convention": counts.convention,
        "causal": counts.causal,
        "total": counts.total,
        **counts.by_phase(),
        "params": counts.params,
        "bytes": counts.bytes,
        "operations": counts.operations,
        "unknown_operations": counts.unknown_operations,
        "coverage": counts.coverage,
        "on": counts.on,
        "ranks": counts.ranks,
        "uncounted": counts.uncounted,
        "upper_bounds": counts.upper_bounds,
        "uncalled": counts.uncalled,
        "by_op": counts.by_op(),
        "by_class": counts.by_class(),
        "by_dtype": counts.by_dtype(),
        "by_module": _saved.module_dicts(counts),
        "rows": [_row_dict(row) for row in counts.rows],
    }


def _row_dict(row: Any) -> dict[str, Any]:
    names = ("op", "module", "phase", "dtype", "op_class", "calls", "flops")
    return {**{name: getattr(row, name) for name in names}, **row.cost}


def to_json(result: Any, path: Any) -> str:
    """What any result's to_dict gives as text; also into a file where a path is given."""
    text = json.dumps(result.to_dict(), indent=2)
    if path is not None:
        _output.write_text(path, text + "\n")
    return text


def to_csv(counts: Any, path: Any) -> None:
    """One line per operation, module, phase and dtype."""
    _output.write_text(path, csv_text(_columns(), [_row_dict(row) for row in counts.rows]))


def csv_text(columns: list[str], rows: Iterable[dict[str, Any]]) -> str:
    """Lines of comma-separated values; what is None is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _columns() -> list[str]:
    kinds = list(_core.conventions()[0].contractions)
    return ["op", "module", "phase", "dtype", "op_class", "calls", "flops", *kinds]


def to_pandas(counts: Any) -> Any:
    """A data frame of the rows; counts beyond 64 bits stay exact as Python integers."""
    pandas = need("pandas", "pandas")
    return pandas.DataFrame([_row_dict(row) for row in counts.rows], columns=_columns())


def to_markdown(counts: Any, path: Any, depth: Any, top: Any) -> str:
    """The tables of modules and operations, and the summary; also into a file."""
    from . import _tables

    depth, top = _limits(depth, top)
    tables = [
        _tables.Table(MODULE_TITLES, module_rows(counts, depth, top), 2),
        _tables.Table(OP_TITLES, op_rows(counts, top), 2),
    ]
    text = _tables.markdowns(tables[not counts.by_module() :], summary(counts))
    if path is not None:
        _output.write_text(path, text)
    return text
