"""Operators that take functions give a block what they give without it, types included."""

import pytest
import torch
import torch._dynamo  # a counter keeps it quiet from its first block on
from torch._higher_order_ops.auto_functionalize import auto_functionalized
from torch._higher_order_ops.map import map as map_
from torch._higher_order_ops.out_dtype import out_dtype
from torch._higher_order_ops.scan import scan
from torch.utils._pytree import tree_flatten

from flops_tracker import FlopCounter, count


def rounds(limit):
    return lambda d: d["i"] < limit


def step(d):
    return ({"i": d["i"] + 1, "a": d["a"] * 2},)


def loop(x, limit):
    return torch.while_loop(rounds(limit), step, ({"i": torch.tensor(0), "a": x},))


TRUE = torch.tensor(True)

CALLS = {
    "cond": lambda x: torch.cond(TRUE, lambda a: a * 2, lambda a: a * 3, (x,)),
    "cond, a dict": lambda x: torch.cond(TRUE, lambda a: {"k": a * 2}, lambda a: {"k": -a}, (x,)),
    "cond, of a dict": lambda x: torch.cond(
        TRUE, lambda d, b: [d["a"] * b], lambda d, b: [d["a"] + b], ({"a": x}, torch.ones(3, 4))
    ),
    "map": lambda x: map_(lambda a: a * a, x),
    "map, a tuple": lambda x: map_(lambda a, b: (a * b, a + b), x, torch.ones(4)),
    "map, a dict": lambda x: map_(lambda a: {"u": a * 2, "v": [a + 1]}, x),
    "map, of a dict": lambda x: map_(lambda d: d["a"] * 2, {"a": x}),
    "scan": lambda x: scan(lambda c, a: (c + a, c * a), torch.zeros(4), x),
    "scan, dicts": lambda x: scan(
        lambda c, d: ({"s": c["s"] + d["z"]}, {"o": d["z"] * 2}), {"s": torch.zeros(4)}, {"z": x}
    ),
    "while_loop": lambda x: torch.while_loop(
        lambda i, a: i < 3, lambda i, a: (i + 1, a * 2), (torch.tensor(0), x)
    ),
    "while_loop, a list": lambda x: torch.while_loop(
        lambda i, a: i < 3, lambda i, a: [i + 1, a * 2], (torch.tensor(0), x)
    ),
    "while_loop, a dict": lambda x: loop(x, 3),
    "while_loop, no round": lambda x: loop(x, 0),
}


def outcome(call, grad):
    """Leaves of what it gives, whether they need gradients, structure, gradient, and x itself."""
    x = torch.linspace(-1, 2, 12).reshape(3, 4).requires_grad_(grad)
    result = call(x)
    leaves, structure = tree_flatten(result)
    if grad:
        sum(leaf.sum() for leaf in leaves if leaf.requires_grad).backward()
    return leaves, [leaf.requires_grad for leaf in leaves], structure, x.grad, x


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_a_block_changes_no_result(name, grad):
    bare = outcome(CALLS[name], grad)
    with FlopCounter():
        counted = outcome(CALLS[name], grad)
    assert all(torch.equal(a, b) for a, b in zip(bare[0], counted[0], strict=True))
    assert counted[1:3] == bare[1:3]
    assert torch.equal(bare[3], counted[3]) if grad else bare[3] is counted[3] is None
    assert not any(leaf is counted[4] for leaf in counted[0])


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("on", ["fake", "real"])
def test_every_round_counts_on_fake_copies_too(on, backward):
    # 3 rounds of (2, 2) times (2, 2) are 16 each; backward is 16 for each of two sides, and a map
    # runs its function again for it.
    x, w = torch.ones(3, 2, 2, requires_grad=True), torch.ones(2, 2, requires_grad=True)
    options = {"on": on, "backward": backward, "convention": "matmul"}
    for products, function in (
        (3, lambda x: map_(lambda a, w: {"y": a @ w}, x, w)),
        (2, lambda x: scan(lambda c, a: (c + 1, {"y": a @ c}), w, x)[1]),
    ):
        counts = count(function, x, **options)
        assert (counts.on, counts.forward) == (on, 3 * 16)
        assert counts.backward == (3 * products * 16 if backward else 0)


# ---- operators that take operations ----


def test_a_product_of_another_dtype():
    a = torch.arange(4, dtype=torch.int8).reshape(2, 2)
    with FlopCounter() as c:
        product = out_dtype(torch.ops.aten.mm.default, torch.int32, a, a)
    # [[0, 1], [2, 3]] squared
    assert torch.equal(product, torch.tensor([[2, 3], [6, 11]], dtype=torch.int32))
    assert c.uncounted == {}
    x = torch.ones(2, 2)
    with FlopCounter(convention="matmul") as c:
        out_dtype(torch.ops.aten.mm.default, torch.float64, x, x)
    assert c.total == 2 * 2 * 2 * 2


@torch.library.custom_op("control_flow_test::increase", mutates_args={"a"})
def increase(a: torch.Tensor) -> None:
    a.add_(1)


def test_an_operation_that_is_made_functional():
    a = torch.ones(2)
    operation = torch.ops.control_flow_test.increase.default
    bare = auto_functionalized(operation, a=a)
    with FlopCounter() as c:
        counted = auto_functionalized(operation, a=a)
    assert str(counted) == str(bare) == "(None, tensor([2., 2.]))"
    assert torch.equal(a, torch.ones(2))
    assert list(c.uncounted) == ["control_flow_test.increase.default"]
