"""TorchOpEstimator and FlopsTracker(model): trainings counted operation by operation."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training_models import same_state, state_of, toy_batches

from flops_tracker import FlopsTracker, TorchAutoEstimator, TorchOpEstimator

# Linear(4, 3) on B rows under `matmul`: forward 2·B·4·3 = 24·B, its weight gradient as much again;
# the input needs none.
STEP = 48


def linear():
    torch.manual_seed(0)
    return nn.Linear(4, 3)


def sgd(model, **options):
    return torch.optim.SGD(model.parameters(), lr=0.1, **options)


def bound(model, loader=None, **options):
    ft = FlopsTracker(model, convention=options.pop("convention", "matmul"))
    return ft.torch_bind(model, sgd(model), train_loader=loader or toy_batches(), **options)


def test_a_model_in_the_place_of_an_estimator():
    # Ten samples in batches of 4, 4 and 2.
    ft = bound(linear())
    assert ft.run(3) == 3 * 10 * STEP
    assert [s.flops_batch for s in ft.step_logs] == [4 * STEP, 4 * STEP, 2 * STEP] * 3
    assert isinstance(ft.estimator, TorchOpEstimator)
    assert ft.estimator.trust_line.startswith("matmul · ")


def test_the_update_counts_under_standard():
    # SGD's p += -lr·g is 2 for each of 12 + 3 parameters, in every step.
    ft = bound(linear(), convention="standard")
    ft.run(1)
    assert ft.estimator.counts.optimizer == 30


def test_weights_are_those_of_the_training_without_it():
    one, other = linear(), linear()
    bound(one).run(3)
    optimizer = sgd(other)
    for _ in range(3):
        for data, target in toy_batches():
            optimizer.zero_grad()
            F.cross_entropy(other(data), target).backward()
            optimizer.step()
    assert same_state(state_of(one), state_of(other))


def test_every_shape_is_counted():
    loader = [(torch.randn(2, n, 4), torch.zeros(2)) for n in (1, 5, 5, 2)]
    ft = bound(linear(), loader, loss_fn=lambda output, target: output.sum())
    ft.run(1)
    assert [s.flops_batch for s in ft.step_logs] == [2 * n * STEP for n in (1, 5, 5, 2)]


def test_a_layer_that_is_frozen_on_the_way():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3))
    ft = bound(model, toy_batches(4))
    # Forward 4·(24 + 18), weights as much, the second layer's input 4·18 = 408; then without the
    # first layer's weight and the way to it: 168 + 72.
    ft.run(1)
    model[0].requires_grad_(False)
    ft.run(1)
    assert [s.flops_batch for s in ft.step_logs] == [408, 240]


def test_functional_work_is_seen():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(4, 4))

        def forward(self, x):
            return (x @ self.w) @ x.transpose(1, 2)

    torch.manual_seed(0)
    loader = [(torch.randn(2, 5, 4), torch.zeros(2))]
    ft = bound(Attention(), loader, loss_fn=lambda output, target: output.sum())
    # x w: 2·10·16 = 320; (x w) x': 2·2·5·5·4 = 400; backward: to x w 400, to w 320.
    assert ft.run(1) == 320 + 400 + 400 + 320


# ---- without training ----


def test_batches_counted_on_copies():
    model = linear()
    before = state_of(model)
    estimator = TorchOpEstimator(model, (1, 4), convention="matmul")
    assert [estimator.flops_for_batch(n) for n in (1, 7, 64)] == [n * STEP for n in (1, 7, 64)]
    assert same_state(state_of(model), before)
    assert all(p.grad is None for p in model.parameters())


def test_an_estimate_and_the_training():
    model = linear()
    estimator = TorchOpEstimator(model, (1, 4), convention="matmul")
    ft = FlopsTracker(estimator).torch_bind(model, sgd(model), train_loader=toy_batches())
    assert ft.estimate(2) == 2 * 10 * STEP == ft.run(2)


def test_in_a_loop_of_ones_own():
    estimator = TorchOpEstimator(linear(), (1, 4), convention="matmul")
    with FlopsTracker(estimator) as ft:
        ft.on_epoch_start()
        ft.update_batch(batch_size=5)
        ft.on_epoch_end()
    assert ft.total_flops == 5 * STEP


def test_without_an_example_a_batch_must_be_trained():
    with pytest.raises(ValueError, match="pass input_example"):
        TorchOpEstimator(linear()).flops_for_batch(1)


def test_a_convention_is_for_a_model():
    with pytest.raises(TypeError, match="convention is for a model"):
        FlopsTracker(TorchAutoEstimator(linear(), (1, 4)), convention="matmul")
    with pytest.raises(ValueError, match="convention must be"):
        FlopsTracker(linear(), convention="flops")


def test_the_model_of_another_estimator_is_refused():
    model = linear()
    with pytest.raises(ValueError, match="another model"):
        FlopsTracker(linear()).torch_bind(model, sgd(model), train_loader=[])
