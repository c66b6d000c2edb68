"""Closed forms: what a layer or a model costs, from numbers alone, as NumPy ufuncs.

``formulas.linear(32, 768, [512, 1024, 2048])`` is an array of FLOPs, each the same as what the
counters say of such a layer. Every formula of the package is here by its name: ``dir(formulas)``
lists them, ``help(formulas.conv2d)`` tells the arguments. ``transformer``, ``cnn`` and ``rnn`` plan
whole models. NumPy is imported when the first of them is used.
"""

from ._closed_forms import Formula, all_formulas, conv_output
from ._listing import listing
from ._planner_cnn import Conv, Linear, Pool, Residual, cnn
from ._planners import Plan, rnn, transformer

__all__ = [
    "Conv",
    "Formula",
    "Linear",
    "Plan",
    "Pool",
    "Residual",
    "cnn",
    "conv_output",
    "listing",
    "rnn",
    "transformer",
]


def __getattr__(name: str) -> Formula:
    """Find a formula by its name."""
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    known = all_formulas()
    if name not in known:
        from difflib import get_close_matches

        near = get_close_matches(name, [*known, *__all__], 1)
        hint = f"; did you mean {near[0]!r}?" if near else ", see dir(flops_tracker.formulas)"
        raise AttributeError(f"there is no formula {name!r}{hint}", name=name, obj=None)
    return known[name]


def __dir__() -> list[str]:
    return sorted({*all_formulas(), *__all__})
