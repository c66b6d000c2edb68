"""What results look like as JSON: names of their schemas, and a FlopCount read back from it."""

import json
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from . import _core

if TYPE_CHECKING:
    from ._counts import FlopCount

# docs/export.md describes them. A field may be added; where one is removed or means something else,
# the number is another one.
COUNT, COMPARISON, SCALING = (f"flops_tracker/{name}/1" for name in ("count", "compare", "scaling"))


def module_dicts(counts: Any) -> dict[str, dict[str, Any]]:
    """Modules by path, with what it takes to make them again."""
    rows = counts._modules
    return {
        name: {
            **module._asdict(),
            "aliases": list(module.aliases),
            "parent": rows[row[2]][0],
            "has_parameters": row[5],
            "has_forward": row[6],
        }
        for row, (name, module) in zip(rows[1:], counts.by_module().items(), strict=True)
    }


def from_dict(data: Any) -> "FlopCount":
    """Counts from what to_dict gave; ValueError for anything else."""
    from ._counts import FlopCount

    if not isinstance(data, Mapping) or "schema" not in data:
        raise ValueError("this is no FlopCount: it has no field 'schema'")
    if data["schema"] != COUNT:
        raise ValueError(f"its schema is {data['schema']!r}; what can be read here is {COUNT!r}")
    try:
        counts = FlopCount._from_state(_state_of(data))
        counts.params, counts.on, counts.ranks = data["params"], data["on"], data["ranks"]
        _core._add_counts([0 if counts.params is None else counts.params])  # refuses what is none
        total, stated = counts.total, data["total"]
    except KeyError as error:
        raise ValueError(f"this is no FlopCount: {error} is missing") from None
    except (TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"this is no FlopCount: {error}") from None
    if total != stated:
        raise ValueError(f"its rows add up to {total:,} FLOPs, and its total is {stated!r}")
    return counts


def _state_of(data: Mapping[str, Any]) -> tuple[Any, ...]:
    """The same as OperationCounts._state gives it."""
    modules: list[Any] = [("", "", 0, 0, (), False, False)]  # the outside
    numbers = {"": 0}
    for name, module in data["by_module"].items():
        numbers[name] = len(modules)
        own = (module["module_class"], numbers[module["parent"]], module["calls"])
        flags = (module["has_parameters"], module["has_forward"])
        modules.append((name, *own, tuple(module["aliases"]), *flags))
    kinds = list(_core.conventions()[0].contractions)
    rows = [
        (
            row["op"],
            row["op"].rpartition(".")[0],
            numbers[row["module"]],
            row["phase"],
            row["dtype"],
            row["op_class"],
            row["calls"],
            tuple(row[kind] for kind in kinds),
        )
        for row in data["rows"]
    ]
    ran, without_rule = data["operations"], data["unknown_operations"]
    named = (dict(data["uncounted"]), dict(data["upper_bounds"]))
    exact = data["causal"] == "exact"
    return data["convention"], ran, without_rule, modules, *named, rows, None, None, exact


def from_json(path: str | PathLike[str]) -> "FlopCount":
    """Counts from a file of to_json; ValueError with its path for any other."""
    with open(path, encoding="utf-8") as file:
        try:
            return from_dict(json.load(file))
        except (ValueError, RecursionError) as error:  # no JSON and no text among them
            raise ValueError(f"{str(path)!r}: {error}") from None
