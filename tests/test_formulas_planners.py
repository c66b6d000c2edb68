"""Planners: published sizes, and the same counts as the counter's on real models."""

import numpy as np
import pytest
import torch
from torch import nn

from flops_tracker import count, formulas
from flops_tracker.formulas import Conv, Linear, Pool, Residual


def counted(model, *args, **kwargs):
    """Products that a training step really does: forward, backward, and parameters."""
    counts = count(model, *args, backward=True, **kwargs).under("matmul")
    # What fused attention computes again is no part of a plan.
    return counts.forward, counts.backward, sum(p.numel() for p in model.parameters())


def planned(plan):
    return plan.forward, plan.backward, plan.parameters


# ---- transformers ----

GPT2 = {
    "layers": 12,
    "d_model": 768,
    "heads": 12,
    "vocab_size": 50_257,
    "seq_len": 1024,
    "positions": 1024,
}


def test_gpt2():
    # Per token and layer 12·768² = 7,077,888 products, and 2·1024·768 of scores and values; the
    # head 768·50,257.
    forward = 2 * 1024 * (12 * (12 * 768**2 + 2 * 1024 * 768) + 768 * 50_257)
    assert forward == 291_648_307_200
    # Layers 12·768² + 13·768 (biases 3 + 1 + 4 + 1, norms 4); embeddings; the last norm.
    body = 12 * (12 * 768**2 + 13 * 768) + 2 * 768
    parameters = body + (50_257 + 1024) * 768
    assert parameters == 124_439_808  # as published
    plan = formulas.transformer(**GPT2)
    assert planned(plan) == (forward, 2 * forward, parameters)
    assert plan.training == 3 * forward
    assert plan.non_embedding_parameters == body
    assert (plan.steps, plan.tokens) == (1, 1024)
    assert plan.six_nd == 6 * parameters * 1024
    assert plan.six_nd_ratio == plan.six_nd / plan.training
    assert "forward                                  291,648,307,200" in str(plan)
    assert plan._repr_html_() == f"<pre>{plan}</pre>"
    assert all(type(value) is int for value in (plan.training, plan.parameters, plan.six_nd))


def test_llama_3_8b():
    # d 4096, 32 heads and 8 of keys of 128, d_ff 14,336, 128,256 tokens, untied; 8,030,261,248
    # parameters as published: layers 2·4096² + 2·4096·1024 + 3·4096·14,336 and two norms.
    plan = formulas.transformer(
        layers=32,
        d_model=4096,
        heads=32,
        kv_heads=8,
        d_ff=14_336,
        vocab_size=128_256,
        seq_len=8192,
        gated=True,
        bias=False,
        norm_bias=False,
        tied=False,
        tokens=15 * 10**12,
    )
    weights = 32 * (2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14_336)
    embeddings = 2 * 128_256 * 4096
    assert weights + embeddings + 65 * 4096 == 8_030_261_248
    assert plan.parameters == 8_030_261_248
    assert plan.non_embedding_parameters == weights + 65 * 4096
    # 15 T tokens in whole steps of 8192; 2^63 is 9.2e18, this is 9e23.
    assert plan.steps == -(-15 * 10**12 // 8192)
    forward = 2 * 8192 * (weights + embeddings // 2 + 32 * 2 * 8192 * 4096)
    assert plan.training == 3 * forward * plan.steps
    assert plan.six_nd == 6 * 8_030_261_248 * plan.tokens


def test_mixtral_has_experts_of_which_a_token_meets_two():
    # Mixtral 8x7B: 46,702,792,704 parameters, of which a token meets 12,879,925,248 (the paper's
    # 47B and 13B): the other 6 experts of 3·4096·14,336 in each of 32 layers are left out.
    plan = formulas.transformer(
        layers=32,
        d_model=4096,
        heads=32,
        kv_heads=8,
        d_ff=14_336,
        vocab_size=32_000,
        seq_len=1,
        experts=8,
        experts_per_token=2,
        gated=True,
        bias=False,
        norm_bias=False,
        tied=False,
    )
    expert = 3 * 4096 * 14_336
    attention, router = 2 * 4096**2 + 2 * 4096 * 1024, 4096 * 8
    parameters = 32 * (attention + router + 8 * expert) + 2 * 32_000 * 4096 + 65 * 4096
    assert (plan.parameters, parameters) == (46_702_792_704, 46_702_792_704)
    active = parameters - 32 * 6 * expert
    assert active == 12_879_925_248
    assert plan.six_nd == 6 * active
    # One token: its own score and value, 2·4096 in each layer.
    products = 32 * (attention + router + 2 * expert + 2 * 4096) + 32_000 * 4096
    assert plan.forward == 2 * products


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_gpt2_as_counted(attention):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=2, n_embd=48, n_head=3, vocab_size=101, n_positions=32, bos_token_id=1,
        eos_token_id=1, attn_implementation=attention,
    )  # fmt: skip
    ids = torch.zeros(2, 24, dtype=torch.long)
    model = transformers.GPT2LMHeadModel(config)
    plan = formulas.transformer(
        layers=2, d_model=48, heads=3, vocab_size=101, seq_len=24, batch=2, positions=32
    )
    assert planned(plan) == counted(model, ids, labels=ids, loss_fn=lambda out: out.loss)


def test_llama_as_counted():
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6,
        num_key_value_heads=2, vocab_size=101, tie_word_embeddings=False,
    )  # fmt: skip
    ids = torch.zeros(2, 24, dtype=torch.long)
    model = transformers.LlamaForCausalLM(config)
    plan = formulas.transformer(
        layers=3,
        d_model=48,
        heads=6,
        kv_heads=2,
        d_ff=80,
        vocab_size=101,
        seq_len=24,
        batch=2,
        gated=True,
        bias=False,
        norm_bias=False,
        tied=False,
    )
    assert planned(plan) == counted(model, ids, labels=ids, loss_fn=lambda out: out.loss)


def test_options_of_transformers():
    plain = formulas.transformer(**GPT2)
    # Recomputation: the layers once more, without the head of 768·50,257 per token.
    again = formulas.transformer(**GPT2, recompute=True, steps=10)
    assert again.recompute == plain.forward - 2 * 1024 * 768 * 50_257
    assert again.training == 10 * (plain.training + again.recompute)
    assert again.tokens == 10 * 1024
    # Causal: of 1024² pairs 1024·1025/2, with 2·64 products for each of 12 heads in 12 layers.
    causal = formulas.transformer(**GPT2, causal=True)
    left_out = 1024**2 - 1024 * 1025 // 2
    assert plain.forward - causal.forward == 2 * left_out * 2 * 64 * 12 * 12
    # Qwen has biases at queries, keys and values alone.
    some = formulas.transformer(**GPT2, bias=False, qkv_bias=True)
    assert plain.parameters - some.parameters == 12 * (768 + 4 * 768 + 768)


def test_a_grid_of_transformers():
    widths = np.array([[256], [512]])
    plan = formulas.transformer(
        layers=[2, 4, 8], d_model=widths, heads=widths // 64, vocab_size=1000, seq_len=128
    )
    assert plan.training.shape == plan.parameters.shape == (2, 3)
    assert plan.training.dtype == np.int64
    one = formulas.transformer(layers=8, d_model=256, heads=4, vocab_size=1000, seq_len=128)
    assert plan.training[0, 2] == one.training
    assert plan.parameters[0, 2] == one.parameters
    assert plan.six_nd_ratio[0, 2] == pytest.approx(one.six_nd_ratio)
    assert "parameters" in str(plan)
    # 15 T tokens are past int64: said, unless another dtype is asked for.
    large = {**GPT2, "layers": [12, 24], "tokens": 15 * 10**12}
    with pytest.raises(FloatingPointError, match="transformer_training: a count passes"):
        formulas.transformer(**large)
    exact, rounded = (formulas.transformer(**large, dtype=dtype) for dtype in (object, float))
    assert exact.training[0] == 874_944_921_600 * exact.steps
    assert rounded.training[0] == float(exact.training[0])


# ---- recurrent networks ----


class Recurrent(nn.Module):
    """Token ids or vectors through recurrent layers to an output at each position."""

    def __init__(self, cell, bidirectional, vocabulary):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 16) if vocabulary else nn.Identity()
        self.cells = cell(16, 24, 2, bidirectional=bidirectional, batch_first=True)
        self.output = nn.Linear(24 * (1 + bidirectional), 50)

    def forward(self, x):
        return self.output(self.cells(self.embedding(x))[0])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_networks_as_counted(cell, bidirectional):
    model = Recurrent(cell, bidirectional, 50)
    forward, backward, parameters = counted(model, torch.zeros(3, 7, dtype=torch.long))
    plan = formulas.rnn(
        input_size=16,
        hidden_size=24,
        output_size=50,
        seq_len=7,
        batch=3,
        layers=2,
        cell=cell.__name__.lower(),
        bidirectional=bidirectional,
        vocab_size=50,
    )
    # Cell by cell (GRU, RNN on a CPU), initial states get no gradient: of 3 sequences, in 2 layers
    # and each direction, gates·24 times 24 products.
    gates = {nn.LSTM: 0, nn.GRU: 3, nn.RNN: 1}[cell]
    backward += 2 * 3 * 2 * (1 + bidirectional) * gates * 24 * 24
    assert planned(plan) == (forward, backward, parameters)


def test_a_recurrent_network_by_hand():
    # LSTM(8, 16) of 2 layers on 10 steps of vectors: 4·16·(8 + 16) + 4·16·(16 + 16) = 3,584
    # products a step; an output of 5 from the last one.
    plan = formulas.rnn(
        input_size=8, hidden_size=16, output_size=5, seq_len=10, layers=2, outputs="last", steps=4
    )
    assert plan.forward == 2 * (10 * 3584 + 16 * 5)
    # The input gets no gradient: its 4·16·8 products a step are done once, for the weights.
    assert plan.backward == 2 * plan.forward - 2 * 10 * 4 * 16 * 8
    assert plan.training == 4 * (plan.forward + plan.backward)
    parameters = 3584 + 2 * 2 * 64 + 16 * 5 + 5  # two biases for each gate and layer
    assert plan.parameters == plan.non_embedding_parameters == parameters
    assert plan.six_nd == 6 * parameters * 40
    grid = formulas.rnn(
        input_size=8, hidden_size=[16, 32], output_size=5, seq_len=10, layers=2, outputs="last"
    )
    assert grid.forward[0] == plan.forward


# ---- convolutional networks ----


def bottleneck(width, stride, shortcut):
    """A block of ResNet-50 (v1.5: the stride is in its 3x3 convolution)."""
    body = [
        Conv(width, 1, bias=False, norm=True),
        Conv(width, 3, stride, padding=1, bias=False, norm=True),
        Conv(4 * width, 1, bias=False, norm=True),
    ]
    beside = [Conv(4 * width, 1, stride, bias=False, norm=True)] if shortcut else []
    return Residual(body, beside)


def test_resnet_50():
    layers = [Conv(64, 7, 2, padding=3, bias=False, norm=True), Pool(3, 2, padding=1)]
    for width, stride, blocks in ((64, 1, 3), (128, 2, 4), (256, 2, 6), (512, 2, 3)):
        layers += [bottleneck(width, stride, True)]
        layers += [bottleneck(width, 1, False)] * (blocks - 1)
    plan = formulas.cnn([*layers, Pool(None), Linear(1000)], batch=2)
    # test_layer_table.py adds it up by hand: 4,089,184,256 products of an image
    assert plan.forward == 2 * 2 * 4_089_184_256
    assert plan.parameters == 25_557_032
    # Each product is done twice backward, but those with the image, which has no gradient.
    assert plan.backward == 2 * plan.forward - 2 * 2 * 112 * 112 * 64 * 147
    assert plan.training == plan.forward + plan.backward
    assert plan.six_nd == 6 * 25_557_032 * 2


def test_a_network_as_counted():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.start = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(3, 2))
            self.body = nn.Sequential(nn.Conv2d(8, 12, 3, padding=2, dilation=2, groups=4),
                                      nn.BatchNorm2d(12))  # fmt: skip
            self.beside = nn.Conv2d(8, 12, 1)
            self.end = nn.Linear(12 * 7 * 5, 10)

        def forward(self, x):
            x = self.start(x)
            return self.end(torch.flatten(self.body(x) + self.beside(x), 1))

    plan = formulas.cnn(
        [
            Conv(8, 3, 2, 1),
            Pool(3, 2),
            Residual([Conv(12, 3, padding=2, dilation=2, groups=4, norm=True)], [Conv(12, 1)]),
            Linear(10),
        ],
        height=32,
        width=24,
        batch=2,
    )
    assert planned(plan) == counted(Net(), torch.zeros(2, 3, 32, 24))


def test_a_grid_of_networks():
    # 2·size²·(9·3·w) and then a linear layer w·size² to 10
    width = np.array([[4], [8]])
    plan = formulas.cnn(
        [Conv(width, 3, padding=1), Linear(10)], height=[16, 32], images=100, batch=8
    )
    size = np.array([16, 32])
    assert (plan.forward == 8 * 2 * size**2 * (27 * width + width * 10)).all()
    assert (plan.backward == 8 * 2 * size**2 * (27 * width + 2 * width * 10)).all()
    assert (plan.steps, plan.tokens) == (13, 104)
    assert (plan.training == 13 * (plan.forward + plan.backward)).all()
    assert plan.forward.dtype == np.int64
    large = {"height": [16, 32], "steps": 10**15}
    with pytest.raises(FloatingPointError, match=r"cnn: a count passes 2\*\*63"):
        formulas.cnn([Conv(4, 3)], **large)
    # 14² positions of 27·4 products; the image has no gradient, so backward is as much
    exact = formulas.cnn([Conv(4, 3)], **large, dtype=object).training[0]
    assert exact == 10**15 * 2 * 2 * 14**2 * 27 * 4
    assert formulas.cnn([Conv(4, 3)], **large, dtype=float).training[0] == float(exact)


# ---- what is refused ----

ONE = {"layers": 1, "d_model": 10, "heads": 2, "vocab_size": 5, "seq_len": 4}


@pytest.mark.parametrize(
    ("call", "error", "problem"),
    [
        (lambda: formulas.transformer(**ONE | {"heads": 3}), ValueError, "heads = 3 do not divide"),
        (lambda: formulas.transformer(**ONE | {"layers": -1}), ValueError, "layers must be 0"),
        (lambda: formulas.transformer(**ONE, kv_heads=3), ValueError, "do not fit each other"),
        (lambda: formulas.transformer(**ONE, steps=1, tokens=1), TypeError, "steps or tokens"),
        (lambda: formulas.transformer(**ONE, tokens=-1), ValueError, "tokens .* not -1"),
        (lambda: formulas.transformer(**ONE, batch=0, tokens=9), ValueError, "a step has 0 of"),
        (lambda: formulas.transformer(**ONE, batch=[0, 1], tokens=9), ValueError, "a step has 0"),
        (lambda: formulas.transformer(**ONE, gated=2), ValueError, "gated must be 0 or 1"),
        (lambda: formulas.transformer(**ONE, experts_per_token=2), ValueError, "of experts = 1"),
        (lambda: formulas.transformer(**ONE | {"batch": 1.5}), TypeError, "integers"),
        (
            lambda: formulas.rnn(
                input_size=1, hidden_size=1, output_size=1, seq_len=1, cell="LSTM"
            ),
            ValueError,
            "cell must be 'lstm', 'gru' or 'rnn', not 'LSTM'",
        ),
        (lambda: formulas.cnn([nn.Conv2d(1, 1, 1)]), TypeError, "not Conv2d"),
        (lambda: formulas.cnn([Conv(1, 9)], height=4), ValueError, "kernel of 9"),
        (lambda: formulas.cnn([Conv(4, 1, groups=2)]), ValueError, "do not fit each other"),
        (lambda: formulas.cnn([Residual([Conv(4, 3)])]), ValueError, "Residual: its body gives"),
        (lambda: formulas.cnn([Pool(2)]), ValueError, "no Conv and no Linear"),
    ],
)
def test_what_is_refused(call, error, problem):
    with pytest.raises(error, match=problem):
        call()


def test_a_plan_of_nothing_can_be_shown():
    for nothing in ({"steps": 0}, {"tokens": 0}, {"batch": 0}):
        plan = formulas.transformer(**ONE, **nothing)
        assert (plan.training, plan.six_nd) == (0, 0)
        assert np.isnan(plan.six_nd_ratio)
        assert "nan" in str(plan)


def test_tokens_as_people_write_them():
    """1e10 is a whole number; what is none is refused by its name."""
    sizes = {"layers": 1, "d_model": 8, "heads": 2, "vocab_size": 11, "seq_len": 10}
    assert formulas.transformer(**sizes, tokens=1e10).steps == 10**9
    for name, value in (("tokens", 0.5), ("tokens", "10"), ("steps", 2.5)):
        with pytest.raises(TypeError, match=rf"{name}.* must be an integer or an array"):
            formulas.transformer(**sizes, **{name: value})
