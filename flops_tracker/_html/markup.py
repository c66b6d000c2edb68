"""Tables, bars and numbers as HTML, in which every text is escaped: any name may be in it."""

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .. import _core, _views

escape = html.escape
_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def asset(name: str) -> str:
    """Read a style sheet or script that lies beside this file."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def percent(part: int, total: int) -> float:
    """Give a part of a total in per cent; 0 of nothing."""
    return 100 * part / total if total else 0.0


def length(share: float) -> str:
    """Give a width or place in per cent as SVG and CSS read it, without needless digits."""
    return f"{share:.4f}".rstrip("0").rstrip(".") + "%"


def number(value: Any) -> str:
    """Give an integer with commas, a float with three digits, nothing for None."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}"


def with_unit(value: float, unit: str) -> str:
    """Give a number with a prefix: 1.5e12 as "1.5 TB/s"."""
    for factor, prefix in _PREFIXES:
        if value >= factor:
            return f"{value / factor:.4g} {prefix}{unit}"
    return f"{value:.4g} {unit}"


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], left: int) -> str:
    """Give a table; the first ``left`` columns are text, the others numbers. Titles may be none.

    A cell that ends in " %" has a bar behind it.
    """
    head = "".join(_cell("th", title, at < left) for at, title in enumerate(titles))
    lines = [f"<table><thead><tr>{head}</tr></thead><tbody>" if head else "<table><tbody>"]
    for row in rows:
        cells = "".join(_cell("td", text, at < left) for at, text in enumerate(row))
        lines.append(f"<tr>{cells}</tr>")
    return "".join([*lines, "</tbody></table>"])


def _cell(tag: str, text: str, is_text: bool) -> str:
    if is_text:
        return f"<{tag}>{escape(text)}</{tag}>"
    if tag == "td" and text.endswith(" %"):
        return f'<td class="n bar" style="--w:{escape(text[:-2])}%">{escape(text)}</td>'
    return f'<{tag} class="n">{escape(text)}</{tag}>'


def section(title: str, *parts: str) -> str:
    """Give a part of a page under a title."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def folded(title: str, *parts: str) -> str:
    """Give what is shown when its title is opened."""
    return f"<details><summary>{escape(title)}</summary>{''.join(parts)}</details>"


def stacked_bar(counts: dict[str, int]) -> str:
    """Give the parts of a sum as one bar with a legend; nothing where all are 0."""
    total = _core._add_counts(list(counts.values()))
    parts = [(name, flops, f"p{at}") for at, (name, flops) in enumerate(counts.items()) if flops]
    if not parts:
        return ""
    bar = "".join(
        f'<span class="{kind}" style="width:{length(percent(flops, total))}" '
        f'title="{escape(name)} {flops:,}"></span>'
        for name, flops, kind in parts
    )
    legend = "".join(
        f'<li><i class="{kind}"></i>{escape(name)} <b>{escape(_core.format_flops(flops))}</b> '
        f"{_views.share(flops, total)}</li>"
        for name, flops, kind in parts
    )
    return f'<div class="stack">{bar}</div><ul class="legend">{legend}</ul>'
