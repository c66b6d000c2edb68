"""The closed form for scikit-learn's SGD, and the base class that users extend."""

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, SGDClassifier, SGDRegressor
from torch import nn

import flops_tracker
import flops_tracker.estimators
from flops_tracker import (
    FlopsEstimator,
    FlopsTracker,
    SklearnSGDEstimator,
    TorchAutoEstimator,
)


@pytest.mark.parametrize(
    "name",
    ["FlopsEstimator", "SklearnSGDEstimator", "TorchAutoEstimator", "TorchCNNLayerwiseEstimator"],
)
def test_estimators_have_two_import_paths(name):
    assert getattr(flops_tracker.estimators, name) is getattr(flops_tracker, name)
    assert issubclass(getattr(flops_tracker, name), FlopsEstimator)


# ---- SklearnSGDEstimator ----


def test_sgd_is_four_b_f_c():
    # 4·128·64·10 = 512·640
    assert SklearnSGDEstimator(64, 10).flops_for_batch(128) == 327_680


def test_sgd_has_one_hyperplane_by_default():
    # 4·32·20·1
    assert SklearnSGDEstimator(n_features=20).flops_for_batch(32) == 2_560


def test_sgd_counts_the_classes_given_as_they_stand():
    # n_classes=2 means two hyperplanes where the user says so: 4·1·5·2
    assert SklearnSGDEstimator(n_features=5, n_classes=2).flops_for_batch(1) == 40


def test_sgd_of_an_empty_batch_is_nothing():
    assert SklearnSGDEstimator(5, 2).flops_for_batch(0) == 0


def samples(classes, rows=12, features=5):
    generator = np.random.default_rng(0)
    return generator.normal(size=(rows, features)), np.arange(rows) % classes


@pytest.mark.parametrize(
    ("model", "classes", "hyperplanes"),
    [
        pytest.param(SGDClassifier(), 2, 1, id="binary"),
        pytest.param(SGDClassifier(), 3, 3, id="3 classes"),
        pytest.param(LogisticRegression(), 2, 1, id="logistic regression, binary"),
        pytest.param(SGDRegressor(), 7, 1, id="regressor"),
    ],
)
def test_from_estimator_reads_the_hyperplanes_that_were_fitted(model, classes, hyperplanes):
    fitted = model.fit(*samples(classes))
    estimator = SklearnSGDEstimator.from_estimator(fitted)
    assert (estimator.n_features, estimator.n_classes) == (5, hyperplanes)
    assert estimator.model is fitted
    assert estimator.flops_for_batch(8) == 4 * 8 * 5 * hyperplanes


def test_from_estimator_after_one_partial_fit():
    rows, labels = samples(2)
    clf = SGDClassifier().partial_fit(rows[:2], labels[:2], classes=[0, 1, 2, 3])
    assert SklearnSGDEstimator.from_estimator(clf).n_classes == 4


@pytest.mark.parametrize("model", [SGDClassifier(), object(), None])
def test_from_estimator_wants_a_fitted_linear_model(model):
    with pytest.raises(ValueError, match=r"not a fitted linear model.*partial_fit"):
        SklearnSGDEstimator.from_estimator(model)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((0,), ValueError, "n_features must be 1 or more"),
        ((3, 0), ValueError, "n_classes must be 1 or more"),
        ((-1,), ValueError, "n_features must be 0 or more, not -1"),
        ((3, -2), ValueError, "n_classes must be 0 or more, not -2"),
        ((2.0,), TypeError, "n_features must be an integer"),
        (("3",), TypeError, "n_features must be an integer"),
        ((True,), TypeError, "n_features must be an integer"),
        ((3, 1.5), TypeError, "n_classes must be an integer"),
        ((), TypeError, "n_features"),
    ],
)
def test_sgd_refuses_bad_sizes(arguments, error, text):
    with pytest.raises(error, match=text):
        SklearnSGDEstimator(*arguments)


def test_sgd_takes_numpy_integers():
    assert SklearnSGDEstimator(np.int32(5), np.uint8(2)).flops_for_batch(np.int64(3)) == 120


def test_sgd_is_exact_past_64_bits():
    # 4·2^40·2^30·3 = 3·2^72
    assert SklearnSGDEstimator(2**30, 3).flops_for_batch(2**40) == 3 * 2**72
    # the greatest power of two that 128 bits hold: 4·2^42·2^42·2^41 = 2^127
    assert SklearnSGDEstimator(2**42, 2**41).flops_for_batch(2**42) == 2**127


@pytest.mark.parametrize("size", [2**63 - 1, 2**63, 2**64 - 1])
def test_sgd_takes_every_64_bit_size(size):
    assert SklearnSGDEstimator(size).flops_for_batch(1) == 4 * size
    assert SklearnSGDEstimator(1).flops_for_batch(size) == 4 * size


def test_sgd_past_128_bits_is_an_overflow_error():
    with pytest.raises(OverflowError):
        SklearnSGDEstimator(2**42, 2**42).flops_for_batch(2**42)  # 2^128
    with pytest.raises(OverflowError):
        SklearnSGDEstimator(2**64)


@pytest.mark.parametrize(
    ("size", "error"), [(-1, ValueError), (1.0, TypeError), ("8", TypeError), (True, TypeError)]
)
@pytest.mark.parametrize(
    "estimator",
    [SklearnSGDEstimator(3), TorchAutoEstimator(nn.Linear(4, 4), (1, 4))],
    ids=["sgd", "torch"],
)
def test_a_batch_size_is_a_natural_number(estimator, size, error):
    with pytest.raises(error, match="batch_size"):
        estimator.flops_for_batch(size)


# ---- the base class ----


class Constant(FlopsEstimator):
    def __init__(self, answer):
        self.answer = answer

    def flops_for_batch(self, batch_size):
        return self.answer


def total_of_one_batch(estimator, batch_size=4):
    with FlopsTracker(estimator) as tracker:
        tracker.on_epoch_start()
        tracker.update_batch(batch_size)
        tracker.on_epoch_end()
    return tracker.total_flops


def test_an_estimator_of_the_users_own():
    class PerSample(FlopsEstimator):
        def flops_for_batch(self, batch_size):
            return 7 * batch_size

    assert total_of_one_batch(PerSample(), 4) == 28


def test_a_subclass_of_ours_overrides_the_count():
    class Doubled(SklearnSGDEstimator):
        def flops_for_batch(self, batch_size):
            return 2 * super().flops_for_batch(batch_size)

    # 2·4·4·3·1
    assert total_of_one_batch(Doubled(3), 4) == 96


def test_an_estimator_without_its_method_says_what_to_define():
    class Empty(FlopsEstimator):
        pass

    with pytest.raises(NotImplementedError, match=r"Empty must define flops_for_batch"):
        Empty().flops_for_batch(1)
    with pytest.raises(
        TypeError, match=r"Empty does not define flops_for_batch\(self, batch_size\)"
    ):
        FlopsTracker(Empty())


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (1.5, TypeError, "result of flops_for_batch must be an integer, not 1.5"),
        ("9", TypeError, "result of flops_for_batch must be an integer, not '9'"),
        (None, TypeError, "result of flops_for_batch must be an integer, not None"),
        (True, TypeError, "result of flops_for_batch must be an integer"),
        (-1, ValueError, "result of flops_for_batch must be 0 or more, not -1"),
        (-(2**70), ValueError, "result of flops_for_batch must be 0 or more"),
        (2**128, OverflowError, "does not fit in 128 bits"),
        (2**128 - 1, OverflowError, "does not fit in 128 bits"),  # the mark of an overflow
    ],
)
def test_a_wrong_answer_of_an_own_estimator_is_named(answer, error, text):
    with pytest.raises(error, match=text):
        total_of_one_batch(Constant(answer))


@pytest.mark.parametrize("answer", [0, 2**64, 2**128 - 2, np.int64(5)])
def test_a_right_answer_of_an_own_estimator_is_kept_exactly(answer):
    assert total_of_one_batch(Constant(answer)) == int(answer)


def test_an_exception_of_an_own_estimator_is_the_users():
    error = LookupError("no such batch")

    class Failing(FlopsEstimator):
        def flops_for_batch(self, batch_size):
            raise error

    with pytest.raises(LookupError) as caught:
        total_of_one_batch(Failing())
    assert caught.value is error


def test_an_estimator_that_was_not_initialised_says_so():
    with pytest.raises(RuntimeError, match="__init__"):
        SklearnSGDEstimator.__new__(SklearnSGDEstimator).flops_for_batch(1)


def test_a_shape_that_shrinks_while_it_is_read():
    class Shrinking:
        def __index__(self):
            shape.clear()
            return 3

    shape = [Shrinking() for _ in range(40)]  # the first one read empties the list
    fitted = SimpleNamespace(coef_=SimpleNamespace(shape=shape), n_features_in_=4)
    estimator = SklearnSGDEstimator.from_estimator(fitted)
    assert (estimator.n_features, estimator.n_classes) == (4, 3)


# ---- copies ----


class Noted(SklearnSGDEstimator):
    """With an __init__ and an attribute of its own."""

    def __init__(self, note):
        super().__init__(5, 3)
        self.note = note


COPIES = [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]


@pytest.mark.parametrize("make", COPIES, ids=["copy", "deepcopy", "pickle"])
def test_estimators_can_be_copied(make):
    own, noted = make(Constant(11)), make(Noted("mine"))
    assert own.flops_for_batch(4) == Constant(11).flops_for_batch(4)
    # 4·2 rows·5 features·3 hyperplanes
    assert (type(noted), noted.note, noted.flops_for_batch(2)) == (Noted, "mine", 120)
    fitted = SklearnSGDEstimator(5, 3, model=SGDClassifier(alpha=0.5))
    assert make(fitted).model.alpha == 0.5


@pytest.mark.parametrize("make", COPIES, ids=["copy", "deepcopy", "pickle"])
def test_estimators_of_a_model_say_that_they_can_not_be_copied(make):
    with pytest.raises(TypeError, match=r"can't be copied or pickled.*make a new one"):
        make(TorchAutoEstimator(nn.Linear(2, 2), (1, 2)))


@pytest.mark.parametrize("state", [None, (), ((0, 1, None), {}), (3, {}), ((1, 1, None), None)])
def test_a_state_that_is_none_of_ours_is_refused(state):
    with pytest.raises((TypeError, ValueError)):
        SklearnSGDEstimator(5).__setstate__(state)
