"""The same contraction arrives under other names on other backends: the count is the same."""

import pytest
import torch

from flops_tracker import FlopCounter

aten = torch.ops.aten


def costs(run):
    """(phase, class): cost by kind, without zeros and bytes, of the first operation."""
    with FlopCounter() as counter:
        run()
    found = {}
    for row in counter.rows:
        cost = {kind: count for kind, count in row.cost.items() if count and kind != "bytes"}
        if cost:
            found[row.phase, row.op_class] = cost
    return found


def meta(*shape, dtype=torch.float32):
    return torch.empty(*shape, device="meta", dtype=dtype)


def half(*shape):
    return meta(*shape, dtype=torch.float16)


def zeros(*shape):
    return torch.zeros(*shape)


IMAGE, KERNEL, RESULT = (2, 3, 6, 6), (6, 3, 4, 4), (2, 6, 5, 5)
ONES, NONE = [1, 1], [0, 0]


@pytest.mark.parametrize(
    "run",
    [
        lambda: aten.convolution(
            zeros(*IMAGE), zeros(*KERNEL), None, ONES, ONES, ONES, False, NONE, 1
        ),
        lambda: aten.mkldnn_convolution(zeros(*IMAGE), zeros(*KERNEL), None, ONES, ONES, ONES, 1),
        lambda: aten._slow_conv2d_forward(zeros(*IMAGE), zeros(*KERNEL), [4, 4], None, ONES, ONES),
        lambda: aten.slow_conv_dilated2d(
            zeros(*IMAGE), zeros(*KERNEL), [4, 4], None, ONES, ONES, ONES
        ),
    ],
)
def test_convolutions(run):
    # 2*6*5*5 = 300 outputs of 3*4*4
    assert costs(run) == {("forward", "conv"): {"mac": 14400, "dot": 300}}


def test_backward_of_a_slow_convolution():
    def run():
        mask = [True, True, True]
        aten._slow_conv2d_backward(
            zeros(*RESULT), zeros(*IMAGE), zeros(*KERNEL), [4, 4], ONES, ONES, mask
        )

    # 216 inputs, 288 weights, 300 - 6 additions; outside of autograd it is forward
    expected = {"mac": 2 * 14400, "dot": 216 + 288, "arith": 294}
    assert costs(run) == {("forward", "conv"): expected}


def test_convolutions_of_other_forms():
    x, w = zeros(1, 4, 30, 2), zeros(4, 8, 2, 2)
    # 240 inputs to 8*4, all of 1*8*60*4 outputs reached
    found = costs(lambda: aten.slow_conv_transpose2d(x, w, [2, 2], None, [2, 2], NONE, NONE, ONES))
    assert found == {("forward", "conv"): {"mac": 7680, "dot": 1920}}
    # 6 steps, 2 sequences, 6 channels, kernel 3: 4 steps of 5
    found = costs(lambda: torch.conv_tbc(zeros(6, 2, 6), zeros(3, 6, 5), zeros(5)))
    assert found == {("forward", "conv"): {"mac": 40 * 18, "dot": 40, "bias": 40}}


def test_a_recurrent_layer_of_cudnn():
    weights = [meta(20, 4), meta(20, 5), meta(20), meta(20)]

    def run():
        x, h = meta(7, 3, 4), meta(1, 3, 5)
        aten._cudnn_rnn(x, weights, 4, None, h, h, 2, 5, 0, 1, False, 0.0, True, False, [], None)

    units = 7 * 3 * 5
    expected = {"mac": units * 4 * 9, "dot": 8 * units, "bias": 8 * units}
    expected |= {"arith": 8 * units, "special": 5 * units}
    assert costs(run) == {("forward", "recurrent"): expected}


def test_fused_cells_do_the_gates_alone():
    gates, state, bias = meta(3, 20), meta(3, 5), meta(20)
    # sums of four gates and of both biases, i*g + f*c, o*tanh(c)
    expected = {"arith": 15 * (4 + 4 + 4 + 4), "special": 15 * 5}
    found = costs(lambda: aten._thnn_fused_lstm_cell(gates, gates, state, bias, bias))
    assert found == {("forward", "recurrent"): expected}


@pytest.mark.parametrize("keys_and_heads", [(5, 4), (5, 2), (0, 4)])
def test_attention_with_shared_heads_and_wider_values(keys_and_heads):
    keys, heads = keys_and_heads
    q, k, v = half(2, 4, 3, 8), half(2, heads, keys, 8), half(2, heads, keys, 6)
    scores = 2 * 4 * 3 * keys
    expected = {
        ("forward", "attention"): {"mac": scores * 14, "dot": scores + 2 * 4 * 3 * 6},
        ("forward", "softmax"): {"arith": 4 * scores, "compare": scores, "special": scores},
    }
    found = costs(lambda: aten._scaled_dot_product_flash_attention(q, k, v))
    assert found == (expected if keys else {})


@pytest.mark.parametrize("kernel", ["flash", "efficient"])
def test_backward_over_joined_sequences(kernel):
    queries = torch.tensor([0, 3, 7], dtype=torch.int32)
    keys = torch.tensor([0, 4, 9], dtype=torch.int32)
    one = meta(1)

    def run():
        if kernel == "flash":
            q, k = half(7, 2, 8), half(9, 2, 8)
            aten._flash_attention_backward(
                q, q, k, k, q, meta(2, 7), queries, keys, 4, 5, 0.0, False, one, one
            )
        else:
            q, k = half(1, 7, 2, 8), half(1, 9, 2, 8)
            aten._efficient_attention_backward(
                q, q, k, k, None, q, queries, keys, 4, 5, meta(2, 7), 0.0, one, one, 0, False
            )

    scores, rows, columns = 2 * (3 * 4 + 4 * 5), 2 * 7, 2 * 9
    found = costs(run)
    assert found["forward", "attention"] == {
        "mac": scores * 4 * 8,
        "dot": scores + columns * 16 + rows * 8,
    }
    assert found["recompute", "attention"] == {"mac": scores * 8, "dot": scores}
    assert found["recompute", "softmax"] == {"arith": 2 * scores, "special": scores}
    assert found["forward", "softmax"] == {"arith": 5 * scores}


@pytest.mark.parametrize("gelu", [False, True])
def test_a_product_with_its_activation(gelu):
    bias, a, b = zeros(4), zeros(3, 2), zeros(2, 4)
    found = costs(lambda: aten._addmm_activation(bias, a, b, use_gelu=gelu))
    assert found == {
        ("forward", "matmul"): {"mac": 24, "dot": 12, "bias": 12},
        ("forward", "activation"): {"arith": 48, "special": 12} if gelu else {"compare": 12},
    }
