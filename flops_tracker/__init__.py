"""Exact FLOPs of training runs, per batch, epoch and layer.

``FlopsTracker`` follows a run; an estimator says what a batch costs. Frameworks are imported only
when they are used.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if importlib.util.find_spec("._core", __name__) is None:
    raise ImportError(
        "this is the source folder of flops_tracker, where its C core is not built: start Python "
        "in another folder (or with -P), or install with `pip install -e .`"
    )

from ._core import (
    Convention,
    EpochLog,
    FlopCounter,
    FlopsEstimator,
    FlopsTracker,
    Layer,
    Rule,
    SklearnSGDEstimator,
    StepLog,
    TorchAutoEstimator,
    TorchCNNLayerwiseEstimator,
    UncountedWarning,
    UnknownOperationError,
    __version__,
    format_flops,
    register_rule,
)
from ._listing import conventions, rules

if TYPE_CHECKING:
    from . import formulas
    from ._comparison import Compared, Comparison, compare
    from ._count import count
    from ._counts import FlopCount, ModuleCount
    from ._decorator import track_flops
    from ._explain import explain
    from ._op_estimator import TorchOpEstimator
    from ._profile import profile
    from ._profile_result import Profile
    from ._rates import EpochRates, Rates
    from ._scaling import Scaling, scaling

_LAZY = {
    "Compared": "_comparison",
    "Comparison": "_comparison",
    "EpochRates": "_rates",
    "FlopCount": "_counts",
    "ModuleCount": "_counts",
    "Profile": "_profile_result",
    "Rates": "_rates",
    "Scaling": "_scaling",
    "TorchOpEstimator": "_op_estimator",
    "compare": "_comparison",
    "count": "_count",
    "explain": "_explain",
    "profile": "_profile",
    "scaling": "_scaling",
    "track_flops": "_decorator",
}


def __getattr__(name: str) -> Any:
    """Import what needs more than the core when it is first used."""
    if name in ("formulas", "plot"):
        return importlib.import_module(f".{name}", __name__)
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "Compared",
    "Comparison",
    "Convention",
    "EpochLog",
    "EpochRates",
    "FlopCount",
    "FlopCounter",
    "FlopsEstimator",
    "FlopsTracker",
    "Layer",
    "ModuleCount",
    "Profile",
    "Rates",
    "Rule",
    "Scaling",
    "SklearnSGDEstimator",
    "StepLog",
    "TorchAutoEstimator",
    "TorchCNNLayerwiseEstimator",
    "TorchOpEstimator",
    "UncountedWarning",
    "UnknownOperationError",
    "__version__",
    "compare",
    "conventions",
    "count",
    "explain",
    "format_flops",
    "formulas",
    "profile",
    "register_rule",
    "rules",
    "scaling",
    "track_flops",
]
