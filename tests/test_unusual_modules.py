"""Lazy, scripted and traced modules: the right count or one clear error, and no crash."""

import pytest
import torch
from model_snapshot import changes, snapshot
from torch import nn
from torch_models import forward_flops, paths

from flops_tracker import (
    TorchAutoEstimator,
    TorchCNNLayerwiseEstimator,
    UncountedWarning,
    _core,
)

BOTH = pytest.mark.parametrize("kind", [TorchAutoEstimator, TorchCNNLayerwiseEstimator])
SCRIPTED = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

# ---- lazy modules ----

LAZY = {
    "linear": (lambda: nn.LazyLinear(5), (2, 4), "0.weight"),
    "conv": (lambda: nn.LazyConv2d(5, 1), (2, 4, 3, 3), "0.weight"),
    "norm": (nn.LazyBatchNorm1d, (2, 4), "0.weight"),
    "norm without parameters": (lambda: nn.LazyBatchNorm1d(affine=False), (2, 4), "0.running_mean"),
}


@BOTH
@pytest.mark.parametrize("name", LAZY)
def test_a_lazy_module_is_refused_and_stays_lazy(kind, name):
    make, example, parameter = LAZY[name]
    model = nn.Sequential(make())
    before = snapshot(model)
    with pytest.raises(ValueError, match=f"'{parameter}' is not initialised yet") as caught:
        kind(model, example).prepare()
    assert "call the model once" in str(caught.value)
    assert changes(before, snapshot(model)) == []
    assert model[0].has_uninitialized_params()


@pytest.mark.parametrize(("name", "flops"), [("linear", 80), ("conv", 720), ("norm", 0)])
def test_a_lazy_module_that_was_called_once_counts(name, flops):
    # linear 2·2·4·5; conv 2·2·9·5·4; norm behind its switch
    make, example, _ = LAZY[name]
    model = nn.Sequential(make())
    model(torch.zeros(example))
    assert forward_flops(model, example) == flops


@BOTH
def test_the_same_estimator_works_once_the_model_is_initialised(kind):
    model = nn.Sequential(nn.LazyLinear(5))
    estimator = kind(model, (2, 4), training_factor=1)
    with pytest.raises(ValueError, match="not initialised"):
        estimator.flops_for_batch(1)
    model(torch.zeros(2, 4))
    # 2·4·5
    assert estimator.flops_for_batch(1) == 40


# ---- TorchScript ----


@SCRIPTED
@BOTH
@pytest.mark.parametrize(
    "script",
    [torch.jit.script, lambda model: torch.jit.trace(model, torch.zeros(1, 4))],
    ids=["script", "trace"],
)
def test_a_scripted_model_is_refused_at_once(kind, script):
    model = script(nn.Sequential(nn.Linear(4, 4)))
    with pytest.raises(TypeError, match="ScriptModule"):
        kind(model, (1, 4))


@SCRIPTED
@BOTH
@pytest.mark.parametrize(
    "script",
    [torch.jit.script, lambda model: torch.jit.trace(model, torch.zeros(2, 4))],
    ids=["script", "trace"],
)
def test_a_scripted_part_is_listed_and_the_rest_is_counted(kind, script):
    part = script(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    model = nn.Sequential(nn.Linear(4, 4), part, nn.Linear(4, 3))
    estimator = kind(model, (2, 4))
    with pytest.warns(UncountedWarning, match=r"Linear.* at '1\.0'"):
        estimator.prepare()
    # 2·2·(16 + 12)
    assert estimator.forward_flops == 112
    assert paths(estimator.uncounted) == ["1.0"]


def reads_a_number(x):
    return x if x.sum().item() > -1e30 else -x


class Reading(nn.Module):
    def forward(self, x):
        return reads_a_number(x)


@SCRIPTED
@pytest.mark.filterwarnings("ignore::flops_tracker.UncountedWarning")
@pytest.mark.parametrize("last", [nn.Identity, Reading], ids=["fake", "real"])
@pytest.mark.parametrize("training", [True, False])
def test_a_scripted_part_in_train_mode_is_left_alone(last, training):
    part = torch.jit.script(nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5)).train(training))
    model = nn.Sequential(nn.Linear(4, 4), part, last())
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    random = torch.get_rng_state()
    estimator = TorchAutoEstimator(model, (2, 4))
    assert estimator.forward_flops == 64
    assert part.training is training
    assert part[1].training is training
    assert torch.equal(torch.get_rng_state(), random)
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, buffers[name]), name
    # still usable, and on real tensors
    assert type(model(torch.zeros(2, 4))) is torch.Tensor
    assert {type(b) for b in model.buffers()} == {torch.Tensor}


# ---- what only a mischievous model does ----


@pytest.mark.parametrize("wrap", [lambda out: [out], lambda out: [out, out], lambda out: {0: out}])
def test_an_output_that_holds_itself_has_no_rule_that_fits(wrap):
    class Endless(nn.Linear):
        def forward(self, x):
            out = []
            out.append(wrap(out))
            return out

    with pytest.warns(UncountedWarning, match="its rule linear does not fit this call"):
        assert TorchAutoEstimator(Endless(4, 4), (2, 4)).forward_flops == 0


def test_a_walk_that_was_not_initialised_has_no_layers():
    walk = _core.LayerWalk.__new__(_core.LayerWalk)
    assert walk.begin_pass(0) is walk.attach() is walk.detach() is walk.check() is None
    assert walk._after(walk, (), {}, None) is walk._before(walk) is None
    _core.LayerWalk.__init__(walk, nn.Linear(1, 1), {}, 0, False)
    with pytest.raises(RuntimeError, match="called twice"):
        _core.LayerWalk.__init__(walk, nn.Linear(1, 1), {}, 0, False)
