"""What ``sklearn_bind`` trains: ``partial_fit`` on consecutive batches of rows."""

import operator
import warnings
from collections.abc import Iterator
from typing import Any

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
        import numpy as np

        return {"classes": np.unique(np.asarray(self.y))}

    def start_epoch(self) -> None:
        """Nothing to do: scikit-learn has no modes."""

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

    def batch_sizes(self) -> list[tuple[int, int]]:
        """Sizes of the batches of one epoch and how often each occurs."""
        full, rest = divmod(self.rows, self.batch_size)
        return [(self.batch_size, full)] * bool(full) + [(rest, 1)] * bool(rest)


def _width(X: Any) -> int | None:
    """Give the number of features, from an array, a table or a list of rows."""
    if hasattr(X, "shape"):
        return int(X.shape[1]) if len(X.shape) == 2 else None
    return len(X[0]) if len(X) > 0 and hasattr(X[0], "__len__") else None


def _warn_of_hyperplanes(estimator: Any, clf: Any, y: Any) -> None:
    """Say where the estimator counts another number of hyperplanes than will be fitted."""
    from sklearn.base import is_classifier

    counted = getattr(estimator, "n_classes", None)
    if counted is None or not is_classifier(clf):
        return
    import numpy as np

    classes = len(np.unique(np.asarray(y)))
    fitted = 1 if classes == 2 else classes
    if counted != fitted:
        warnings.warn(
            f"the estimator counts {counted} hyperplane(s), but for the {classes} classes of y "
            f"scikit-learn fits {fitted}: SklearnSGDEstimator(n_features, {fitted})",
            stacklevel=2,
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
    bound = getattr(estimator, "model", None)
    if bound is not None and bound is not clf:
        raise ValueError(
            f"the estimator was made for another model: {bound!r}, and not for {clf!r}"
        )
    training = SklearnTraining(clf, X, y, size)
    targets = int(y.shape[0]) if hasattr(y, "shape") else len(y)
    if training.rows != targets:
        raise ValueError(f"X has {training.rows} rows and y has {targets}")
    n_features = getattr(estimator, "n_features", None)
    width = _width(X)
    if n_features is not None and width is not None and n_features != width:
        raise ValueError(
            f"the estimator counts {n_features} features, but X has {width}: "
            f"SklearnSGDEstimator({width}, ...)"
        )
    _warn_of_hyperplanes(estimator, clf, y)
    return training
