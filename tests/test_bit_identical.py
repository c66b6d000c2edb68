"""Training with and without the tracker gives bit-identical weights."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.data import DataLoader, TensorDataset
from training_models import same_state, state_of

from flops_tracker import FlopsTracker, TorchAutoEstimator, TorchCNNLayerwiseEstimator

EPOCHS = 10  # of 5 batches: 50 steps


class Net(nn.Module):
    """What keeps state or draws numbers in training: both spectral norms, BatchNorm, dropout."""

    def __init__(self):
        super().__init__()
        self.conv = parametrizations.spectral_norm(nn.Conv2d(1, 4, 3, padding=1))
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.3)
        self.linear = nn.utils.spectral_norm(nn.Linear(4 * 16, 3))

    def forward(self, x):
        return self.linear(self.drop(F.relu(self.norm(self.conv(x)))).flatten(1))


def start():
    """Model, optimizer and loader; everything random is drawn from one seed."""
    torch.manual_seed(3)
    model = Net()
    data = TensorDataset(torch.randn(150, 1, 4, 4), torch.randint(3, (150,)))
    loader = DataLoader(data, batch_size=32, shuffle=True)  # 32, 32, 32, 32, 22
    return model, torch.optim.AdamW(model.parameters(), lr=0.01), loader


def outcome(model, optimizer):
    """Weights, optimizer state, and where the random generator stands."""
    moments = optimizer.state_dict()["state"]
    flat = {f"{i}.{name}": value for i, s in moments.items() for name, value in s.items()}
    return {**state_of(model), **flat, "generator": torch.get_rng_state()}


def plain():
    model, optimizer, loader = start()
    model.train()
    for _ in range(EPOCHS):
        for data, target in loader:
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(data), target).backward()
            optimizer.step()
    return outcome(model, optimizer)


@pytest.mark.parametrize("estimator", [TorchAutoEstimator, TorchCNNLayerwiseEstimator])
@pytest.mark.parametrize("noisy", [False, True], ids=["quiet", "all output"])
def test_fifty_steps(estimator, noisy, tmp_path):
    expected = plain()
    model, optimizer, loader = start()
    ft = FlopsTracker(estimator(model, input_example=(1, 1, 4, 4)))
    ft.torch_bind(model, optimizer, train_loader=loader)
    ft.estimate(EPOCHS)
    options = {"print_level": "both", "export": "both", "export_prefix": tmp_path / "run"}
    total = ft.run(EPOCHS, **(options if noisy else {}))
    assert same_state(outcome(model, optimizer), expected)
    assert len(ft.step_logs) == 50
    # Conv2d(1, 4, 3) on 4x4: 2*16*4*9 = 1152; Linear(64, 3): 2*64*3 = 384; 150 samples, 3-fold.
    assert total == EPOCHS * 150 * 3 * (1152 + 384) == 6_912_000


def test_the_loop_form_and_its_body(tmp_path):
    expected = plain()
    model, optimizer, loader = start()
    ft = FlopsTracker(TorchAutoEstimator(model, input_example=(1, 1, 4, 4)))
    for _ in ft.torch_bind(model, optimizer, train_loader=loader)(EPOCHS, print_level="none"):
        ft.print_total_flops()
        assert len(ft.history) == len(ft.step_logs)
    assert same_state(outcome(model, optimizer), expected)


def test_the_comparison_can_fail():
    expected = plain()
    model, optimizer, loader = start()
    torch.rand(1)  # one number more
    ft = FlopsTracker(TorchAutoEstimator(model, input_example=(1, 1, 4, 4)))
    ft.torch_bind(model, optimizer, train_loader=loader).run(EPOCHS)
    assert not same_state(outcome(model, optimizer), expected)
