"""sklearn_bind trains with partial_fit on consecutive batches of the rows and counts them."""

import contextlib

import pytest
from training_models import PerSample, column

from flops_tracker import (
    FlopsTracker,
    SklearnSGDEstimator,
    TorchAutoEstimator,
    UncountedWarning,
)

np = pytest.importorskip("numpy")
pytest.importorskip("sklearn")

from sklearn.datasets import load_digits  # noqa: E402
from sklearn.linear_model import (  # noqa: E402
    LogisticRegression,
    PassiveAggressiveClassifier,
    PassiveAggressiveRegressor,
    Perceptron,
    SGDClassifier,
    SGDOneClassSVM,
    SGDRegressor,
)
from sklearn.naive_bayes import MultinomialNB  # noqa: E402
from sklearn.neural_network import MLPClassifier  # noqa: E402

# load_digits: 1797 rows of 64 features in 10 classes. 1797 = 14 * 128 + 5.
ROWS, BATCHES = 1797, [128] * 14 + [5]


def digits():
    data, target = load_digits(return_X_y=True)
    return data / 16, target


def rows(count, features=3):
    """Noise, a binary target and a real one."""
    generator = np.random.default_rng(0)
    data = generator.normal(size=(count, features))
    return data, (data[:, 0] > 0).astype(int), data.sum(axis=1)


def test_digits():
    # 4·B·f·C = 4 * 1797 * 64 * 10 = 4,600,320 an epoch; a full batch 4 * 128 * 64 * 10 = 327,680,
    # the last one 4 * 5 * 64 * 10 = 12,800.
    data, target = digits()
    clf = SGDClassifier(random_state=0)
    ft = FlopsTracker(SklearnSGDEstimator(64, 10)).sklearn_bind(clf, data, target, batch_size=128)
    assert ft.estimate(3) == 3 * 4_600_320
    assert ft.run(3) == 3 * 4_600_320 == 13_800_960
    assert [s.batch_size for s in ft.step_logs] == BATCHES * 3
    assert [s.flops_batch for s in ft.step_logs[:15]] == [327_680] * 14 + [12_800]
    assert [(e.batches, e.samples, e.loss) for e in ft.epoch_logs] == [(15, ROWS, None)] * 3
    assert clf.score(data, target) > 0.85  # it has learnt


def test_the_weights_are_those_of_the_loop_by_hand():
    data, target = digits()
    by_hand, tracked = SGDClassifier(random_state=0), SGDClassifier(random_state=0)
    for _ in range(2):
        for start in range(0, ROWS, 128):
            stop = start + 128
            by_hand.partial_fit(data[start:stop], target[start:stop], classes=range(10))
    ft = FlopsTracker(SklearnSGDEstimator(64, 10))
    ft.sklearn_bind(tracked, data, target, batch_size=128).run(2)
    assert (tracked.coef_ == by_hand.coef_).all()
    assert (tracked.intercept_ == by_hand.intercept_).all()
    assert tracked.t_ == by_hand.t_


def test_the_loop_form_prints_and_exports(tmp_path, capsys):
    data, target, _ = rows(10)
    ft = FlopsTracker(SklearnSGDEstimator(3))
    ft.sklearn_bind(SGDClassifier(random_state=0), data, target, batch_size=4)
    for _ in ft(range(2), export="both", export_prefix=tmp_path / "run"):
        pass
    # 4·B·3·1: batches of 4, 4, 2 are 48, 48, 24; an epoch is 120.
    assert column(tmp_path / "run_batch.csv", "flops_batch") == [48, 48, 24] * 2
    assert column(tmp_path / "run_epoch.csv", "flops_total_cum") == [120, 240]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("epoch 1 · 120 FLOPs · total 120 FLOP")
    assert "loss" not in lines[0]
    assert lines[2].startswith("total 240 FLOPs")


def test_binary_counts_the_one_hyperplane_that_is_fitted():
    data, target, _ = rows(10)
    clf = SGDClassifier(random_state=0).partial_fit(data[:2], [0, 1], classes=[0, 1])
    ft = FlopsTracker(SklearnSGDEstimator.from_estimator(clf))
    ft.sklearn_bind(clf, data, target, batch_size=4)
    assert ft.run(2) == 2 * 4 * 10 * 3 * 1 == 240


def test_regression():
    data, _, target = rows(10)
    model = SGDRegressor(random_state=0)
    ft = FlopsTracker(SklearnSGDEstimator(3)).sklearn_bind(model, data, target, batch_size=10)
    assert ft.run(1) == 4 * 10 * 3 == 120
    assert model.coef_.shape == (3,)


def test_classes_that_the_first_batch_does_not_hold():
    data, _, _ = rows(6)
    target = np.array(["a", "a", "b", "b", "c", "c"])  # sorted: a class a batch
    clf = Perceptron(random_state=0)
    FlopsTracker(PerSample(1)).sklearn_bind(clf, data, target, batch_size=2).run(1)
    assert clf.classes_.tolist() == ["a", "b", "c"]


def test_classes_that_are_known_already_stay():
    data, target, _ = rows(6)
    clf = SGDClassifier(random_state=0).partial_fit(data[:1], [7], classes=[0, 1, 7])
    FlopsTracker(PerSample(1)).sklearn_bind(clf, data, target, batch_size=2).run(1)
    assert clf.classes_.tolist() == [0, 1, 7]


@pytest.mark.parametrize("kind", ["list", "tuple", "sparse", "float32"])
def test_kinds_of_data(kind):
    data, target, _ = rows(10)
    if kind == "sparse":
        data = pytest.importorskip("scipy.sparse").csr_matrix(data)
    else:
        make = {"list": lambda x: x.tolist(), "tuple": lambda x: tuple(map(tuple, x.tolist()))}
        data = make.get(kind, lambda x: x.astype(np.float32))(data)
        target = target.tolist() if kind == "list" else target
    ft = FlopsTracker(SklearnSGDEstimator(3))
    ft.sklearn_bind(SGDClassifier(random_state=0), data, target, batch_size=4)
    assert ft.run(1) == ft.estimate(1) == 120


def test_data_frames():
    pandas = pytest.importorskip("pandas")
    data, target, _ = rows(10)
    frame = pandas.DataFrame(data, index=range(100, 110))  # labels that are no positions
    ft = FlopsTracker(SklearnSGDEstimator(3))
    labels = pandas.Series(target, index=frame.index)
    ft.sklearn_bind(SGDClassifier(random_state=0), frame, labels, batch_size=4)
    assert ft.run(1) == 120


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(1, [1] * 10), (5, [5, 5]), (10, [10]), (99, [10]), (7, [7, 3])]
)
def test_batch_sizes_and_the_estimate(batch_size, sizes):
    data, target, _ = rows(10)
    ft = FlopsTracker(PerSample(3))
    ft.sklearn_bind(SGDClassifier(random_state=0), data, target, batch_size=batch_size)
    assert ft.estimate(2) == 60
    assert ft.run(2) == 60
    assert [s.batch_size for s in ft.step_logs] == sizes * 2


def test_a_numpy_integer_is_a_batch_size():
    data, target, _ = rows(10)
    ft = FlopsTracker(PerSample(3))
    ft.sklearn_bind(SGDClassifier(random_state=0), data, target, batch_size=np.int64(4))
    assert ft.run(1) == 30


# ---- what is refused, before anything is fitted ----


@pytest.mark.parametrize(
    ("batch_size", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        (2.5, TypeError),
        ("128", TypeError),
        (None, TypeError),
        (True, TypeError),
    ],
)
def test_wrong_batch_sizes(batch_size, error):
    data, target, _ = rows(10)
    clf = SGDClassifier()
    with pytest.raises(error, match="batch_size must be"):
        FlopsTracker(PerSample(3)).sklearn_bind(clf, data, target, batch_size=batch_size)
    assert not hasattr(clf, "coef_")


def test_batch_size_has_no_default_and_a_name():
    data, target, _ = rows(10)
    ft = FlopsTracker(PerSample(3))
    with pytest.raises(TypeError, match="batch_size"):
        ft.sklearn_bind(SGDClassifier(), data, target)
    with pytest.raises(TypeError, match="positional"):
        ft.sklearn_bind(SGDClassifier(), data, target, 4)
    with pytest.raises(RuntimeError, match="sklearn_bind"):
        ft.run(1)


@pytest.mark.parametrize("clf", [LogisticRegression(), object(), None], ids=repr)
def test_what_has_no_partial_fit(clf):
    data, target, _ = rows(10)
    with pytest.raises(TypeError, match="has no partial_fit"):
        FlopsTracker(PerSample(3)).sklearn_bind(clf, data, target, batch_size=4)


def test_the_class_instead_of_an_instance():
    data, target, _ = rows(10)
    with pytest.raises(TypeError, match="SGDClassifier"):
        FlopsTracker(PerSample(3)).sklearn_bind(SGDClassifier, data, target, batch_size=4)


def test_rows_and_targets_of_different_numbers():
    data, target, _ = rows(10)
    with pytest.raises(ValueError, match="X has 10 rows and y has 9"):
        FlopsTracker(PerSample(3)).sklearn_bind(SGDClassifier(), data, target[:9], batch_size=4)


@pytest.mark.parametrize("change", [lambda x: x, lambda x: x.tolist()], ids=["array", "list"])
def test_other_features_than_the_estimator_counts(change):
    data, target, _ = rows(10)
    ft = FlopsTracker(SklearnSGDEstimator(4))
    with pytest.raises(ValueError, match=r"counts 4 features, but X has 3"):
        ft.sklearn_bind(SGDClassifier(), change(data), target, batch_size=4)


def test_the_estimator_of_another_model():
    data, target, _ = rows(10)
    fitted = SGDClassifier(random_state=0).partial_fit(data, target, classes=[0, 1])
    ft = FlopsTracker(SklearnSGDEstimator.from_estimator(fitted))
    twin = SGDClassifier(random_state=0)
    assert repr(twin) == repr(fitted)
    with pytest.raises(ValueError, match=r"another object than this .*from_estimator\(clf\)"):
        ft.sklearn_bind(twin, data, target, batch_size=4)
    ft.sklearn_bind(fitted, data, target, batch_size=4)
    assert ft.run(1) == 120


def test_the_estimator_of_a_network():
    torch = pytest.importorskip("torch")
    data, target, _ = rows(10)
    ft = FlopsTracker(TorchAutoEstimator(torch.nn.Linear(3, 1), (1, 3)))
    with pytest.raises(ValueError, match="another model"):
        ft.sklearn_bind(SGDClassifier(), data, target, batch_size=4)


def test_an_error_of_partial_fit_comes_through_and_the_batches_before_it_count():
    data, target, _ = rows(10)
    data[5, 0] = np.nan  # in the second batch of four
    ft = FlopsTracker(SklearnSGDEstimator(3))
    ft.sklearn_bind(SGDClassifier(random_state=0), data, target, batch_size=4)
    with pytest.raises(ValueError, match="NaN"):
        ft.run(1)
    assert ft.total_flops == 48
    assert [(e.flops_epoch, e.complete) for e in ft.epoch_logs] == [(48, False)]


@pytest.mark.parametrize(("counted", "fitted"), [(1, 3), (2, 1), (5, 3)])
def test_another_number_of_hyperplanes_than_counted_is_warned_of(counted, fitted):
    data, target, _ = rows(12)
    target = target if fitted == 1 else np.arange(12) % fitted
    ft = FlopsTracker(SklearnSGDEstimator(3, counted))
    words = (
        rf"counts {counted} hyperplane.*fits {fitted}: SklearnSGDEstimator\(n_features, {fitted}\)"
    )
    with pytest.warns(UserWarning, match=words):
        ft.sklearn_bind(SGDClassifier(), data, target, batch_size=4)
    assert ft.run(1) == 4 * 12 * 3 * counted  # what was asked for


@pytest.mark.parametrize(
    ("counted", "fitted", "clf"),
    [(3, 1, SGDRegressor), (1, 1, SGDRegressor), (1, 1, SGDOneClassSVM), (10, 1, SGDRegressor)],
)
def test_what_is_no_classifier_has_one_hyperplane(counted, fitted, clf):
    data, _, real = rows(12)
    ft = FlopsTracker(SklearnSGDEstimator(3, counted))
    expected = pytest.warns(UserWarning, match=f"counts {counted} .*one target.* fits {fitted}")
    with contextlib.nullcontext() if counted == fitted else expected:
        ft.sklearn_bind(clf(), data, real, batch_size=4)


def test_classes_that_the_classifier_knows_go_before_those_of_y():
    data, _, _ = rows(12)
    clf = SGDClassifier().partial_fit(data, np.arange(12) % 3, classes=np.arange(10))
    ft = FlopsTracker(SklearnSGDEstimator.from_estimator(clf))
    ft.sklearn_bind(clf, data, np.arange(12) % 3, batch_size=4)  # no warning
    assert ft.run(1) == 4 * 12 * 3 * 10


@pytest.mark.parametrize("clf", [MLPClassifier, MultinomialNB])
def test_a_model_that_is_no_linear_sgd_is_warned_of(clf):
    data, target, _ = rows(12)
    with pytest.warns(UncountedWarning, match=rf"counts plain SGD.* and {clf.__name__} is none"):
        FlopsTracker(SklearnSGDEstimator(3)).sklearn_bind(clf(), data, target, batch_size=4)
    FlopsTracker(PerSample(7)).sklearn_bind(clf(), data, target, batch_size=4)  # the users own


@pytest.mark.parametrize(
    "clf", [Perceptron, PassiveAggressiveClassifier, PassiveAggressiveRegressor]
)
@pytest.mark.filterwarnings("ignore:.*PassiveAggressive.*deprecated")
def test_the_other_models_of_scikit_learn_that_sgd_fits(clf):
    data, target, _ = rows(12)
    FlopsTracker(SklearnSGDEstimator(3)).sklearn_bind(clf(), data, target, batch_size=4)
