"""What a state says beside its records, and how damage to it is found when it is loaded."""

import json
import math
import time
import warnings
from hashlib import sha256
from typing import Any
from zlib import crc32

from ._core import _add_counts
from ._run import sums_of

_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
_TEXTS = ("project", "run_name", "estimator", "flops_tracker", "python", "resumed_from")
_SUMMED = ("train", "validate", "test", "generate", "other")


def checksum(state: dict[str, Any]) -> int:
    """Of what no sum in the state would show to be damaged."""
    parts = [state.get(name) for name in ("phases", "run", "counted_steps", "model")]
    return crc32(json.dumps(parts, sort_keys=True).encode())


def check_checksum(state: dict[str, Any]) -> None:
    """Find what is left to find; states of before have none."""
    if state.get("checksum") is None:
        return
    try:
        found = checksum(state)
    except (TypeError, ValueError, RecursionError):
        found = -1
    if found != state["checksum"]:
        raise ValueError("its phases, run, model or counted_steps are not as they were saved")


# ---- the model ----


def describe_model(estimator: Any) -> dict[str, Any] | None:
    """Class and parameters of the model that is counted; None where that is not known (yet)."""
    model: Any = getattr(estimator, "model", None)
    if not hasattr(model, "named_parameters"):
        return None
    from torch.nn.parameter import is_lazy

    shapes = {}
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            return None
        plain = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
        shapes[plain] = list(parameter.shape)
    return {
        "class": type(model).__name__,
        "parameters": len(shapes),
        "elements": sum(math.prod(shape) for shape in shapes.values()),
        "shapes": sha256(json.dumps(shapes, sort_keys=True).encode()).hexdigest()[:16],
    }


def read_model(saved: Any) -> dict[str, Any] | None:
    """Read it back; None of a state of before, and where it was not known."""
    if saved is None:
        return None
    if not isinstance(saved, dict):
        raise TypeError(f"a dict was expected, not {type(saved).__name__}")
    kinds = {"class": str, "parameters": int, "elements": int, "shapes": str}
    for name, kind in kinds.items():
        if type(saved.get(name)) is not kind:
            raise ValueError(f"{name} is {saved.get(name)!r}")
    return saved


def mind_model(saved: dict[str, Any] | None, estimator: Any) -> None:
    """Warn where the state is of another model: its counts are added up all the same."""
    own = describe_model(estimator)
    if saved is None or own is None or saved["shapes"] == own["shapes"]:
        return
    text = "{class} with {parameters:,} parameters of {elements:,} elements"
    same_size = all(saved[name] == own[name] for name in ("parameters", "elements"))
    warnings.warn(
        f"load_state_dict: the state was counted for {text.format(**saved)}, and this tracker "
        f"counts {text.format(**own)}{', of other names or shapes' if same_size else ''}: the "
        "total goes on over both. If that is not meant, make the tracker of the model that was "
        "trained before",
        stacklevel=3,
    )


# ---- how many steps were counted ----


def read_counted_steps(saved: Any) -> tuple[int, int, int] | None:
    """Read steps counted, like one of them, and not known; None of a state of before."""
    if saved is None:
        return None
    if not isinstance(saved, dict):
        raise TypeError(f"a dict was expected, not {type(saved).__name__}")
    traced, replayed, lost = (_steps(saved, n) for n in ("traced", "replayed", "unattributed"))
    return traced, replayed, lost


def _steps(saved: dict[str, Any], name: str) -> int:
    number = saved.get(name)
    if type(number) is not int or not 0 <= number < 2**64:
        raise ValueError(f"{name} must be a number of steps, not {number!r}")
    return number


# ---- the row for the ledger of runs ----


def read_row(saved: Any, state: dict[str, Any], phases: dict[str, Any]) -> dict[str, Any]:
    """Read the row of the run, which can't have computed more than the state has in all."""
    from ._run_ledger import COLUMNS, COUNTS

    if not isinstance(saved, dict):
        raise TypeError(f"a dict was expected, not {type(saved).__name__}")
    for name in COLUMNS:
        if name not in saved:
            raise ValueError(f"{name!r} is missing")
    row = {name: saved[name] for name in COLUMNS}
    for name, value in row.items():
        if not _is_right(name, value, name in COUNTS):
            raise ValueError(f"{name} is {value!r}")
    if not row["run_id"] or row["flops_total"] is None or row["flops_train"] is None:
        raise ValueError("it needs run_id, flops_total and flops_train")
    if row["run_id"] == row["resumed_from"]:
        raise ValueError(f"resumed_from is {row['resumed_from']!r}, the run itself")
    for name in ("estimator", "convention"):
        if row[name] != state[name]:
            raise ValueError(f"{name} is {row[name]!r} and not {state[name]!r}")
    if row["epochs"] > state["epoch"]:
        raise ValueError(f"epochs is {row['epochs']:,}, of {state['epoch']:,} in all")
    _check_sums(row, sums_of(state["total_flops"], phases))
    return row


def _is_right(name: str, value: Any, is_count: bool) -> bool:
    whole = type(value) is int and value >= 0
    if is_count or name == "trained_parameters":
        return whole or value is None
    if name in ("epochs", "rank"):
        return whole
    if name == "complete":
        return type(value) is int and value in (0, 1)
    if name == "duration_s":
        return whole or (type(value) is float and 0 <= value < math.inf)
    text = type(value) is str and value.isprintable()
    if name == "started" and text:
        return _is_time(value)
    return text or (value is None and name not in _TEXTS)


def _is_time(text: str) -> bool:
    try:
        time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return False
    return True


def _check_sums(row: dict[str, Any], sums: dict[str, int]) -> None:
    parts = [row[f"flops_{name}"] or 0 for name in _SUMMED]
    if _add_counts(parts) != row["flops_total"]:
        raise ValueError(f"flops_total is {row['flops_total']:,}, and its phases add up to another")
    for name, value in row.items():
        own = sums.get(name.removeprefix("flops_"))
        if not name.startswith("flops_") or name == "flops_tracker" or value is None:
            continue
        if own is None or value > own:
            known = "not known" if own is None else f"{own:,} in all"
            raise ValueError(f"{name} is {value:,}, and the state has {known}")
