"""count() of a function leaves everything that the function can reach as it was."""

# ruff: noqa: PLW0108 (a lambda is what is tested)

import copy
import dataclasses
import functools
import types
from typing import NamedTuple

import pytest
import torch
from model_snapshot import changes, snapshot
from torch import nn

from flops_tracker import count, profile

PLACES = ("fake", "meta", "real")

# Linear(4, 3) without bias on 2 rows under `matmul`: 2·2·12 forward, as much for the weight's
# gradient, none for the input, which needs none.
FORWARD = BACKWARD = 48


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3, bias=False), nn.BatchNorm1d(3))


GLOBAL = net()
SPACE = types.SimpleNamespace(model=net())


def global_step(x):
    return GLOBAL(x)


class Trainer:
    def __init__(self):
        self.models = {"main": [net()]}

    def step(self, x):
        return self.models["main"][0](x)

    __call__ = step


class Slots:
    __slots__ = ("model", "nothing")

    def __init__(self):
        self.model = net()

    def step(self, x):
        return self.model(x)


def default(x, model):
    return model(x)


def with_default():
    model = net()
    return model, lambda x, model=model: model(x)


def with_keyword():
    model = net()

    def step(x, *, model=model):
        return model(x)

    return model, step


def closure():
    model = net()
    return model, lambda x: model(x)


def closure_in_closure():
    model, inner = closure()
    return model, lambda x: inner(x)


def cached():
    model = net()

    @functools.lru_cache
    def the_model():
        return model

    return model, lambda x: the_model()(x)


def decorated():
    model = net()

    @torch.autocast("cpu", enabled=False)
    def step(x):
        return model(x)

    return model, step


def unregistered():
    outer = nn.Module()
    outer.others = [net()]
    outer.forward = lambda x: outer.others[0](x)
    return outer.others[0], outer


def method():
    model = net()
    return model, model.forward


def positional():
    model = net()
    return model, functools.partial(default, model=model)


def first():
    model = net()
    return model, functools.partial(lambda model, x: model(x), model)


def trainer():
    it = Trainer()
    return it.models["main"][0], it.step


def callable_object():
    it = Trainer()
    return it.models["main"][0], it


def slots():
    it = Slots()
    return it.model, it.step


class Shared:
    model = net()

    def step(self, x):
        return type(self).model(x)


def on_a_class():
    return Shared.model, Shared().step


def in_a_tuple():
    model = net()
    pair = (1, (model,))
    return model, lambda x: pair[1][0](x)


MAKERS = [
    method, closure, closure_in_closure, with_default, with_keyword, positional, first, trainer,
    callable_object, slots, on_a_class, in_a_tuple, cached, decorated, unregistered,
    lambda: (GLOBAL, lambda x: GLOBAL(x)),
    lambda: (GLOBAL, lambda x: global_step(x)),
    lambda: (GLOBAL, lambda x: next(GLOBAL(row) for row in [x])),
    lambda: (SPACE.model, lambda x: SPACE.model(x)),
]  # fmt: skip


@pytest.mark.parametrize("on", PLACES)
@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_modules_that_a_function_reaches(make, on):
    model, function = make()
    before = snapshot(model)
    counts = count(function, torch.ones(2, 4), backward=True, on=on, convention="matmul")
    assert (counts.forward, counts.backward, counts.on) == (FORWARD, BACKWARD, on)
    assert changes(before, snapshot(model)) == []
    assert model[0].weight.grad is None


def test_a_profile_of_a_function():
    model, function = closure()
    before = snapshot(model)
    result = profile(function, torch.ones(2, 4), backward=True, steps=2, warm_up=0)
    assert result.under("matmul").total == FORWARD + BACKWARD
    assert changes(before, snapshot(model)) == []


@pytest.mark.parametrize("on", PLACES)
def test_gradients_that_are_there_stay(on):
    model, function = closure()
    model(torch.ones(2, 4)).sum().backward()
    before = snapshot(model)
    count(function, torch.ones(2, 4), backward=True, on=on)
    assert changes(before, snapshot(model)) == []


@pytest.mark.parametrize("on", PLACES)
def test_a_weight_in_a_closure(on):
    # (2, 4) times (4, 3), and the gradient of the weight.
    weight = torch.ones(4, 3, requires_grad=True)
    counts = count(
        lambda x: x @ weight, torch.ones(2, 4), backward=True, on=on, convention="matmul"
    )
    assert (counts.forward, counts.backward) == (48, 48)
    assert weight.grad is None


@pytest.mark.parametrize("on", ["fake", "real"])
@pytest.mark.parametrize("gradient", [None, 2.0])
def test_a_weight_that_can_not_be_found_keeps_its_gradient(on, gradient):
    weight = torch.ones(4, 3, requires_grad=True)
    if gradient is not None:
        weight.grad = torch.full((4, 3), gradient)
    hidden = {"weight": weight}.__getitem__  # a method in C says nothing of what it holds
    before = weight.grad
    counts = count(lambda x: x @ hidden("weight"), torch.ones(2, 4), backward=True, on=on)
    assert counts.backward == 48
    assert weight.grad is before
    assert before is None or torch.equal(before, torch.full((4, 3), gradient))


@pytest.mark.parametrize("on", PLACES)
def test_a_buffer_in_a_closure_is_not_written_to(on):
    total = torch.zeros(4)

    def function(x):
        total.add_(x[0])
        return x * 2

    assert count(function, torch.ones(2, 4), on=on).total == 4 + 8
    assert torch.equal(total, torch.zeros(4))


class Counts(nn.Module):
    seen = torch.zeros(4)

    def forward(self, x):
        self.seen += 1
        return x + self.seen


@pytest.mark.parametrize("on", PLACES)
def test_a_tensor_of_a_class_is_not_written_to(on):
    seen = Counts.seen
    assert count(Counts(), torch.ones(2, 4), on=on).total == 4 + 8
    assert Counts.seen is seen
    assert torch.equal(seen, torch.zeros(4))


def test_data_in_a_closure_may_be_read_on_fake_copies():
    size = torch.tensor(3)
    counts = count(lambda x: x[: int(size)] + 1, torch.ones(5))
    assert (counts.total, counts.on) == (3, "fake")


@pytest.mark.parametrize("on", PLACES)
def test_a_training_step_as_a_function(on):
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    state = copy.deepcopy(optimizer.state_dict())

    def step(x):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()

    before = snapshot(model)
    # m = 0.9·m + g and p -= lr·m: 4 for each of 12 + 3 + 3 parameters.
    assert count(step, torch.ones(2, 4), on=on).optimizer == 4 * 18
    assert changes(before, snapshot(model)) == []
    assert str(optimizer.state_dict()) == str(state)
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [
        id(p) for p in model.parameters()
    ]
    optimizer.step()


def test_an_optimizer_that_reads_its_count_of_steps():
    model, x = net(), torch.ones(2, 4)
    optimizer = torch.optim.Adam(model.parameters(), foreach=False)

    def step():
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()

    step()
    state = str(optimizer.state_dict())
    counts = count(step)
    assert counts.on == "fake"
    assert str(optimizer.state_dict()) == state
    # The same as a later step of count's own, in which m = b1·m + (1-b1)·g alone is 3 a number.
    other = count(model, x, backward=True, optimizer=optimizer)
    assert counts.optimizer == other.optimizer > 3 * 18


def test_no_fake_tensor_stays_where_a_function_keeps_its_results():
    kept, calls = [], []
    model = net()
    model[0].register_forward_hook(lambda module, args, output: kept.append(output))

    def function(x):
        calls.append(tuple(x.shape))
        kept.append({"x": [x]})
        return model(x)

    count(function, torch.ones(2, 4))
    assert kept == []
    assert calls == [(2, 4)]  # what holds no tensor is the user's to note


def test_it_all_is_put_back_after_an_error():
    model, function = closure()
    before = snapshot(model)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        count(function, torch.ones(2, 5), backward=True)
    assert changes(before, snapshot(model)) == []


# ---- arguments ----


class Pair(NamedTuple):
    a: torch.Tensor
    b: int


@dataclasses.dataclass
class Data:
    t: torch.Tensor


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    t: torch.Tensor


class Node:
    def __init__(self, t):
        self.t = t


torch.utils._pytree.register_pytree_node(
    Node, lambda node: ([node.t], None), lambda items, _: Node(*items)
)


class Doubles(nn.Module):
    """Writes to what it gets, and keeps it."""

    def __init__(self, read):
        super().__init__()
        self.read = read

    def forward(self, value):
        return self.read(value).mul_(2)


ARGUMENTS = {
    "dataclass": (Data, lambda value: value.t),
    "frozen dataclass with slots": (Frozen, lambda value: value.t),
    "named tuple": (lambda t: Pair(t, 3), lambda value: value.a),
    "pytree node": (Node, lambda value: value.t),
    "namespace": (lambda t: types.SimpleNamespace(t=t), lambda value: value.t),
    "dataclass in a list": (lambda t: [Data(t)], lambda value: value[0].t),
    "list in a dataclass": (lambda t: Data([t]), lambda value: value.t[0]),
    "dict": (lambda t: {"t": t}, lambda value: value["t"]),
}


@pytest.mark.parametrize("on", PLACES)
@pytest.mark.parametrize("kind", ARGUMENTS)
def test_tensors_in_arguments_are_copied(kind, on):
    make, read = ARGUMENTS[kind]
    tensor = torch.ones(3)
    value = make(tensor)
    counts = count(Doubles(read), value, on=on)
    assert (counts.total, counts.on) == (3, on)
    assert read(value) is tensor
    assert torch.equal(tensor, torch.ones(3))


class Noise(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator = torch.Generator()

    def forward(self, x, generator=None):
        return x + torch.rand(x.shape, generator=generator or self.generator)


@pytest.mark.parametrize("on", ["fake", "real"])
def test_generators_go_on_where_they_were(on):
    model, given, closed = Noise(), torch.Generator(), torch.Generator()
    before = [g.get_state() for g in (model.generator, given, closed)]
    count(model, torch.ones(3), on=on)
    count(model, torch.ones(3), given, on=on)
    count(lambda x: torch.rand(3, generator=closed) + x, torch.ones(3), on=on)
    after = [g.get_state() for g in (model.generator, given, closed)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


# ---- TorchScript ----


scripted = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


@scripted
@pytest.mark.parametrize("nested", [False, True])
def test_a_scripted_model_runs_on_real_copies_and_says_so(nested):
    script = torch.jit.script(net())
    model = nn.Sequential(script, nn.ReLU()) if nested else script
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.warns(UserWarning, match="TorchScript takes no fake tensors"):
        counts = count(model, torch.ones(2, 4), backward=True, convention="matmul")
    assert (counts.forward, counts.backward) == (FORWARD, BACKWARD)
    assert counts.on.startswith("real: ")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert all(isinstance(p, nn.Parameter) for p in model.parameters())
