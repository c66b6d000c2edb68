"""The estimators under the name that users of the earlier package import them from."""

from ._core import (
    FlopsEstimator,
    SklearnSGDEstimator,
    TorchAutoEstimator,
    TorchCNNLayerwiseEstimator,
)

__all__ = [
    "FlopsEstimator",
    "SklearnSGDEstimator",
    "TorchAutoEstimator",
    "TorchCNNLayerwiseEstimator",
]
