"""The estimators under the name that users of the earlier package import them from."""

from typing import TYPE_CHECKING, Any

from ._core import (
    FlopsEstimator,
    SklearnSGDEstimator,
    TorchAutoEstimator,
    TorchCNNLayerwiseEstimator,
)

if TYPE_CHECKING:
    from ._op_estimator import TorchOpEstimator

__all__ = [
    "FlopsEstimator",
    "SklearnSGDEstimator",
    "TorchAutoEstimator",
    "TorchCNNLayerwiseEstimator",
    "TorchOpEstimator",
]


def __getattr__(name: str) -> Any:
    """Import the estimator that needs torch when it is asked for."""
    if name != "TorchOpEstimator":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ._op_estimator import TorchOpEstimator

    return TorchOpEstimator
