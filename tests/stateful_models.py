"""Models that one careless forward pass would change, and ways in which a pass can end."""

import collections
import threading
import warnings

import torch
from torch import nn
from torch.nn.utils import prune


def deprecated(function, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args)


class Caches(nn.Module):
    """Keeps count and copies in attributes of every kind."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.calls = 0
        self.cache = []
        self.nested = {"outputs": {"last": None}, "seen": [set()]}
        self.recent = collections.deque(maxlen=2)
        self.by_size = collections.defaultdict(list)
        self.lock = threading.Lock()

    def forward(self, x):
        self.calls += 1
        y = self.linear(x)
        self.cache.append(y)
        self.nested["outputs"]["last"] = y
        self.nested["outputs"][self.calls] = x
        self.nested["seen"][0].add(self.calls)
        self.nested["seen"].append(y)
        self.recent.append(x)
        self.by_size[x.shape].append(y)
        self.new_attribute = y
        return y


class OwnTrain(nn.Module):
    """Does more than set the flag when its mode is changed."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.modes = []

    def train(self, mode=True):
        self.modes.append(mode)
        return super().train(mode)

    def forward(self, x):
        return self.linear(x)


class Counting(nn.Module):
    """A buffer written in place in every mode, and one that is replaced."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("passes", torch.zeros(1))
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("empty", None)

    def forward(self, x):
        self.passes += 1
        self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        self.empty = self.mean
        return self.linear(x)


class Noisy(nn.Module):
    """Draws from three generators."""

    def forward(self, x):
        import random

        import numpy as np

        return x + torch.randn(x.shape) * (random.random() + float(np.random.rand()))


class BuildsLate(nn.Module):
    """Makes a layer and a parameter in its first forward."""

    def __init__(self):
        super().__init__()
        self.late = None
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        if self.late is None:
            self.late = nn.Linear(4, 4)
            self.scale = nn.Parameter(torch.rand(4))
            self.register_buffer("noise", torch.rand(4))
            self.register_forward_hook(lambda *call: None)
        return self.linear(self.late(x) * self.scale + self.noise)


def frozen_norm():
    block = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4))
    block[1].eval().requires_grad_(False)
    return block


def used_lstm():
    lstm = nn.LSTM(4, 4, 2, bidirectional=True, batch_first=True)
    lstm(torch.zeros(2, 3, 4))[0].sum().backward()
    return lstm


def with_gradients(module, example):
    module(torch.rand(example)).sum().backward()
    return module


ROWS, IMAGES, STEPS = (2, 4), (2, 4, 6, 6), (2, 3, 4)

# name: how it is built, and the shape it takes
MODELS = {
    "linear": (lambda: nn.Linear(4, 4), ROWS),
    "linear with gradients": (lambda: with_gradients(nn.Linear(4, 4), ROWS), ROWS),
    "batch norm": (lambda: nn.BatchNorm2d(4), IMAGES),
    "frozen batch norm": (frozen_norm, IMAGES),
    "instance norm": (lambda: nn.InstanceNorm2d(4, track_running_stats=True), IMAGES),
    "dropout": (lambda: nn.Dropout(0.5), ROWS),
    "rrelu": (nn.RReLU, ROWS),
    "fractional max pool": (lambda: nn.FractionalMaxPool2d(2, output_size=3), IMAGES),
    "encoder layer": (lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), STEPS),
    "attention": (lambda: nn.MultiheadAttention(4, 2, batch_first=True), STEPS),
    "lstm": (lambda: nn.LSTM(4, 4, 2, batch_first=True, dropout=0.5), STEPS),
    "lstm with gradients": (used_lstm, STEPS),
    "gru": (lambda: nn.GRU(4, 4, batch_first=True), STEPS),
    "old spectral norm": (lambda: deprecated(nn.utils.spectral_norm, nn.Linear(4, 4)), ROWS),
    "old weight norm": (lambda: deprecated(nn.utils.weight_norm, nn.Linear(4, 4)), ROWS),
    "spectral norm": (lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), ROWS),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3)), IMAGES),
    "pruned": (lambda: prune.l1_unstructured(nn.Linear(4, 4), "weight", 0.5), ROWS),
    "initialised lazy": (lambda: with_gradients(nn.LazyLinear(4), ROWS), ROWS),
    "caches": (Caches, ROWS),
    "own train()": (OwnTrain, ROWS),
    "buffers": (Counting, ROWS),
    "generators": (Noisy, ROWS),
    "builds late": (BuildsLate, ROWS),
}


class Boom(Exception):
    """What the models raise here; nobody else does."""


class Ending(nn.Module):
    """Runs a layer and then ends the pass in the way that `end` does; train mode, as in a loop."""

    def __init__(self, layer, end):
        super().__init__()
        self.layer = layer
        self.end = end
        self.marker = nn.Identity()

    def forward(self, x):
        if isinstance(self.layer, nn.MultiheadAttention):
            y = self.layer(x, x, x)[0]
        else:
            y = self.layer(x)
        y = y[0] if isinstance(y, tuple) else y
        return self.end(self.marker(y))


def goes_on(y):
    return y


def raises(y):
    raise Boom("in forward")


def interrupts(y):
    raise KeyboardInterrupt("in forward")


def reads_a_number(y):
    return y if y.sum().item() > -1e30 else -y


def reads_positions(y):
    return y.flatten()[torch.nonzero(y.flatten() > 0).flatten()]


def reads_and_raises(y):
    reads_a_number(y)
    raise Boom("after reading")
