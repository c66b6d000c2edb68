"""estimator.register: rules of the user for layers of their own or in place of ours."""

import warnings

import pytest
from model_snapshot import changes, snapshot
from torch import nn
from torch_models import Function, Repeated, Scale, layers_by_path

from flops_tracker import TorchAutoEstimator


def per_element(module, args, kwargs, output):
    return output.numel()


def test_a_registered_rule_counts():
    estimator = TorchAutoEstimator(nn.Sequential(Scale(), nn.Linear(4, 4)), (2, 4))
    assert estimator.register(Scale, per_element) is estimator
    # 2·4 and 2·2·16
    assert estimator.forward_flops == 8 + 64
    assert estimator.uncounted == []
    layer = layers_by_path(estimator)["0"]
    assert (layer.status, layer.rule, layer.flops) == ("counted", "user", 8)


def test_a_rule_sees_the_call():
    seen = []

    def rule(module, args, kwargs, output):
        seen.append((module, tuple(args[0].shape), kwargs["factor"], tuple(output[0].shape)))
        return 5

    class Odd(Scale):
        def forward(self, x, *, factor):
            return [x * self.factor * factor]

    layer = Odd()
    model = Function(lambda self, x: self.layer(x, factor=0.5), layer=layer)
    estimator = TorchAutoEstimator(model, (2, 4)).register(Odd, rule)
    assert estimator.forward_flops == 5
    # the example, and the pass with twice its batch
    assert seen == [(layer, (2, 4), 0.5, (2, 4)), (layer, (4, 4), 0.5, (4, 4))]


def test_a_rule_counts_every_call_and_scales_with_the_batch():
    estimator = TorchAutoEstimator(Repeated(Scale(), 3), (2, 4), training_factor=1)
    estimator.register(Scale, per_element)
    # 3·4 a row
    assert estimator.flops_for_batch(10) == 120


def test_a_rule_of_a_base_class_holds_and_the_nearest_one_decides():
    class Child(Scale):
        pass

    class Grandchild(Child):
        pass

    model = nn.Sequential(Scale(), Child(), Grandchild())
    estimator = TorchAutoEstimator(model, (1, 4))
    estimator.register(Scale, lambda *call: 1).register(Child, lambda *call: 10)
    assert [layer.flops for layer in estimator.layers[1:]] == [1, 10, 10]


def test_a_rule_of_the_user_goes_before_ours():
    estimator = TorchAutoEstimator(nn.Linear(4, 4), (2, 4))
    assert estimator.forward_flops == 64
    estimator.register(nn.Linear, lambda *call: 7)
    assert estimator.forward_flops == 7
    estimator.register(nn.Linear, lambda *call: 9, override=True)
    assert estimator.forward_flops == 9


def test_a_second_rule_needs_override():
    estimator = TorchAutoEstimator(Scale(), (2, 4)).register(Scale, per_element)
    with pytest.raises(ValueError, match="override=True"):
        estimator.register(Scale, lambda *call: 1)
    assert estimator.forward_flops == 8


def test_a_rule_belongs_to_one_estimator():
    TorchAutoEstimator(nn.Linear(4, 4), (2, 4)).register(nn.Linear, lambda *call: 7)
    assert TorchAutoEstimator(nn.Linear(4, 4), (2, 4)).forward_flops == 64


@pytest.mark.parametrize(
    "arguments",
    [(Scale(), per_element), ("Scale", per_element), (Scale, 5), (Scale,), (), (Scale, None)],
)
def test_register_takes_a_class_and_a_callable(arguments):
    estimator = TorchAutoEstimator(nn.Linear(4, 4), (2, 4))
    with pytest.raises(TypeError):
        estimator.register(*arguments)
    assert estimator.forward_flops == 64


def test_what_is_inside_a_unit_is_not_counted_again():
    class Block(nn.Sequential):
        pass

    inner = nn.Linear(4, 4)
    model = nn.Sequential(Block(inner, Scale(), Block(nn.Linear(4, 4))), inner)
    estimator = TorchAutoEstimator(model, (2, 4)).register(Block, lambda *call: 1000)
    # the block once, not its own inner block; the shared layer once more outside: 64
    assert estimator.forward_flops == 1000 + 64
    statuses = {path: layer.status for path, layer in layers_by_path(estimator).items()}
    assert statuses == {
        "": "container",
        "0": "counted",
        "0.0": "counted",
        "0.1": "inside",
        "0.2": "inside",
        "0.2.0": "inside",
    }
    assert layers_by_path(estimator)["0.0"].flops == 64


def test_a_rule_for_a_layer_that_returns_nothing():
    class Silent(Scale):
        def forward(self, x):
            super().forward(x)

    model = Function(lambda self, x: self.silent(x), silent=Silent())
    estimator = TorchAutoEstimator(model, (2, 4)).register(Silent, lambda *call: 11)
    assert estimator.forward_flops == 11
    assert estimator.uncalled == []


def test_a_rule_for_a_layer_that_catches_what_its_part_raised():
    class Fragile(nn.Module):
        def forward(self, x):
            raise LookupError

    def forward(self, x):
        try:
            self.fragile(x)
        except LookupError:
            return self.linear(x)

    model = Function(forward, fragile=Fragile(), linear=nn.Linear(4, 4))
    estimator = TorchAutoEstimator(model, (2, 4)).register(Fragile, lambda *call: 1000)
    # the fragile one never finished; what came after it is counted
    assert estimator.forward_flops == 64


@pytest.mark.parametrize(
    ("answer", "error"),
    [(1.5, TypeError), ("7", TypeError), (None, TypeError), (True, TypeError), (-1, ValueError)],
)
def test_a_wrong_answer_of_a_rule_is_named(answer, error):
    estimator = TorchAutoEstimator(Scale(), (2, 4)).register(Scale, lambda *call: answer)
    with pytest.raises(error, match="the result of a registered rule"):
        estimator.prepare()


def test_a_rule_may_answer_beyond_64_bits():
    estimator = TorchAutoEstimator(Scale(), (2, 4)).register(Scale, lambda *call: 2**100)
    assert estimator.forward_flops == 2**100
    assert estimator.layers[0].flops == 2**100


def test_a_sum_beyond_128_bits_is_an_overflow_error():
    model = nn.Sequential(Scale(), Scale())
    estimator = TorchAutoEstimator(model, (2, 4)).register(Scale, lambda *call: 2**127)
    with pytest.raises(OverflowError):
        estimator.flops_for_batch(2)


def test_what_a_rule_raises_is_raised_and_the_model_is_not_run_for_real():
    error = ZeroDivisionError("in my rule")
    kinds = []

    def rule_that_fails_once(module, args, kwargs, output):
        if not kinds[1:]:
            raise error
        return 1

    def forward(self, x):
        kinds.append(type(x).__name__)
        return self.scale(x)

    model = Function(forward, scale=Scale())
    before = snapshot(model)
    estimator = TorchAutoEstimator(model, (2, 4)).register(Scale, rule_that_fails_once)
    with pytest.raises(ZeroDivisionError) as caught:
        estimator.prepare()
    assert caught.value is error
    assert kinds == ["FakeTensor"]
    assert changes(before, snapshot(model)) == []


def test_a_rule_that_is_interrupted():
    def interrupt(*call):
        raise KeyboardInterrupt

    model = nn.Sequential(Scale())
    before = snapshot(model)
    with pytest.raises(KeyboardInterrupt):
        TorchAutoEstimator(model, (2, 4)).register(Scale, interrupt).prepare()
    assert changes(before, snapshot(model)) == []


# ---- rules and warnings that call back ----


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda estimator: estimator.forward_flops, "counting: the dry run"),
        (lambda estimator: estimator.prepare(), "counting: the dry run"),
        (lambda estimator: estimator.register(nn.ReLU, per_element), "register: the dry run"),
        (lambda estimator: estimator.__init__(Scale(), (2, 4)), "__init__: the dry run"),
    ],
)
def test_a_rule_that_uses_its_own_estimator_is_an_error(use, words):
    estimator = TorchAutoEstimator(Scale(), (2, 4))
    estimator.register(Scale, lambda *call: use(estimator) and 1)
    with pytest.raises(RuntimeError, match=words):
        estimator.prepare()
    estimator.register(Scale, per_element, override=True)
    assert estimator.forward_flops == 2 * 4


@pytest.mark.parametrize("read", ["layers", "uncounted", "trust_line", "report", "forward_flops"])
def test_a_warning_that_registers_a_rule_is_an_error(read, monkeypatch):
    estimator = TorchAutoEstimator(Scale(), (2, 4))

    def show(*warning, **more):
        estimator.register(Scale, per_element, override=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", show)
        with pytest.raises(RuntimeError, match="register: the dry run"):
            value = getattr(estimator, read)
            value()
    assert estimator.register(Scale, per_element).forward_flops == 2 * 4


def test_a_rule_that_reads_data_sees_real_tensors():
    estimator = TorchAutoEstimator(nn.Sequential(Scale(), Scale()), (2, 4))
    estimator.register(Scale, lambda module, args, kwargs, output: int((output >= 0).sum()))
    # The example is noise from 0 to 1, and the factors are 1: all 2·4 outputs of both.
    assert estimator.forward_flops == 16
    assert estimator.dry_run.startswith("real")
