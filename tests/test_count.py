"""count(): one call of a model on copies, fake, meta or real, which changes nothing."""

import pytest
import torch
from model_snapshot import changes, snapshot
from torch import nn

from flops_tracker import FlopCount, count


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))


# On 8 rows under `matmul`: forward 2·8·20 = 320 and 2·8·12 = 192; backward the same to the weights,
# and 192 to the first layer's output.
FORWARD, BACKWARD = 512, 704


@pytest.mark.parametrize("on", ["fake", "meta", "real"])
def test_a_training_step_on_copies(on):
    model, x = mlp(), torch.randn(8, 5)
    before = snapshot(model)
    counts = count(model, x, backward=True, on=on, convention="matmul")
    assert isinstance(counts, FlopCount)
    assert (counts.forward, counts.backward, counts.on) == (FORWARD, BACKWARD, on)
    assert counts.params == 24 + 15
    assert counts.convention == "matmul"
    assert changes(before, snapshot(model)) == []


@pytest.mark.parametrize("on", ["fake", "meta", "real"])
def test_a_step_of_the_optimizer(on):
    # SGD with momentum, a later step: m = 0.9·m + g, p -= lr·m: 4 for each of 39 parameters.
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    counts = count(model, torch.randn(8, 5), backward=True, optimizer=optimizer, on=on)
    assert counts.optimizer == 4 * 39
    assert counts.under("matmul").total == FORWARD + BACKWARD  # the first step is not in it
    assert len(optimizer.state) == 0


def test_a_loss_of_ones_own():
    seen = []

    def loss(output):
        seen.append(tuple(output.shape))
        return output.mean()

    counts = count(mlp(), torch.randn(8, 5), backward=True, loss_fn=loss)
    assert seen == [(8, 3)]
    assert counts.under("matmul").backward == BACKWARD


def test_a_function():
    # (3,4) times (4,5): 2·3·4·5
    assert count(lambda a, b: a @ b, torch.ones(3, 4), torch.ones(4, 5)).total == 120


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4, bias=False)

    def forward(self, x, *, on, scale=None):
        assert on == "a name of count's own"
        return {"y": self.linear(x), "n": 3}


def test_arguments_whose_names_are_taken():
    x = torch.randn(2, 4)
    counts = count(Named(), x=x, kwargs={"on": "a name of count's own"}, scale=None, backward=True)
    assert counts.under("matmul").total == 2 * 64


class DataDependent(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4, bias=False)

    def forward(self, x):
        if x.sum() > 0:
            return self.linear(x)
        return x


def test_a_model_that_reads_data_runs_on_real_copies_and_says_so():
    model = DataDependent()
    before = snapshot(model)
    message = r"counted on real tensors, since the model reads data.*on='real'"
    with pytest.warns(UserWarning, match=message) as caught:
        counts = count(model, torch.ones(2, 4), convention="matmul")
    assert caught[0].filename == __file__
    assert counts.total == 64
    assert counts.on.startswith("real: ")
    assert changes(before, snapshot(model)) == []


def test_reading_data_on_meta_copies_names_the_way_out():
    with pytest.raises(RuntimeError, match="meta") as caught:
        count(DataDependent(), torch.ones(2, 4), on="meta")
    assert any("use on='real'" in note for note in caught.value.__notes__)


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_sparse_tensors_are_counted_with_the_entries_they_have(layout):
    entries = torch.eye(4).to_sparse(layout=layout)
    with pytest.warns(UserWarning, match="counted on real tensors"):
        counts = count(torch.mm, entries, torch.ones(4, 3), convention="matmul")
    assert counts.total == 2 * 4 * 3
    assert "sparse" in counts.on


def test_an_error_of_the_model_comes_through():
    model = mlp()
    before = snapshot(model)
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        count(model, torch.ones(8, 6))
    assert changes(before, snapshot(model)) == []


def test_gradients_and_random_numbers_stay():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.BatchNorm1d(4))
    model(torch.randn(3, 4)).sum().backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    state = torch.get_rng_state()
    for on in ("fake", "real"):
        count(model, torch.ones(3, 4), backward=True, on=on)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))


def test_the_mode_of_the_model_decides():
    # Batch norm in eval 2 + 2 per element, with statistics of the batch 3 more.
    model = nn.BatchNorm1d(4)
    x = torch.randn(3, 4)
    assert count(model, x).total - count(model.eval(), x).total == 3 * 12
    assert not model.training


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"on": "gpu"}, ValueError, "'fake', 'meta' or 'real', not 'gpu'"),
        ({"kwargs": [1]}, TypeError, r"kwargs must be a dict, not \[1\]"),
        ({"backward": "no"}, TypeError, "backward must be True or False, not 'no'"),
        ({"strict": None}, TypeError, "strict must be True or False, not None"),
        ({"backward": True, "loss_fn": "ce"}, TypeError, "loss_fn must be callable, not 'ce'"),
        (
            {"backward": True, "loss_fn": nn.MSELoss},
            TypeError,
            r"loss_fn is the class MSELoss: write MSELoss\(\)",
        ),
        (
            {"backward": True, "loss_fn": lambda output: None},
            TypeError,
            "what loss_fn returns must be a scalar tensor.*is None",
        ),
        (
            {"backward": True, "loss_fn": lambda output: output},
            TypeError,
            r"what loss_fn returns.*a tensor \(8, 3\)",
        ),
        (
            {"backward": True, "optimizer": torch.optim.Adam},
            TypeError,
            r"pass an instance, Adam\(model.parameters\(\)\)",
        ),
        (
            {"backward": True, "optimizer": torch.optim.LBFGS(mlp().parameters())},
            TypeError,
            r"needs a closure: .*FlopCounter\(\) block",
        ),
        ({"causal": True}, TypeError, "causal must be 'full' or 'exact', not True"),
        ({"convention": "flops"}, ValueError, "convention must be"),
        ({"loss_fn": torch.sum}, TypeError, "loss_fn is for backward=True"),
        ({"optimizer": 1}, TypeError, "pass backward=True"),
        ({"causal": "half"}, ValueError, "causal must be"),
    ],
)
def test_bad_options(change, error, words):
    with pytest.raises(error, match=words):
        count(mlp(), torch.randn(8, 5), **change)


def test_other_bad_input():
    with pytest.raises(TypeError, match="a module or a function, not int"):
        count(3)
    with pytest.raises(TypeError, match="model is none"):
        count(torch.sum, torch.ones(3), backward=True, optimizer=1)
    with pytest.raises(ValueError, match="nothing in the output requires a gradient"):
        count(lambda x: x, torch.ones(3), backward=True)
    other = torch.optim.SGD(mlp().parameters(), lr=0.1)
    with pytest.raises(ValueError, match="that is not the model's"):
        count(mlp(), torch.randn(8, 5), backward=True, optimizer=other)
    with pytest.raises(ValueError, match="not initialised yet"):
        count(nn.LazyLinear(3), torch.ones(1, 2))


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_quantized_weights_are_counted_alike_each_time():
    """4 rows: 2*4*(10*20 + 20*5) = 2400, biases 4*(20 + 5) = 100; on fakes, bias and all."""
    model = nn.Sequential(nn.Linear(10, 20), nn.Linear(20, 5))
    quantized = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    for _ in range(3):
        counts = count(quantized, torch.zeros(4, 10))
        assert (counts.total, counts.on) == (2500, "fake")


class AnyArguments(nn.Module):
    def forward(self, x, backward_=0, **options):
        return x


@pytest.mark.parametrize("name", ["backwards", "conventionn", "optimiser"])
def test_a_misspelled_option_is_told(name):
    own = {"backwards": "backward", "conventionn": "convention", "optimiser": "optimizer"}[name]
    x = torch.ones(8, 5)
    with pytest.raises(TypeError, match=f"argument '{name}'; did you mean '{own}'"):
        count(mlp(), x, **{name: 1})
    with pytest.warns(UserWarning, match=f"'{name}' is taken for .*; did you mean '{own}'"):
        count(AnyArguments(), x, **{name: 1})
    count(AnyArguments(), x, kwargs={"backward_": 1}, labels=2, is_causal=False)  # no warning
    count(AnyArguments(), x, backward_=1)


def test_an_error_is_told_once_with_the_call():
    with pytest.raises(RuntimeError) as caught:
        count(mlp(), torch.ones(8, 6))
    assert caught.value.__notes__ == ["Sequential was called with (float32 tensor (8, 6))"]
    assert caught.value.__context__ is None
    with pytest.raises(TypeError) as caught:
        count(mlp(), (8, 6))
    assert "torch.zeros(shape), not a shape" in caught.value.__notes__[1]


class Marked(nn.Module):
    """2·4·4·2 = 64 FLOPs under `matmul` where its weight is a parameter with its mark; and tied."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.a.weight.mark = ["sharded"]
        self.a.weight.scale = torch.ones(4)

    def forward(self, x):
        self.b.weight = self.a.weight  # refused for what is no parameter
        if isinstance(self.a.weight, nn.Parameter) and "sharded" in self.a.weight.mark:
            self.a.weight.mark.append(x * self.a.weight.scale)
            self.a.weight.seen = True
            x = self.a(x)
        return x


@pytest.mark.parametrize("on", ["fake", "meta", "real"])
def test_copies_of_parameters_are_parameters_with_their_attributes(on):
    model = Marked()
    a, b, scale = model.a.weight, model.b.weight, model.a.weight.scale
    counts = count(model, torch.ones(2, 4), on=on, convention="matmul")
    assert (counts.total, counts.on) == (64, on)
    assert model.a.weight is a
    assert model.b.weight is b
    assert vars(a) == {"mark": ["sharded"], "scale": scale}
