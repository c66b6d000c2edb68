"""Small programs of many kinds, for what must hold of every program: name to a function and inputs.

Inputs are a batch of 2 or more along the first dimension, or along `BATCH_AT`.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch_models import Function

CONVENTIONS = ("standard", "exact", "matmul", "macs")
BATCH_AT = {"lstm": 1}

rand = torch.rand


def images():
    return rand(2, 4, 8, 8)


def tokens(*shape):
    return torch.arange(torch.Size(shape).numel()).reshape(shape) % 7


def cnn():
    return nn.Sequential(
        *(nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 8, 3, stride=2), nn.GroupNorm(2, 8), nn.SiLU(), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(8, 3)),
    )


def separable():
    return nn.Sequential(
        *(nn.Conv2d(4, 8, 3, padding=1, groups=4), nn.BatchNorm2d(8), nn.ReLU6()),
        *(nn.Conv2d(8, 6, 1, bias=False), nn.AvgPool2d(2)),
    )


def upsampling():
    return nn.Sequential(
        *(nn.ConvTranspose2d(4, 6, 3, stride=2), nn.InstanceNorm2d(6, affine=True)),
        *(nn.LeakyReLU(), nn.Upsample(scale_factor=2, mode="bilinear")),
        nn.Conv2d(6, 2, 3, dilation=2),
    )


def recurrent(layer):
    return Function(lambda self, x: self.layer(x)[0], layer=layer)


def cross_attention():
    return Function(
        lambda self, q, kv: self.heads(q, kv, kv)[0],
        heads=nn.MultiheadAttention(8, 2, kdim=6, vdim=6, batch_first=True),
    )


def self_attention(*, weights):
    return Function(
        lambda self, x: self.heads(x, x, x, need_weights=weights)[0],
        heads=nn.MultiheadAttention(8, 2, batch_first=True),
    )


def gated():
    return Function(
        lambda self, x: x + self.out(F.silu(self.gate(x)) * self.into(x)),
        gate=nn.Linear(6, 8),
        into=nn.Linear(6, 8),
        out=nn.Linear(8, 6),
    )


def by_hand(x):
    x = x * 1
    x += 1.0
    x.mul_(2.0).relu_()
    return x @ x.transpose(-1, -2)


def encoder_layer(**options):
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **options)


def decoder_layer():
    return nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)


def lookups(table):
    return nn.Sequential(table, nn.Linear(6, 4))


def activations():
    layers = nn.PReLU(), nn.Mish(), nn.Softplus(), nn.Hardswish(), nn.LogSoftmax(1)
    return nn.Sequential(*layers)


def weight_norm():
    return nn.utils.parametrizations.weight_norm(nn.Linear(6, 4))


PROGRAMS = {
    "mlp": lambda: (
        nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Dropout(0.5), nn.Linear(8, 3)),
        rand(5, 6),
    ),
    "mlp of 3 dimensions": lambda: (
        nn.Sequential(
            nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3, bias=False), nn.Softmax(-1)
        ),
        rand(2, 5, 6),
    ),
    "gated": lambda: (gated(), rand(2, 5, 6)),
    "cnn": lambda: (cnn(), images()),
    "separable": lambda: (separable(), images()),
    "upsampling": lambda: (upsampling(), images()),
    "conv1d": lambda: (
        nn.Sequential(nn.Conv1d(4, 6, 3, padding="same"), nn.GLU(1), nn.MaxPool1d(2)),
        rand(2, 4, 9),
    ),
    "conv3d": lambda: (
        nn.Sequential(nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3), nn.ELU(), nn.AvgPool3d(2)),
        rand(2, 2, 5, 5, 5),
    ),
    "lstm": lambda: (recurrent(nn.LSTM(4, 5, 2, bidirectional=True)), rand(7, 3, 4)),
    "gru": lambda: (recurrent(nn.GRU(4, 5, batch_first=True)), rand(3, 7, 4)),
    "lstm cell": lambda: (recurrent(nn.LSTMCell(4, 5)), rand(3, 4)),
    "gru cell": lambda: (nn.GRUCell(4, 5), rand(3, 4)),
    "attention": lambda: (self_attention(weights=True), rand(2, 5, 8)),
    "attention without weights": lambda: (self_attention(weights=False), rand(2, 5, 8)),
    "cross attention": lambda: (cross_attention(), rand(2, 5, 8), rand(2, 3, 6)),
    "encoder layer": lambda: (encoder_layer(), rand(2, 5, 8)),
    "encoder layer, norm first": lambda: (
        encoder_layer(norm_first=True, activation="gelu"),
        rand(2, 5, 8),
    ),
    "decoder layer": lambda: (decoder_layer(), rand(2, 5, 8), rand(2, 3, 8)),
    "transformer": lambda: (
        nn.Transformer(8, 2, 1, 1, 16, batch_first=True),
        rand(2, 5, 8),
        rand(2, 3, 8),
    ),
    "embedding": lambda: (lookups(nn.Embedding(7, 6)), tokens(2, 5)),
    "bags": lambda: (lookups(nn.EmbeddingBag(7, 6)), tokens(2, 5)),
    "bilinear": lambda: (nn.Bilinear(3, 4, 5), rand(2, 3), rand(2, 4)),
    "norms": lambda: (
        nn.Sequential(nn.RMSNorm(6), nn.LayerNorm(6), nn.BatchNorm1d(5)),
        rand(3, 5, 6),
    ),
    "activations": lambda: (activations(), rand(5, 6)),
    "weight norm": lambda: (weight_norm(), rand(5, 6)),
    "fused attention": lambda: (
        lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=True),
        rand(2, 2, 5, 4),
    ),
    "in place": lambda: (by_hand, rand(2, 5, 6)),
    "einsum": lambda: (lambda x: torch.einsum("bij,bkj->bik", x, x), rand(2, 3, 4)),
    "spectrum": lambda: (lambda x: torch.fft.irfft(torch.fft.rfft(x) * 2), rand(3, 8)),
}


def made(name):
    """The program and its inputs, always the same."""
    torch.manual_seed(0)
    function, *inputs = PROGRAMS[name]()
    return function, inputs


def output_of(function, inputs):
    output = function(*inputs)
    return output[0] if isinstance(output, tuple) else output


def parts(counter, conventions=CONVENTIONS):
    """Forward, backward, recompute and optimizer under each convention."""
    found = {}
    for convention in conventions:
        c = counter.under(convention)
        found[convention] = (c.forward, c.backward, c.recompute, c.optimizer)
    return found
