"""A roofline: FLOPs per byte of each operation against what a device can do, as SVG."""

import math
from typing import Any, NamedTuple

from .. import _groups, _roofline
from .markup import escape, number, table, with_unit

_WIDTH, _HEIGHT = 760, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 92, 150, 14, 44  # margins, in units of the picture
_LEAST = 0.001  # of the largest, in FLOPs or bytes: what is less is not drawn
_NAMED = 8  # of these with their names


class Point(NamedTuple):
    """An operation: FLOPs, bytes, FLOPs per byte, and seconds where they were measured."""

    op: str
    flops: int
    bytes: int
    intensity: float
    seconds: float | None


def points(counts: Any) -> list[Point]:
    """List the operations that compute and move something, the largest first."""
    moved = _groups.sums(counts.rows, _groups.key_of("op"), _groups.bytes_of)
    seconds = _seconds_by_op(counts)
    found = []
    for op, flops in counts.by_op().items():
        total = moved.get(op, 0)
        if flops and total:
            found.append(Point(op, flops, total, flops / total, seconds.get(op)))
    return found


def _seconds_by_op(counts: Any) -> dict[str, float]:
    if not _roofline.is_timed(counts):
        return {}
    calls: dict[str, list[int]] = {}
    for at, (op, *_) in enumerate(counts._calls):
        calls.setdefault(op, []).append(at)
    return {op: counts._time_of(numbers) for op, numbers in calls.items()}


def heights(found: list[Point], peak: float | None, bandwidth: float | None) -> tuple[str, Any]:
    """Say what is upwards: what was reached, else what can be, else the work."""
    if found and all(point.seconds for point in found):
        return "FLOP/s reached", lambda point: point.flops / point.seconds
    if peak and bandwidth:
        return "FLOP/s at most", lambda point: min(peak, point.intensity * bandwidth)
    return "FLOPs", lambda point: float(point.flops)


def _decades(low: float, high: float) -> tuple[int, int]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return first, max(last, first + 1)


def picture(found: list[Point], peak: float | None, bandwidth: float | None) -> str:
    """Draw the points and the roof, as far as it is known."""
    flops, moved = max(point.flops for point in found), max(point.bytes for point in found)
    shown = [p for p in found if p.flops > _LEAST * flops or p.bytes > _LEAST * moved]
    title, height_of = heights(shown, peak, bandwidth)
    ups = [height_of(point) for point in shown]
    across = [point.intensity for point in shown]
    if title == "FLOPs":
        peak = bandwidth = None  # their unit is another one
    if peak:
        ups.append(peak)
        across += [peak / bandwidth] if bandwidth else []
    left, right = _decades(min(across), max(across))
    low, high = _decades(min(ups), max(ups))

    def x(intensity: float) -> float:
        part = (math.log10(intensity) - left) / (right - left)
        return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)

    def y(up: float) -> float:
        part = (math.log10(up) - low) / (high - low)
        return _HEIGHT - _BOTTOM - part * (_HEIGHT - _TOP - _BOTTOM)

    parts = [_grid(x, y, (left, right), (low, high), title)]
    if peak:
        parts.append(_roof(x, y, peak, bandwidth, 10.0**left, 10.0**right, 10.0**low))
    taken: list[tuple[float, float]] = []
    for at, point in enumerate(shown):
        place = x(point.intensity), y(ups[at])
        radius = 4 + 14 * math.sqrt(point.flops / shown[0].flops)
        parts.append(
            f'<circle cx="{place[0]:.1f}" cy="{place[1]:.1f}" '
            f'r="{radius:.1f}"><title>{escape(_told(point))}</title></circle>'
        )
        if at < _NAMED and all(
            abs(place[1] - other[1]) > 13 or abs(place[0] - other[0]) > 150 for other in taken
        ):
            taken.append(place)
            name = point.op.removeprefix("aten.").partition(".")[0]
            name = name if len(name) <= 32 else name[:30] + "…"
            parts.append(
                f'<text x="{place[0] + radius + 3:.1f}" y="{place[1] + 4:.1f}">'
                f"{escape(name)}</text>"
            )
    return (
        f'<figure><svg class="roof" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'role="img" aria-label="roofline">{"".join(parts)}</svg></figure>'
    )


def _told(point: Point) -> str:
    time = f", {1000 * point.seconds:.3g} ms" if point.seconds else ""
    return (
        f"{point.op}: {point.flops:,} FLOPs, {point.bytes:,} bytes, "
        f"{point.intensity:.3g} FLOP/byte{time}"
    )


def _grid(x: Any, y: Any, across: tuple[int, int], up: tuple[int, int], title: str) -> str:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for decade in range(across[0], across[1] + 1):
        at = x(10.0**decade)
        parts.append(f'<path class="grid" d="M{at:.1f} {_TOP}V{bottom}"/>')
        label = f"{10.0**decade:g}"
        parts.append(f'<text x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{label}</text>')
    step = max(1, (up[1] - up[0]) // 8)
    for decade in range(up[0], up[1] + 1, step):
        at = y(10.0**decade)
        parts.append(f'<path class="grid" d="M{_LEFT} {at:.1f}H{right}"/>')
        label = with_unit(10.0**decade, "FLOP/s" if "/s" in title else "FLOPs")
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{label}</text>')
    middle = (_LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">FLOPs per byte</text>')
    return "".join(parts)


def _roof(
    x: Any, y: Any, peak: float, bandwidth: float | None, left: float, right: float, low: float
) -> str:
    if not bandwidth:
        return f'<path class="line" d="M{x(left):.1f} {y(peak):.1f}H{x(right):.1f}"/>'
    first = max(left, low / bandwidth)  # below, the slope leaves the picture
    ridge = peak / bandwidth
    return (
        f'<path class="line" d="M{x(first):.1f} {y(first * bandwidth):.1f}'
        f'L{x(ridge):.1f} {y(peak):.1f}H{max(x(right), x(ridge)):.1f}"/>'
    )


def needs(found: list[Point], peak: float | None, bandwidth: float | None) -> str:
    """Give a table of the largest operations: bytes, intensity, and what the peak would need."""
    titles = ["operation", "FLOPs", "bytes", "FLOP/byte"]
    if peak and bandwidth:
        titles.append("bound by")
    elif peak:
        titles.append("bytes/s at the peak")
    timed = any(point.seconds for point in found)
    titles += ["reached"] * timed + ["of the peak"] * (timed and peak is not None)
    rows = []
    for point in found[:_NAMED]:
        row = [point.op, number(point.flops), number(point.bytes), f"{point.intensity:.3g}"]
        if peak and bandwidth:
            row.append("memory" if point.intensity * bandwidth < peak else "arithmetic")
        elif peak:
            row.append(with_unit(peak / point.intensity, "B/s"))
        if timed:
            rate = point.flops / point.seconds if point.seconds else None
            row.append("" if rate is None else with_unit(rate, "FLOP/s"))
            if peak is not None:
                row.append("" if rate is None else f"{100 * rate / peak:.1f} %")
        rows.append(row)
    return table(titles, rows, left=1)
