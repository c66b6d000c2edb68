"""to_html() of a count: one file that stands alone."""

from typing import Any

from .. import _core, _groups, _output, _profile_views, _rates, _roofline, _views
from . import icicle, roofline
from .markup import asset, escape, folded, section, stacked_bar, table

_OPERATIONS = 200  # in a page; the rest is in to_csv()


def document(title: str, body: str) -> str:
    """Give a whole page: style and script are in it, nothing is fetched."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{asset('page.css')}</style></head>\n"
        f'<body class="result">{body}'
        f"<footer>flops_tracker {_core.__version__}</footer>"
        f"<script>{asset('page.js')}</script></body></html>\n"
    )


def write(page: str, path: Any) -> str:
    """Give the page back, and write it where a path is given."""
    if path is not None:
        _output.write_text(path, page)
    return page


def to_html(counts: Any, path: Any, peak_flops: Any, bandwidth: Any) -> str:
    """Make the page of a count or profile."""
    peak = peak_of(counts, peak_flops)
    speed = None if bandwidth is None else _roofline.bandwidth_of(bandwidth)
    name = title_of(counts)
    body = [
        f"<h1>{escape(name)}</h1>",
        total_line(counts.total),
        *facts(counts),
        stacked_bar(counts.by_phase()),
        *sections(counts, peak, speed),
    ]
    return write(document(f"{name} · {_core.format_flops(counts.total)}", "".join(body)), path)


# ---- options ----


def peak_of(counts: Any, peak_flops: Any) -> float | None:
    """Read peak_flops: of several dtypes, that in which most was computed."""
    if peak_flops is None:
        peak_flops = getattr(counts, "peak_flops", None)
    if peak_flops is None:
        return None
    peaks = _rates.check_peak(peak_flops)
    known = (_rates.peak_for(peaks, dtype, "matmul") for dtype in counts.by_dtype())
    return next((peak for peak in known if peak), None)


# ---- parts ----


def title_of(counts: Any) -> str:
    """Give the class of the outermost modules."""
    roots = [name for name, _, parent, *_ in counts._modules[1:] if parent == 0]
    return ", ".join(roots[:3]) + (", …" if len(roots) > 3 else "") or "FLOPs"


def total_line(total: int) -> str:
    """Give a total in large, and exactly below."""
    exact = f'<p class="soft">{total:,} FLOPs</p>' if total >= 1000 else ""
    return f'<p class="total">{escape(_core.format_flops(total))}</p>{exact}'


def facts(counts: Any) -> list[str]:
    """Say how it was counted, what was not, and what was measured."""
    lines = [f'<p class="soft">{escape(counts.trust_line)}</p>']
    for line in str(counts).splitlines()[1:]:
        unknown = line.startswith("not counted: ")
        if unknown or not line.startswith(("forward ", "backward ", "recompute ", "optimizer ")):
            lines.append(f'<p class="{"warn" if unknown else "soft"}">{escape(line)}</p>')
    about = []
    if counts.params:
        about.append(f"{counts.params:,} parameters")
    if counts.bytes:
        about.append(f"{counts.bytes:,} bytes read and written by operations")
    dtypes = [
        f"{dtype} {_views.share(n, counts.total)}" for dtype, n in counts.by_dtype().items() if n
    ]
    about.append(" · ".join(dtypes))
    lines.append(f'<p class="soft">{escape(" · ".join(filter(None, about)))}</p>')
    if counts.uncalled:
        many = _views.number_of(len(counts.uncalled), "module")
        lines.append(folded(f"{many} never ran", f"<p>{escape(', '.join(counts.uncalled))}</p>"))
    return lines


def sections(counts: Any, peak: float | None, bandwidth: float | None) -> list[str]:
    """Give modules, operations, roofline and, of a profile, what was measured."""
    listed = icicle.nodes(counts)
    controls = CONTROLS if counts.total else ""
    return [
        section("Modules", controls, icicle.icicle(listed), icicle.tree(listed)),
        section("Operations", _classes(counts), _operations(counts)),
        *_measured(counts),
        _roof(counts, peak, bandwidth),
    ]


CONTROLS = (
    '<div class="controls" hidden><input type="search" placeholder="search modules and classes" '
    'aria-label="search modules"><span class="hits" role="status"></span>'
    '<span class="where"></span></div><p class="about"></p>'
)


def _classes(counts: Any) -> str:
    by_class = _groups.key_of("class")
    moved = _groups.sums(counts.rows, by_class, _groups.bytes_of)
    calls = _groups.sums(counts.rows, by_class, lambda row: int(row.calls))
    rows = []
    for op_class, flops in counts.by_class().items():
        size, share = moved[op_class], _views.share(flops, counts.total)
        intensity = f"{flops / size:.3g}" if size else ""
        rows.append([op_class, f"{calls[op_class]:,}", f"{flops:,}", share, f"{size:,}", intensity])
    titles = ("class", "calls", "FLOPs", "share", "bytes", "FLOP/byte")
    return table(titles, rows, left=1) if rows else '<p class="none">No operation ran.</p>'


def _operations(counts: Any) -> str:
    rows = _views.op_rows(counts, _OPERATIONS)
    many = _views.number_of(len(rows), "operation")
    return folded(many, table(_views.OP_TITLES, rows, left=2)) if rows else ""


def _measured(counts: Any) -> list[str]:
    """Give the table of a profile, where it has times or memory."""
    if not hasattr(counts, "records") or (counts.time is None and counts.memory is None):
        return []
    titles, rows, names = _profile_views.rows_of(counts, None, _OPERATIONS)
    return [section("Measured", table(titles, rows, left=names))]


def _roof(counts: Any, peak: float | None, bandwidth: float | None) -> str:
    found = roofline.points(counts)
    if not found:
        return ""
    known = [f"peak {_rates.per_second(peak)}"] if peak else []
    known += [f"{bandwidth:.4g} bytes/s"] if bandwidth else []
    missing = [] if peak else ["peak_flops="]
    missing += [] if bandwidth else ["bandwidth="]
    told = "Each operation reads its arguments and writes its result once; fused ones move less."
    if known:
        told += f" Held against: {', '.join(known)}."
    if missing:
        roof = "the roof" if peak is None else "its slope"
        told += f" to_html({'..., '.join(missing)}...) draws {roof}."
    return section(
        "Roofline",
        f'<p class="soft">{escape(told)}</p>',
        roofline.picture(found, peak, bandwidth),
        roofline.needs(found, peak, bandwidth),
    )
