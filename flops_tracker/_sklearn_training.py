"""What ``sklearn_bind`` trains: ``partial_fit`` on consecutive batches of rows."""

import operator
import warnings
from collections.abc import Iterator
from typing import Any

from ._core import SklearnSGDEstimator, TorchLayerwiseEstimator, UncountedWarning
from ._frameworks import need


class SklearnTraining:
    """One pass of partial_fit per epoch, with the real size of each batch."""

    def __init__(self, clf: Any, X: Any, y: Any, batch_size: int) -> None:
        self.clf = clf
        self.X = X
        self.y = y
        self.batch_size = batch_size
        self.rows = int(X.shape[0]) if hasattr(X, "shape") else len(X)

    def _classes(self) -> dict[str, Any]:
        """Pass what a classifier has to be told once, before it can see all its classes."""
        from sklearn.base import is_classifier

        if not is_classifier(self.clf) or hasattr(self.clf, "classes_"):
            return {}
        return {"classes": _labels(self.y)}

    def start_epoch(self, _: Any) -> None:
        """Nothing to do: scikit-learn has no modes, and the estimator knows what a batch costs."""

    def batches(self) -> Iterator[slice]:
        """Consecutive rows, the last batch with what is left."""
        for start in range(0, self.rows, self.batch_size):
            yield slice(start, min(start + self.batch_size, self.rows))

    def train(self, rows: slice) -> int:
        """Fit one batch; returns the number of its rows."""
        X = self.X.iloc[rows] if hasattr(self.X, "iloc") else self.X[rows]
        y = self.y.iloc[rows] if hasattr(self.y, "iloc") else self.y[rows]
        self.clf.partial_fit(X, y, **self._classes())
        return int(rows.stop - rows.start)

    def mean_loss(self) -> None:
        """scikit-learn does not report the loss of partial_fit."""

    def batch_count(self) -> int:
        """Batches of one epoch."""
        return -(-self.rows // self.batch_size)

    def batch_costs(self) -> None:
        """Nothing: the estimator knows what a batch costs."""

    def batch_sizes(self) -> list[tuple[int, int]]:
        """Sizes of the batches of one epoch and how often each occurs."""
        full, rest = divmod(self.rows, self.batch_size)
        return [(self.batch_size, full)] * bool(full) + [(rest, 1)] * bool(rest)


def _labels(y: Any) -> Any:
    import numpy as np

    return np.unique(np.asarray(y))


def _width(X: Any) -> int | None:
    """Give the number of features, from an array, a table or a list of rows."""
    if hasattr(X, "shape"):
        return int(X.shape[1]) if len(X.shape) == 2 else None
    return len(X[0]) if len(X) > 0 and hasattr(X[0], "__len__") else None


def _warn_of_hyperplanes(estimator: Any, clf: Any, y: Any) -> None:
    """Say where the estimator counts another number of hyperplanes than will be fitted."""
    from sklearn.base import is_classifier

    if is_classifier(clf):
        known = getattr(clf, "classes_", None)
        classes = len(_labels(y) if known is None else known)
        fitted, goal = (1 if classes == 2 else classes), f"{classes} classes"
    else:
        fitted, goal = 1, "one target"
    if estimator.n_classes != fitted:
        warnings.warn(
            f"the estimator counts {estimator.n_classes} hyperplane(s), but for {goal} "
            f"scikit-learn fits {fitted}: SklearnSGDEstimator(n_features, {fitted})",
            stacklevel=4,
        )


def _check_closed_form(estimator: Any, clf: Any, X: Any, y: Any) -> None:
    """Compare what the closed form counts with what will be fitted."""
    width = _width(X)
    if width is not None and estimator.n_features != width:
        raise ValueError(
            f"the estimator counts {estimator.n_features} features, but X has {width}: "
            f"SklearnSGDEstimator({width}, ...)"
        )
    if any(base.__name__ == "BaseSGD" for base in type(clf).__mro__):  # scikit-learn's own
        _warn_of_hyperplanes(estimator, clf, y)
    else:
        warnings.warn(
            f"SklearnSGDEstimator counts plain SGD of a linear model (SGDClassifier, SGDRegressor, "
            f"SGDOneClassSVM, Perceptron, PassiveAggressive...), and {type(clf).__name__} is none: "
            "its FLOPs will be others. Write a subclass of FlopsEstimator for it",
            UncountedWarning,
            stacklevel=3,
        )


def sklearn_bind(estimator: Any, clf: Any, X: Any, y: Any, *, batch_size: int) -> SklearnTraining:
    """Check what ``FlopsTracker.sklearn_bind`` was given."""
    need("sklearn", "sklearn")
    if isinstance(clf, type):
        raise TypeError(f"clf must be an estimator, not the class {clf.__name__}: {clf.__name__}()")
    if not hasattr(clf, "partial_fit"):
        raise TypeError(
            f"{type(clf).__name__} has no partial_fit, so it can't be trained batch by batch"
        )
    if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__"):
        raise TypeError(f"batch_size must be an int, not {batch_size!r}")
    size = operator.index(batch_size)
    if size < 1:
        raise ValueError(f"batch_size must be 1 or more, not {size}")
    own = isinstance(estimator, SklearnSGDEstimator | TorchLayerwiseEstimator)
    bound = estimator.model if own else None
    if bound is not None and bound is not clf:
        raise ValueError(
            f"the estimator was made for another model, which is another object than this {clf!r}: "
            "make it from the same one, SklearnSGDEstimator.from_estimator(clf)"
        )
    training = SklearnTraining(clf, X, y, size)
    targets = int(y.shape[0]) if hasattr(y, "shape") else len(y)
    if training.rows != targets:
        raise ValueError(f"X has {training.rows} rows and y has {targets}")
    if isinstance(estimator, SklearnSGDEstimator):
        _check_closed_form(estimator, clf, X, y)
    return training
