"""The torch estimators: their arguments, scaling to a batch, and what people read."""

import decimal

import pytest
import torch
from torch import nn
from torch_models import Function, LeNet5, Scale, layers_by_path, prepared_without_warning

from flops_tracker import TorchAutoEstimator, TorchCNNLayerwiseEstimator

BOTH = pytest.mark.parametrize("kind", [TorchAutoEstimator, TorchCNNLayerwiseEstimator])

# ---- arguments ----


@BOTH
@pytest.mark.parametrize(
    ("factor", "flops"),
    [
        # Linear(5, 1) without bias on 3 rows: forward 2·3·5 = 30
        (1, 30),
        (3.0, 90),
        (2.7, 81),
        (2.75, 83),  # 82.5, half up
        (0, 0),
        (decimal.Decimal("2.7"), 81),
        (1e6, 30_000_000),
    ],
)
def test_training_factor_is_the_decimal_that_was_written(kind, factor, flops):
    estimator = kind(nn.Linear(5, 1, bias=False), (1, 5), factor)
    assert estimator.flops_for_batch(3) == flops
    assert estimator.training_factor == factor


@BOTH
def test_training_factor_is_three_by_default(kind):
    # 3·(2·5·1)
    assert kind(nn.Linear(5, 1), (1, 5)).flops_for_batch(1) == 30


def test_a_decimal_factor_is_exact_where_a_binary_fraction_is_not():
    # forward 2·10^6 a row, near 2·10^21 in all; as doubles the product has 53 bits of 71
    estimator = TorchAutoEstimator(nn.Linear(1000, 1000), (1, 1000), training_factor=2.7)
    batch = 10**15 + 1
    assert estimator.flops_for_batch(batch) == 27 * 2 * 1000 * 1000 * batch // 10


@BOTH
@pytest.mark.parametrize(
    "factor", [-1, -0.5, float("nan"), float("inf"), "x", "3", True, None, 2e6]
)
def test_a_bad_training_factor_is_named(kind, factor):
    with pytest.raises(ValueError, match="training_factor"):
        kind(nn.Linear(5, 1), (1, 5), training_factor=factor)


@BOTH
def test_input_size_is_another_name_of_input_example(kind):
    model = nn.Linear(5, 1)
    assert kind(model, input_size=(2, 5)).forward_flops == 20
    assert kind(model, input_size=(2, 5)).input_example == (2, 5)
    with pytest.raises(TypeError, match="input_example"):
        kind(model)
    with pytest.raises(TypeError, match="input_size"):
        kind(model, (2, 5), input_size=(2, 5))


@BOTH
@pytest.mark.parametrize("model", [None, "model", nn.Linear, object()])
def test_the_model_must_be_a_module(kind, model):
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module"):
        kind(model, (1, 5))


@pytest.mark.parametrize(
    ("example", "text"),
    [
        ((), "input_example"),
        (7, "input_example"),
        ("(1, 5)", "input_example"),
        ((1, -5), "negative"),
        ((0, 5), "empty batch"),
        ({}, "no tensor"),
        ((None,), "no tensor"),
        (((1, 5), "int65"), "int65"),
    ],
)
def test_a_bad_example_is_one_clear_error_at_once(example, text):
    with pytest.raises(ValueError, match=text):
        TorchAutoEstimator(nn.Linear(5, 1), example)


@pytest.mark.parametrize(
    ("batch_dim", "error"), [(2, ValueError), (-3, ValueError), (1.0, TypeError), (True, TypeError)]
)
def test_a_bad_batch_dim_is_one_clear_error_at_once(batch_dim, error):
    with pytest.raises(error, match="batch_dim"):
        TorchAutoEstimator(nn.Linear(5, 1), (1, 5), batch_dim=batch_dim)


@pytest.mark.parametrize(
    "example",
    [
        pytest.param((2, 5), id="shape"),
        pytest.param([2, 5], id="list"),
        pytest.param(torch.Size((2, 5)), id="torch.Size"),
        pytest.param(((2, 5), torch.float32), id="shape and dtype"),
        pytest.param(((2, 5), "float32"), id="shape and name of a dtype"),
        pytest.param(((2, 5),), id="tuple of one shape"),
        pytest.param(torch.zeros(2, 5), id="tensor"),
        pytest.param((torch.zeros(2, 5),), id="tuple of a tensor"),
        pytest.param({"input": (2, 5)}, id="dict of a shape"),
        pytest.param({"input": torch.zeros(2, 5)}, id="dict of a tensor"),
    ],
)
def test_every_form_of_example_means_the_same(example):
    estimator = TorchAutoEstimator(nn.Linear(5, 3), example)
    assert (estimator.example_batch, estimator.forward_flops) == (2, 2 * 2 * 15)


def test_token_ids_given_as_a_shape_alone_get_a_hint():
    estimator = TorchAutoEstimator(nn.Embedding(9, 4), (2, 3))
    with pytest.raises(RuntimeError, match="indices") as caught:
        estimator.prepare()
    assert "input_example=((2, 3), torch.int64)" in "\n".join(caught.value.__notes__)


# ---- scaling to a batch ----


def test_the_example_batch_does_not_matter():
    for batch in (1, 3, 7):
        estimator = TorchAutoEstimator(LeNet5(), (batch, 1, 32, 32), training_factor=1)
        assert estimator.example_batch == batch
        # 2·416,520 per image, see test_layer_table
        assert estimator.flops_for_batch(5) == 5 * 833_040


def constant_work(self, x):
    return self.per_row(x), self.once(torch.ones(3, 6))


def test_work_on_a_constant_does_not_grow_with_the_batch():
    model = Function(constant_work, per_row=nn.Linear(4, 4), once=nn.Linear(6, 2))
    estimator = TorchAutoEstimator(model, (2, 4))
    # per_row 2·4·4 = 32 a row; once 2·3·6·2 = 72 a batch
    assert estimator.forward_flops == 2 * 32 + 72
    assert estimator.flops_for_batch(1) == 3 * (32 + 72)
    assert estimator.flops_for_batch(10) == 3 * (10 * 32 + 72)


def test_work_done_only_in_the_first_call_is_seen_by_every_pass():
    def with_cache(self, x):
        if self.cache is None:
            self.cache = self.once(torch.ones(3, 6)).sum()
        return self.per_row(x) + self.cache

    model = Function(with_cache, per_row=nn.Linear(4, 4), once=nn.Linear(6, 2))
    model.cache = None
    # each pass begins with the model as it was given: 32 a row and 72 once, as above
    estimator = TorchAutoEstimator(model, (2, 4))
    assert estimator.forward_flops == 2 * 32 + 72
    assert estimator.flops_for_batch(10) == 3 * (10 * 32 + 72)
    assert model.cache is None


def test_unbatched_input_is_one_sample():
    # 10 rows of Linear(64, 64): 2·10·64·64 = 81,920 a sample
    estimator = TorchAutoEstimator(nn.Linear(64, 64), (10, 64), 1, batch_dim=None)
    assert estimator.example_batch == 1
    assert estimator.flops_for_batch(4) == 4 * 81_920


@pytest.mark.parametrize("batch_dim", [1, -2])
def test_batch_dim_tells_where_the_batch_is(batch_dim):
    # LSTM(4, 5), 7 steps, 3 sequences: 2·21·20·9 = 7,560, so 2,520 a sequence
    estimator = TorchAutoEstimator(nn.LSTM(4, 5), (7, 3, 4), 1, batch_dim=batch_dim)
    assert estimator.example_batch == 3
    assert estimator.flops_for_batch(5) == 12_600


def test_a_model_of_one_batch_size_is_scaled_in_proportion():
    model = Function(lambda self, x: self.linear(x.view(2, 6)), linear=nn.Linear(6, 1))
    # 2·2·6 = 24 for the 2 rows that it can take
    assert TorchAutoEstimator(model, (2, 6), 1).flops_for_batch(6) == 72


def test_use_eval_mode_chooses_the_path():
    def with_auxiliary_head(self, x):
        return (self.head(x), self.aux(x)) if self.training else self.head(x)

    model = Function(with_auxiliary_head, head=nn.Linear(4, 1), aux=nn.Linear(4, 2))
    assert TorchAutoEstimator(model, (1, 4)).forward_flops == 8
    assert TorchAutoEstimator(model, (1, 4), use_eval_mode=False).forward_flops == 8 + 16
    assert model.training


def test_a_batch_norm_in_train_mode_takes_an_example_of_one_row():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).train()
    estimator = TorchAutoEstimator(model, (1, 4))
    assert (estimator.forward_flops, estimator.dry_run) == (32, "fake")


def test_prepare_returns_the_estimator_and_does_the_dry_run_once():
    passes = []
    model = Function(lambda self, x: passes.append(1) or self.linear(x), linear=nn.Linear(4, 1))
    estimator = TorchAutoEstimator(model, (1, 4))
    assert passes == []
    assert estimator.prepare() is estimator
    done = len(passes)
    assert done in (1, 2)
    estimator.flops_for_batch(3)
    estimator.prepare()
    assert len(passes) == done


def test_the_base_of_the_torch_estimators_is_not_for_use():
    with pytest.raises(TypeError, match="TorchAutoEstimator"):
        TorchAutoEstimator.__mro__[1](nn.Linear(1, 1), (1, 1))
    with pytest.raises(RuntimeError, match="__init__"):
        TorchAutoEstimator.__new__(TorchAutoEstimator).flops_for_batch(1)


# ---- what people read ----


def test_a_layer_record_says_what_the_layer_did():
    estimator = TorchAutoEstimator(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), (2, 4))
    linear = layers_by_path(estimator)["0"]
    assert (linear.module_class, linear.status, linear.rule) == ("Linear", "counted", "linear")
    assert (linear.calls, linear.flops, linear.parameters) == (1, 2 * 2 * 12, 15)
    assert layers_by_path(estimator)["1"].status == "neglected"


def test_the_report_shows_totals_convention_and_gaps():
    model = Function(
        lambda self, x: self.scale(self.linear(x)),
        linear=nn.Linear(4, 4),
        scale=Scale(),
        spare=nn.Linear(9, 9),
    )
    estimator = prepared_without_warning(TorchAutoEstimator(model, (100, 4)))
    report = estimator.report()
    assert "3,200" in report  # 2·100·4·4
    assert "layerwise × 3.0" in report
    assert "not counted (parameters, but no rule): scale: Scale" in report
    assert "never called by forward: spare: Linear" in report
    assert "not seen: operations outside modules" in report
    assert "1 layer counted, 1 without a rule" in estimator.trust_line
    assert "1 without a rule" in estimator.trust_line
