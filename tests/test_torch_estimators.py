"""The torch estimators: their arguments, scaling to a batch, and what people read."""

import decimal

import pytest
import torch
from torch import nn
from torch_models import Function, LeNet5, Scale, layers_by_path, prepared_without_warning
from training_models import toy_batches

from flops_tracker import (
    FlopsTracker,
    TorchAutoEstimator,
    TorchCNNLayerwiseEstimator,
    UncountedWarning,
)

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
        ((1.0, 5), r"takes integers, not 1\.0"),
        ((1, True), "takes integers, not True"),
        (((1, 5.5), "float32"), r"takes integers, not 5\.5"),
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


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        (TorchAutoEstimator, "include_norm_cost"),
        (TorchAutoEstimator, "include_pooling_cost"),
        (TorchAutoEstimator, "include_softmax_cost"),
        (TorchAutoEstimator, "use_eval_mode"),
        (TorchCNNLayerwiseEstimator, "use_eval_mode"),
    ],
)
def test_text_is_neither_on_nor_off(kind, option):
    with pytest.raises(TypeError, match=f"{option} must be True or False, not 'no'"):
        kind(nn.Linear(4, 3), (1, 4), **{option: "no"})


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


# ---- which inputs have the batch ----

# per_row is Linear(8, 8) on 16 positions of each sample, 2·16·64 = 2,048; table is Linear(8, 100)
# on 16 positions of one table, 2·16·800 = 25,600.
PER_ROW, TABLE = 2048, 25_600


def with_table():
    return Function(
        lambda self, x, table: self.per_row(x).sum() + self.table(table).sum(),
        per_row=nn.Linear(8, 8),
        table=nn.Linear(8, 100),
    )


@pytest.mark.parametrize("batch", [1, 3])
def test_inputs_that_may_or_may_not_have_the_batch_are_warned_of(batch):
    example = ((batch, 16, 8), (batch, 16, 8))
    estimator = TorchAutoEstimator(with_table(), example, 1)
    with pytest.warns(
        UncountedWarning, match=rf"has the size {batch} along dimension 0.*\(0, None"
    ):
        estimator.prepare()
    assert estimator.flops_for_batch(64) == 64 * (PER_ROW + TABLE)  # both are taken to have it


def test_a_batch_that_no_other_size_equals_tells():
    estimator = TorchAutoEstimator(with_table(), ((2, 16, 8), (1, 16, 8)), 1)
    assert estimator.flops_for_batch(64) == 64 * PER_ROW + TABLE


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("named", [False, True])
def test_batch_dim_of_each_input_tells(batch, named):
    shapes, dims = ((batch, 16, 8), (1, 16, 8)), (0, None)
    if named:
        shapes, dims = dict(zip("ab", shapes, strict=True)), {"b": None, "a": 0}
        model = with_table()
        model.function = lambda self, a, b: self.per_row(a).sum() + self.table(b).sum()
    else:
        model = with_table()
    estimator = TorchAutoEstimator(model, shapes, 1, batch_dim=dims)
    assert estimator.batch_dim == dims
    assert estimator.flops_for_batch(64) == 64 * PER_ROW + TABLE


@pytest.mark.parametrize(
    ("model", "example", "flops"),
    [
        # They must go together: 2·3·(3·4·5 + 4·5) = 480, as in docs/formulas.md, so 160 a sample.
        (lambda: nn.Bilinear(3, 4, 5), ((1, 3), (1, 4)), 160),
        # A mask that is spread over the batch makes no difference: 2·3·3 = 18.
        (lambda: Function(lambda s, x, m: s.l(x) * m, l=nn.Linear(3, 3)), ((1, 3), (1, 3)), 18),
    ],
)
def test_inputs_whose_batch_is_clear_are_not_warned_of(model, example, flops):
    assert TorchAutoEstimator(model(), example, 1).flops_for_batch(7) == 7 * flops


@pytest.mark.parametrize(
    ("batch_dim", "error", "words"),
    [
        ((0,), ValueError, "not shaped like input_example"),
        ({"x": 0, "table": None}, ValueError, "not shaped like input_example"),
        ((0, (0, 0)), ValueError, "not shaped like input_example"),
        ((0, 1.0), TypeError, "batch_dim must be"),
        ((0, True), TypeError, "batch_dim must be"),
        ((0, 3), ValueError, "batch_dim=.* is no dimension"),
        ((0, 0), ValueError, r"batches of \[2, 1\]"),
    ],
)
def test_a_bad_batch_dim_of_an_input_is_one_clear_error(batch_dim, error, words):
    with pytest.raises(error, match=words):
        TorchAutoEstimator(with_table(), ((2, 16, 8), (1, 16, 8)), batch_dim=batch_dim)


def test_inputs_none_of_which_has_a_batch():
    example = ((2, 16, 8), (1, 16, 8))
    estimator = TorchAutoEstimator(with_table(), example, 1, batch_dim=(None, None))
    assert (estimator.batch_dim, estimator.example_batch) == (None, 1)
    assert estimator.flops_for_batch(3) == 3 * (2 * PER_ROW + TABLE)


def test_training_takes_the_size_of_the_input_that_has_the_batch():
    model = Function(
        lambda self, table, x: self.per_row(x) + self.table(table).sum(),
        per_row=nn.Linear(4, 3),
        table=nn.Linear(4, 3),
    )
    table = torch.ones(5, 4)
    loader = [((table, x), y) for x, y in toy_batches()]
    estimator = TorchAutoEstimator(model, ((5, 4), (2, 4)), batch_dim=(None, 0))
    ft = FlopsTracker(estimator)
    ft.torch_bind(model, torch.optim.SGD(model.parameters(), lr=0.1), train_loader=loader)
    # 24 a row and 5·24 = 120 a batch, three times, for 10 rows in 3 batches: 3·(240 + 360).
    assert ft.estimate(1) == ft.run(1) == 1800
    assert [s.batch_size for s in ft.step_logs] == [4, 4, 2]
    ft.torch_bind(model, torch.optim.SGD(model.parameters(), lr=0.1), train_loader=toy_batches())
    with pytest.raises(TypeError, match=r"holds no tensor.*batch_dim=\(None, 0\)"):
        ft.run(1)


# ---- what surrounds the dry run ----


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_the_users_default_device_makes_no_difference(device):
    model = nn.Linear(5, 3)
    with torch.device(device):
        estimator = TorchAutoEstimator(model, (2, 5))
        assert (estimator.forward_flops, estimator.dry_run) == (60, "fake")  # 2·2·15


def test_a_forward_that_differentiates():
    def residual(self, x):
        x = x.requires_grad_()
        y = self.linear(x)
        (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        return torch.cat([y, slope], 1)

    model = Function(residual, linear=nn.Linear(4, 1))
    estimator = TorchAutoEstimator(model, (2, 4))
    assert (estimator.forward_flops, estimator.dry_run) == (16, "fake")  # 2·2·4
    assert model.linear.weight.grad is None


class Packed(nn.Module):
    """A GRU over sequences of several lengths, and a linear on its last state."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(4, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, packed):
        return self.head(self.gru(packed)[1][0])


def test_a_packed_sequence_goes_to_a_device_as_one():
    # Its batch_sizes must stay on the CPU: taken apart, it could not be made again there.
    packed = nn.utils.rnn.pack_sequence([torch.ones(3, 4), torch.ones(2, 4)])
    assert TorchAutoEstimator(Packed().to("meta"), packed).forward_flops == 1390  # as below


def test_a_packed_sequence_is_one_argument():
    packed = nn.utils.rnn.pack_sequence([torch.ones(3, 4), torch.ones(2, 4)])
    # 3 gates of 5·(4 + 5) = 135 multiplications for each of 5 steps, 2·675 = 1,350; the head
    # 2·2·10 = 40. Its batch is the steps: 5 of them cost as much as in the example.
    model = Packed()
    estimator = TorchAutoEstimator(model, packed)
    assert estimator.forward_flops == 1390
    ft = FlopsTracker(estimator)
    loader = [(packed, torch.tensor([0, 1]))]
    ft.torch_bind(model, torch.optim.SGD(model.parameters(), lr=0.1), train_loader=loader)
    with pytest.warns(UncountedWarning, match="5 samples along dimension 0 and its target 2"):
        assert ft.run(1) == 3 * 1390
