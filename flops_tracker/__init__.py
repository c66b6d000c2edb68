"""Exact FLOPs of training runs, per batch, epoch and layer.

``FlopsTracker`` follows a run; an estimator says what a batch costs. Frameworks are imported only
when they are used.
"""

import importlib.util

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
    __version__,
    conventions,
    format_flops,
    formulas,
    rules,
)

__all__ = [
    "Convention",
    "EpochLog",
    "FlopCounter",
    "FlopsEstimator",
    "FlopsTracker",
    "Layer",
    "Rule",
    "SklearnSGDEstimator",
    "StepLog",
    "TorchAutoEstimator",
    "TorchCNNLayerwiseEstimator",
    "UncountedWarning",
    "__version__",
    "conventions",
    "format_flops",
    "formulas",
    "rules",
]
