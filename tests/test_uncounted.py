"""What has no rule is named, never silently 0."""

import warnings

import pytest
import torch
from model_snapshot import changes, snapshot
from torch import nn
from torch_models import Function, Scale, layers_by_path, paths, prepared_without_warning

from flops_tracker import TorchAutoEstimator, TorchCNNLayerwiseEstimator, UncountedWarning


def warned(estimator):
    """The messages of preparing and then reading everything."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.prepare()
        estimator.flops_for_batch(3)
        estimator.report()
        estimator.prepare()
    return [str(w.message) for w in caught if w.category is UncountedWarning]


# ---- layers without a rule ----


def test_a_layer_without_a_rule_is_listed_and_warned_of_once():
    estimator = TorchAutoEstimator(nn.Sequential(nn.Linear(4, 4), Scale()), (2, 4))
    (message,) = warned(estimator)
    assert message.startswith("1 layer(s) with parameters have no rule")
    assert "Scale at '1'" in message
    assert "estimator.register" in message
    (layer,) = estimator.uncounted
    assert (layer.module_class, layer.path, layer.status) == ("Scale", "1", "uncounted")
    assert (layer.calls, layer.flops, layer.parameters) == (1, 0, 4)
    # the rest is counted: 2·2·16
    assert estimator.forward_flops == 64


def test_the_warning_points_at_the_line_of_the_user():
    estimator = TorchAutoEstimator(Scale(), (2, 4))
    with pytest.warns(UncountedWarning) as caught:
        estimator.flops_for_batch(1)
    assert caught[0].filename == __file__


def test_the_first_few_are_named_and_the_others_are_numbered():
    model = nn.Sequential(*[Scale() for _ in range(5)])
    estimator = TorchAutoEstimator(model, (2, 4))
    (message,) = warned(estimator)
    assert "Scale at '0', Scale at '1', Scale at '2' and 2 more" in message
    assert "'3'" not in message
    assert paths(estimator.uncounted) == ["0", "1", "2", "3", "4"]


def test_the_model_itself_can_be_the_layer_without_a_rule():
    estimator = TorchAutoEstimator(Scale(), (2, 4))
    (message,) = warned(estimator)
    assert "Scale at 'the model itself'" in message
    assert paths(estimator.uncounted) == [""]


def test_the_warning_may_be_an_error_and_then_nothing_is_prepared():
    model = nn.Sequential(Scale())
    before = snapshot(model)
    estimator = TorchAutoEstimator(model, (2, 4))
    for _ in range(2):
        with pytest.raises(UncountedWarning), warnings.catch_warnings():
            warnings.simplefilter("error")
            estimator.flops_for_batch(1)
    assert changes(before, snapshot(model)) == []


def test_parameters_used_by_a_forward_of_its_own_are_listed_beside_its_children():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(4, 4))
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            return self.linear(x @ self.weight)

    estimator = prepared_without_warning(TorchAutoEstimator(nn.Sequential(Block()), (2, 4)))
    assert paths(estimator.uncounted) == ["0"]
    assert estimator.forward_flops == 64


@pytest.mark.parametrize(
    "parameters",
    [
        nn.ParameterList([nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))]),
        nn.ParameterDict({"0": nn.Parameter(torch.ones(4)), "1": nn.Parameter(torch.ones(4))}),
    ],
    ids=["list", "dict"],
)
def test_parameter_lists_are_listed_though_nobody_can_call_them(parameters):
    def forward(self, x):
        values = self.all.values() if hasattr(self.all, "values") else self.all
        return self.linear(x * sum(values))

    model = Function(forward, all=parameters, linear=nn.Linear(4, 1))
    estimator = prepared_without_warning(TorchAutoEstimator(model, (2, 4)))
    (layer,) = estimator.uncounted
    assert (layer.path, layer.parameters) == ("all", 8)
    assert estimator.uncalled == []


def test_a_module_without_parameters_and_without_a_rule_is_no_gap():
    class Swish(nn.Module):
        def forward(self, x):
            return x * torch.sigmoid(x)

    estimator = TorchAutoEstimator(nn.Sequential(Swish(), nn.Linear(4, 4)), (2, 4))
    assert warned(estimator) == []
    assert estimator.uncounted == []
    assert layers_by_path(estimator)["0"].status == "container"


def test_the_layers_of_another_library_are_listed():
    Conv1D = pytest.importorskip("transformers.pytorch_utils").Conv1D
    estimator = TorchAutoEstimator(nn.Sequential(Conv1D(6, 4)), (2, 4))
    assert ["Conv1D at '0'" in message for message in warned(estimator)] == [True]


def test_a_rule_that_does_not_fit_a_call_makes_a_gap():
    class Silent(nn.Linear):
        def forward(self, x):
            super().forward(x)

    estimator = TorchAutoEstimator(Function(lambda self, x: self.odd(x), odd=Silent(4, 4)), (2, 4))
    assert len(warned(estimator)) == 1
    (layer,) = estimator.uncounted
    assert (layer.path, layer.flops) == ("odd", 0)
    assert "does not fit" in layer.note


def test_a_gap_of_one_model_is_no_gap_of_the_next():
    first = prepared_without_warning(TorchAutoEstimator(Scale(), (2, 4)))
    second = TorchAutoEstimator(nn.Linear(4, 4), (2, 4))
    assert (len(first.uncounted), second.uncounted) == (1, [])


# ---- layers that forward never called ----


def test_uncalled_layers_are_listed_without_a_warning():
    model = Function(
        lambda self, x: self.used(x),
        used=nn.Linear(4, 4),
        spare=nn.Linear(4, 4),
        strange=Scale(),
        block=nn.Sequential(nn.Linear(4, 4), nn.ReLU()),
    )
    estimator = TorchAutoEstimator(model, (2, 4))
    assert warned(estimator) == []
    assert paths(estimator.uncalled) == ["spare", "strange", "block", "block.0", "block.1"]
    assert estimator.uncounted == []
    assert estimator.forward_flops == 64


# ---- subclasses ----


def test_a_subclass_with_a_forward_of_its_own_counts_as_its_base_and_says_so():
    class LoRA(nn.Linear):
        def forward(self, x):
            return super().forward(x) + x @ self.weight.T

    class Named(nn.Linear):
        pass

    estimator = TorchAutoEstimator(nn.Sequential(LoRA(4, 4), Named(4, 4)), (2, 4))
    own, plain = estimator.layers[1:]
    assert (own.module_class, own.status, own.flops) == ("LoRA", "counted", 64)
    assert own.note == "counted as torch.nn.modules.linear.Linear; its forward is its own"
    assert (plain.status, plain.flops, plain.note) == ("counted", 64, "")
    assert "its forward is its own" in estimator.report()


class LowRank(nn.Linear):
    """As loralib has it: parameters beside those of the base."""

    def __init__(self, size):
        super().__init__(size, size)
        self.lora_A = nn.Parameter(torch.zeros(size, 2))
        self.lora_B = nn.Parameter(torch.zeros(2, size))

    def forward(self, x):
        return super().forward(x) + x @ self.lora_A @ self.lora_B


def test_a_subclass_with_more_parameters_than_its_base_is_a_gap_beside_the_base():
    estimator = TorchAutoEstimator(nn.Sequential(LowRank(4)), (2, 4))
    (message,) = warned(estimator)
    note = "counted as torch.nn.modules.linear.Linear, without lora_A, lora_B"
    assert note in message
    assert [(x.path, x.note) for x in estimator.uncounted] == [("0", note)]
    assert estimator.forward_flops == 2 * 2 * 16  # what the base computes stays
    assert "1 layer counted, 1 without a rule" in estimator.trust_line
    assert "64" in estimator.report()


class Head(nn.Identity):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(4, 9))

    def forward(self, x):
        return x @ self.w


class Tied(nn.Embedding):
    def forward(self, x):
        return super().forward(x) @ self.weight.T


@pytest.mark.parametrize(
    ("layer", "example"), [(Head, (2, 4)), (lambda: Tied(9, 4), ((2,), "int64"))]
)
def test_a_subclass_of_a_free_layer_that_computes_with_parameters_is_a_gap(layer, example):
    estimator = TorchAutoEstimator(layer(), example)
    assert len(warned(estimator)) == 1
    assert paths(estimator.uncounted) == [""]
    assert estimator.forward_flops == 0


OWN_FORWARD = {
    "Linear": ((4, 4), (2, 4)),
    "Bilinear": ((4, 4, 4), ((2, 4), (2, 4))),
    "Conv2d": ((4, 4, 1), (2, 4, 3, 3)),
    "ConvTranspose1d": ((4, 4, 1), (2, 4, 3)),
    "LSTM": ((4, 4, 2, True, True, 0.0, True, 2), (3, 2, 4)),
    "GRUCell": ((4, 4), (2, 4)),
    "BatchNorm1d": ((4,), (2, 4)),
    "GroupNorm": ((2, 4), (2, 4)),
    "RMSNorm": ((4,), (2, 4)),
    "MultiheadAttention": (
        (4, 2, 0.0, True, True, False, 3, 3, True),
        ((2, 1, 4), (2, 1, 3), (2, 1, 3)),
    ),
}


@pytest.mark.parametrize("name", OWN_FORWARD)
def test_the_parameters_of_the_base_alone_are_no_gap(name):
    arguments, example = OWN_FORWARD[name]
    base = getattr(nn, name)
    layer = type("Own", (base,), {"forward": base.forward})(*arguments)
    estimator = TorchAutoEstimator(layer, example)
    assert warned(estimator) == []
    assert estimator.layers[0].note.endswith("its forward is its own")
    assert estimator.forward_flops == TorchAutoEstimator(base(*arguments), example).forward_flops


def test_layers_with_parameters_that_are_never_called_are_in_the_trust_line():
    def around_its_layers(self, x):
        return nn.functional.linear(self.first.forward(x), self.second.weight)

    model = Function(
        around_its_layers, first=nn.Linear(4, 4), second=nn.Linear(4, 4), unused=nn.ReLU()
    )
    estimator = TorchAutoEstimator(model, (2, 4))
    assert warned(estimator) == []
    assert "0 layers counted, 0 without a rule, 2 never called" in estimator.trust_line
    assert "never called" not in TorchAutoEstimator(nn.Linear(4, 4), (2, 4)).trust_line


# ---- the CNN estimator ----


def test_the_cnn_estimator_counts_conv2d_and_linear_and_lists_the_rest():
    def forward(self, x):
        x = self.norm(self.conv(x))
        self.up(x)
        self.bilinear(x.flatten(2), x.flatten(2))
        y = self.conv1d(x.flatten(2))
        return self.linear(self.lstm(y)[0])

    model = Function(
        forward,
        conv=nn.Conv2d(1, 2, 1),
        norm=nn.BatchNorm2d(2),
        up=nn.ConvTranspose2d(2, 1, 2),
        bilinear=nn.Bilinear(9, 9, 1),
        conv1d=nn.Conv1d(2, 4, 1),
        lstm=nn.LSTM(9, 3),
        linear=nn.Linear(3, 5),
        unused=nn.Upsample(2),
    )
    estimator = TorchCNNLayerwiseEstimator(model, (1, 1, 3, 3))
    (message,) = warned(estimator)
    assert message.startswith("4 layer(s)")
    assert paths(estimator.uncounted) == ["up", "bilinear", "conv1d", "lstm"]
    # conv 2·9·2 = 36; linear 2·4·15 = 120
    assert estimator.forward_flops == 156
    assert layers_by_path(estimator)["norm"].status == "neglected"
