"""The phase of each operation: what runs forward, backward, again, or to update the parameters."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from flops_tracker import FlopCounter

# Under `matmul` only products count: Linear(4, 4) on 3 rows is 2*3*4*4 = 96 forward; backward to
# its weight is 96, to its input 96.
LAYER = 96


def layers(count):
    torch.manual_seed(0)
    return nn.Sequential(*[nn.Linear(4, 4) for _ in range(count)])


def rows(**options):
    return torch.randn(3, 4, **options)


def units(counter):
    """Forward, backward, recompute and optimizer in forwards of one layer."""
    counts = counter.under("matmul")
    parts = (counts.forward, counts.backward, counts.recompute, counts.optimizer)
    assert sum(parts) == counts.total
    assert all(part % LAYER == 0 for part in parts)
    return tuple(part // LAYER for part in parts)


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


# ---- updates ----


def optimizer_flops(counter):
    return counter.under("standard").optimizer


def test_sgd():
    # p += -lr*g: 2 per parameter; 16 + 4 of them.
    model = layers(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with FlopCounter() as c:
        model(rows()).sum().backward()
        optimizer.step()
    assert optimizer_flops(c) == 40
    assert units(c) == (1, 1, 0, 0)


def test_a_closure_is_what_it_is():
    model = layers(1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=1)
    x = rows()

    def closure():
        optimizer.zero_grad()
        loss = model(x).pow(2).sum()
        loss.backward()
        return loss

    with FlopCounter() as c:
        optimizer.step(closure)
    counts = c.under("matmul")
    assert (counts.forward, counts.backward) == (LAYER, LAYER)
    assert optimizer_flops(c) > 0


def test_a_step_that_raises_leaves_its_phase():
    model = layers(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def closure():
        raise ZeroDivisionError

    with FlopCounter() as c:
        with pytest.raises(ZeroDivisionError):
            optimizer.step(closure)
        model(rows()).sum().backward()
    assert units(c) == (1, 1, 0, 0)


def test_an_optimizer_that_steps_inside_of_backward():
    model = layers(2)
    optimizers = {p: torch.optim.SGD([p], lr=0.1) for p in model.parameters()}

    def step(parameter):
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    with FlopCounter() as c:
        model(rows()).sum().backward()
    assert units(c) == (2, 3, 0, 0)
    assert optimizer_flops(c) == 2 * 40


def test_clipping_scaling_and_averages_are_updates():
    model, average = layers(1), layers(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with FlopCounter() as c:
        model(rows()).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            for mine, theirs in zip(average.parameters(), model.parameters(), strict=True):
                mine.mul_(0.9).add_(theirs, alpha=0.1)
    plain = c.under("standard")
    # Forward 3*16*2 + 12 biases and the sum of 12, 11; all else is backward or update.
    assert plain.forward == 96 + 12 + 11
    # The average: 1 multiplication, then 2 for alpha*x + y: 3 * 20. SGD 40. Clipping the rest.
    assert plain.optimizer > 100


def test_evaluation_after_a_step_is_forward():
    model = layers(1)
    with FlopCounter() as c:
        model(rows()).sum().backward()
        with torch.no_grad():
            model(rows())
    assert units(c) == (2, 1, 0, 0)


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
