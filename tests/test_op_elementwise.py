"""Operations that are so much per element, worked out by hand; counting changes no value."""

import pytest
import torch
import torch.nn.functional as F
from counted_layers import work

from flops_tracker import FlopCounter

aten = torch.ops.aten


def cost(call, *arguments):
    """What one call costs by kind: (arith, compare, special); it has nothing else."""
    with FlopCounter() as counter:
        call(*arguments)
    assert counter.uncounted == {}
    found = work(counter)
    parts = tuple(found.pop(kind, 0) for kind in ("arith", "compare", "special"))
    assert found == {}
    return parts


def uniform(*shape):
    """Numbers where every function here is defined; they are drawn, which counts 0."""
    return torch.empty(shape).uniform_(0.1, 0.9)


# (call on x, cost per element): arith, compare, special; x has 12 elements.
PER_ELEMENT = [
    (lambda x: x + x, (1, 0, 0)),
    (lambda x: torch.add(x, x, alpha=2), (2, 0, 0)),
    (lambda x: torch.add(x, x, alpha=1.0), (1, 0, 0)),
    (lambda x: x - 3, (1, 0, 0)),
    (lambda x: 3 - x, (1, 0, 0)),
    (lambda x: -x, (1, 0, 0)),
    (lambda x: x * x, (1, 0, 0)),
    (lambda x: x / 3, (1, 0, 0)),
    (lambda x: torch.div(x, 3, rounding_mode="floor"), (1, 1, 0)),  # the quotient is rounded
    (lambda x: x // 3, (1, 1, 0)),
    (lambda x: x % 3, (3, 1, 0)),  # x - 3*floor(x/3)
    (lambda x: x.reciprocal(), (1, 0, 0)),
    (lambda x: x**3, (0, 0, 1)),
    (lambda x: 2**x, (0, 0, 1)),
    (lambda x: torch.addcmul(x, x, x), (2, 0, 0)),
    (lambda x: torch.addcmul(x, x, x, value=0.5), (3, 0, 0)),
    (lambda x: torch.addcdiv(x, x, x, value=-1), (3, 0, 0)),
    (lambda x: torch.lerp(x, x, 0.5), (3, 0, 0)),
    (lambda x: torch.lerp(x, x, x), (3, 0, 0)),
    (lambda x: x.exp(), (0, 0, 1)),
    (lambda x: x.log1p(), (0, 0, 1)),
    (lambda x: x.sqrt(), (0, 0, 1)),
    (lambda x: x.rsqrt(), (0, 0, 1)),
    (lambda x: torch.atan2(x, x), (0, 0, 1)),
    (lambda x: x.erfinv(), (0, 0, 1)),
    (lambda x: x.lgamma(), (0, 0, 1)),
    (torch.special.i0e, (0, 0, 1)),
    (lambda x: torch.special.zeta(x + 0, x), (1, 0, 1)),
    (lambda x: torch.hypot(x, x), (3, 0, 1)),  # x*x + y*y, root
    (lambda x: torch.xlogy(x, x), (1, 0, 1)),
    (torch.logit, (2, 0, 1)),  # log(x/(1 - x))
    (lambda x: torch.logit(x, 0.1), (2, 2, 1)),
    (lambda x: torch.logaddexp(x, x), (3, 2, 2)),  # max + log1p(exp(-abs(x - y)))
    (lambda x: torch.mvlgamma(x + 2, 3), (1 + 6, 0, 3)),  # 3 lgamma(x + c): +3, 2 sums, constant
    (lambda x: x.abs(), (0, 1, 0)),
    (lambda x: x.sign(), (0, 1, 0)),
    (lambda x: x.round(), (0, 1, 0)),
    (lambda x: x.round(decimals=2), (2, 1, 0)),  # *100, rounded, /100
    (lambda x: x.frac(), (1, 1, 0)),
    (lambda x: x.clamp(0, 1), (0, 2, 0)),
    (lambda x: x.clamp(min=0), (0, 1, 0)),
    (lambda x: x.clamp(max=0), (0, 1, 0)),
    (lambda x: torch.maximum(x, x), (0, 1, 0)),
    (torch.nan_to_num, (0, 3, 0)),  # is it nan, too large, too small
    # activations
    (F.relu, (0, 1, 0)),
    (F.relu6, (0, 2, 0)),
    (F.leaky_relu, (1, 1, 0)),
    (lambda x: F.prelu(x, torch.ones(1)), (1, 1, 0)),
    (torch.sigmoid, (0, 0, 1)),
    (F.silu, (1, 0, 1)),  # x*sigmoid(x)
    (F.gelu, (4, 0, 1)),  # 0.5*x*(1 + erf(c*x))
    (lambda x: F.gelu(x, approximate="tanh"), (8, 0, 1)),  # 0.5*x*(1 + tanh(c*(x + d*x*x*x)))
    (F.mish, (1, 0, 3)),  # x*tanh(log1p(exp(x)))
    (F.elu, (0, 1, 1)),  # x or expm1(x)
    (lambda x: F.elu(x, 0.5), (1, 1, 1)),
    (F.selu, (2, 1, 1)),  # scale*alpha*expm1(x)
    (lambda x: F.celu(x, 2.0), (2, 1, 1)),  # a*expm1(x/a)
    (F.softplus, (0, 1, 2)),  # log1p(exp(x)), x itself above 20
    (lambda x: F.softplus(x, beta=2), (2, 1, 2)),  # log1p(exp(2*x))/2
    (F.logsigmoid, (2, 2, 2)),  # min(x, 0) - log1p(exp(-abs(x)))
    (F.hardswish, (3, 2, 0)),  # x*clamp(x + 3)/6
    (F.hardsigmoid, (2, 2, 0)),
    (F.hardtanh, (0, 2, 0)),
    (F.softsign, (2, 1, 0)),  # x/(1 + abs(x))
    (F.tanhshrink, (1, 0, 1)),
    (lambda x: F.threshold(x, 0.1, 0.0), (0, 1, 0)),
    # softmax: maximum; subtract it, exp, sum, divide
    (lambda x: x.softmax(-1), (3, 1, 1)),
    (lambda x: x.softmax(0), (3, 1, 1)),
    (lambda x: x.log_softmax(-1), (3, 1, 1)),
    # norms: mean 1, variance 2, subtract, divide, weight, bias
    (lambda x: F.layer_norm(x, (4,)), (5, 0, 0)),
    (lambda x: F.layer_norm(x, (4,), torch.ones(4)), (6, 0, 0)),
    (lambda x: F.layer_norm(x, (4,), torch.ones(4), torch.ones(4)), (7, 0, 0)),
    (lambda x: F.batch_norm(x, torch.ones(4), torch.ones(4)), (2, 0, 0)),
    (lambda x: F.batch_norm(x, torch.ones(4), torch.ones(4), *torch.ones(2, 4)), (4, 0, 0)),
    (lambda x: F.batch_norm(x, None, None, *torch.ones(2, 4), training=True), (7, 0, 0)),
    (lambda x: F.batch_norm(x, *torch.ones(2, 4), training=True), (5, 0, 0)),
    (lambda x: F.group_norm(x, 2, *torch.ones(2, 4)), (7, 0, 0)),
    (lambda x: F.instance_norm(x.view(1, 3, 4)), (5, 0, 0)),
    # of which nothing is computed, or no floating point number
    (lambda x: x.clone(), (0, 0, 0)),
    (lambda x: x.to(torch.float64), (0, 0, 0)),
    (lambda x: x == 0.5, (0, 0, 0)),
    (lambda x: x.isnan(), (0, 0, 0)),
    (lambda x: x.eq_(x), (0, 0, 0)),  # true and false, written as numbers
    (lambda x: torch.equal(x, x), (0, 0, 0)),
    (lambda x: x.argmax(), (0, 0, 0)),
    (lambda x: torch.where(x > 0, x, x), (0, 0, 0)),
    (lambda x: x.masked_fill(x > 0, 0), (0, 0, 0)),
    (lambda x: x.uniform_(), (0, 0, 0)),
    (torch.randn_like, (0, 0, 0)),
    (lambda x: x.t().contiguous(), (0, 0, 0)),
    (lambda x: torch.cat([x, x]), (0, 0, 0)),
    (lambda x: x.tril(), (0, 0, 0)),
    (lambda x: x.gather(0, torch.zeros(1, 4, dtype=torch.long)), (0, 0, 0)),
    (lambda x: F.embedding(torch.tensor([0, 2]), x), (0, 0, 0)),
    (lambda x: F.pad(x, (1, 1)), (0, 0, 0)),
    (lambda x: x.long() + 1, (0, 0, 0)),
]


@pytest.mark.parametrize("index", range(len(PER_ELEMENT)))
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_per_element(index, rows):
    call, each = PER_ELEMENT[index]
    x = uniform(rows, 4)
    try:
        call(x.clone())
    except (RuntimeError, ValueError, IndexError):  # what has no result for so few elements
        if rows == 3:
            raise
        return
    assert cost(call, x) == tuple(4 * rows * kind for kind in each)


# Whole expressions: (call, cost).
X, SMALL = (3, 4), (2, 3)
WHOLE = [
    # reductions of k elements: k - 1 steps
    (lambda: uniform(*X).sum(), (11, 0, 0)),
    (lambda: uniform(*X).sum(0), (8, 0, 0)),  # 4 columns of 3
    (lambda: uniform(*X).sum(1, keepdim=True), (9, 0, 0)),  # 3 rows of 4
    (lambda: torch.tensor(2.0).sum(), (0, 0, 0)),
    (lambda: torch.zeros(0).sum(), (0, 0, 0)),
    (lambda: torch.zeros(0, 4).sum(0), (0, 0, 0)),
    (lambda: uniform(*X).mean(), (12, 0, 0)),  # 11 and a division
    (lambda: uniform(*X).mean(1), (12, 0, 0)),  # 9 and 3
    (lambda: uniform(*X).prod(), (11, 0, 0)),
    (lambda: uniform(*X).prod(1), (9, 0, 0)),
    (lambda: uniform(*X).nansum(), (11, 12, 0)),
    (lambda: uniform(*X).amax(1), (0, 9, 0)),
    (lambda: uniform(*X).max(), (0, 11, 0)),
    (lambda: uniform(*X).max(1), (0, 9, 0)),
    (lambda: torch.aminmax(uniform(*X)), (0, 22, 0)),
    # per row of 4: mean 3 + 1, subtract 4, square 4, sum 3, divide 1: 16
    (lambda: uniform(*X).var(1), (48, 0, 0)),
    (lambda: torch.var_mean(uniform(*X), 1), (48, 0, 0)),
    (lambda: uniform(*X).std(1), (48, 0, 3)),
    # per row: 3 comparisons, 4 differences, 4 exp, 3 additions, log, + maximum
    (lambda: uniform(*X).logsumexp(1), (24, 9, 15)),
    (lambda: uniform(3, 5).trace(), (2, 0, 0)),
    # norms: 12 squares and 11 additions, a root; 12 absolute values; powers
    (lambda: torch.linalg.vector_norm(uniform(*X)), (23, 0, 1)),
    (lambda: torch.linalg.vector_norm(uniform(*X), dim=1), (12 + 9, 0, 3)),
    (lambda: torch.linalg.vector_norm(uniform(*X), 1), (11, 12, 0)),
    (lambda: torch.linalg.vector_norm(uniform(*X), float("inf")), (0, 23, 0)),
    (lambda: torch.linalg.vector_norm(uniform(*X), 0), (11, 12, 0)),
    (lambda: torch.linalg.vector_norm(uniform(*X), 3), (11, 12, 13)),
    (lambda: uniform(*X).norm(), (23, 0, 1)),
    (lambda: torch.dist(uniform(*X), uniform(*X)), (12 + 23, 0, 1)),
    (lambda: torch.dist(uniform(*X), uniform(4)), (12 + 23, 0, 1)),
    (lambda: torch.renorm(uniform(*X), 2, 0, 1.0), (24, 0, 12)),
    # scans: 3 rows of 3 steps
    (lambda: uniform(*X).cumsum(1), (9, 0, 0)),
    (lambda: uniform(*X).cumsum(-1), (9, 0, 0)),
    (lambda: uniform(*X).cumprod(0), (8, 0, 0)),
    (lambda: uniform(*X).cummax(1), (0, 9, 0)),
    (lambda: uniform(*X).logcumsumexp(1), (27, 18, 18)),
    (lambda: torch.tensor(1.0).cumsum(0), (0, 0, 0)),
    (lambda: torch.zeros(0, 4).cumsum(0), (0, 0, 0)),
    # 12 elements in rows of 4, ceil(log2(4)) = 2; in columns of 3, also 2; of 5, 3; of 1, none
    (lambda: uniform(*X).sort(), (0, 24, 0)),
    (lambda: uniform(*X).sort(0), (0, 24, 0)),
    (lambda: uniform(5).sort(stable=True), (0, 15, 0)),
    (lambda: uniform(12, 1).sort(), (0, 0, 0)),
    (lambda: uniform(*X).topk(2), (0, 24, 0)),
    (lambda: uniform(*X).kthvalue(2), (0, 24, 0)),
    (lambda: uniform(*X).median(1), (0, 24, 0)),
    (lambda: uniform(12).median(), (0, 48, 0)),  # ceil(log2(12)) = 4
    (lambda: uniform(5).mode(), (0, 15 + 4, 0)),  # and 4 pairs of neighbours
    (lambda: uniform(5).unique(), (0, 15 + 4, 0)),
    (lambda: uniform(5).unique_consecutive(), (0, 4, 0)),
    (lambda: torch.histc(uniform(5), 3, 0.0, 1.0), (15, 10, 0)),
    (lambda: torch.bincount(torch.tensor([1, 2, 2]), torch.ones(3)), (3, 0, 0)),
    (lambda: torch.bincount(torch.tensor([1, 2, 2])), (0, 0, 0)),
    # sums by index, per source element
    (lambda: torch.zeros(5).scatter_add(0, torch.tensor([1, 1, 2]), torch.ones(3)), (3, 0, 0)),
    (lambda: torch.zeros(5).scatter(0, torch.tensor([1, 1, 2]), torch.ones(3)), (0, 0, 0)),
    (lambda: torch.zeros(5).scatter(0, torch.tensor([1, 2]), 1.0, reduce="add"), (2, 0, 0)),
    (
        lambda: torch.zeros(5).scatter_reduce(0, torch.tensor([1, 2]), torch.ones(2), "amax"),
        (0, 2, 0),
    ),
    (
        lambda: torch.zeros(5).scatter_reduce(0, torch.tensor([1, 2]), torch.ones(2), "prod"),
        (2, 0, 0),
    ),
    (lambda: torch.zeros(5, 2).index_add(0, torch.tensor([1, 1]), torch.ones(2, 2)), (4, 0, 0)),
    (
        lambda: torch.zeros(5, 2).index_add(0, torch.tensor([1]), torch.ones(1, 2), alpha=3),
        (4, 0, 0),
    ),
    (
        lambda: torch.zeros(5).index_put((torch.tensor([1, 1]),), torch.ones(2), accumulate=True),
        (2, 0, 0),
    ),
    (lambda: torch.zeros(5).index_put((torch.tensor([1, 1]),), torch.ones(2)), (0, 0, 0)),
    (lambda: torch.zeros(5).put(torch.tensor([1]), torch.ones(1), accumulate=True), (1, 0, 0)),
    # pooling: K - 1 comparisons, or K - 1 additions and a division, per output
    (lambda: F.max_pool2d(uniform(1, 2, 6, 6), 3), (0, 8 * 8, 0)),
    (lambda: F.max_pool2d(uniform(1, 2, 6, 6), [3]), (0, 8 * 8, 0)),
    (lambda: F.max_pool2d(uniform(1, 2, 6, 6), (3, 2)), (0, 12 * 5, 0)),
    (lambda: F.max_pool1d(uniform(1, 2, 6), 2), (0, 6 * 1, 0)),
    (lambda: F.max_pool3d(uniform(1, 1, 4, 4, 4), [2]), (0, 8 * 7, 0)),
    (lambda: F.avg_pool2d(uniform(1, 2, 6, 6), 3), (8 * 9, 0, 0)),
    (lambda: F.avg_pool1d(uniform(1, 2, 6), 2), (6 * 2, 0, 0)),
    (lambda: F.avg_pool3d(uniform(1, 1, 4, 4, 4), 2), (8 * 8, 0, 0)),
    (lambda: F.adaptive_avg_pool2d(uniform(1, 2, 6, 6), (3, 2)), (2 * 36, 0, 0)),  # they tile
    (lambda: F.adaptive_avg_pool2d(uniform(1, 4, 7, 7), 3), (4 * 81, 0, 0)),  # 3 + 3 + 3 per side
    (lambda: F.adaptive_avg_pool2d(uniform(1, 4, 7, 7), 1), (4 * 49, 0, 0)),  # a mean
    (lambda: F.adaptive_max_pool2d(uniform(1, 2, 6, 6), 3), (0, 18 * 3, 0)),
    (lambda: F.fractional_max_pool2d(uniform(1, 2, 6, 6), 2, output_size=3), (0, 18 * 3, 0)),
    # losses over 6 elements; the mean 5 additions and a division
    (lambda: F.mse_loss(uniform(*SMALL), uniform(*SMALL)), (12 + 6, 0, 0)),
    (lambda: F.mse_loss(uniform(*SMALL), uniform(*SMALL), reduction="sum"), (12 + 5, 0, 0)),
    (lambda: F.mse_loss(uniform(*SMALL), uniform(*SMALL), reduction="none"), (12, 0, 0)),
    (lambda: F.mse_loss(uniform(1), uniform(1)), (2 + 1, 0, 0)),
    (lambda: F.mse_loss(uniform(0), uniform(0), reduction="sum"), (0, 0, 0)),
    (lambda: F.l1_loss(uniform(*SMALL), uniform(*SMALL)), (6 + 6, 6, 0)),
    (lambda: F.smooth_l1_loss(uniform(*SMALL), uniform(*SMALL)), (24 + 6, 12, 0)),
    (lambda: F.huber_loss(uniform(*SMALL), uniform(*SMALL)), (18 + 6, 12, 0)),
    (lambda: F.binary_cross_entropy(uniform(*SMALL), uniform(*SMALL)), (36 + 6, 12, 12)),
    (
        lambda: F.binary_cross_entropy(uniform(*SMALL), uniform(*SMALL), weight=torch.ones(3)),
        (42 + 6, 12, 12),
    ),
    (
        lambda: F.binary_cross_entropy_with_logits(uniform(*SMALL), uniform(*SMALL)),
        (36 + 6, 12, 12),
    ),
    # x[target] negated, 2 of them; added and divided; the softmax of 6
    (lambda: F.nll_loss(uniform(*SMALL), torch.tensor([0, 1])), (2 + 2, 0, 0)),
    (lambda: F.cross_entropy(uniform(*SMALL), torch.tensor([0, 1])), (18 + 4, 6, 6)),
    # 4 pairs: margin - x[y] + x[i], added 3; per row / C; mean of 2
    (lambda: F.multi_margin_loss(uniform(*SMALL), torch.tensor([0, 1])), (12 + 2 + 2, 4, 0)),
    (lambda: F.multi_margin_loss(uniform(*SMALL), torch.tensor([0, 1]), p=2), (16 + 4, 4, 0)),
    # 5 steps, 2 sequences, 2*3 + 1 states
    (
        lambda: torch._ctc_loss(
            uniform(5, 2, 4).log(), torch.ones(2, 3, dtype=torch.long), [5, 5], [3, 3]
        ),
        (70 * 7, 70 * 2, 70 * 4 + 40),  # and the 40 logarithms of the test itself
    ),
    # resampling: the values behind an output times weights, added
    (lambda: F.interpolate(uniform(1, 2, 3), size=6), (0, 0, 0)),
    (lambda: F.interpolate(uniform(1, 2, 3), size=6, mode="linear"), (12 * 3, 0, 0)),
    (lambda: F.interpolate(uniform(1, 2, 3, 3), size=6, mode="bilinear"), (72 * 7, 0, 0)),
    (lambda: F.interpolate(uniform(1, 1, 2, 2, 2), size=4, mode="trilinear"), (64 * 15, 0, 0)),
    (lambda: F.interpolate(uniform(1, 2, 3, 3), size=6, mode="bicubic"), (72 * 31, 0, 0)),
    # 8x8 to 4x4: 2*8/4 = 4 values in each direction, 8*4 + 4*4 sums of 7 steps
    (
        lambda: F.interpolate(uniform(1, 1, 8, 8), size=4, mode="bilinear", antialias=True),
        (48 * 7, 0, 0),
    ),
    (
        lambda: F.grid_sample(uniform(1, 2, 5, 5), uniform(1, 3, 3, 2), align_corners=False),
        (18 * 7, 0, 0),
    ),
    (
        lambda: F.grid_sample(
            uniform(1, 2, 5, 5), uniform(1, 3, 3, 2), mode="nearest", align_corners=False
        ),
        (0, 0, 0),
    ),
    # the parts of dropout: the mask divided by what is kept, and x times it
    (lambda: F.dropout(uniform(*X)), (24, 0, 0)),
    (lambda: F.dropout(uniform(*X), training=False), (0, 0, 0)),
    (lambda: torch.native_dropout(uniform(*X), 0.5, True), (24, 0, 0)),
    # 12 gates: s' = s*(1 - s) 2; dg*s + g*s'*db 4; (dg*a + g*da)*s' 4; g*a*s'*(1 - 2*s)*db added 7
    (
        lambda: aten.glu_backward_jvp(*map(torch.ones, ((24,), (12,), (24,), (12,), (24,))), 0),
        (17 * 12, 0, 12),
    ),
]


@pytest.mark.parametrize("index", range(len(WHOLE)))
def test_whole(index):
    call, expected = WHOLE[index]
    assert cost(call) == expected


# ---- gradients: (forward, shape, what backward costs for an upstream gradient of its shape) ----

GRADIENTS = [
    (torch.sigmoid, (12,), (3 * 12, 0, 0)),  # g*(1 - y)*y
    (torch.tanh, (12,), (3 * 12, 0, 0)),  # g*(1 - y*y)
    (F.relu, (12,), (0, 12, 0)),
    (F.silu, (12,), (5 * 12, 0, 12)),  # g*s*(1 + x*(1 - s))
    (F.gelu, (12,), (9 * 12, 0, 2 * 12)),
    (lambda x: x.softmax(-1), (3, 4), (4 * 12, 0, 0)),  # y*(g - sum(g*y))
    (lambda x: x.log_softmax(-1), (3, 4), (3 * 12, 0, 12)),  # g - exp(y)*sum(g)
    (lambda x: x.exp(), (12,), (12, 0, 0)),  # g*y
    (F.glu, (6, 4), (4 * 12, 0, 12)),  # g*s, and that times a*(1 - s)
    (lambda x: F.max_pool2d(x, 2), (1, 1, 4, 4), (4, 0, 0)),  # added where each maximum was
    (lambda x: F.avg_pool2d(x, 2), (1, 1, 4, 4), (4 * 5, 0, 0)),  # divided, added 4 times
    (lambda x: F.adaptive_avg_pool2d(x, 2), (1, 1, 4, 4), (4 * 5, 0, 0)),
    (lambda x: F.interpolate(x, size=6, mode="bilinear"), (1, 1, 3, 3), (36 * 8, 0, 0)),
    (lambda x: F.interpolate(x, size=6), (1, 1, 3), (6, 0, 0)),
    # h again 2, g*h, its sum, sum of g, h*c, two differences, scaled 1
    (lambda x: F.layer_norm(x, (4,)), (3, 4), (9 * 12, 0, 0)),
    (lambda x: F.batch_norm(x, None, None, training=True), (3, 4), (9 * 12, 0, 0)),
    (lambda x: F.group_norm(x, 2), (3, 4), (9 * 12, 0, 0)),
    (lambda x: F.batch_norm(x, torch.zeros(4), torch.ones(4)), (3, 4), (12, 0, 0)),
    (lambda x: x.index_select(0, torch.tensor([0, 0, 1])), (4, 2), (6, 0, 0)),
    (lambda x: x.sum(), (3, 4), (0, 0, 0)),
    (lambda x: x[1:], (3, 4), (0, 0, 0)),
    (lambda x: x.cumsum(1), (3, 4), (9, 0, 0)),
    (lambda x: F.mse_loss(x, torch.zeros(6)), (6,), (18, 0, 0)),  # 2*(x - t)*g
]


@pytest.mark.parametrize("index", range(len(GRADIENTS)))
def test_gradients(index):
    forward, shape, expected = GRADIENTS[index]
    x = uniform(*shape).requires_grad_()
    y = forward(x)
    upstream = torch.ones_like(y)
    assert cost(lambda: torch.autograd.grad(y, x, upstream)) == expected


def test_gradients_of_the_parameters_of_a_norm():
    x, w, b = uniform(3, 4).requires_grad_(), *torch.ones(2, 4)
    w.requires_grad_(), b.requires_grad_()
    y = F.layer_norm(x, (4,), w, b)
    # g*w 1 and 9 for x; of w: g*h and its sum; of b: the sum of g
    every = lambda *wanted: cost(  # noqa: E731
        lambda: torch.autograd.grad(y, wanted, torch.ones_like(y), retain_graph=True)
    )
    assert every(x, w, b) == (13 * 12, 0, 0)
    y = F.batch_norm(x, None, None, w, b, training=True)
    assert every(x, w, b) == (9 * 12, 0, 0)  # its sums are the gradients of w and b
    y = F.batch_norm(x, torch.zeros(4), torch.ones(4), w, b)
    assert every(x, w, b) == (6 * 12, 0, 0)  # g*scale 1; h 2, g*h and its sum 2; sum of g 1


# ---- the same cost for the same thing ----


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("add", (2.0,)),
        ("sub", (2.0,)),
        ("mul", (2.0,)),
        ("div", (2.0,)),
        ("pow", (3.0,)),
        ("clamp", (0.2, 0.5)),
        ("addcmul", (torch.ones(12), torch.ones(12))),
        ("lerp", (torch.ones(12), 0.5)),
        ("exp", ()),
        ("sigmoid", ()),
        ("logit", (0.1,)),
        ("neg", ()),
        ("fmod", (0.3,)),
        ("cumsum", (0,)),
        ("eq", (0.5,)),
        ("logical_not", ()),
        ("copysign", (-1.0,)),
    ],
)
def test_in_place_costs_the_same(name, arguments):
    x = uniform(12)
    assert cost(getattr(x, name), *arguments) == cost(getattr(x.clone(), name + "_"), *arguments)


@pytest.mark.parametrize(
    "function", [torch.add, torch.mul, torch.maximum, torch.atan2, torch.hypot, torch.logaddexp]
)
def test_with_out_costs_the_same(function):
    a, b = uniform(3, 4), uniform(3, 4)
    plain = cost(function, a, b)
    assert cost(lambda: function(a, b, out=torch.empty(3, 4))) == plain
    assert cost(function, a.t(), b.t()) == plain  # strided otherwise
    with torch.no_grad():
        assert cost(function, a, b) == plain
    with torch.inference_mode():
        assert cost(function, a, b) == plain


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.batch_norm(x, None, None, *torch.ones(2, 4), training=True),
        lambda x: F.group_norm(x, 2),
        lambda x: F.max_pool2d(x, 2),
        lambda x: F.avg_pool2d(x, 2),
        lambda x: F.adaptive_avg_pool2d(x, 3),
        lambda x: F.adaptive_avg_pool2d(x, 1),
        lambda x: F.interpolate(x, size=9, mode="bilinear"),
        lambda x: F.interpolate(x, size=9),
        lambda x: F.dropout(x, 0.3),
        F.silu,
        lambda x: x.softmax(1),
        lambda x: x.mean((2, 3)),
        lambda x: x.cumsum(1),
    ],
)
def test_layouts_and_modes_cost_the_same(call):
    x = uniform(2, 4, 6, 6)
    plain = cost(call, x)
    assert cost(call, x.contiguous(memory_format=torch.channels_last)) == plain
    assert cost(call, x.clone().requires_grad_()) == plain
    with torch.no_grad():
        assert cost(call, x) == plain
    with torch.inference_mode():
        assert cost(call, x) == plain


def test_broadcasting_counts_results():
    assert cost(torch.add, uniform(3, 1), uniform(4)) == (12, 0, 0)
    assert cost(torch.add, uniform(3, 1), uniform(0)) == (0, 0, 0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_every_floating_point_number_counts_the_same(dtype):
    x = uniform(3, 4).to(dtype)
    assert cost(lambda: F.silu(x + x)) == (24, 0, 12)


def test_complex_numbers_in_real_operations():
    x = torch.ones(5, dtype=torch.complex64)
    assert cost(torch.add, x, x) == (10, 0, 0)  # two sums
    assert cost(torch.mul, x, x) == (30, 0, 0)  # four products, two sums
    assert cost(torch.prod, x) == (24, 0, 0)  # 4 products
    assert cost(torch.sum, x) == (8, 0, 0)


def test_counting_changes_no_value():
    for call, _ in (*PER_ELEMENT, *((lambda _, c=c: c(), e) for c, e in WHOLE)):
        results = []
        for counted in (False, True):
            torch.manual_seed(1)
            x = uniform(3, 4)
            if counted:
                with FlopCounter():
                    results.append(call(x))
            else:
                results.append(call(x))
        plain, seen = (result if isinstance(result, tuple) else (result,) for result in results)
        assert len(plain) == len(seen)
        for one, other in zip(plain, seen, strict=True):
            if isinstance(one, torch.Tensor):
                torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
            else:
                assert one == other


def test_a_joined_linear_and_cross_entropy():
    options = pytest.importorskip("torch.nn.modules.linear_cross_entropy_options")
    x, weight = uniform(2, 3), uniform(4, 3)
    target = torch.tensor([0, 1])

    def joined(*needing_gradients):
        for tensor in (x, weight):
            tensor.requires_grad_(any(tensor is other for other in needing_gradients))
        with FlopCounter() as counter:
            F.linear_cross_entropy(x, weight, target, options=options.LinearCrossEntropyOptions())
        assert counter.uncounted == {}
        return work(counter)

    # 8 logits of 3 products; per logit the maximum, subtract it, exp, sum
    assert joined() == {"mac": 24, "dot": 8, "arith": 16, "compare": 8, "special": 8}
    # The gradients are made at once: logits scaled, 2*3 sums of 4 products and 4*3 of 2.
    assert joined(x, weight) == {
        "mac": 72,
        "dot": 8 + 6 + 12,
        "arith": 24,
        "compare": 8,
        "special": 8,
    }
