"""state_dict and load_state_dict of a tracker: plain data out, and back in once all is checked."""

import math
from collections.abc import Callable
from typing import Any

from . import _options
from ._core import __version__
from ._counts import FlopCount
from ._run import Position, counted_by, sums_of
from ._state_checks import (
    check_checksum,
    checksum,
    describe_model,
    mind_model,
    read_counted_steps,
    read_model,
    read_row,
)

_FORMAT = "flops_tracker.FlopsTracker"
_VERSION = 1
_EPOCH = ("flops_epoch", "batches", "samples", "wall_time_s", "train_time_s", "loss", "complete")
_STEPS = ("steps_of_epochs", "batch_size", "flops_batch", "wall_time_s")
_COUNTS = (
    *("convention", "operations", "unknown_operations", "modules", "unknown", "upper_bounds"),
    "rows",
)


_NO_LOOPS: tuple[Any, ...] = (False, [], {}, None)


def state_dict(tracker: Any) -> dict[str, Any]:
    """Give the run as it is now, as dicts, lists, numbers, strings and None."""
    loops = tracker._loops
    over, open_steps, phases, counted_steps = _NO_LOOPS if loops is None else loops.state()
    total, epoch, step, epochs, steps = tracker._records(over, open_steps)
    name, convention = counted_by(tracker.estimator)
    state = {
        "format": _FORMAT,
        "version": _VERSION,
        "flops_tracker": __version__,
        "estimator": name,
        "convention": convention,
        "trust_line": str(tracker.estimator.trust_line),
        "total_flops": total,
        "epoch": epoch,
        "step": step,
        "train_time_s": tracker._train_time_s,
        "epochs": epochs and [dict(zip(_EPOCH, row, strict=True)) for row in epochs],
        "steps": steps and dict(zip(_STEPS, steps, strict=True)),
        "phases": {phase: _plain(counts) for phase, counts in phases.items()},
        "counted_steps": counted_steps,
        "model": describe_model(tracker.estimator),
        "run": tracker._run.checkpoint_row(tracker, sums_of(total, phases), epoch),
    }
    return {**state, "checksum": checksum(state)}


def load_state_dict(tracker: Any, state: Any) -> None:
    """Go on from a state; ValueError or TypeError, and nothing changed, where that can't be."""
    _check_is_new(tracker)
    state = _checked(state)
    _check_fits(tracker, state)
    phases = _part("phases", _read_phases, state["phases"], tracker)
    records = _part("records", _read_records, tracker, state)
    seconds = _part("train_time_s", _read_seconds, state["train_time_s"])
    row = _part("run", read_row, state["run"], state, phases)
    steps = _part("counted_steps", read_counted_steps, state.get("counted_steps"))
    model = _part("model", read_model, state.get("model"))
    _part("contents", check_checksum, state)
    mind_model(model, tracker.estimator)  # where warnings are errors, before anything is changed
    loops = tracker._own_loops() if phases else None
    tracker._run.enter_resumed(row)
    tracker._take_records(records, seconds)
    if loops is not None:
        loops.load(phases, steps)
    at = Position(state["epoch"], state["step"], state["total_flops"])
    sums = sums_of(state["total_flops"], phases)
    tracker._run.resume(sums, state["epoch"], row["run_id"], at)


# ---- counts as plain data ----


def _plain(counts: FlopCount) -> dict[str, Any]:
    values = dict(zip(_COUNTS, counts._state(), strict=False))
    return {
        **values,
        "modules": [
            [name, kind, parent, calls, list(aliases), *rest]
            for name, kind, parent, calls, aliases, *rest in values["modules"]
        ],
        "rows": [[*row[:-1], list(row[-1])] for row in values["rows"]],
    }


def _counts(plain: Any) -> FlopCount:
    values = _items(plain, _COUNTS)
    for name in ("unknown", "upper_bounds"):
        if not all(isinstance(text, str) for pair in _dict(values[name]).items() for text in pair):
            raise TypeError(f"{name} must be a dict of texts")
    values["modules"] = [
        (name, kind, parent, calls, tuple(_list(aliases)), _flag(parameters), _flag(forward))
        for name, kind, parent, calls, aliases, parameters, forward in _list(values["modules"])
    ]
    values["rows"] = [(*row, tuple(_list(cost))) for *row, cost in _list(values["rows"])]
    counts = FlopCount._from_state((*values.values(), None, None, False))
    if values["unknown_operations"] > values["operations"]:
        raise ValueError(f"{values['unknown_operations']:,} operations of fewer are unknown")
    _ = counts.total, counts.forward  # OverflowError here, and not when they are read
    return counts


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"True or False was expected, not {value!r}")
    return value


# ---- checks ----


def _check_is_new(tracker: Any) -> None:
    loops = tracker._loops
    if tracker._iterator is not None and not tracker._is_training:
        raise ValueError("load_state_dict: ft(...) was called already: load before it")
    if tracker._epochs_begun or tracker._is_training or (loops is not None and loops.has_counted):
        raise ValueError(
            f"load_state_dict: this tracker has counted already ({tracker!r}): load into a new one"
        )


def _item(values: Any, name: str) -> Any:
    if not isinstance(values, dict):
        raise TypeError(f"a dict was expected, not {type(values).__name__}")
    if name not in values:
        raise ValueError(f"{name!r} is missing")
    return values[name]


def _items(values: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: _item(values, name) for name in names}


def _checked(state: Any) -> dict[str, Any]:
    """Refuse what is no state, or one of another version, before its content is looked at."""
    if not isinstance(state, dict):
        raise TypeError(
            f"load_state_dict takes what state_dict() gave, a dict, not {type(state).__name__}"
        )
    if state.get("format") != _FORMAT:
        raise ValueError(
            "load_state_dict: this dict is no state of a FlopsTracker, by its 'format' "
            f"{state.get('format')!r}"
        )
    version = state.get("version")
    if type(version) is not int or version != _VERSION:
        raise ValueError(
            f"load_state_dict: the state is of version {version!r}, saved by flops_tracker "
            f"{state.get('flops_tracker')!r}; {__version__} reads version {_VERSION}"
        )
    names = ("estimator", "convention", "total_flops", "epoch", "step", "epochs", "steps")
    _part("keys", _items, state, (*names, "train_time_s", "phases", "run"))
    return dict(state)


def _check_fits(tracker: Any, state: dict[str, Any]) -> None:
    saved = state["estimator"], state["convention"]
    own = counted_by(tracker.estimator)
    if saved != own:
        raise ValueError(
            "load_state_dict: the state was counted by {} (convention {!r}), this tracker counts "
            "by {} (convention {!r}), and the two can't be added up".format(*saved, *own)
        )
    for part, kept, what, option in (
        ("epochs", tracker._keeps_epochs, "epoch", "keep_epoch_logs"),
        ("steps", tracker._keeps_steps, "step", "keep_batch_logs"),
    ):
        if state[part] is None and kept:
            raise ValueError(
                f"load_state_dict: the state has no record of each {what}, as it was saved with "
                f"{option}=False: make this tracker with {option}=False as well"
            )


def _part(name: str, read: Callable[..., Any], *args: Any) -> Any:
    """Read a part of the state; whatever is wrong in it is said with its name."""
    try:
        return read(*args)
    except (TypeError, ValueError, OverflowError, LookupError) as error:
        raise ValueError(
            f"load_state_dict: the state is damaged, in its {name}: {error}"
        ) from error


def _read_phases(saved: Any, tracker: Any) -> dict[str, FlopCount]:
    phases = {}
    for name, plain in _dict(saved).items():
        phases[_options.phase_name(name)] = _counts(plain)
        if phases[name].convention != counted_by(tracker.estimator)[1]:
            raise ValueError(f"{name!r} is counted under {phases[name].convention!r}")
    if phases and not hasattr(tracker.estimator, "counts_for_batch"):
        raise ValueError("phases are counted by operations, and this estimator has none")
    return phases


def _dict(value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"a dict was expected, not {type(value).__name__}")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"a list was expected, not {type(value).__name__}")
    return list(value)


def _read_records(tracker: Any, state: dict[str, Any]) -> Any:
    epochs, steps = state["epochs"], state["steps"]
    if epochs is not None:
        epochs = [tuple(_item(row, name) for name in _EPOCH) for row in _list(epochs)]
    if steps is not None:
        steps = tuple(_list(_item(steps, name)) for name in _STEPS)
    return tracker._read_records(state["total_flops"], state["epoch"], state["step"], epochs, steps)


def _read_seconds(saved: Any) -> float:
    if type(saved) not in (int, float) or not 0 <= saved < math.inf:
        raise ValueError(f"a time must be a number of seconds, not {saved!r}")
    return float(saved)
