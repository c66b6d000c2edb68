"""Optimizer steps: what each costs per parameter, and that loop, lists and fused cost the same."""

import itertools

import pytest
import torch
from counted_layers import work

from flops_tracker import FlopCounter

SHAPES = [(4, 5), (5,), (3, 5), (3,)]  # 20 + 5 + 15 + 3 = 43 elements in 4 tensors
ELEMENTS, TENSORS = 43, 4


def steps(optimizer_class, count=2, shapes=SHAPES, dtype=torch.float32, **options):
    """The counters of the first steps, and the parameters after them."""
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in shapes]
    optimizer = optimizer_class(parameters, lr=0.01, **options)
    counters = []
    for _ in range(count):
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        with FlopCounter() as counter:
            optimizer.step()
        assert counter.uncounted == {}
        counters.append(counter)
    return counters, parameters


# Per element in the second step, every operation of the loop written out; then per tensor.
PER_ELEMENT = [
    (torch.optim.SGD, {}, 2, 0),  # p += -lr*g
    (torch.optim.SGD, {"momentum": 0.9}, 4, 0),  # b *= m, b += g, p += -lr*b 2
    (torch.optim.SGD, {"momentum": 0.9, "dampening": 0.1}, 5, 0),  # b += (1 - 0.1)*g
    (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}, 6, 0),  # g + m*b 2
    (torch.optim.SGD, {"weight_decay": 0.1}, 4, 0),  # g + w*p 2
    (torch.optim.SGD, {"weight_decay": 1.0}, 3, 0),  # g + p 1
    (torch.optim.SGD, {"maximize": True}, 3, 0),  # -g 1
    # m += w*(g - m) 3; v *= b, v += (1 - b)*g*g 3; sqrt, / 1, + eps 1; p += -s*m/d 3; step += 1
    (torch.optim.Adam, {}, 13, 1),
    (torch.optim.Adam, {"weight_decay": 0.1}, 15, 1),
    (torch.optim.AdamW, {}, 14, 1),  # weight decay 0.01 by default: p *= 1 - lr*w
    (torch.optim.AdamW, {"weight_decay": 0}, 13, 1),
    # s += g*g 2; sqrt, + eps; p += -lr*g/d 3
    (torch.optim.Adagrad, {}, 7, 1),
    (torch.optim.Adagrad, {"weight_decay": 0.1, "lr_decay": 0.1}, 9, 1),
    # v *= a, v += (1 - a)*g*g 3; sqrt, + eps; p += -lr*g/d 3
    (torch.optim.RMSprop, {}, 9, 1),
    (torch.optim.RMSprop, {"weight_decay": 0.1}, 11, 1),
    # b *= m, b += g/d 2, p += -lr*b 2 in place of p += -lr*g/d 3
    (torch.optim.RMSprop, {"momentum": 0.9}, 11, 1),
    # a += w*(g - a) 3, v - a*a 3
    (torch.optim.RMSprop, {"centered": True}, 15, 1),
]


@pytest.mark.parametrize(("optimizer", "options", "each", "per_tensor"), PER_ELEMENT)
def test_flops_of_the_second_step(optimizer, options, each, per_tensor):
    (_, second), _ = steps(optimizer, foreach=False, **options)
    assert second.total == ELEMENTS * each + TENSORS * per_tensor
    assert second.under("matmul").total == 0


def test_the_numbers_of_the_documents():
    assert steps(torch.optim.AdamW)[0][1].total == 606  # 14*43 + 4
    assert steps(torch.optim.Adam)[0][1].total == 563  # 13*43 + 4


def test_the_first_step_with_momentum_copies_the_gradient():
    (first, _), _ = steps(torch.optim.SGD, foreach=False, momentum=0.9)
    assert first.total == ELEMENTS * 2


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW])
def test_amsgrad_adds_a_maximum(optimizer):
    (_, plain), _ = steps(optimizer, foreach=False)
    (_, amsgrad), _ = steps(optimizer, foreach=False, amsgrad=True)
    assert amsgrad.under("standard").total == plain.under("standard").total
    assert amsgrad.under("exact").total == plain.under("exact").total + ELEMENTS


def combinations(**choices):
    return [
        dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())
    ]


SGD = [
    options
    for options in combinations(
        momentum=[0, 0.9, 1],
        dampening=[0, 0.1],
        weight_decay=[0, 0.1, 1],
        nesterov=[False, True],
        maximize=[False, True],
    )
    if not options["nesterov"] or (options["momentum"] and not options["dampening"])
]
ADAM = combinations(
    weight_decay=[0, 0.1, 1],
    amsgrad=[False, True],
    maximize=[False, True],
    betas=[(0.9, 0.99), (0.9, 0.0)],
)
ADAGRAD = combinations(weight_decay=[0, 0.1, 1], lr_decay=[0, 0.1], maximize=[False, True])
RMSPROP = combinations(
    weight_decay=[0, 0.1], momentum=[0, 0.9], centered=[False, True], maximize=[False, True]
)
SAME_EVERYWHERE = [
    *((torch.optim.SGD, options) for options in SGD),
    *((torch.optim.Adam, options) for options in ADAM),
    *((torch.optim.AdamW, options) for options in ADAM),
    *((torch.optim.Adagrad, options) for options in ADAGRAD),
    *((torch.optim.RMSprop, options) for options in RMSPROP),
]


@pytest.mark.parametrize(
    ("optimizer", "options"),
    SAME_EVERYWHERE,
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_loop_lists_and_fused_cost_the_same(optimizer, options):
    loop, _ = steps(optimizer, foreach=False, **options)
    ways = [{"foreach": True}]
    if optimizer is not torch.optim.RMSprop:  # of which PyTorch has no fused one
        ways.append({"fused": True})
    for way in ways:
        other, _ = steps(optimizer, **way, **options)
        for one, another in zip(loop, other, strict=True):
            assert work(one) == work(another), way


@pytest.mark.parametrize(
    "optimizer",
    [
        torch.optim.NAdam,
        torch.optim.RAdam,
        torch.optim.Adadelta,
        torch.optim.Adamax,
        torch.optim.ASGD,
        torch.optim.Rprop,
        torch.optim.Adafactor,
    ],
)
def test_every_other_optimizer_is_counted(optimizer):
    for foreach in (False, True):
        for counter in steps(optimizer, foreach=foreach)[0]:
            assert counter.total > 0


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (torch.optim.NAdam, {}),
        (torch.optim.NAdam, {"weight_decay": 0.1}),
        (torch.optim.Adadelta, {"weight_decay": 0.1}),
        (torch.optim.Adamax, {"weight_decay": 0.1}),
        (torch.optim.Rprop, {}),
    ],
)
def test_loop_and_lists_of_others_cost_the_same(optimizer, options):
    loop, _ = steps(optimizer, foreach=False, **options)
    lists, _ = steps(optimizer, foreach=True, **options)
    assert [work(counter) for counter in loop] == [work(counter) for counter in lists]


# Here PyTorch's lists take other steps than its loop; per element, then once for all.
DIFFERENT = [
    # Loop, before rectification sets in: lerp 3; v*b 1, + 3; m/c 1; *lr 1; p + -1*m 2.
    # Lists rectify every step: lerp 3; 1 + 3; sqrt, + eps, /, reciprocal, + 5; p + m*x 2.
    (torch.optim.RAdam, {}, (11, TENSORS), (14, TENSORS)),
    # Loop: p *= 1 - lambd*eta 1, p += -eta*g 2; the average only copies while mu is 1.
    # Lists: g + lambd*p 2, p + -1*eta*that 3; average: p - a 1, a + mu*that 2, whether mu is 1 or
    # not. Per tensor: step 1, (1 + lambd*lr*step)^alpha 4, its reciprocal 1.
    (torch.optim.ASGD, {}, (3, TENSORS), (8, 6 * TENSORS)),
    # Lists negate the gradients, and negate them back; both: -g 1, g*before 1, step*= 1, p - 3
    (torch.optim.Rprop, {"maximize": True}, (6, TENSORS), (7, TENSORS)),
]


@pytest.mark.parametrize(("optimizer", "options", "loop", "lists"), DIFFERENT)
def test_where_lists_of_pytorch_do_other_work_than_its_loop(optimizer, options, loop, lists):
    for foreach, (each, rest) in ((False, loop), (True, lists)):
        (_, second), _ = steps(optimizer, foreach=foreach, **options)
        assert second.total == ELEMENTS * each + rest


def test_adafactor_squares_by_a_power_in_its_loop_and_by_a_product_in_lists():
    (_, loop), _ = steps(torch.optim.Adafactor, foreach=False)
    (_, lists), _ = steps(torch.optim.Adafactor, foreach=True)
    assert loop.total == lists.total
    squared = (4 + 5) + (3 + 5)  # the norms of rows and of columns of the two matrices
    moved = work(loop)["special"] - work(lists)["special"]
    assert moved == work(lists)["arith"] - work(loop)["arith"] == squared


@pytest.mark.parametrize("shapes", [[(0,)], [(1,)], [()], [(0,), (1,), (2,)]])
@pytest.mark.parametrize("way", [{"foreach": False}, {"foreach": True}, {"fused": True}])
def test_parameters_of_size_zero_and_one(shapes, way):
    elements = sum(torch.Size(shape).numel() for shape in shapes)
    (_, second), _ = steps(torch.optim.AdamW, shapes=shapes, **way)
    assert second.total == 14 * elements + len(shapes)


@pytest.mark.parametrize("way", [{"foreach": False}, {"foreach": True}, {"fused": True}])
def test_counting_changes_no_parameter(way):
    options = {"weight_decay": 0.1, "amsgrad": True, **way}
    _, counted = steps(torch.optim.Adam, **options)
    torch.manual_seed(0)
    plain = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    optimizer = torch.optim.Adam(plain, lr=0.01, **options)
    for _ in range(2):
        for parameter in plain:
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(counted, plain, strict=True))


def test_the_steps_of_mixed_precision():
    gradients = [torch.ones(3, 4), torch.ones(5)]
    found, scale = torch.zeros(1), torch.full((1,), 2.0)
    with FlopCounter() as counter:
        torch._amp_foreach_non_finite_check_and_unscale_(gradients, found, scale)
    assert work(counter) == {"arith": 17, "compare": 17}  # g*scale, is it finite
    growth = torch.zeros(1, dtype=torch.int32)
    with FlopCounter() as counter:
        torch._amp_update_scale_(scale, growth, found, 2.0, 0.5, 2000)
    assert work(counter) == {"arith": 1, "compare": 1}


@pytest.mark.parametrize("foreach", [False, True])
def test_clipping_the_norm_of_gradients(foreach):
    parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    with FlopCounter() as counter:
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=foreach)
    # Per tensor of n: n squares, n - 1 additions, 1 root: 2n; the norm of these 4 norms: 8.
    # The factor: + 1e-6, max_norm divided by it (a reciprocal and a product), a clamp; n products.
    assert counter.under("standard").total == 2 * ELEMENTS + 8 + 3 + ELEMENTS
    assert counter.under("exact").total == counter.under("standard").total + 1


LISTS = [
    # what, per element of two lists of (3, 4) and (5,): 17 elements
    (torch._foreach_add, 1),
    (lambda a, b: torch._foreach_add(a, b, alpha=2), 2),
    (lambda a, b: torch._foreach_add(a, 3.0), 1),
    (lambda a, b: torch._foreach_add(a, [1.0, 2.0]), 1),
    (lambda a, b: torch._foreach_add(a, torch.tensor(2.0), alpha=1.0), 1),
    (lambda a, b: torch._foreach_sub(a, b, alpha=2), 2),
    (lambda a, b: torch._foreach_mul(a, torch.tensor(2.0)), 1),
    (lambda a, b: torch._foreach_div(a, [1.0, 2.0]), 1),
    (lambda a, b: torch._foreach_lerp(a, b, 0.5), 3),
    (lambda a, b: torch._foreach_lerp(a, b, b), 3),
    (lambda a, b: torch._foreach_lerp(a, b, [0.5, 0.1]), 3),
    (lambda a, b: torch._foreach_addcmul(a, b, b), 2),
    (lambda a, b: torch._foreach_addcmul(a, b, b, value=2), 3),
    (lambda a, b: torch._foreach_addcmul(a, b, b, [2.0, 3.0]), 3),
    (lambda a, b: torch._foreach_addcdiv(a, b, b, torch.tensor([2.0, 3.0])), 3),
    (lambda a, b: torch._foreach_pow(a, 3.0), 1),
    (lambda a, b: torch._foreach_pow(2.0, a), 1),
    (torch._foreach_pow, 1),
    (lambda a, b: torch._foreach_sqrt(a), 1),
    (lambda a, b: torch._foreach_neg(a), 1),
    (lambda a, b: torch._foreach_exp(a), 1),
    (lambda a, b: torch._foreach_reciprocal(a), 1),
    (lambda a, b: torch._foreach_rsqrt(a), 1),
    (torch._foreach_maximum, 0),  # a comparison
    (lambda a, b: torch._foreach_clamp_min(a, 0.0), 0),
    (lambda a, b: torch._foreach_abs(a), 0),
    (lambda a, b: torch._foreach_sign(a), 0),
    (lambda a, b: torch._foreach_zero_(a), 0),
    (torch._foreach_copy_, 0),
]


@pytest.mark.parametrize(("call", "each"), LISTS)
def test_operations_on_lists(call, each):
    a = [torch.rand(3, 4) + 1, torch.rand(5) + 1]
    b = [torch.rand(3, 4) + 1, torch.rand(5) + 1]
    with FlopCounter() as counter:
        call(a, b)
    rows = [row for row in counter.rows if row.op.startswith("aten._foreach")]
    assert counter.uncounted == {}
    assert sum(row.flops for row in rows) == 17 * each


def test_lists_in_place_cost_the_same():
    names = [name for name in dir(torch) if name.startswith("_foreach_") and name[-1] != "_"]
    assert len(names) > 40
    compared = 0
    for name in names:
        if not hasattr(torch, name + "_"):
            continue
        for extra in ((), (2.0,), ([torch.rand(3, 4) + 1, torch.rand(5) + 1],)):
            costs = []
            for function in (getattr(torch, name), getattr(torch, name + "_")):
                with FlopCounter() as counter:
                    try:
                        function([torch.rand(3, 4), torch.rand(5)], *extra)
                    except (TypeError, RuntimeError, ValueError):
                        break
                assert counter.uncounted == {}, name
                costs.append(work(counter))
            if len(costs) == 2:
                assert costs[0] == costs[1], name
                compared += 1
    assert compared > 40
