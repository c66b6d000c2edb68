"""Every row of the layer table, and the numbers of the issue, each worked out by hand."""

import pytest
import torch
from torch import nn
from torch_models import (
    ALL_SWITCHES,
    TOKENS,
    LeNet5,
    Repeated,
    forward_flops,
    layers_by_path,
    prepared_without_warning,
)

from flops_tracker import TorchAutoEstimator, rules

# ---- the eight cases of the issue ----


def test_linear_counts_every_position():
    # 2·(2·10)·64·64
    assert forward_flops(nn.Linear(64, 64), (2, 10, 64)) == 163_840


def test_a_layer_called_three_times_counts_three_times():
    # 3·(2·2·64·64)
    assert forward_flops(Repeated(nn.Linear(64, 64), 3), (2, 64)) == 49_152


def test_bidirectional_lstm_of_two_layers():
    # 20 positions, 2 directions, gates 4·64 = 256; layer 0 reads 32 + 64, layer 1 reads 2·64 + 64:
    # 2·20·2·256·(96 + 192) = 80·256·288
    model = nn.LSTM(32, 64, num_layers=2, bidirectional=True, batch_first=True)
    assert forward_flops(model, (2, 10, 32)) == 5_898_240


def test_bidirectional_lstm_of_two_layers_time_first():
    # 15 positions, 2 directions, gates 80; layer 0 reads 10 + 20, layer 1 reads 40 + 20:
    # 2·15·2·80·(30 + 60) = 60·80·90
    model = nn.LSTM(10, 20, num_layers=2, bidirectional=True)
    assert forward_flops(model, (5, 3, 10), batch_dim=1) == 432_000


def test_cross_attention_with_own_key_and_value_widths():
    # multiply-adds: Q 20·64·64 = 81,920; K 40·64·32 = 81,920; V 40·64·48 = 122,880;
    # Q Kᵀ and A V 2·10·20·64 = 25,600 each; out 81,920; sum 419,840
    model = nn.MultiheadAttention(64, 4, kdim=32, vdim=48, batch_first=True)
    assert forward_flops(model, ((2, 10, 64), (2, 20, 32), (2, 20, 48))) == 839_680


def test_lenet5_batch_1024():
    # multiply-adds an image: 28²·6·25 = 117,600; 10²·16·150 = 240,000; 120·400 = 48,000;
    # 120·84 = 10,080; 84·10 = 840; sum 416,520; times 2·1024
    model = LeNet5()
    assert sum(p.numel() for p in model.parameters()) == 61_706
    assert forward_flops(model, (1024, 1, 32, 32)) == 853_032_960


def test_lenet5_with_its_pools():
    # average pools read 4 elements for each of 14²·6 = 1,176 and 5²·16 = 400 outputs: 6,304
    flops = forward_flops(LeNet5(), (1, 1, 32, 32), include_pooling_cost=True)
    assert flops == 2 * 416_520 + 6_304


def test_resnet50():
    # multiply-adds at 224², [1x1, 3x3, 1x1] and the shortcut of each stage's first block:
    # stem 112²·64·147                                                     118,013,952
    # 56²: (4,096 + 36,864 + 16,384 + 16,384) + 2·(16,384 + 36,864 + 16,384) = 212,992; ·3,136
    #                                                                      667,942,912
    # 28²: 32,768·3,136 + (147,456 + 65,536 + 131,072)·784 + 3·278,528·784
    #                                                                    1,027,604,480
    # 14²: 131,072·784 + (589,824 + 262,144 + 524,288)·196 + 5·1,114,112·196
    #                                                                    1,464,336,384
    #  7²: 524,288·196 + (2,359,296 + 1,048,576 + 2,097,152)·49 + 2·4,456,448·49
    #                                                                      809,238,528
    # fc 2,048·1,000                                                         2,048,000
    # sum                                                                4,089,184,256
    transformers = pytest.importorskip("transformers")
    model = transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=1000))
    assert sum(p.numel() for p in model.parameters()) == 25_557_032
    estimator = TorchAutoEstimator(model, {"pixel_values": (1, 3, 224, 224)})
    assert estimator.forward_flops == 8_178_368_512
    assert estimator.dry_run == "fake"
    # the tail of 2 images costs twice as much
    assert estimator.flops_for_batch(2) == 3 * 2 * 8_178_368_512


def test_vit_b16_without_the_attention_that_is_not_in_modules():
    # multiply-adds: patches 196·768·768                                   115,605,504
    # 12 layers, 197 tokens: Q, K, V, out 4·197·768² = 464,781,312;
    #                        MLP 2·197·768·3,072     = 929,562,624      16,732,127,232
    # head 768·1,000                                                           768,000
    # sum                                                               16,848,500,736
    transformers = pytest.importorskip("transformers")
    model = transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=1000))
    assert sum(p.numel() for p in model.parameters()) == 86_567_656
    estimator = TorchAutoEstimator(model, {"pixel_values": (1, 3, 224, 224)})
    prepared_without_warning(estimator)
    assert estimator.forward_flops == 33_697_001_472
    report = estimator.report()
    assert "operations outside modules" in report
    assert "ViTSelfAttention" in report or "ViTAttention" in report
    assert "outside modules not seen" in estimator.trust_line


# ---- rows that always count: id, model, example, FLOPs ----

LINEAR = [
    ("one row: 2·5·4", lambda: nn.Linear(5, 4), (1, 5), 40),
    ("bias is not counted: 2·5·4", lambda: nn.Linear(5, 4, bias=False), (1, 5), 40),
    ("four dimensions: 2·(2·3·4)·5·6", lambda: nn.Linear(5, 6), (2, 3, 4, 5), 1440),
    ("no inputs: 0", lambda: nn.Linear(4, 4), (3, 0, 4), 0),
    # 2 rows · 5 outputs: 4 products of length 3, then one of length 4: 12 + 4 multiply-adds
    ("bilinear: 2·10·16", lambda: nn.Bilinear(3, 4, 5), ((2, 3), (2, 4)), 320),
]

CONV = [
    ("1d: 2·5·6·(4·3) for 2", lambda: nn.Conv1d(3, 6, 4, padding=1), (2, 3, 6), 1440),
    ("2d: 2·25·6·(16·3) for 2", lambda: nn.Conv2d(3, 6, 4, padding=1), (2, 3, 6, 6), 28_800),
    ("3d: 2·2³·5·(3³·4)", lambda: nn.Conv3d(4, 5, 3), (1, 4, 4, 4, 4), 8_640),
    ("stride 2 on 7 gives 3: 2·9·2·9", lambda: nn.Conv2d(1, 2, 3, stride=2), (1, 1, 7, 7), 324),
    # rows (8 + 2 - 3)//2 + 1 = 4, columns 8 - 1 + 1 = 8; kernel 3x1
    (
        "two sizes: 2·32·4·(3·2)",
        lambda: nn.Conv2d(2, 4, (3, 1), stride=(2, 1), padding=(1, 0)),
        (1, 2, 8, 8),
        1536,
    ),
    # a kernel of 3 spread over 5 leaves 9 - 5 + 1 = 5
    ("dilation 2: 2·25·1·9", lambda: nn.Conv2d(1, 1, 3, dilation=2), (1, 1, 9, 9), 450),
    ("groups: 2·4·6·(9·4/2)", lambda: nn.Conv2d(4, 6, 3, groups=2), (1, 4, 4, 4), 864),
    (
        "depthwise: 2·64·8·(9·1)",
        lambda: nn.Conv2d(8, 8, 3, padding=1, groups=8),
        (1, 8, 8, 8),
        9216,
    ),
    ("same padding: 2·6·1·4", lambda: nn.Conv1d(1, 1, 4, padding="same"), (1, 1, 6), 48),
    ("valid padding: 2·3·1·4", lambda: nn.Conv1d(1, 1, 4, padding="valid"), (1, 1, 6), 24),
    *(
        (
            f"padding mode {mode}: 2·36·2·9",
            lambda mode=mode: nn.Conv2d(1, 2, 3, padding=1, padding_mode=mode),
            (1, 1, 6, 6),
            1296,
        )
        for mode in ("zeros", "reflect", "replicate", "circular")
    ),
]

# Output positions, as the table has it: ∏ out · C_in · ∏ K · C_out/groups
TRANSPOSED = [
    # (30 - 1)·2 + 2 = 60 by 4
    (
        "2d stride 2: 2·240·4·(4·8)",
        lambda: nn.ConvTranspose2d(4, 8, 2, stride=2),
        (1, 4, 30, 2),
        61_440,
    ),
    # (4 - 1)·1 + 3 = 6
    ("1d: 2·6·2·(3·5)", lambda: nn.ConvTranspose1d(2, 5, 3), (1, 2, 4), 360),
    ("3d: 2·3³·2·(2³·1)", lambda: nn.ConvTranspose3d(2, 1, 2), (1, 2, 2, 2, 2), 864),
    # (4 - 1)·1 + 3 = 6 in both
    (
        "groups: 2·36·8·(9·16/4)",
        lambda: nn.ConvTranspose2d(8, 16, 3, groups=4),
        (1, 8, 4, 4),
        20_736,
    ),
    # (3 - 1)·2 - 2·1 + 2·(3 - 1) + 1 + 1 = 8
    (
        "stride, padding, dilation, output_padding: 2·8·1·3",
        lambda: nn.ConvTranspose1d(1, 1, 3, 2, padding=1, output_padding=1, dilation=2),
        (1, 1, 3),
        48,
    ),
]

RESAMPLED = [
    ("nearest: 3·8·8", lambda: nn.Upsample(scale_factor=2), (1, 3, 4, 4), 192),
    ("bilinear: 2·3·5", lambda: nn.UpsamplingBilinear2d(size=(3, 5)), (1, 2, 4, 4), 30),
    ("1d: 2·9", lambda: nn.Upsample(9, mode="linear"), (1, 2, 4), 18),
]


def cases(rows):
    return [pytest.param(*row[1:], id=row[0]) for row in rows]


@pytest.mark.parametrize(
    ("build", "example", "flops"), cases(LINEAR + CONV + TRANSPOSED + RESAMPLED)
)
def test_rows_that_always_count(build, example, flops):
    assert forward_flops(build(), example) == flops


def test_the_size_asked_of_a_transposed_convolution_counts():
    class Asked(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose1d(1, 1, 3, stride=2)

        def forward(self, x):
            return self.up(x, output_size=[8])

    # (3 - 1)·2 + 3 = 7 by itself, 8 when asked: 2·8·1·3
    assert forward_flops(Asked(), (1, 1, 3)) == 48


@pytest.mark.parametrize(
    ("build", "example", "flops"),
    [
        pytest.param(lambda: nn.Linear(64, 8), (64,), 1024, id="linear on one vector: 2·64·8"),
        pytest.param(lambda: nn.Conv2d(3, 6, 4), (3, 6, 6), 5184, id="conv on one image: 2·9·6·48"),
        pytest.param(lambda: nn.ConvTranspose1d(2, 5, 3), (2, 4), 360, id="transposed: 2·6·2·15"),
    ],
)
def test_unbatched_input(build, example, flops):
    assert forward_flops(build(), example, batch_dim=None) == flops


# ---- rows behind a switch: id, model, example, FLOPs when on; 0 when off ----

POOLS = [
    ("avg 1d: 2·3·3", lambda: nn.AvgPool1d(3), (1, 2, 9), 18),
    ("avg 2d: 6·14·14·4", lambda: nn.AvgPool2d(2), (1, 6, 28, 28), 4704),
    ("avg 2d (3, 1), stride 1: 2·3·5·3", lambda: nn.AvgPool2d((3, 1), 1), (1, 2, 5, 5), 90),
    ("avg 3d: 8·8", lambda: nn.AvgPool3d(2), (1, 1, 4, 4, 4), 64),
    # 5 elements in windows of 2: 2, or 3 with ceil_mode
    ("avg ceil_mode: 3·2", lambda: nn.AvgPool1d(2, ceil_mode=True), (1, 1, 5), 6),
    # 7x7 to 3x3: windows 0-2, 2-4, 4-6 read 9 in each dimension, so 81 a channel and not 36
    ("adaptive 7x7 to 3x3: 4·81", lambda: nn.AdaptiveAvgPool2d(3), (1, 4, 7, 7), 324),
    # 5 to 2: windows 0-2 and 2-4
    ("adaptive 1d 5 to 2: 3·6", lambda: nn.AdaptiveAvgPool1d(2), (1, 3, 5), 18),
    # 2 to 5: windows of 1, 1, 2, 1, 1
    ("adaptive 1d 2 to 5: 6", lambda: nn.AdaptiveAvgPool1d(5), (1, 1, 2), 6),
    ("adaptive 3d, 4 to 2: 4³", lambda: nn.AdaptiveAvgPool3d(2), (1, 1, 4, 4, 4), 64),
    # 3 rows kept, 5 columns to 1
    ("adaptive (None, 1): 2·3·5", lambda: nn.AdaptiveAvgPool2d((None, 1)), (1, 2, 3, 5), 30),
    ("adaptive to one: 512·49", lambda: nn.AdaptiveAvgPool2d(1), (1, 512, 7, 7), 25_088),
]

NORMS = [
    ("batch 1d: 5·16", lambda: nn.BatchNorm1d(8), (2, 8), 80),
    ("batch 2d: 5·256", lambda: nn.BatchNorm2d(8), (2, 8, 4, 4), 1280),
    ("batch 3d: 5·16", lambda: nn.BatchNorm3d(2), (1, 2, 2, 2, 2), 80),
    ("layer: 5·36", lambda: nn.LayerNorm(6), (2, 3, 6), 180),
    ("group: 5·36", lambda: nn.GroupNorm(2, 4), (1, 4, 3, 3), 180),
    ("instance: 5·40", lambda: nn.InstanceNorm1d(4), (2, 4, 5), 200),
    ("instance, affine: 5·72", lambda: nn.InstanceNorm2d(4, affine=True), (2, 4, 3, 3), 360),
    ("rms: 5·12", lambda: nn.RMSNorm(6), (2, 6), 60),
    ("local response: 5·36", lambda: nn.LocalResponseNorm(2), (1, 4, 3, 3), 180),
]

SOFTMAXES = [
    ("softmax: 5·40", lambda: nn.Softmax(dim=-1), (4, 10), 200),
    ("log: 5·40", lambda: nn.LogSoftmax(dim=-1), (4, 10), 200),
    ("min: 5·40", lambda: nn.Softmin(dim=-1), (4, 10), 200),
    ("2d: 5·36", nn.Softmax2d, (1, 4, 3, 3), 180),
]


@pytest.mark.parametrize(
    ("switch", "build", "example", "flops"),
    [
        pytest.param(switch, *row[1:], id=row[0])
        for switch, rows in (
            ("include_pooling_cost", POOLS),
            ("include_norm_cost", NORMS),
            ("include_softmax_cost", SOFTMAXES),
        )
        for row in rows
    ],
)
def test_rows_behind_a_switch(switch, build, example, flops):
    others = {name: name != switch for name in ALL_SWITCHES}
    assert forward_flops(build(), example) == 0
    assert forward_flops(build(), example, **others) == 0
    assert forward_flops(build(), example, **{switch: True}) == flops


# ---- rows that are free, whatever is switched on ----

FREE = [
    ("max pool", lambda: nn.MaxPool2d(2), (1, 2, 4, 4)),
    ("adaptive max pool", lambda: nn.AdaptiveMaxPool2d(3), (1, 2, 7, 7)),
    ("fractional max pool", lambda: nn.FractionalMaxPool2d(2, output_size=2), (1, 2, 5, 5)),
    ("max unpool", lambda: nn.MaxUnpool1d(2), ((1, 1, 2), ((1, 1, 2), TOKENS))),
    ("dropout", lambda: nn.Dropout(0.5), (2, 3)),
    ("dropout 2d", lambda: nn.Dropout2d(0.5), (2, 3, 4, 4)),
    ("alpha dropout", lambda: nn.AlphaDropout(0.5), (2, 3)),
    ("embedding", lambda: nn.Embedding(10, 4), ((2, 7), TOKENS)),
    ("embedding, padding_idx", lambda: nn.Embedding(10, 4, padding_idx=0), ((2, 7), TOKENS)),
    ("embedding bag", lambda: nn.EmbeddingBag(10, 4), ((2, 7), TOKENS)),
    ("zero padding", lambda: nn.ZeroPad2d(1), (1, 2, 3, 3)),
    ("constant padding", lambda: nn.ConstantPad1d(1, 2.0), (1, 2, 3)),
    ("reflection padding", lambda: nn.ReflectionPad2d(1), (1, 2, 3, 3)),
    ("replication padding", lambda: nn.ReplicationPad3d(1), (1, 2, 3, 3, 3)),
    ("circular padding", lambda: nn.CircularPad1d(1), (1, 2, 3)),
    ("relu", lambda: nn.ReLU(inplace=True), (2, 3)),
    ("prelu has parameters", lambda: nn.PReLU(3), (2, 3)),
    ("glu", nn.GLU, (2, 4)),
    ("channel shuffle", lambda: nn.ChannelShuffle(2), (1, 4, 3, 3)),
    ("pixel shuffle", lambda: nn.PixelShuffle(2), (1, 4, 3, 3)),
    ("pixel unshuffle", lambda: nn.PixelUnshuffle(2), (1, 1, 4, 4)),
    ("flatten", nn.Flatten, (2, 3, 4)),
    ("unflatten", lambda: nn.Unflatten(1, (2, 2)), (2, 4)),
    ("unfold", lambda: nn.Unfold(2), (1, 2, 3, 3)),
    ("identity", nn.Identity, (2, 3)),
]


@pytest.mark.parametrize(("build", "example"), cases(FREE))
def test_free_rows(build, example):
    estimator = TorchAutoEstimator(build(), example, **ALL_SWITCHES)
    assert estimator.forward_flops == 0
    assert layers_by_path(estimator)[""].status == "neglected"
    assert estimator.uncounted == []


SOFTMAX_NAMES = {"Softmax", "Softmax2d", "LogSoftmax", "Softmin"}


@pytest.mark.parametrize(
    "name", sorted(set(torch.nn.modules.activation.__all__) - {"MultiheadAttention"})
)
def test_every_activation_of_torch_has_a_rule(name):
    formulas = {rule.name.rpartition(".")[2]: rule.formula for rule in rules("activation.")}
    found = [formulas[c.__name__] for c in getattr(nn, name).__mro__ if c.__name__ in formulas]
    assert found[0] == ("softmax_table" if name in SOFTMAX_NAMES else "activation_free")
