"""The same computation, asked for in another way, has the same count."""

import pytest
import torch
import torch.nn.functional as F
from small_programs import BATCH_AT, CONVENTIONS, PROGRAMS, made, output_of, parts
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from flops_tracker import FlopCounter, count

ALL = pytest.mark.parametrize("name", PROGRAMS)


def with_gradients(inputs):
    return [t.clone().requires_grad_() if t.is_floating_point() else t for t in inputs]


def forward(name, mode, *, train, gradients):
    function, inputs = made(name)
    if isinstance(function, nn.Module):
        function.train(train)
    with mode(), FlopCounter() as counter:
        function(*(with_gradients(inputs) if gradients else inputs))
    assert counter.uncounted == {}
    return parts(counter)


@ALL
@pytest.mark.parametrize("train", [True, False])
def test_forward_is_the_same_with_and_without_gradients(name, train):
    # In eval mode attention and encoder layers are then one operation each.
    plain = forward(name, torch.enable_grad, train=train, gradients=False)
    assert plain["standard"][0] > 0
    assert plain["standard"][1:] == (0, 0, 0)
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        for gradients in (False, True):
            assert forward(name, mode, train=train, gradients=gradients) == plain


@pytest.mark.parametrize(
    ("wanted", "extra"),
    # Of 2*5 queries of width 8 and 2*2*5*5 = 100 scores: without weights every score is scaled;
    # with them every query, 80, and the mean over the heads is 1 per score.
    [({"need_weights": False}, 100), ({}, 180), ({"average_attn_weights": False}, 80)],
)
@pytest.mark.parametrize("masked", [False, True])
def test_attention_with_its_weights(wanted, extra, masked):
    layer, x = nn.MultiheadAttention(8, 2, batch_first=True).eval(), torch.rand(2, 5, 8)
    mask = torch.zeros(5, 5, dtype=torch.bool) if masked else None
    # 4 projections of 10 rows, 8 to 8, and their biases; scores, their sums; softmax 4 a score (a
    # maximum is free under `standard`), and the mask 1.
    expected = 4 * 10 * (2 * 64 + 8) + 2 * 2 * 100 * 4 + 400 + 100 * masked + extra
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode(), FlopCounter() as counter:
            layer(x, x, x, attn_mask=mask, **wanted)
        assert counter.total == expected


def other_layouts(tensor):
    """The same values, the other way round in memory."""
    if tensor.dim() == 4:
        yield tensor.contiguous(memory_format=torch.channels_last)
    if tensor.dim() == 5:
        yield tensor.contiguous(memory_format=torch.channels_last_3d)
    for one, other in ((0, 1), (-1, -2)):
        yield tensor.transpose(one, other).contiguous().transpose(one, other)
    spread = tensor.new_zeros(*tensor.shape[:-1], 2 * tensor.shape[-1])
    spread[..., ::2] = tensor
    yield spread[..., ::2]


def step(function, inputs, optimizer=None):
    if isinstance(function, nn.Module):
        function.zero_grad(set_to_none=True)
    with FlopCounter() as counter:
        output = output_of(function, inputs)
        if output.requires_grad:
            output.sum().backward()
        if optimizer is not None:
            optimizer.step()
    return counter


@ALL
def test_layouts(name):
    function, inputs = made(name)
    # Fused attention is for vectors that lie together; others go the way of plain products.
    conventions = ("matmul", "macs") if name == "fused attention" else CONVENTIONS
    plain = parts(step(function, inputs), conventions)
    for i, tensor in enumerate(inputs):
        for other in other_layouts(tensor):
            changed = [*inputs[:i], other, *inputs[i + 1 :]]
            assert torch.equal(other, tensor)
            assert not other.is_contiguous()
            assert parts(step(function, changed), conventions) == plain


@ALL
def test_fake_copies(name):
    function, inputs = made(name)
    inputs = with_gradients(inputs)
    counts = count(function, *inputs, backward=True)
    assert counts.on == "fake"
    assert parts(counts) == parts(step(function, inputs))


def optimizer_of(function):
    if not isinstance(function, nn.Module) or not list(function.parameters()):
        return None
    return torch.optim.AdamW(function.parameters())


@ALL
def test_parts_add_up(name):
    function, inputs = made(name)
    counter = step(function, with_gradients(inputs), optimizer_of(function))
    for convention, found in parts(counter).items():
        counts = counter.under(convention)
        modules = counts.by_module()
        assert sum(m.own for m in modules.values()) + counts.outside == counts.total == sum(found)
        for sums in (counts.by_op(), counts.by_class(), counts.by_dtype()):
            assert sum(sums.values()) == counts.total
        phases = dict(zip(("forward", "backward", "recompute", "optimizer"), found, strict=True))
        for phase, total in phases.items():
            assert counts.by_phase().get(phase, 0) == total
            assert sum(row.flops for row in counts.rows if row.phase == phase) == total
        for path, module in modules.items():
            assert sum(row.flops for row in counts.rows if row.module == path) == module.own
            inside = (m.own for p, m in modules.items() if f"{p}.".startswith(f"{path}."))
            assert module.inclusive == sum(inside)
        assert sum(row.flops for row in counts.rows if row.module == "") == counts.outside


# ---- batches ----


@ALL
def test_batches(name):
    function, inputs = made(name)
    optimizer = optimizer_of(function)
    axis = BATCH_AT.get(name, 0)

    def of(size):
        repeated = [torch.cat([t.narrow(axis, 0, 1)] * size, axis) for t in inputs]
        return parts(step(function, repeated, optimizer))

    of(2)  # the optimizer's first step makes its state
    two, three, five = of(2), of(3), of(5)
    for convention in CONVENTIONS:
        columns = zip(two[convention], three[convention], five[convention], strict=True)
        for phase, (a, b, c) in zip(("f", "b", "r", "o"), columns, strict=True):
            assert c - a == 3 * (b - a)  # on a line
            assert phase != "o" or a == b == c
            if convention in ("matmul", "macs") and phase != "o":
                assert (3 * a, 5 * a) == (2 * b, 2 * c)  # through 0
    assert two["matmul"][0] > 0 or name in ("norms", "activations", "spectrum")


# ---- fused kernels ----

MASKS = {
    "none": {},
    "boolean": {"attn_mask": torch.ones(6, 6, dtype=torch.bool).tril()},
    "added": {"attn_mask": torch.zeros(6, 6)},
    "causal": {"is_causal": True},
    "groups": {"enable_gqa": True},
}


@pytest.mark.parametrize("mask", MASKS)
def test_attention_of_both_kernels_of_a_cpu(mask):
    # 3*4 heads, 6*6 scores, width 8: each of the two products, and of the four of backward.
    product = 2 * 12 * 36 * 8
    key_heads = 2 if mask == "groups" else 4

    def run(kernel):
        q = torch.rand(3, 4, 6, 8, requires_grad=True)
        k, v = (torch.rand(3, key_heads, 6, 8, requires_grad=True) for _ in range(2))
        with sdpa_kernel(kernel), FlopCounter() as counter:
            F.scaled_dot_product_attention(q, k, v, **MASKS[mask]).sum().backward()
        return parts(counter)["matmul"], set(counter.by_op())

    flash, ops = run(SDPBackend.FLASH_ATTENTION)
    assert "aten._scaled_dot_product_flash_attention_for_cpu.default" in ops
    math, ops = run(SDPBackend.MATH)
    assert not any("attention" in op for op in ops)
    # The kernel makes the scores again in backward, since it does not keep them.
    assert flash == (2 * product, 4 * product, product, 0)
    assert math == (2 * product, 4 * product, 0, 0)


def backward_arguments():
    """By the names that the kernels of a GPU have for them, and what stands for all others."""
    q, k = (torch.empty(3, 4, n, 8, device="meta", dtype=torch.float16) for n in (6, 5))
    one = torch.empty((), device="meta")
    tensors = {"query": q, "key": k, "value": k, "grad_out": q, "grad_out_": q, "out": q}
    numbers = {"max_q": 6, "max_k": 5, "dropout_p": 0.0, "is_causal": False}
    given = {"logsumexp": torch.empty(3, 4, 6, device="meta"), "attn_bias": None}
    return {**tensors, **numbers, **given}, one


@pytest.mark.parametrize("kernel", ["flash", "efficient", "cudnn"])
def test_backward_of_the_kernels_of_a_gpu(kernel):
    run = getattr(torch.ops.aten, f"_scaled_dot_product_{kernel}_attention_backward").default
    given, one = backward_arguments()
    args = []
    for argument in run._schema.arguments:
        if argument.kwarg_only:
            continue
        value = given.get(argument.name, one)
        args.append([True, True, True, False] if argument.name == "grad_input_mask" else value)
    with FlopCounter() as counter:
        try:
            run(*args)
        except NotImplementedError:
            pytest.skip("this build has no shapes for it")
    # 12 heads, 6 by 5 scores of width 8: gradients of values, weights, queries and keys, and the
    # scores again. Called by hand it is no backward.
    product = 2 * 12 * 30 * 8
    assert parts(counter)["matmul"] == (4 * product, 0, product, 0)


@pytest.mark.filterwarnings("ignore:TF32")
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}])
@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU])
def test_recurrent_layers_of_both_kernels(layer, options):
    model = layer(4, 5, **options)
    stacked = 2 * model.num_layers if model.bidirectional else 1
    gates = 4 if layer is nn.LSTM else 3

    def run(enabled):
        x = torch.rand(7, 3, 4, requires_grad=True)
        state = torch.rand(stacked, 3, 5, requires_grad=True)
        both = (state, torch.rand_like(state).requires_grad_()) if layer is nn.LSTM else state
        model.zero_grad()
        with torch.backends.mkldnn.flags(enabled=enabled), FlopCounter() as counter:
            model(x, both)[0].sum().backward()
        return parts(counter)["matmul"], set(counter.by_op())

    (on, on_ops), (off, off_ops) = run(True), run(False)
    # 21 cells of as many gates of 5, from 4 + 5; the second layer from 10 + 5, both ways.
    products = 21 * gates * 5 * (2 * (9 + 15) if stacked > 1 else 9)
    assert on == off == (2 * products, 4 * products, 0, 0)
    assert ("aten.mkldnn_rnn_layer.default" in on_ops) == (layer is nn.LSTM)
    assert "aten.mkldnn_rnn_layer.default" not in off_ops
