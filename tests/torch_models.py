"""Models that several test files count, and a short way to count them."""

import warnings

import torch
from torch import nn

from flops_tracker import TorchAutoEstimator, UncountedWarning

TOKENS = torch.int64
ALL_SWITCHES = {
    "include_pooling_cost": True,
    "include_norm_cost": True,
    "include_softmax_cost": True,
}


def forward_flops(model, example, **options):
    """Forward FLOPs of the example, before training_factor."""
    return TorchAutoEstimator(model, example, **options).forward_flops


def layers_by_path(estimator):
    return {layer.path: layer for layer in estimator.layers}


def paths(layers):
    return [layer.path for layer in layers]


def prepared_without_warning(estimator):
    """Prepare an estimator whose UncountedWarning is not what the test is about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UncountedWarning)
        return estimator.prepare()


class LeNet5(nn.Sequential):
    """The classic: tanh, average pooling, 32x32 grey images; 61,706 parameters."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 6, 5),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(16, 120, 5),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(120, 84),
            nn.Tanh(),
            nn.Linear(84, 10),
        )


class Repeated(nn.Module):
    """One layer called several times in a row."""

    def __init__(self, layer, times):
        super().__init__()
        self.layer = layer
        self.times = times

    def forward(self, x):
        for _ in range(self.times):
            x = self.layer(x)
        return x


class Function(nn.Module):
    """Submodules by name and a forward given as a function of the module and its inputs."""

    def __init__(self, function, **submodules):
        super().__init__()
        self.function = function
        for name, module in submodules.items():
            self.add_module(name, module)

    def forward(self, *args, **kwargs):
        return self.function(self, *args, **kwargs)


class Scale(nn.Module):
    """A leaf layer with a parameter and without a rule."""

    def __init__(self, width=4):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * self.factor
