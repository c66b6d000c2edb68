"""Programs beyond a plain step: derivatives of functions, other numbers, packed sequences."""

import pytest
import torch
import torch.nn.functional as F
from counted_layers import LAYER, layers, rows, units
from torch import nn
from torch.func import (
    functional_call,
    grad,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    stack_module_state,
    vjp,
    vmap,
)
from torch.nn.attention.varlen import varlen_attn

from flops_tracker import FlopCounter

# A product of a (4,4) matrix and a vector under `matmul`.
PRODUCT = 2 * 16


def phases(run, **options):
    with FlopCounter(**options) as counter:
        run()
    assert counter.uncounted == {}
    counts = counter.under("matmul")
    parts = (counts.forward, counts.backward, counts.recompute, counts.optimizer)
    assert sum(parts) == counts.total
    return parts


# ---- derivatives of functions ----

WEIGHT = torch.randn(4, 4)


def by_weight(x):
    return WEIGHT @ x


def squares(x):
    # As a matrix: PyTorch multiplies a matrix and a vector in other ways when it batches them.
    return (WEIGHT @ x.unsqueeze(1)).pow(2).sum()


@pytest.mark.parametrize(
    ("run", "forward", "backward"),
    [
        # One value; a row of the Jacobian is a product.
        (jacrev(by_weight), 1, 4),
        (lambda x: torch.autograd.functional.jacobian(by_weight, x), 1, 4),
        (lambda x: vjp(by_weight, x)[1](x), 1, 1),
        (grad(squares), 1, 1),
        # The value, W dx, and dW x, with a dW of zeros.
        (lambda x: jvp(by_weight, (x,), (x,)), 3, 0),
        # The value and dW x once, W dx for each of 4 columns.
        (jacfwd(by_weight), 1 + 4 + 1, 0),
        # The value with its tangents as above; the gradient W' g, and of that W' dg and dW' g.
        (lambda x: jvp(grad(squares), (x,), (x,)), 3, 3),
        # Each of 4 directions: W dx forward, W' dg backward; the rest once.
        (hessian(squares), 1 + 4 + 1, 1 + 4 + 1),
        (lambda x: vmap(by_weight)(x.expand(3, 4)), 3, 0),
        (lambda x: vmap(grad(squares))(x.expand(3, 4)), 3, 3),
    ],
)
def test_of_a_product(run, forward, backward):
    found = phases(lambda: run(torch.randn(4)))
    assert found == (forward * PRODUCT, backward * PRODUCT, 0, 0)


def test_steps_of_forward_mode_in_primitives():
    # x**2 and 2x dx: a power, its derivative's power 1 and two products.
    with FlopCounter() as counter:
        jvp(grad(lambda x: x.pow(2).sum()), (torch.randn(5),), (torch.randn(5),))
    assert counter.uncounted == {}
    names = set(counter.by_op())
    assert any(name.startswith("prims.") for name in names)
    for row in counter.rows:
        if row.op in ("prims.mul.default", "prims.add.default"):
            assert row.cost["arith"] == 5 * row.calls


def test_gradients_of_each_sample():
    model, x = layers(1), rows()
    parameters = dict(model.named_parameters())

    def loss(parameters, x):
        return functional_call(model, parameters, (x,)).sum()

    # As many products as for all samples in one: each has a weight gradient of its own.
    found = phases(lambda: vmap(grad(loss), in_dims=(None, 0))(parameters, x))
    assert found == (LAYER, LAYER, 0, 0)


def test_models_in_a_stack():
    models = [nn.Linear(4, 4) for _ in range(5)]
    state = stack_module_state(models)

    def run(parameters, buffers):
        return functional_call(models[0], (parameters, buffers), (rows(),))

    assert phases(lambda: vmap(run, randomness="same")(*state)) == (5 * LAYER, 0, 0, 0)


def test_a_hessian_by_a_vector():
    # Backward twice: W' g, with it W v, and W' of what that gives; v is a constant.
    x = torch.randn(4, requires_grad=True)

    def run():
        (gradient,) = torch.autograd.grad(squares(x), x, create_graph=True)
        torch.autograd.grad(gradient @ torch.randn(4), x)

    assert phases(run)[:2] == (PRODUCT + 2 * 4, 3 * PRODUCT)


def test_a_function_with_a_backward_of_its_own():
    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            return a @ b

        @staticmethod
        def backward(ctx, gradient):
            a, b = ctx.saved_tensors
            return gradient @ b.t(), a.t() @ gradient

    a, b = (torch.randn(5, 5, requires_grad=True) for _ in range(2))
    assert phases(lambda: Product.apply(a, b).sum().backward()) == (250, 500, 0, 0)


# ---- other numbers ----


def test_autocast():
    model, x = layers(2), rows()
    with FlopCounter() as c:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = model(x)
        output.float().sum().backward()
    assert units(c) == (2, 3, 0, 0)
    sums = c.under("matmul").by_dtype()
    assert sums["bfloat16"] == c.under("matmul").total
    # Casts are free: the layers' products and biases, and the sum of 12.
    assert c.under("standard").forward == 2 * (LAYER + 12) + 11


# ---- sequences of different lengths ----


def nested(layout, *lengths, width=4):
    values = [torch.randn(n, width) for n in lengths]
    return torch.nested.nested_tensor(values, layout=layout, requires_grad=True)


def test_a_layer_on_jagged_sequences():
    # 7 rows of 4 to 4: 224, and as much for the gradients of the weight and of the rows.
    layer = nn.Linear(4, 4)
    x = nested(torch.jagged, 2, 5)
    assert phases(lambda: layer(x).values().sum().backward()) == (224, 448, 0, 0)


@pytest.mark.filterwarnings("ignore:.*nested tensors")
def test_a_layer_on_nested_sequences():
    layer, x = nn.Linear(4, 4), nested(torch.strided, 2, 5)

    def run():
        torch.nested.to_padded_tensor(layer(x), 0.0).sum().backward()

    assert phases(run) == (224, 448, 0, 0)


@pytest.mark.filterwarnings("ignore:.*nested tensors")
def test_attention_on_jagged_sequences():
    # A CPU has no kernel for them and pads: 2 sequences of 5, 2 heads of 4.
    x = nested(torch.jagged, 2, 5, width=8)

    def run():
        q = x.unflatten(-1, [2, 4]).transpose(1, 2)
        F.scaled_dot_product_attention(q, q, q).values().sum().backward()

    product = 2 * 2 * 2 * 25 * 4
    assert phases(run) == (2 * product, 4 * product, 0, 0)


@pytest.mark.parametrize(("layer", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers_on_packed_sequences(layer, gates):
    model, x = layer(4, 5), torch.randn(7, 3, 4, requires_grad=True)
    # 7 + 4 + 2 = 13 steps, of gates of 5 from 4 + 5; no gradient to the three first states.
    step = 2 * gates * 5
    weights, states = 13 * step * (4 + 5), 10 * step * 5

    def run():
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([7, 4, 2]))
        output, _ = nn.utils.rnn.pad_packed_sequence(model(packed)[0])
        return output

    found = phases(lambda: run().sum().backward())
    assert found == (weights, weights + 13 * step * 4 + states, 0, 0)
    with torch.no_grad():
        assert phases(run) == (weights, 0, 0, 0)


@pytest.mark.filterwarnings("ignore:.*nested tensors")
def test_an_encoder_leaves_padding_out_where_it_may():
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval(), 1
    )
    padding = torch.tensor([[False] * 4 + [True], [False] * 3 + [True] * 2])

    def run():
        encoder(torch.rand(2, 5, 16), src_key_padding_mask=padding)

    def expected(positions, pairs):
        # 4 squares of weights and two of 16 by 32; scores and sums of 16.
        return 2 * (positions * (4 * 256 + 2 * 512) + 2 * pairs * 16)

    assert phases(run)[0] == expected(10, 2 * 25)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():  # on nested tensors, of 4 and 3 positions
            assert phases(run)[0] == expected(7, 16 + 9)


@pytest.mark.parametrize(
    ("window", "causal", "pairs"),
    [
        # 3*3 + 4*4; 1+2+3 and 1+2+3+4; one before it: 1+2+2 and 1+2+2+2
        ((-1, -1), "exact", 25),
        ((-1, 0), "exact", 16),
        ((1, 0), "exact", 12),
        ((1, 0), "full", 25),
    ],
)
def test_attention_on_joined_sequences(window, causal, pairs):
    offsets = torch.tensor([0, 3, 7], dtype=torch.int32)
    x = torch.empty(7, 2, 8, device="meta", dtype=torch.float16, requires_grad=True)

    def run():
        varlen_attn(x, x, x, offsets, offsets, 4, 4, window_size=window).sum().backward()

    # 2 heads of 8; four products backward, and the scores again.
    product = 2 * 2 * pairs * 8
    assert phases(run, causal=causal) == (2 * product, 4 * product, product, 0)


def test_attention_on_joined_sequences_whose_lengths_are_not_known():
    offsets = torch.empty(3, device="meta", dtype=torch.int32)
    x = torch.empty(7, 2, 8, device="meta", dtype=torch.float16)
    with FlopCounter(convention="matmul") as c:
        varlen_attn(x, x, x, offsets, offsets, 4, 4)
    assert c.total == 2 * 2 * 2 * 2 * 16 * 8  # at most 2 of 4
    assert list(c.upper_bounds) == ["torch_attn._varlen_attn.default"]
    assert c.trust_line.endswith("0 unknown, upper bound for torch_attn._varlen_attn.default")


@pytest.mark.parametrize(("mask", "pairs"), [(0, 28 + 12), (1, 10 + 6), (2, 22 + 9)])
def test_the_masks_of_the_efficient_kernel(mask, pairs):
    # 4 queries of 7 keys and 3 of 4: from the top left 1+2+3+4 = 10 and 6; from the bottom right
    # 4+5+6+7 = 22 and 2+3+4 = 9.
    queries = torch.tensor([0, 4, 7], dtype=torch.int32)
    keys = torch.tensor([0, 7, 11], dtype=torch.int32)
    q, k = (torch.empty(1, n, 2, 8, device="meta", dtype=torch.float16) for n in (7, 11))
    run = torch.ops.aten._efficient_attention_forward

    def attend():
        run(q, k, k, None, queries, keys, 4, 7, 0.0, mask)

    assert phases(attend, causal="exact") == (2 * 2 * 2 * pairs * 8, 0, 0, 0)


# ---- what modules are given and give ----


def test_modules_with_mappings_for_inputs_and_outputs():
    class Inner(nn.Module):
        def forward(self, named):
            x = named["a"].relu_()
            return {"a": x.mm(x)}

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = Inner(), Inner()

        def forward(self, named):
            return self.two(self.one(named))["a"], "and a text"

    model = Outer()
    x = torch.randn(10, 10, requires_grad=True)
    with FlopCounter(model) as c:
        model({"a": x.clone()})[0].sum().backward()
    # Products of 10 by 10 by 10; each has two factors that need a gradient.
    modules = c.under("matmul").by_module()
    assert [modules[f"Outer.{name}"].own for name in ("one", "two")] == [6000, 6000]
    assert phases(lambda: model({"a": x.clone()})[0].sum().backward()) == (4000, 8000, 0, 0)


def test_exact_causal_attention_says_so():
    q = torch.ones(1, 1, 4, 8)
    with FlopCounter(causal="exact") as exact, FlopCounter() as full:
        torch.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True)
    assert (exact.causal, full.causal) == ("exact", "full")
    assert exact.under("matmul").trust_line.startswith("matmul, causal exact · ")
    assert full.trust_line.startswith("standard · ")
    assert exact.counts.to_dict()["causal"] == "exact"
