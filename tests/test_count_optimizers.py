"""count() with optimizers of all makes, which stay as they were, and their model."""

import pytest
import torch
from model_snapshot import changes, snapshot
from torch import nn

from flops_tracker import count

PLACES = ("fake", "meta", "real")
X = torch.ones(2, 4)


def linear():
    torch.manual_seed(0)
    return nn.Linear(4, 3)  # 12 + 3 parameters


def train(model, optimizer, steps=2):
    for _ in range(steps):
        optimizer.zero_grad()
        model(X).sum().backward()
        optimizer.step()


class Plain(torch.optim.Optimizer):
    """Its rate has no default, and it counts its steps in more than one place."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})
        self.steps = 0
        self.sizes = [p.numel() for group in self.param_groups for p in group["params"]]

    @torch.no_grad()
    def step(self):
        self.steps += 1
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["steps"] = state.get("steps", 0) + 1
                p.add_(p.grad, alpha=-group["lr"])


class Slow(torch.optim.Optimizer):
    """Steps another optimizer, and moves its own copies of the weights half the way there."""

    def __init__(self, inner):
        super().__init__(inner.param_groups, {})
        self.inner = inner
        self.copies = [p.detach().clone() for g in inner.param_groups for p in g["params"]]

    @torch.no_grad()
    def step(self):
        self.inner.step()
        parameters = [p for group in self.param_groups for p in group["params"]]
        for copy, p in zip(self.copies, parameters, strict=True):
            copy.lerp_(p, 0.5)


def scheduled(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)  # wraps the step of this object
    optimizer.scheduler = scheduler
    return optimizer


def hooked(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    mean = [torch.zeros_like(p) for p in model.parameters()]

    @torch.no_grad()
    def follow(optimizer, args, kwargs):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for m, p in zip(mean, parameters, strict=True):
            m.add_(p)

    optimizer.register_step_post_hook(follow)
    optimizer.mean = mean
    return optimizer


MAKERS = {
    # p += -lr·g is 2 for each of 15.
    "without a default": (lambda model: Plain(model.parameters(), 0.1), 30),
    # And c + 0.5·(p - c) is 3.
    "around another": (lambda model: Slow(Plain(model.parameters(), 0.1)), 30 + 45),
    "with a scheduler": (scheduled, 30),
    "with a hook": (hooked, 30 + 15),
    # s += g·g; p += -lr·g/(sqrt(s) + eps): 2, and 5 for root, eps, quotient, product and sum.
    "with a state from the start": (
        lambda model: torch.optim.Adagrad(model.parameters(), foreach=False),
        15 * 7 + 2,  # and the step's number, once for each of 2 parameters
    ),
}


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("on", PLACES)
@pytest.mark.parametrize("kind", MAKERS)
def test_one_step_and_all_as_before(kind, on, trained):
    make, flops = MAKERS[kind]
    model = linear()
    optimizer = make(model)
    if trained:
        train(model, optimizer)
    attributes = {name: str(value) for name, value in vars(optimizer).items()}
    before = snapshot(model)
    counts = count(model, X, backward=True, optimizer=optimizer, on=on)
    assert (counts.optimizer, counts.on) == (flops, on)
    assert changes(before, snapshot(model)) == []
    assert {name: str(value) for name, value in vars(optimizer).items()} == attributes
    listed = [p for group in optimizer.param_groups for p in group["params"]]
    assert all(a is b for a, b in zip(listed, model.parameters(), strict=True))
    # It goes on with the weights that are there.
    weight = model.weight.detach().clone()
    train(model, optimizer, 1)
    assert not torch.equal(model.weight, weight)


@pytest.mark.parametrize("name", ["Adam", "Adamax", "NAdam", "RAdam", "ASGD"])
def test_counts_of_steps_can_be_read_on_meta(name):
    model = linear()
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.1)
    train(model, optimizer)
    state = str(optimizer.state_dict())
    options = {"backward": True, "optimizer": optimizer}
    on_meta = count(model, X, on="meta", **options)
    assert (on_meta.on, on_meta.optimizer) == ("meta", count(model, X, **options).optimizer)
    assert str(optimizer.state_dict()) == state


def test_another_optimizer_of_the_model_is_left_alone():
    model = linear()
    optimizer, other = Plain(model.parameters(), 0.1), Plain(linear().parameters(), 0.1)
    with pytest.raises(ValueError, match="that is not the model's"):
        count(model, X, backward=True, optimizer=other)
    count(model, X, backward=True, optimizer=optimizer)
    assert (optimizer.steps, other.steps) == (0, 0)
