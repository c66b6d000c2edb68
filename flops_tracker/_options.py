"""Checks options before anything runs: what was wrong is said with the option and its value."""

import inspect
import operator
import warnings
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, NoReturn

from . import _core


def switch(name: str, value: Any) -> bool:
    """Read an option that is on or off: a bool, NumPy's too, or 0 or 1, and no text."""
    numpy_bool = type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_")
    if numpy_bool or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise TypeError(f"{name} must be True or False, not {value!r}")


def whole(name: str, value: Any, least: int) -> int:
    """Read an option that is an integer and no less than that."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int, not {value!r}")
    number = operator.index(value)
    if number < least:
        raise ValueError(f"{name} must be {least} or more, not {number}")
    return number


def whole_or_none(name: str, value: Any) -> int | None:
    """Read a limit: an integer from 0, or None for no limit."""
    return None if value is None else whole(name, value, 0)


def choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """Read an option that is one of a few words."""
    words = [repr(word) for word in choices]
    if isinstance(value, str) and repr(value) in words:
        return value
    problem = f"{name} must be {', '.join(words[:-1])} or {words[-1]}, not {value!r}"
    raise ValueError(problem) if isinstance(value, str) else TypeError(problem)


def phase_name(name: Any) -> str:
    """Read what a phase is called: text on one line, without spaces around it."""
    if not isinstance(name, str) or not name:
        raise TypeError(f"a phase is named by a word such as 'validate', not {name!r}")
    if name != name.strip() or not name.isprintable():
        raise ValueError(
            f"a phase is named by a word such as 'validate', without control characters or spaces "
            f"around it, not {name!r}"
        )
    return str(name)


VERIFY_EVERY = 500  # steps from one audit to the next, in the long run


def trace(mode: Any, verify_every: Any) -> tuple[str, int]:
    """Read which steps of a loop are counted; None stands for the default."""
    mode = "auto" if mode is None else choice("trace", mode, ("auto", "always", "first"))
    every = VERIFY_EVERY if verify_every is None else whole("verify_every", verify_every, 1)
    return mode, every


def operation_conventions() -> list[str]:
    """Names of the conventions that operations are read under."""
    of_others = ("layerwise", "flops_profiler")
    return [c.name for c in _core.conventions() if c.name not in of_others]


def function(name: str, value: Any) -> None:
    """Refuse what is given as a function and is none; None stands for the default."""
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be callable, not {value!r}")
    if isinstance(value, type):
        raise TypeError(f"{name} is the class {value.__name__}: write {value.__name__}()")


def optimizer(value: Any, instead: str) -> None:
    """Refuse what is no optimizer to step, and LBFGS: its step runs the model."""
    import torch

    if isinstance(value, type):
        raise TypeError(
            f"optimizer is the class {value.__name__}: pass an instance, "
            f"{value.__name__}(model.parameters())"
        )
    if not (hasattr(value, "step") and hasattr(value, "zero_grad")):
        raise TypeError(
            f"optimizer needs step() and zero_grad(); this is no such object: {value!r}"
        )
    if isinstance(value, torch.optim.LBFGS):
        raise TypeError(f"LBFGS runs the model inside its step, which needs a closure: {instead}")


def call(model: Any, kwargs: Any, backward: bool, loss_fn: Any) -> None:
    """Refuse what can't be called, or not so."""
    if not callable(model):
        raise TypeError(f"model must be a module or a function, not {type(model).__name__}")
    if kwargs is not None and not isinstance(kwargs, Mapping):
        raise TypeError(f"kwargs must be a dict, not {kwargs!r}")
    if loss_fn is not None and not backward:
        raise TypeError("loss_fn is for backward=True")
    function("loss_fn", loss_fn)


def refuse_unknown(function: str, name: str, known: list[str]) -> NoReturn:
    """Refuse an option that there is not, with the one that was probably meant."""
    near = get_close_matches(name, known, 1, 0.6)
    hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"
    raise TypeError(f"{function} has no option {name!r}; {hint}")


def misspelled(model: Any, arguments: Iterable[str], function: Any) -> None:
    """Tell of arguments for a model that it does not name, and that look like ours."""
    own = [
        p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY
    ]
    try:
        named = inspect.signature(getattr(model, "forward", model)).parameters
    except (TypeError, ValueError):  # it does not say what it takes
        return
    takes_any = any(p.kind is p.VAR_KEYWORD for p in named.values())
    for name in arguments:
        near = [] if name in named else get_close_matches(name, own, 1, 0.85)
        if near and takes_any:
            warnings.warn(
                f"{name!r} is taken for an argument of the model; did you mean {near[0]!r}?",
                stacklevel=3,
            )
        elif near:
            raise TypeError(
                f"neither count nor the model has an argument {name!r}; did you mean {near[0]!r}?"
            )
