"""estimate() where operations are counted: what run() will count, and nothing is changed."""

import pytest
import torch
from torch import nn
from training_models import STEP, linear, same_state, sgd, state_of, toy_batches

from flops_tracker import FlopCounter, FlopsTracker, TorchOpEstimator


class Digits(torch.utils.data.Dataset):
    """Samples of random numbers: reading one must not change which come next."""

    read = 0

    def __len__(self):
        return 7

    def __getitem__(self, index):
        self.read += 1
        return torch.randn(4), index % 2


@pytest.mark.parametrize("example", [None, (1, 4)])
def test_an_estimate_is_of_the_bound_loss_and_optimizer(example):
    """AdamW 14 per parameter and 1 per tensor; the rest as it runs. 7 samples: 3, 3 and 1."""
    torch.manual_seed(0)
    model = linear()
    loader = torch.utils.data.DataLoader(Digits(), batch_size=3)
    estimator = TorchOpEstimator(model, example)
    adamw = torch.optim.AdamW(model.parameters())
    ft = FlopsTracker(estimator).torch_bind(model, adamw, nn.CrossEntropyLoss(), loader)
    random = torch.get_rng_state()
    before = state_of(model)
    estimate = ft.estimate(2)
    assert same_state(state_of(model), before)
    assert torch.equal(torch.get_rng_state(), random)
    assert loader.dataset.read == 3 + 1  # a batch of each size
    assert not adamw.state
    parameters = list(model.parameters())
    updates = sum(14 * p.numel() + 1 for p in parameters)
    assert estimator.counts.optimizer == updates
    assert estimate == ft.run(2)


def test_the_estimate_is_of_a_later_step():
    """Of SGD with momentum the first costs 2 per parameter, all later ones 4."""
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    ft = FlopsTracker(model).torch_bind(model, optimizer, train_loader=toy_batches())
    first = 2 * sum(p.numel() for p in model.parameters())
    assert ft.estimate(1) == ft.run(1) + first


def test_an_estimate_of_batches_of_several_lengths():
    """A list says all its shapes: rows of 4 along 2, 3 or 50 positions."""
    model = linear()
    batches = [(torch.randn(2, n, 4), torch.randn(2, n, 3)) for n in (2, 50, 3, 50)]
    loss = nn.MSELoss()
    ft = FlopsTracker(model).torch_bind(model, sgd(model), loss, batches)
    assert ft.estimate(3) == ft.run(3)


@pytest.mark.filterwarnings("ignore:the batch has 1 samples")
@pytest.mark.parametrize("drop_last", [False, True])
def test_an_estimate_of_samples_that_come_one_by_one(drop_last):
    model = linear()
    loader = torch.utils.data.DataLoader(Digits(), batch_size=3, drop_last=drop_last)
    estimator = TorchOpEstimator(model, (4,), batch_dim=None)
    ft = FlopsTracker(estimator).torch_bind(model, sgd(model), nn.CrossEntropyLoss(), loader)
    assert ft.estimate(2) == ft.run(2)


def test_an_estimate_follows_the_optimizer_and_is_seen_by_no_counter():
    model = linear()
    optimizer = sgd(model)
    ft = FlopsTracker(model).torch_bind(model, optimizer, train_loader=toy_batches())
    with FlopCounter() as counter:
        plain = ft.estimate(1)
    assert counter.total == 0
    optimizer.param_groups[0]["weight_decay"] = 0.1  # 2 more per parameter and batch
    batches, parameters = len(toy_batches()), sum(p.numel() for p in model.parameters())
    assert ft.estimate(1) == plain + 2 * parameters * batches


def test_what_is_bound_does_not_change_what_an_example_costs():
    model = linear()
    estimator = TorchOpEstimator(model, (1, 4), convention="matmul")
    FlopsTracker(estimator).torch_bind(model, sgd(model), train_loader=iter(()))
    assert estimator.flops_for_batch(7) == 7 * STEP


def test_an_estimate_whose_sample_fails_says_which():
    model = linear()
    loader = torch.utils.data.DataLoader({1: None}, batch_size=1)
    ft = FlopsTracker(model).torch_bind(model, sgd(model), train_loader=loader)
    with pytest.raises(KeyError) as caught:
        ft.estimate(1)
    assert caught.value.__notes__ == ["estimate reads samples 0 to 0 of the loader's dataset"]
