"""Rows of a FlopCount added up by module, operation, class, phase or dtype; any result's counts."""

from collections.abc import Callable, Iterable
from os import PathLike
from typing import Any

from . import _core
from ._counts import FlopCount

AXES = ("module", "op", "class", "phase", "dtype")
_FIELDS = {"class": "op_class"}
OUTSIDE, ITSELF = "(outside of modules)", "(the model itself)"


def counts_of(result: Any) -> FlopCount:
    """Give the FlopCount of any result; TypeError for what has none.

    Of a FlopCounter, a FlopsTracker and whatever else has ``counts``, those; of the path of a file,
    what ``to_json`` wrote into it.
    """
    if isinstance(result, FlopCount):
        return result
    if isinstance(result, str | PathLike):
        return FlopCount.from_json(result)
    try:
        counts = getattr(getattr(result, "counter", result), "counts", None)
    except TypeError as error:
        if not isinstance(result, _core.FlopsTracker):
            raise
        raise TypeError(
            f"{result!r} has an estimator of layers, which knows no operations or phases: make "
            "FlopsTracker(model) to compare runs"
        ) from error
    if isinstance(counts, FlopCount):
        return counts
    hint = "; it has not run yet" if counts is None and hasattr(result, "counts") else ""
    raise TypeError(
        "a result is a FlopCount, a Profile, a FlopCounter, a FlopsTracker(model) or the path of "
        f"a JSON file of to_json, not {result!r}{hint}"
    )


def key_of(by: str, depth: int | None = None) -> Callable[[Any], str]:
    """What a row is grouped by: a module's path has ``depth`` levels below the root at most."""
    if by != "module":
        field = _FIELDS.get(by, by)
        return lambda row: str(getattr(row, field))
    levels = None if depth is None else depth + 1
    return lambda row: ".".join(row.module.split(".")[:levels])


def below_root(results: Iterable[FlopCount]) -> Callable[[str], str]:
    """What makes paths of modules short, and those of several models comparable.

    They begin below the one root that each result has; where one has several, they stay.
    """
    roots = [[row[0] for row in counts._modules[1:] if row[2] == 0] for counts in results]
    known = [] if any(len(names) > 1 for names in roots) else [n for names in roots for n in names]

    def path_below(path: str) -> str:
        for root in known:
            if path == root:
                return ITSELF
            if path.startswith(f"{root}."):
                return path[len(root) + 1 :]
        return path or OUTSIDE

    return path_below


def flops_of(row: Any) -> int:
    """FLOPs of a row, under the convention of its counts."""
    return int(row.flops)


def bytes_of(row: Any) -> int:
    """Bytes read and written by a row."""
    return int(row.cost["bytes"])


def sums(
    rows: Iterable[Any], key: Callable[[Any], Any], value: Callable[[Any], int] = flops_of
) -> dict[Any, int]:
    """Add up the rows of each key; the core adds."""
    parts: dict[Any, list[int]] = {}
    for row in rows:
        parts.setdefault(key(row), []).append(value(row))
    return {name: _core._add_counts(numbers) for name, numbers in parts.items()}


def first_split(counts: FlopCount) -> int:
    """The least depth at which FLOPs are in more than one module; the last one where none is."""
    worked = [row for row in counts.rows if row.flops and row.module]
    deepest = max((row.module.count(".") for row in worked), default=0)
    for depth in range(deepest):
        if len({key_of("module", depth)(row) for row in worked}) > 1:
            return depth
    return deepest
