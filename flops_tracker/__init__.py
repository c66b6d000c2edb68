"""Exact FLOPs of training runs, per batch, epoch and layer.

``FlopsTracker`` follows a run; an estimator says what a batch costs. Frameworks are imported only
when they are used.
"""

from ._core import (
    Convention,
    EpochLog,
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
