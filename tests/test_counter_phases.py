"""The phase of each operation: what runs forward, backward, again, or to update the parameters."""

from functools import partial

import pytest
import torch
from counted_layers import LAYER, layers, rows, units
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import (
    checkpoint,
    checkpoint_sequential,
    create_selective_checkpoint_contexts,
    set_checkpoint_early_stop,
)

from flops_tracker import FlopCounter


def test_a_training_step():
    # 3 layers forward, 3 weight gradients, 2 input gradients: the input needs none.
    model = layers(3)
    with FlopCounter() as c:
        model(rows()).sum().backward()
    assert units(c) == (3, 5, 0, 0)


@pytest.mark.parametrize(
    ("frozen", "input_grad", "total"),
    [(0, False, 8), (1, False, 6), (2, False, 4), (3, True, 6)],
)
def test_frozen_layers(frozen, input_grad, total):
    # Forward 3; a frozen layer has no weight gradient, and below the first that needs a gradient
    # nothing flows: 3 + 3 + 2, 3 + 2 + 1, 3 + 1 + 0; all frozen, to the input: 3 + 0 + 3.
    model = layers(3)
    for layer in model[:frozen]:
        layer.requires_grad_(False)
    with FlopCounter() as c:
        model(rows(requires_grad=input_grad)).sum().backward()
    assert sum(units(c)) == total


@pytest.mark.parametrize(
    ("reentrant", "total", "recomputed"),
    [(True, 10, 3), (False, 9, 2)],
)
@pytest.mark.parametrize("plain_function", [False, True], ids=["module", "function"])
def test_checkpoints(reentrant, total, recomputed, plain_function):
    # Three layers: forward 3, backward 2*3 - 1 = 5. Then all of forward again (reentrant, whose
    # input needs a gradient: backward 6), or all but the last layer, whose output nobody needs:
    # 3 + 5 + 2 = 10 where non-reentrant stops early.
    model = layers(3)
    x = rows(requires_grad=reentrant)
    weights = [(layer.weight, layer.bias) for layer in model]

    def by_hand(x):
        for weight, bias in weights:
            x = torch.addmm(bias, x, weight.t())
        return x

    with FlopCounter() as c:
        checkpoint(
            by_hand if plain_function else model, x, use_reentrant=reentrant
        ).sum().backward()
    forward, backward, again, _ = units(c)
    assert (forward, again) == (3, 3 if reentrant else recomputed)
    assert backward == (6 if reentrant else 5)


@pytest.mark.parametrize(("reentrant", "forwards"), [(True, 8), (False, 7)])
def test_checkpoint_of_two_layers(reentrant, forwards):
    # traps.md 1b: Linear-ReLU-Linear, input with gradient: 2 + 4 and all again 2 = 8 reentrant; the
    # non-reentrant one stops once the last saved tensor is there, after the first layer: 7.
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    with FlopCounter() as c:
        checkpoint(model, rows(requires_grad=True), use_reentrant=reentrant).sum().backward()
    assert sum(units(c)) == forwards
    assert units(c)[2] == forwards - 6


class Adapted(nn.Module):
    """A frozen layer with a way around it of rank 2."""

    def __init__(self):
        super().__init__()
        self.base = nn.Linear(4, 4).requires_grad_(False)
        self.down, self.up = nn.Linear(4, 2, bias=False), nn.Linear(2, 4, bias=False)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


def test_adapters_of_low_rank():
    model = nn.Sequential(*[Adapted() for _ in range(3)])
    with FlopCounter() as c:
        model(rows()).sum().backward()
    # Half a layer down, half up. Backward: to both of these weights and through the way up;
    # above the first layer also through the base and the way down.
    assert c.under("matmul").forward == 3 * (LAYER + LAYER)
    assert c.under("matmul").backward == 3 * (3 * LAYER // 2) + 2 * (LAYER + LAYER // 2)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("transposed", [False, True])
def test_training_a_cnn_is_three_times_forward_but_for_the_first_input(groups, transposed):
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    model = nn.Sequential(*[kind(4, 4, 3, padding=1, groups=groups) for _ in range(3)])
    with FlopCounter() as c:
        model(torch.rand(2, 4, 6, 6)).sum().backward()
    # 2 pictures, 6 places of 3 taps each way, with the padding's zeros; 4 channels to 4.
    forward = 2 * 2 * 18 * 18 * 4 * 4 // groups
    assert c.under("matmul").forward == 3 * forward
    assert c.under("matmul").total == 3 * 3 * forward - forward


class Products(TorchDispatchMode):
    """Products that run inside of backward: addmm is a layer's forward, mm its backward."""

    def __init__(self):
        super().__init__()
        self.again = self.backward = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if torch._C._current_graph_task_id() != -1:
            self.again += func is torch.ops.aten.addmm.default
            self.backward += func is torch.ops.aten.mm.default
        return func(*args, **(kwargs or {}))


def in_parts(model, x, reentrant):
    return checkpoint_sequential(model, 2, x, use_reentrant=reentrant)


def whole(model, x):
    with set_checkpoint_early_stop(False):
        return checkpoint(model, x, use_reentrant=False)


def in_itself(model, x):
    return checkpoint(lambda x: checkpoint(model, x, use_reentrant=False), x, use_reentrant=False)


def keeping_products(model, x):
    kept = [torch.ops.aten.addmm.default]
    contexts = partial(create_selective_checkpoint_contexts, kept)
    return checkpoint(model, x, use_reentrant=False, context_fn=contexts)


@pytest.mark.parametrize(
    ("run", "again"),
    [
        # Of four layers the first two are in a checkpoint: both again, or all but its last.
        (partial(in_parts, reentrant=True), 2),
        (partial(in_parts, reentrant=False), 1),
        (whole, 4),
        (in_itself, 3),
        (keeping_products, 0),
    ],
)
def test_checkpoints_as_they_ran(run, again):
    model = layers(4)
    with Products() as seen, FlopCounter() as c:
        run(model, rows(requires_grad=True)).sum().backward()
    assert (seen.again, seen.backward) == (again, 8)
    assert units(c) == (4, 8, again, 0)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("named", [True, False])
def test_what_is_recomputed_belongs_to_its_module(reentrant, named):
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.rest = nn.Linear(4, 4), layers(2)

        def forward(self, x):
            return checkpoint(self.rest, self.first(x), use_reentrant=reentrant)

    model = Outer()
    with FlopCounter(model if named else None) as c:
        model(rows()).sum().backward()
    modules = c.under("matmul").by_module()
    found = {path: module.own // LAYER for path, module in modules.items()}
    # Forward and the weights' gradients; in the checkpoint also the inputs', and again.
    last = 4 if reentrant else 3
    assert found == {
        "Outer": 0,
        "Outer.first": 2,
        "Outer.rest": 0,
        "Outer.rest.0": 4,
        "Outer.rest.1": last,
    }
    assert c.under("matmul").outside == 0


def test_a_module_called_in_backward_is_recomputed():
    layer = nn.Linear(4, 4)

    class Again(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return layer(x)

        @staticmethod
        def backward(ctx, grad):
            return layer(grad)

    with FlopCounter() as c:
        Again.apply(rows(requires_grad=True)).sum().backward()
    assert units(c) == (1, 0, 1, 0)


# ---- more than one derivative ----


def test_gradient_to_an_input():
    model = layers(2)
    x = rows(requires_grad=True)
    with FlopCounter() as c:
        torch.autograd.grad(model(x).sum(), x)
    assert units(c) == (2, 2, 0, 0)


def test_double_backward():
    # The gradient penalty of one layer: x W' forward; g W to the input, whose own backward is the
    # product of that with g, to W only: g is a constant.
    layer = nn.Linear(4, 4, bias=False)
    x = rows(requires_grad=True)
    with FlopCounter(layer) as c:
        (gradient,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
        gradient.pow(2).sum().backward()
    assert units(c) == (1, 2, 0, 0)
    assert c.under("matmul").by_module()["Linear"].own == 3 * LAYER


def test_functional_derivatives():
    weight = torch.randn(4, 4)
    x = torch.randn(4)

    def f(x):
        return (weight @ x.unsqueeze(1)).squeeze(1)

    with FlopCounter() as c:
        torch.func.jacrev(f)(x)
    # Forward 2*16; one row of the Jacobian each for 4 outputs, batched: 4 * 2*16.
    assert c.under("matmul").total == 32 + 128
    with FlopCounter() as c:
        torch.func.vmap(f)(torch.randn(3, 4))
    assert c.under("matmul").total == 3 * 32
    with FlopCounter() as c:
        torch.func.jvp(f, (x,), (x,))
    # Forward mode: the value, W dx, and dW x, which PyTorch really computes with a dW of zeros.
    assert c.under("matmul").forward == 96
    assert c.under("matmul").backward == 0
