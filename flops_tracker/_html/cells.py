"""What a cell of a notebook shows: no script and no id, so that it may be there twice."""

from collections.abc import Iterable, Sequence
from typing import Any

from .. import _profile_views, _rates, _views
from .markup import asset, escape, folded, table

_LARGEST = 12  # modules and operations


def count_cell(counts: Any) -> str:
    """Give the largest modules and operations of a count."""
    parts = _headed(counts)
    if counts.by_module():
        modules = _views.module_rows(counts, None, _LARGEST)
        parts.append(table(_views.MODULE_TITLES, modules, left=2))
    operations = _views.op_rows(counts, _LARGEST)
    if operations:
        parts.append(folded("operations", table(_views.OP_TITLES, operations, left=2)))
    return in_cell(*parts)


def profile_cell(profile: Any) -> str:
    """Give the records of a profile of most FLOPs, with what was measured of them."""
    titles, rows, left = _profile_views.rows_of(profile, None, _LARGEST)
    return in_cell(*_headed(profile), table(titles, rows, left))


def _headed(counts: Any) -> list[str]:
    """The lines that a result prints, the first as what is most important."""
    first, *others = str(counts).splitlines()
    return [f"<p><strong>{escape(first)}</strong></p>", *(f"<p>{escape(x)}</p>" for x in others)]


def tables_cell(
    tables: Iterable[tuple[Sequence[str], list[list[str]], int, str]], summary: str
) -> str:
    """Give tables by titles, rows, columns of text and heading, and the summary below."""
    parts = []
    for titles, rows, left, heading in tables:
        parts += [f"<p>{escape(heading)}</p>"] * bool(heading)
        parts.append(table(titles, rows, left))
    return in_cell(*parts, *(f"<p>{escape(line)}</p>" for line in summary.splitlines()))


def in_cell(*parts: str) -> str:
    """Give parts the style of a fragment, which says no colour of text and so suits any theme."""
    return f'<div class="flops-tracker"><style>{asset("cell.css")}</style>{"".join(parts)}</div>'


def rates_cell(rates: Any) -> str:
    """Give how fast a run was, as far as it is known."""

    def part(share: float | None) -> str:
        return "" if share is None else f"{100 * share:.1f} %"

    def speed(rate: float | None) -> str:
        return "" if rate is None else _rates.per_second(rate)

    rows = [
        ["time", f"{rates.seconds:.3g} s" if rates.seconds else ""],
        ["rate", speed(rates.flops_per_second)],
        ["MFU", part(rates.mfu)],
        ["HFU", part(rates.hfu)],
        ["peak", speed(rates.peak_flops)],
        ["device", rates.device or ""],
        ["dtypes", ", ".join(rates.dtypes)],
        *([f"share of {name}", part(x)] for name, x in (rates.phase_shares or {}).items()),
        ["recomputed in training", part(rates.recompute_share)],
    ]
    return in_cell(table((), [row for row in rows if row[1]], left=1))


def listing_cell(records: list[Any]) -> str:
    """Give rules, formulas or conventions as a table."""
    if not records:
        return in_cell("<p>none</p>")
    if hasattr(records[0], "contractions"):
        kinds = [
            kind for kind in records[0].contractions if any(r.contractions[kind] for r in records)
        ]
        rows = [
            [r.name, r.text, *(_weights(r.contractions[kind], r.others[kind]) for kind in kinds)]
            for r in records
        ]
        note = "<p>FLOPs by kind of work; where there are two: of contractions / of all else.</p>"
        return in_cell(note, table(("convention", "", *kinds), rows, left=2))
    rows = [[r.name, r.op_class, r.formula, r.equation] for r in records]
    return in_cell(table(("rule", "class", "formula", "equation"), rows, left=4))


def _weights(contraction: int, other: int) -> str:
    return f"{contraction}" if contraction == other else f"{contraction} / {other}"
