"""Our numbers for the cases of docs/accuracy.md, each worked out here, and that page itself."""

import warnings

import accuracy
import models
import pytest

# ---- the twelve cases under `matmul`: 2 for each multiply-accumulate of a contraction ----

# Of the small language models: 128 tokens in 2 texts of 64, width 128, 2 layers, head of 1000.
# Each layer's attention has 2·64·64 scores of length 128 and as many sums.
HEAD, ATTENTION = 128 * 128 * 1000, 2 * 2 * 64 * 64 * 128
# Queries and output 128 to 128, keys and values to 2 heads of 16.
GROUPED = 2 * 128 * 128 + 2 * 128 * 32
CASES = {
    "addone": 5 * 4,
    "linear_3d": 20 * 64 * 64,
    "reused": 3 * 2 * 64 * 64,
    "functional": 3 * 20 * 64 * 64,
    # 28·28 places of 6 by 25; 10·10 of 16 by 150; 1 of 120 by 400; 120·84; 84·10
    "lenet5_b1024": 1024 * (117_600 + 240_000 + 48_000 + 10_080 + 840),
    # Each of 8·8 input places and 16 channels goes to the 8 outputs of its group, 9 taps each.
    "convtransposed_g4": 2 * 64 * 16 * 8 * 9,
    # 20 steps, 2 directions, 4 gates of 64; layer one sees 32 + 64, layer two 128 + 64.
    "lstm_2l_bi": 20 * 2 * 4 * 64 * (96 + 192),
    # In and out on 10 queries, keys from 32, values from 48, scores and sums over 20.
    "crossattn": 2 * (2 * 10 * 64 * 64 + 20 * 32 * 64 + 20 * 48 * 64 + 2 * 10 * 20 * 64),
    "sdpa": 2 * 64 * 64 * 192 + 2 * 2 * 64 * 64 * 64,
    # A layer has 3 + 1 + 4 + 4 squares of weights.
    "gpt2": 2 * (128 * 12 * 128 * 128 + ATTENTION) + HEAD,
    "llama_gqa": 2 * (128 * (GROUPED + 3 * 128 * 256) + ATTENTION) + HEAD,
    "mixtral_moe": 2 * (128 * (GROUPED + 128 * 4 + 2 * 3 * 128 * 256) + ATTENTION) + HEAD,
}


@pytest.mark.parametrize("name", CASES)
def test_the_twelve(name):
    counts = accuracy.case(name)
    assert counts.total == 2 * CASES[name] == accuracy.value(accuracy.TRUTH[name][1])
    assert counts.uncounted == {}
    assert counts.coverage == 1


def test_a_linear_layer_under_each_convention():
    # 20 products, 4 dot products of 5, 4 biases; then 4 additions.
    names = ("standard", "exact", "matmul", "macs")
    assert [accuracy.linear(False).under(n).total for n in names] == [44, 40, 40, 20]
    assert [accuracy.linear(True).under(n).total for n in names] == [48, 44, 40, 20]


# ---- ResNets ----

STEM = 2 * 112 * 112 * 64 * 3 * 49


def test_resnet18():
    # Stage 1: 4 convolutions 64 to 64 at 56·56. Stage s: 64·2^s wide at half the places each way,
    # its first convolution from half the width, three more, a shortcut: w·w·(4.5 + 27 + 0.5).
    stages = 4 * 2 * 3136 * 64 * 576 + sum(
        2 * (56 >> s) ** 2 * (64 << s) ** 2 * 32 for s in (1, 2, 3)
    )
    forward = STEM + stages + 2 * 512 * 1000
    assert forward == 3_628_146_688
    assert accuracy.picture(models.resnet18).total == forward
    both = accuracy.picture(models.resnet18, backward=True, gradient=True)
    assert (both.total, both.backward) == (3 * forward, 2 * forward)
    assert accuracy.picture(models.resnet18, backward=True).total == 3 * forward - STEM


def test_resnet50():
    # w wide at P places, in units of w·w·P, which is the same in all stages. Stage 1, first block:
    # 1 + 9 + 4 and a shortcut of 4. Others, first: 2 at 4·P places, 9, 4, shortcut 8. Later: 17.
    unit = 64 * 64 * 3136
    products = (18 + 2 * 17) + (29 + 3 * 17) + (29 + 5 * 17) + (29 + 2 * 17)
    matmul = STEM + 2 * products * unit + 2 * 2048 * 1000
    # Outputs of convolutions, in units of w·P, which halves: 1 + 1 + 4 + 4, or 4 + 1 + 4 + 4;
    # later 6. A ReLU follows each but the shortcut's: 6, or 4 + 1 + 4; later 6.
    places = 64 * 3136
    stem = 64 * 112 * 112
    outputs = stem + (10 + 12) * places + (13 + 18) * places // 2
    outputs += (13 + 30) * places // 4 + (13 + 12) * places // 8
    relus = stem + 18 * places + 27 * places // 2 + 39 * places // 4 + 21 * places // 8
    additions = 4 * (3 * places + 4 * places // 2 + 6 * places // 4 + 3 * places // 8)
    # One addition less per output; norms 2 + 2 an element in eval; 8 comparisons in a window of 9;
    # 48 additions and a division for each mean of 49.
    exact = matmul - outputs + 4 * outputs + relus + additions + 8 * places + 49 * 2048
    assert (matmul, exact) == (8_178_368_512, 8_228_544_512)
    counts = accuracy.picture(models.resnet50)
    assert (counts.total, counts.under("exact").total) == (matmul, exact)
    # torch_flops takes the window for 3 values: 2 comparisons.
    assert exact - 6 * places == 8_227_340_288


# ---- transformers ----


def test_vit_b16():
    # 197 tokens of 768: 4 squares and an MLP of 3072 in 12 layers, 196 patches of 3·16·16 values.
    linear = 12 * 2 * 197 * (4 * 768 * 768 + 2 * 768 * 3072) + 2 * 768 * 1000
    patches = 2 * 196 * 768 * 768
    attention = 12 * 2 * 2 * 197 * 197 * 768
    counts = accuracy.picture(models.vit_b16)
    assert counts.total == linear + patches + attention == 35_127_656_448


def test_gpt2_124m():
    # Blocks and scores as nanoGPT's transformer_sizing adds them up, and the head of 50257.
    blocks = 12 * (2 * 1024 * 12 * 768 * 768 + 2 * 2 * 1024 * 1024 * 768)
    assert accuracy.gpt2().total == blocks + 2 * 1024 * 768 * 50257 == 291_648_307_200


# ---- the page ----


@pytest.mark.parametrize(
    ("build", "seed", "ops", "total"),
    [
        (models.resnet50, accuracy.RESNET_SEED, accuracy.RESNET_OPS, 8_227_340_288),
        (models.vit_b16, accuracy.VIT_SEED, accuracy.VIT_OPS, 35_164_979_282),
    ],
)
def test_differences_to_torch_flops_add_up(build, seed, ops, total):
    counts = accuracy.picture(build)
    rows = accuracy.differences(counts, seed, ops)
    assert sum(theirs for _, theirs, _, _ in rows) == total
    assert total + sum(ours - theirs for _, theirs, ours, _ in rows) == counts.under("exact").total


def test_the_page_is_up_to_date():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert accuracy.PAGE.read_text(encoding="utf-8") == accuracy.page()
