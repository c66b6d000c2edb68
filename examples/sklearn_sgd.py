"""Count the training of a scikit-learn SGDClassifier, batch by batch, over partial_fit."""

from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

from flops_tracker import FlopsTracker, SklearnSGDEstimator


def main() -> None:
    X, y = load_digits(return_X_y=True)
    clf = SGDClassifier(random_state=0)

    # Ten digits: one hyperplane each. 4·B·f·C = 4 · 1797 · 64 · 10 = 4,600,320 FLOPs an epoch.
    estimator = SklearnSGDEstimator(n_features=64, n_classes=10)
    ft = FlopsTracker(estimator).sklearn_bind(clf, X, y, batch_size=128)
    for _ in ft(range(3), print_level="epoch"):
        print(f"  accuracy {clf.score(X, y):.3f}")

    # The sizes as scikit-learn really fitted them:
    fitted = SklearnSGDEstimator.from_estimator(clf)
    print(f"{fitted}: {fitted.flops_for_batch(1797):,} FLOPs an epoch")


if __name__ == "__main__":
    main()
