"""Operations that are contractions: their counts by hand, among them what other counters miss."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from flops_tracker import FlopCounter

aten = torch.ops.aten


def counter_of(run, **options):
    with FlopCounter(**options) as counter:
        run()
    return counter


def matmul(run, **options):
    return counter_of(run, **options).under("matmul").total


def cost(run, op_class, phase="forward", **options):
    """The cost by kind of one class, without the kinds that are 0 and without bytes."""
    total = {}
    for row in counter_of(run, **options).rows:
        if row.op_class == op_class and row.phase == phase:
            for kind, count in row.cost.items():
                total[kind] = total.get(kind, 0) + count
    return {kind: count for kind, count in total.items() if count and kind != "bytes"}


def unknown(run):
    return set(counter_of(run).uncounted)


def zeros(*shape, **options):
    return torch.zeros(*shape, **options)


# ---- the cases of PyTorch's own suite, in its convention: 2 per multiply-add ----


def test_a_variety_of_products():
    def run():
        torch.mm(zeros(4, 5), zeros(5, 6))  # 2*4*5*6 = 240
        torch.addmm(zeros(4, 6), zeros(4, 5), zeros(5, 6))  # 240
        torch.matmul(zeros(5, 6), zeros(6, 7))  # 420
        torch.einsum("ab,bc->ac", zeros(6, 7), zeros(7, 8))  # 672
        nn.Linear(9, 10)(zeros(8, 9))  # 1440

    assert matmul(run) == 240 + 240 + 420 + 672 + 1440 == 3012


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (lambda: torch.mm(zeros(4, 5), zeros(5, 6)), 240),
        (lambda: torch.bmm(zeros(3, 4, 5), zeros(3, 5, 6)), 720),
        (lambda: torch.addmm(zeros(4, 6), zeros(4, 5), zeros(5, 6)), 240),
        (lambda: torch.addmm(zeros(6), zeros(4, 5), zeros(5, 6)), 240),
        (lambda: torch.baddbmm(zeros(3, 4, 6), zeros(3, 4, 5), zeros(3, 5, 6)), 720),
        (lambda: torch.mm(zeros(10, 10), zeros(10, 10), out=zeros(10, 10)), 2000),
        # 300 outputs of 3*4*4 products; 2*6*5 outputs of 3*4
        (lambda: F.conv2d(zeros(2, 3, 6, 6), zeros(6, 3, 4, 4), padding=1), 28800),
        (lambda: F.conv1d(zeros(2, 3, 6), zeros(6, 3, 4), padding=1), 1440),
        (lambda: F.conv_transpose2d(zeros(1, 1, 2, 2), zeros(1, 1, 2, 2)), 32),
        (lambda: F.conv2d(zeros(1, 1, 2, 2), zeros(1, 1, 1, 1)), 8),
        (lambda: zeros(3).cos(), 0),
    ],
)
def test_single_operations(run, expected):
    assert matmul(run) == expected


def test_backward_of_products():
    def run():
        a = torch.rand(4, 5, requires_grad=True)
        a = torch.mm(a, torch.rand(5, 6)).unsqueeze(0).expand(7, 4, 6)
        torch.bmm(a, torch.rand(7, 6, 7)).sum().backward()

    # 240 + 7*2*4*6*7 = 2592, once more for the one gradient of either
    assert matmul(run) == 2 * 2592 == 5184


def test_transposed_convolutions_in_a_loop():
    layer, x = nn.ConvTranspose2d(4, 8, (2, 2), stride=2, bias=False), zeros(1, 4, 30, 2)

    def run():
        for _ in range(50):
            layer(x).sum().backward()

    # 240 input elements to 8*2*2 each, forward and for the weight: 2*7680*2, 50 times
    assert matmul(run) == 50 * 2 * 2 * 7680 == 1536000


def basic_block(inputs, outputs, stride):
    def conv(i, o, k, s):
        return nn.Conv2d(i, o, k, s, k // 2, bias=False)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = conv(inputs, outputs, 3, stride), conv(outputs, outputs, 3, 1)
            same = stride == 1 and inputs == outputs
            self.shortcut = nn.Identity() if same else conv(inputs, outputs, 1, stride)

        def forward(self, x):
            return self.second(self.first(x).relu()) + self.shortcut(x)

    return Block()


def test_resnet_18():
    layers = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    for inputs, outputs, stride in [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]:
        layers += [basic_block(inputs, outputs, stride), basic_block(outputs, outputs, 1)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))
    model.to("meta")
    # The stem's gradient of the input: 64*112*112 outputs of 3*7*7, 2 each
    stem = 2 * 64 * 112 * 112 * 3 * 7 * 7
    for needs_grad, expected in [(True, 10884440064), (False, 10884440064 - stem)]:
        x = torch.empty(1, 3, 224, 224, device="meta", requires_grad=needs_grad)
        assert matmul(lambda x=x: model(x).sum().backward()) == expected
    x = torch.empty(1, 64, 56, 56, device="meta", requires_grad=True)
    layer1 = counter_of(lambda: model[3:5](x).sum().backward()).under("matmul")
    assert (layer1.forward, layer1.backward) == (924844032, 1849688064)


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("flash", ()),
        ("efficient", (None, True)),
        ("cudnn", (None, True)),
        ("fused_attention_overrideable", ()),
    ],
)
def test_attention_of_every_backend(op, arguments):
    name = op if op.startswith("fused") else f"{op}_attention"
    run = getattr(aten, f"_scaled_dot_product_{name}")
    q = torch.empty(4, 8, 128, 64, device="meta", dtype=torch.float16)
    k = torch.empty(4, 8, 256, 64, device="meta", dtype=torch.float16)
    # B*H*L*S*(E + Ev)*2 = 4*8*128*128*128*2
    try:
        assert matmul(lambda: run(q, q, q, *arguments)) == 134217728
        assert matmul(lambda: run(q, k, k, *arguments)) == 268435456
    except NotImplementedError:
        pytest.skip("this build has no shapes for it")


def test_attention_backward_is_four_products_and_one_done_again():
    q, k = (torch.empty(4, 8, n, 64, device="meta", dtype=torch.float16) for n in (128, 256))
    lse, one = torch.empty(4, 8, 128, device="meta"), torch.empty((), device="meta")
    bias = torch.empty(4, 8, 128, 256, device="meta", dtype=torch.float16)
    mask = [True, True, True, False]
    counter = counter_of(
        lambda: aten._scaled_dot_product_efficient_attention_backward(
            q, q, k, k, bias, q, lse, one, one, 0.0, mask
        )
    ).under("matmul")
    # 2.5 times 268435456, the forward pass: 3.5 times with it
    assert counter.total == 939524096 - 268435456
    assert counter.recompute == 268435456 // 2


# ---- what PyTorch's counter gets wrong or leaves out ----


def test_depthwise_convolution():
    layer = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
    x = zeros(2, 8, 16, 16, requires_grad=True)
    # 4096 outputs of 9 products: 36864, three times
    assert matmul(lambda: layer(x).sum().backward()) == 2 * 3 * 36864 == 221184
    # without the gradient of the input twice
    assert matmul(lambda: layer(x.detach()).sum().backward()) == 2 * 2 * 36864


def test_grouped_transposed_convolution():
    layer = nn.ConvTranspose2d(8, 16, 3, groups=4, bias=False)
    x = zeros(2, 8, 8, 8, requires_grad=True)
    # 1024 inputs to 4 channels at 9 positions each: 36864
    assert matmul(lambda: layer(x).sum().backward()) == 221184


def test_convolution_by_kind():
    layer, x = nn.Conv2d(2, 4, 3), zeros(5, 2, 6, 6, requires_grad=True)
    # 5*4*4*4 = 320 outputs of 18
    assert cost(lambda: layer(x), "conv") == {"mac": 5760, "dot": 320, "bias": 320}
    # 360 inputs, 72 weights; 320 - 4 additions for the bias
    back = {"mac": 2 * 5760, "dot": 360 + 72, "arith": 316}
    assert cost(lambda: layer(x).sum().backward(), "conv", "backward") == back


def test_attention_on_a_cpu():
    q, k, v = (torch.rand(1, 12, 64, 64, requires_grad=True) for _ in range(3))

    def forward():
        return F.scaled_dot_product_attention(q, k, v)

    assert matmul(forward) == 2 * 12 * 64 * 64 * 128 == 12582912
    counter = counter_of(lambda: forward().sum().backward()).under("matmul")
    assert counter.total == 44040192
    assert (counter.forward, counter.backward, counter.recompute) == (12582912, 25165824, 6291456)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        counter = counter_of(lambda: forward().sum().backward()).under("matmul")
    assert (counter.forward, counter.backward, counter.total) == (12582912, 25165824, 37748736)


def test_softmax_of_attention():
    q, k = zeros(2, 3, 4, 8), zeros(2, 3, 5, 8)
    scores = 2 * 3 * 4 * 5
    plain = {"arith": 4 * scores, "compare": scores, "special": scores}
    masked = {**plain, "arith": 5 * scores}
    assert cost(lambda: F.scaled_dot_product_attention(q, k, k), "softmax") == plain
    mask = zeros(4, 5)
    assert cost(lambda: F.scaled_dot_product_attention(q, k, k, mask), "softmax") == masked


def test_causal_attention_is_whole_unless_asked_for_exactly():
    def run(queries, keys):
        q, k = zeros(1, 2, queries, 3), zeros(1, 2, keys, 3)
        return lambda: F.scaled_dot_product_attention(q, k, k, is_causal=True)

    assert matmul(run(4, 4)) == 2 * 2 * 16 * 6
    assert matmul(run(4, 4), causal="exact") == 2 * 2 * 10 * 6
    # From the top left, as PyTorch masks: 1 + 2 + 3 of 15; 1 + 2 + 3 + 3 + 3 of 15
    assert matmul(run(3, 5), causal="exact") == 2 * 2 * 6 * 6
    assert matmul(run(5, 3), causal="exact") == 2 * 2 * 12 * 6
    q = zeros(1, 2, 4, 3)
    whole = matmul(lambda: F.scaled_dot_product_attention(q, q, q), causal="exact")
    assert whole == 2 * 2 * 16 * 6


def test_cpu_kernels_mask_from_the_top_left():
    q, k, v = zeros(1, 1, 2, 3), zeros(1, 1, 3, 3), torch.eye(3)[None, None]
    weights, _ = aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, True)
    assert (weights[0, 0] > 0).tolist() == [[True, False, False], [True, True, False]]


def half(*shape):
    return torch.empty(*shape, device="meta", dtype=torch.float16)


def test_sequences_that_lie_one_after_the_other():
    queries = torch.tensor([0, 3, 7], dtype=torch.int32)
    keys = torch.tensor([0, 4, 9], dtype=torch.int32)

    def run(q_offsets, k_offsets, causal=False):
        return lambda: aten._flash_attention_forward(
            half(7, 2, 8),
            half(9, 1, 8),
            half(9, 1, 8),
            q_offsets,
            k_offsets,
            4,
            5,
            0.0,
            causal,
            False,
        )

    # two heads of queries: (3*4 + 4*5) * 16 * 2 each
    assert matmul(run(queries, keys)) == 2 * 2 * 32 * 16
    # lengths that can't be read: 2 sequences of at most 4 and 5
    assert matmul(run(queries.to("meta"), keys.to("meta"))) == 2 * 2 * 2 * 20 * 16
    # from the bottom right: 2 + 3 + 4 and 2 + 3 + 4 + 5
    assert matmul(run(queries, keys, True), causal="exact") == 2 * 2 * (9 + 14) * 16
    assert matmul(run(queries, keys, True)) == 2 * 2 * 32 * 16


def test_a_hundred_sequences():
    offsets = torch.arange(0, 303, 3, dtype=torch.int32)  # 100 of length 3
    x = half(300, 2, 8)
    run = aten._flash_attention_forward
    counted = matmul(lambda: run(x, x, x, offsets, offsets, 3, 3, 0.0, False, False))
    assert counted == 100 * 2 * 2 * 9 * 16


def test_attention_by_batch_position_head():
    x = half(2, 5, 3, 8)
    run = aten._flash_attention_forward
    assert matmul(lambda: run(x, x, x, None, None, 5, 5, 0.0, False, False)) == 2 * 2 * 3 * 25 * 16
    run = aten._efficient_attention_forward
    counted = matmul(lambda: run(x, x, x, None, None, None, None, None, 0.0, 0))
    assert counted == 2 * 2 * 3 * 25 * 16


@pytest.mark.filterwarnings("ignore:TF32")
@pytest.mark.parametrize(("layer", "expected"), [(nn.LSTM, 7560), (nn.GRU, 5670), (nn.RNN, 1890)])
def test_recurrent_layers(layer, expected):
    model, x = layer(4, 5), zeros(7, 3, 4)
    # 21 cells of G*5 units with 4 + 5 products: G = 4, 3, 1
    assert matmul(lambda: model(x)) == expected
    with torch.no_grad():
        assert matmul(lambda: model(x)) == expected
    with torch.inference_mode():
        assert matmul(lambda: model(x)) == expected
    with torch.backends.mkldnn.flags(enabled=False):
        assert matmul(lambda: model(x)) == expected
    deep = layer(4, 5, 2, bidirectional=True)
    # the second layer reads both directions: 4+5 and 10+5 products
    assert matmul(lambda: deep(x)) == 2 * expected * (9 + 15) // 9


def test_lstm_by_kind():
    model, x = nn.LSTM(4, 5), zeros(7, 3, 4, requires_grad=True)
    units = 7 * 3 * 5
    assert cost(lambda: model(x), "recurrent") == {
        "mac": units * 4 * 9,
        "dot": 2 * 4 * units,
        "bias": 2 * 4 * units,
        "arith": units * (4 + 4),  # sums of both products; i*g, f*c, their sum, o*tanh(c)
        "special": units * 5,
    }
    # products for x, h and for both weights; 21*(4 + 5) and 20*(4 + 5) results
    back = cost(lambda: model(x)[0].sum().backward(), "recurrent", "backward")
    assert (back["mac"], back["dot"]) == (2 * units * 4 * 9, 189 + 180)


def test_attention_layers():
    layer, x = nn.MultiheadAttention(16, 4, batch_first=True), zeros(2, 5, 16)
    # four projections of 10 positions, 4*10*256, and 2*2*25*16 for the heads: 11840
    assert matmul(lambda: layer(x, x, x)) == 2 * 11840 == 23680
    assert matmul(lambda: layer(x, x, x, need_weights=False)) == 23680
    layer.eval()
    with torch.no_grad():
        counter = counter_of(lambda: layer(x, x, x))
    assert [row.op.split(".")[1] for row in counter.rows if row.calls] == [
        "_native_multi_head_attention"
    ]
    assert counter.under("matmul").total == 23680


@pytest.mark.filterwarnings("ignore:.*nested tensors")
def test_encoder_layers():
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval()
    x = zeros(2, 5, 16)
    # and two layers of 10*16*32
    assert matmul(lambda: layer(x)) == 23680 + 2 * 2 * 10 * 512 == 44160
    with torch.no_grad():
        assert matmul(lambda: layer(x)) == 44160
        assert cost(lambda: layer(x), "norm") == {"arith": 2 * 160 * (7 + 1), "compare": 320}
    encoder = nn.TransformerEncoder(layer, 1)
    padding = torch.tensor([[False] * 4 + [True], [False] * 3 + [True] * 2])
    with torch.no_grad():
        # only what is no padding, 4 and 3: 4*7*256 + 2*(16 + 9)*16 + 2*7*512 = 15136
        assert matmul(lambda: encoder(x, src_key_padding_mask=padding)) == 2 * 15136


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (lambda: torch.mv(zeros(5, 6), zeros(6)), 60),
        (lambda: torch.matmul(zeros(5, 6), zeros(6)), 60),
        (lambda: torch.dot(zeros(6), zeros(6)), 12),
        (lambda: torch.addmv(zeros(5), zeros(5, 6), zeros(6)), 60),
        (lambda: torch.addbmm(zeros(4, 6), zeros(3, 4, 5), zeros(3, 5, 6)), 720),
        (lambda: torch.addr(zeros(4, 3), zeros(4), zeros(3)), 24),
        # 2 rows: 5*4 results of 3 products, then 5 of 4
        (lambda: nn.Bilinear(3, 4, 5)(zeros(2, 3), zeros(2, 4)), 2 * 2 * (60 + 20)),
        # 30 rows against 3, two more columns for the norms
        (lambda: torch.cdist(zeros(30, 4), zeros(3, 4)), 2 * 90 * 6),
        (lambda: torch.sparse.mm(torch.eye(4).to_sparse(), zeros(4, 3)), 2 * 4 * 3),
        (lambda: torch.eye(4).to_sparse_csr() @ zeros(4, 3), 2 * 4 * 3),
        (lambda: torch.eye(4).to_sparse() @ zeros(4), 2 * 4),
        (lambda: zeros(3, 4) @ torch.eye(4).to_sparse_csr(), 2 * 4 * 3),
        # a block of 2x2 counts whole
        (lambda: torch.eye(4).to_sparse_bsr((2, 2)) @ zeros(4, 3), 2 * 8 * 3),
        (
            lambda: torch.sparse.sampled_addmm(
                torch.eye(4).to_sparse_csr(), zeros(4, 3), zeros(3, 4)
            ),
            2 * 4 * 3,
        ),
        (lambda: torch.sparse.mm(torch.eye(4).to_sparse_csr(), zeros(4, 3), "mean"), 2 * 4 * 3),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_what_others_do_not_count(run, expected):
    assert matmul(run) == expected


@pytest.mark.filterwarnings("ignore:Sparse")
def test_products_of_two_sparse_matrices_are_listed():
    sparse, rows = torch.eye(4).to_sparse(), torch.eye(4).to_sparse_csr()
    assert "aten._sparse_sparse_matmul.default" in unknown(lambda: torch.sparse.mm(sparse, sparse))
    assert "aten.mm.default" in unknown(lambda: rows @ rows)


def test_complex_products():
    x = zeros(4, 5, dtype=torch.complex64)
    # a product and a sum of complex numbers: 4 and 2 of real ones, 2 for the sum
    assert matmul(lambda: x @ x.T) == 2 * 4 * 4 * 4 * 5


def test_scales_and_biases():
    a, b = zeros(3, 2), zeros(2, 2)

    def run(**scales):
        return cost(lambda: torch.addmm(zeros(3, 2), a, b, **scales), "matmul")

    plain = {"mac": 12, "dot": 6, "bias": 6}
    assert run() == plain
    assert run(alpha=2) == {**plain, "arith": 6}
    assert run(alpha=2, beta=3) == {**plain, "arith": 12}
    assert run(beta=0) == {"mac": 12, "dot": 6}


def test_grouped_products():
    def b(*shape):
        return zeros(*shape, dtype=torch.bfloat16)

    two = torch.tensor([3, 8], dtype=torch.int32)
    # 8 rows, 8 columns, 16 between them, in two groups; two whole products; groups of the 16
    assert matmul(lambda: torch._grouped_mm(b(8, 16), b(2, 16, 8), offs=two)) == 2 * 8 * 8 * 16
    assert matmul(lambda: torch._grouped_mm(b(2, 8, 16), b(2, 16, 8))) == 2 * 2 * 8 * 8 * 16
    half_each = torch.tensor([8, 16], dtype=torch.int32)
    groups = cost(lambda: torch._grouped_mm(b(8, 16), b(16, 8), offs=half_each), "matmul")
    assert groups == {"mac": 8 * 8 * 16, "dot": 2 * 8 * 8}
    assert matmul(lambda: torch._grouped_mm(b(2, 8, 16), b(16, 8), offs=two)) == 2 * 8 * 8 * 16


def test_products_of_small_floats():
    x = zeros(16, 16).to(torch.float8_e4m3fn)
    one = torch.ones(())
    counted = cost(lambda: torch._scaled_mm(x, x.t(), one, one, out_dtype=torch.bfloat16), "matmul")
    assert counted == {"mac": 16 * 16 * 16, "dot": 256}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_with_packed_weights(bias):
    model = nn.Sequential(nn.Linear(6, 5, bias=bias))
    packed = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    counted = cost(lambda: packed(zeros(3, 6)), "matmul")
    assert counted == {"mac": 90, "dot": 15} | ({"bias": 15} if bias else {})


def test_bilinear_costs_what_the_layer_formula_says():
    layer = nn.Bilinear(3, 4, 5)
    x1, x2 = zeros(2, 3, requires_grad=True), zeros(2, 4, requires_grad=True)
    assert cost(lambda: layer(x1, x2), "matmul") == {"mac": 160, "dot": 50}
    # of x1: 2*3*4 results of 5, 2*3 of 4; of W: 2*5*3 products, 5*3*4 results of 2;
    # of x2: 2*5*4 results of 3, 2*4 of 5
    mac = (24 * 5 + 6 * 4) + (30 + 60 * 2) + (40 * 3 + 8 * 5)
    dot = (24 + 6) + (30 + 60) + (40 + 8)
    back = cost(lambda: layer(x1, x2).sum().backward(), "matmul", "backward")
    assert back == {"mac": mac, "dot": dot}


def test_distances():
    a, b = zeros(3, 4), zeros(2, 4)
    # 6 pairs, 24 differences; squares; 18 additions; roots
    assert cost(lambda: torch.cdist(a, b), "reduction") == {"arith": 66, "special": 6}
    assert cost(lambda: torch.cdist(a, b, p=1), "reduction") == {"arith": 42, "compare": 24}
    largest = cost(lambda: torch.cdist(a, b, p=float("inf")), "reduction")
    assert largest == {"arith": 24, "compare": 24 + 18}
    # absolute values with a power each, a root of each pair
    powers = cost(lambda: torch.cdist(a, b, p=2.5), "reduction")
    assert powers == {"arith": 42, "compare": 24, "special": 24 + 6}
    assert cost(lambda: F.pdist(a), "reduction") == {"arith": 12 + 12 + 9, "special": 3}
    nothing = zeros(3, 0)
    assert cost(lambda: torch.cdist(nothing, nothing), "reduction") == {}


def test_embeddings_add_rows():
    bag = nn.EmbeddingBag(10, 3, mode="mean")
    words = torch.tensor([[1, 2], [3, 4]])
    # 4 rows of 3 into 2 bags: 12 - 6 additions and 6 divisions; 12 of either backwards
    assert cost(lambda: bag(words), "embedding") == {"arith": 12}
    back = cost(lambda: bag(words).sum().backward(), "embedding", "backward")
    assert back == {"arith": 24}
    table = nn.Embedding(10, 3)
    back = cost(lambda: table(words).sum().backward(), "embedding", "backward")
    assert back == {"arith": 12}


@pytest.mark.parametrize(("reduction", "products"), [("mean", 3), ("none", 4)])
def test_a_linear_layer_fused_with_its_loss(reduction, products):
    if not hasattr(torch.nn, "LinearCrossEntropyOptions"):
        pytest.skip("this PyTorch has no fused linear_cross_entropy")
    options = torch.nn.LinearCrossEntropyOptions(chunking_method=None, batch_chunk_size=4)
    x, w = zeros(8, 3, requires_grad=True), zeros(4, 3, requires_grad=True)
    target = torch.zeros(8, dtype=torch.int64)

    def run():
        return F.linear_cross_entropy(x, w, target, reduction=reduction, options=options)

    # logits of 8*4*3 and the gradients of x and w; without a reduction the logits once more
    counter = counter_of(lambda: run().sum().backward())
    assert any("linear_cross_entropy" in row.op for row in counter.rows)
    # besides what sums the loss up, where it runs as operations of its own
    rows = [row for row in counter.rows if row.op != "aten.dot.default"]
    assert sum(row.cost["mac"] for row in rows) == products * 96
    with torch.no_grad():
        assert matmul(run) == 2 * 96
