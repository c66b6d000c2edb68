"""A roofline's numbers: what a device does at most, intensity and FLOP/s of parts of a result."""

import math
import re
from typing import Any, NamedTuple

from . import _core, _groups
from ._rates import check_peak, peak_for


def peaks_of(counts: Any, given: Any) -> dict[str, float]:
    """FLOP/s by dtype, or of all under ""; those of a profile where none are given."""
    given = getattr(counts, "peak_flops", None) if given is None else given
    if given is None:
        raise ValueError(
            "a roofline needs the device's peak: peak_flops=, in FLOP/s or as '312 TFLOP/s' "
            "(`flops-tracker peak` measures it, `flops-tracker peak --list` has data sheets')"
        )
    peaks = check_peak(given)
    return peaks if isinstance(peaks, dict) else {"": peaks}


_BYTES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_BANDWIDTH = re.compile(r" *([-+.\deE]+) *(?:([kKMGTP]?)B/s)? *")


def bandwidth_of(given: Any) -> float:
    """Bytes per second, from a number or a text."""
    problem = "bandwidth must be bytes/s above 0, as 2.04e12 or '2.04 TB/s'"
    if given is None:
        raise ValueError(f"a roofline needs the memory's bandwidth: {problem}, of the data sheet")
    found = _BANDWIDTH.fullmatch(str(given))
    try:
        rate = float(found[1]) * _BYTES[found[2] or ""] if found else 0.0
    except ValueError:
        rate = 0.0
    if not 0 < rate < math.inf:
        raise ValueError(f"{problem}, not {given!r}")
    return rate


def is_timed(counts: Any) -> bool:
    """Whether these counts are a profile's with times."""
    return getattr(counts, "time", None) is not None


class _Call(NamedTuple):
    op: str
    module: str
    op_class: str


def points(
    counts: Any, key: Any, peaks: dict[str, float], memory: float
) -> list[tuple[str, float, float]]:
    """Name, FLOPs per byte and FLOP/s of each part, that of most FLOPs first."""
    flops = _groups.sums(counts.rows, key)
    moved = _groups.sums(counts.rows, key, _groups.bytes_of)
    roofs: dict[str, float] = {}  # of the dtypes that a part computes in, the highest
    for row in counts.rows:
        roof = peak_for(peaks.get("", peaks), row.dtype, row.op_class) or max(peaks.values())
        if row.flops:
            roofs[key(row)] = max(roof, roofs.get(key(row), 0.0))
    calls: dict[str, list[int]] = {}  # numbers of those that a profile timed
    if is_timed(counts):
        for at, (op, module, _, op_class, *_) in enumerate(counts._calls):
            calls.setdefault(key(_Call(op, module, op_class)), []).append(at)
    found = []
    for name, count in sorted(flops.items(), key=lambda item: -item[1]):
        if not count or not moved[name]:
            continue
        intensity = count / moved[name]
        rate: float | None = min(roofs[name], intensity * memory)
        if calls:
            rate = _core._rate(count, counts._time_of(calls.get(name, [])))
        if rate:
            found.append((name, intensity, rate))
    return found


def bytes_text(count: float) -> str:
    """2.04e12 as "2.04 TB"."""
    prefix = next((p for p, size in reversed(_BYTES.items()) if count >= size), "")
    return f"{count / _BYTES[prefix]:.3g} {prefix}B"
