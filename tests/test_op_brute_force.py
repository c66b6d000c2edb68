"""Contractions against naive loops over the index space of their definition."""

import itertools
from math import prod

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from flops_tracker import FlopCounter

sizes, several = st.integers(0, 4), st.integers(2, 4)
few = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def counted(run, classes=("matmul", "conv", "attention", "recurrent"), phases=None, **options):
    """(mac, dot) of the contractions that `run` does."""
    with FlopCounter(**options) as counter:
        run()
    rows = [
        row
        for row in counter.rows
        if row.op_class in classes and (phases is None or row.phase in phases)
    ]
    return sum(r.cost["mac"] for r in rows), sum(r.cost["dot"] for r in rows)


def looped(output_sizes, summed_sizes):
    """The products of a contraction, and the outputs that get at least one."""
    products, reached = 0, set()
    for output in itertools.product(*map(range, output_sizes)):
        for _ in itertools.product(*map(range, summed_sizes)):
            products += 1
            reached.add(output)
    return products, len(reached)


# ---- matrix products ----


@few
@given(m=sizes, k=sizes, n=sizes, b=sizes)
def test_products_of_matrices(m, k, n, b):
    left, right = torch.zeros(m, k), torch.zeros(k, n)
    one = looped((m, n), (k,))
    assert counted(lambda: torch.mm(left, right)) == one
    assert counted(lambda: torch.addmm(torch.zeros(n), left, right)) == one
    assert counted(lambda: torch.mv(left, torch.zeros(k))) == looped((m,), (k,))
    assert counted(lambda: torch.addmv(torch.zeros(m), left, torch.zeros(k))) == looped((m,), (k,))
    assert counted(lambda: torch.dot(torch.zeros(k), torch.zeros(k))) == looped((), (k,))
    assert counted(lambda: torch.vdot(torch.zeros(k), torch.zeros(k))) == looped((), (k,))
    lefts, rights = torch.zeros(b, m, k), torch.zeros(b, k, n)
    many = looped((b, m, n), (k,))
    assert counted(lambda: torch.bmm(lefts, rights)) == many
    assert counted(lambda: torch.baddbmm(torch.zeros(b, m, n), lefts, rights)) == many
    summed = looped((m, n), (b, k))
    assert counted(lambda: torch.addbmm(torch.zeros(m, n), lefts, rights)) == summed
    added = torch.zeros(m, n)
    assert counted(lambda: torch.addr(added, torch.zeros(m), torch.zeros(n))) == looped(
        (m, n), (1,)
    )


@few
@given(i=several, j=several, k=several, b=several)
def test_einsum(i, j, k, b):
    # Along an axis of size 1, einsum multiplies element by element instead.
    x, y = torch.zeros(b, i, j), torch.zeros(b, j, k)
    assert counted(lambda: torch.einsum("bij,bjk->bik", x, y)) == looped((b, i, k), (j,))
    assert counted(lambda: torch.einsum("bij,bjk->ik", x, y)) == looped((i, k), (b, j))


@few
@given(entries=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 4))), columns=st.integers(0, 3))
@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_sparse_products_meet_each_entry_once_per_column(entries, columns):
    dense = torch.zeros(4, 5)
    for row, column in entries:
        dense[row, column] = 1.0
    products = 0
    for _entry in entries:
        for _column in range(columns):
            products += 1
    right, left = torch.zeros(5, columns), torch.zeros(columns, 4)
    for sparse in (dense.to_sparse(), dense.to_sparse_csr()):
        mac, dot = counted(lambda sparse=sparse: sparse @ right)
        assert mac == products
        assert dot <= mac
    assert counted(lambda: left @ dense.to_sparse_csr())[0] == products


@few
@given(p=sizes, out=st.integers(1, 3), in1=st.integers(1, 4), in2=st.integers(1, 4))
def test_bilinear_contracts_the_first_input_first(p, out, in1, in2):
    layer = nn.Bilinear(in1, in2, out, bias=False)
    first, second = looped((p, out, in2), (in1,)), looped((p, out), (in2,))
    expected = (first[0] + second[0], first[1] + second[1])
    x1, x2 = torch.zeros(p, in1), torch.zeros(p, in2)
    assert counted(lambda: layer(x1, x2)) == expected


# ---- convolutions ----


@st.composite
def convolutions(draw, transposed):
    rank = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 2))
    largest = 5 if rank == 1 else 3
    each = {
        "kernel": draw(
            st.lists(st.integers(1, 3 if rank < 3 else 2), min_size=rank, max_size=rank)
        ),
        "stride": draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank)),
        "padding": draw(st.lists(st.integers(0, 2), min_size=rank, max_size=rank)),
        "dilation": draw(st.lists(st.integers(1, 2), min_size=rank, max_size=rank)),
    }
    image = draw(st.lists(st.integers(1, largest), min_size=rank, max_size=rank))
    outputs = []
    for axis in range(rank):
        kernel, stride, padding, dilation = (each[name][axis] for name in each)
        reach = dilation * (kernel - 1) + 1
        if transposed:
            padding = each["padding"][axis] = (
                min(padding, (image[axis] - 1) * stride + reach - 1) // 2
            )
            outputs.append((image[axis] - 1) * stride - 2 * padding + reach)
        else:
            image[axis] = max(image[axis], reach - 2 * padding, 1)
            outputs.append((image[axis] + 2 * padding - reach) // stride + 1)
    batch = draw(st.integers(0, 2))
    return batch, groups, draw(st.integers(1, 2)), draw(st.integers(1, 2)), image, outputs, each


def conv_loop(case, transposed):
    """Products, and the elements of output, input and weight that at least one of them reaches.

    Padding counts, as in the dot product that the definition takes over the padded image; of a
    transposed convolution, what is cut off counts as a product, but reaches no output.
    """
    batch, groups, in_each, out_each, image, outputs, each = case
    walked = image if transposed else outputs
    products, outs, ins, weights = 0, set(), set(), set()
    for n, g, ci, co in itertools.product(
        range(batch), range(groups), range(in_each), range(out_each)
    ):
        for at in itertools.product(*map(range, walked)):
            for k in itertools.product(*map(range, each["kernel"])):
                other = tuple(
                    a * s - p + j * d
                    for a, s, p, j, d in zip(
                        at, each["stride"], each["padding"], k, each["dilation"], strict=True
                    )
                )
                products += 1
                inside = all(
                    0 <= o < e for o, e in zip(other, outputs if transposed else image, strict=True)
                )
                weights.add((g, ci, co, k))
                if transposed:
                    ins.add((n, g, ci, at))
                    if inside:
                        outs.add((n, g, co, other))
                else:
                    outs.add((n, g, co, at))
                    if inside:
                        ins.add((n, g, ci, other))
    return products, len(outs), len(ins), len(weights)


def conv_arguments(case, transposed):
    batch, groups, in_each, out_each, image, _, each = case
    x = torch.zeros(batch, groups * in_each, *image)
    if transposed:
        w = torch.zeros(groups * in_each, out_each, *each["kernel"])
    else:
        w = torch.zeros(groups * out_each, in_each, *each["kernel"])
    none = [0] * len(image)
    options = (each["stride"], each["padding"], each["dilation"], transposed, none, groups)
    return x, w, options


@pytest.mark.parametrize("transposed", [False, True])
@settings(few, max_examples=250)
@given(data=st.data())
def test_convolutions_and_the_three_parts_of_their_backward(transposed, data):
    case = data.draw(convolutions(transposed))
    batch, groups, _, out_each, _, outputs, _ = case
    products, outs, ins, weights = conv_loop(case, transposed)
    x, w, options = conv_arguments(case, transposed)
    result = []
    forward = counted(lambda: result.append(torch.ops.aten.convolution(x, w, None, *options)))
    assert list(result[0].shape) == [batch, groups * out_each, *outputs]
    assert forward == (products, outs)
    grad = torch.zeros_like(result[0])
    channels = [groups * out_each]

    def backward(mask):
        return counted(
            lambda: torch.ops.aten.convolution_backward(grad, x, w, channels, *options, mask)
        )

    assert backward([True, False, False]) == (products, ins)
    assert backward([False, True, False]) == (products, weights)
    assert backward([True, True, True]) == (2 * products, ins + weights)
    with FlopCounter() as counter:
        torch.ops.aten.convolution_backward(grad, x, w, channels, *options, [False, False, True])
    additions = sum(prod([batch, *outputs]) - 1 for _ in range(channels[0])) if grad.numel() else 0
    assert sum(row.cost["arith"] for row in counter.rows) == additions


# ---- attention ----


def attention_loop(b, h, queries, keys, width, value_width, causal):
    scores, mac, dots = 0, 0, 0
    for _b, _h, i in itertools.product(range(b), range(h), range(queries)):
        seen = 0
        for j in range(keys):
            if causal and j > i:
                continue
            seen += 1
            scores += 1
            mac += sum(1 for _ in range(width))
            mac += sum(1 for _ in range(value_width))
            dots += width > 0
        dots += value_width if seen else 0
    return scores, mac, dots


@few
@given(
    b=st.integers(1, 2),
    h=st.integers(1, 2),
    queries=st.integers(1, 5),
    keys=st.integers(1, 5),
    width=st.integers(1, 3),
    causal=st.booleans(),
    exact=st.booleans(),
)
def test_attention(b, h, queries, keys, width, causal, exact):
    q, k, v = (torch.zeros(b, h, n, width) for n in (queries, keys, keys))
    scores, mac, dots = attention_loop(b, h, queries, keys, width, width, causal and exact)
    options = {"causal": "exact" if exact else "full"}

    def run():
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    assert counted(run, **options) == (mac, dots)
    q.requires_grad_(True)
    forward_and_gradients = counted(
        lambda: run().sum().backward(), phases=("forward", "backward"), **options
    )
    assert forward_and_gradients[0] == 3 * mac
    assert counted(lambda: run().sum().backward(), phases=("recompute",), **options) == (
        scores * width,
        scores,
    )
    q.requires_grad_(False)


def band_loop(sequences, left, right, width):
    """(mac, dot) of the products of one head, forward and backward; -1 is no limit."""
    pairs, rows, columns = set(), set(), set()
    for n, (queries, keys) in enumerate(sequences):
        for i, j in itertools.product(range(queries), range(keys)):
            beside = i + keys - queries  # the last query is beside the last key
            if (left < 0 or beside - left <= j) and (right < 0 or j <= beside + right):
                pairs.add((n, i, j))
                rows.add((n, i))
                columns.add((n, j))
    forward = 2 * len(pairs) * width, len(pairs) + len(rows) * width
    # Gradients of values, weights, queries, keys.
    gradients = len(columns) * width + len(pairs) + len(rows) * width + len(columns) * width
    return forward, (4 * len(pairs) * width, gradients)


@few
@given(
    sequences=st.lists(st.tuples(sizes, sizes), min_size=1, max_size=3),
    left=st.integers(-1, 5),
    right=st.integers(-1, 5),
    causal=st.booleans(),
    exact=st.booleans(),
)
def test_joined_sequences_and_windows(sequences, left, right, causal, exact):
    from torch.nn.attention import varlen  # noqa: F401  (registers the operations)

    heads, width = 2, 3
    lengths = torch.tensor(sequences).T
    q_offsets, k_offsets = F.pad(lengths.cumsum(1), (1, 0)).int()
    queries, keys = lengths.sum(1).tolist()
    q = torch.empty(queries, heads, width, device="meta", dtype=torch.float16)
    k = torch.empty(keys, heads, width, device="meta", dtype=torch.float16)
    logarithms = torch.empty(heads, queries, device="meta")
    offsets = q_offsets, k_offsets, *lengths.max(1).values.tolist()
    limits = (left, 0 if causal else right) if exact else (-1, -1)
    forward, backward = (
        (heads * mac, heads * dot) for mac, dot in band_loop(sequences, *limits, width)
    )
    window = [left, right]
    sides = {"window_size_left": left, "window_size_right": right}
    attn, options = torch.ops.torch_attn, {"causal": "exact" if exact else "full"}

    def of(run):
        return counted(run, phases=("forward",), **options)

    assert forward == of(
        lambda: torch.ops.aten._flash_attention_forward(
            q, k, k, *offsets, 0.0, causal, False, **sides
        )
    )
    assert forward == of(lambda: attn._varlen_attn(q, k, k, *offsets, causal, None, window))
    assert backward == of(
        lambda: attn._varlen_attn_backward(
            q, q, k, k, q, logarithms, *offsets, causal, logarithms, None, window
        )
    )


# ---- recurrent cells ----


@few
@given(
    kind=st.sampled_from([(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)]),
    inputs=st.integers(1, 4),
    hidden=st.integers(1, 4),
    steps=st.integers(1, 3),
    batch=st.integers(1, 3),
    layers=st.integers(1, 2),
    both=st.booleans(),
)
def test_recurrent_layers(kind, inputs, hidden, steps, batch, layers, both):
    layer_type, gates = kind
    layer = layer_type(inputs, hidden, layers, bidirectional=both)
    mac = 0
    for at in range(layers):
        width = inputs if at == 0 else hidden * (1 + both)
        for _direction, _step, _row in itertools.product(
            range(1 + both), range(steps), range(batch)
        ):
            for _gate, _unit in itertools.product(range(gates), range(hidden)):
                mac += sum(1 for _ in range(width))
                mac += sum(1 for _ in range(hidden))
    x = torch.zeros(steps, batch, inputs)
    assert counted(lambda: layer(x))[0] == mac
    with torch.no_grad():
        assert counted(lambda: layer(x))[0] == mac


@few
@given(
    kind=st.sampled_from([(nn.RNNCell, 1), (nn.GRUCell, 3), (nn.LSTMCell, 4)]),
    inputs=st.integers(1, 4),
    hidden=st.integers(1, 4),
    batch=st.integers(1, 3),
)
def test_recurrent_cells(kind, inputs, hidden, batch):
    cell_type, gates = kind
    cell = cell_type(inputs, hidden)
    first, second = (
        looped((batch, gates * hidden), (inputs,)),
        looped((batch, gates * hidden), (hidden,)),
    )
    x = torch.zeros(batch, inputs)
    assert counted(lambda: cell(x)) == (first[0] + second[0], first[1] + second[1])
