"""Layers of random sizes against naive loops that count the multiplications one by one."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch_models import forward_flops

SMALL = st.integers(1, 3)
quick = settings(max_examples=40, deadline=None, derandomize=True)


def starts(size, kernel, stride, padding, dilation):
    """Where a window can start on a padded line, found by trying every place."""
    padded = size + 2 * padding
    return [s for s in range(0, padded, stride) if s + dilation * (kernel - 1) < padded]


@st.composite
def convolutions(draw):
    rank = draw(SMALL)
    each = st.tuples(*[SMALL] * rank)
    groups = draw(st.integers(1, 3))
    kernel, dilation = draw(each), draw(each)
    # large enough for one window
    extra = draw(st.tuples(*[st.integers(0, 3)] * rank))
    size = tuple(d * (k - 1) + 1 + e for k, d, e in zip(kernel, dilation, extra, strict=True))
    return {
        "rank": rank,
        "batch": draw(SMALL),
        "size": size,
        "in_channels": groups * draw(st.integers(1, 2)),
        "out_channels": groups * draw(st.integers(1, 2)),
        "kernel_size": kernel,
        "stride": draw(each),
        "padding": draw(st.tuples(*[st.integers(0, 2)] * rank)),
        "dilation": dilation,
        "groups": groups,
        "bias": draw(st.booleans()),
    }


def multiplications_of_a_convolution(c):
    """One by one: image, group, output channel, window, input channel, kernel element."""
    per_dimension = zip(
        c["size"], c["kernel_size"], c["stride"], c["padding"], c["dilation"], strict=True
    )
    windows = list(itertools.product(*(starts(*line) for line in per_dimension)))
    taps = list(itertools.product(*(range(k) for k in c["kernel_size"])))
    count = 0
    for _image in range(c["batch"]):
        for group in range(c["groups"]):
            outputs = [o for o in range(c["out_channels"]) if o % c["groups"] == group]
            inputs = [i for i in range(c["in_channels"]) if i % c["groups"] == group]
            for _ in itertools.product(outputs, windows, inputs, taps):
                count += 1
    return count


@given(convolutions())
@quick
def test_a_convolution_costs_two_per_multiplication(case):
    wanted = 2 * multiplications_of_a_convolution(case)
    options = dict(case)
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[options.pop("rank") - 1]
    example = (options.pop("batch"), case["in_channels"], *options.pop("size"))
    assert forward_flops(kind(**options), example) == wanted


@given(st.lists(SMALL, min_size=1, max_size=3), st.integers(1, 6), st.integers(1, 6))
@quick
def test_a_linear_layer_costs_two_per_multiplication(leading, inputs, outputs):
    rows = itertools.product(*(range(n) for n in leading))
    count = sum(1 for _ in itertools.product(rows, range(outputs), range(inputs)))
    assert forward_flops(nn.Linear(inputs, outputs), (*leading, inputs)) == 2 * count


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
@quick
def test_an_adaptive_pool_costs_the_elements_it_reads(rows, columns, out_rows, out_columns):
    def reads(n, m):
        # torch's windows: from floor(i·n/m) to ceil((i + 1)·n/m)
        return sum(1 for i in range(m) for j in range(n) if i * n // m <= j < -(-(i + 1) * n // m))

    model = nn.AdaptiveAvgPool2d((out_rows, out_columns))
    flops = forward_flops(model, (2, 3, rows, columns), include_pooling_cost=True)
    assert flops == 2 * 3 * reads(rows, out_rows) * reads(columns, out_columns)


@given(
    kind=st.sampled_from([(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)]),
    sizes=st.tuples(SMALL, SMALL, SMALL, SMALL),
    layers=SMALL,
    both=st.booleans(),
)
@quick
def test_a_recurrent_layer_costs_its_weights_at_every_step(kind, sizes, layers, both):
    batch, steps, inputs, hidden = sizes
    model = kind[0](inputs, hidden, layers, bidirectional=both, batch_first=True)
    # every weight is used once for each step of each sequence, and each use is a multiply-add
    weights = sum(p.numel() for name, p in model.named_parameters() if "weight" in name)
    assert forward_flops(model, (batch, steps, inputs)) == 2 * batch * steps * weights
