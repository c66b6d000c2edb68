"""Operations on lists cost what they cost on each tensor, and change them as they do uncounted."""

import pytest
import torch

from flops_tracker import FlopCounter

LISTS = {
    "shapes": lambda: [torch.rand(3, 4), torch.rand(5), torch.rand(()), torch.rand(0, 2)],
    "dtypes": lambda: [torch.rand(3), torch.rand(4).double(), torch.ones(5, dtype=torch.int64)],
    "complex": lambda: [torch.rand(3, dtype=torch.complex64), torch.rand(4, dtype=torch.complex64)],
    "integers": lambda: [torch.ones(3, dtype=torch.int64), torch.ones(4, dtype=torch.int64)],
    "strides": lambda: [torch.rand(4, 3).T, torch.rand(8)[::2]],
    "parameters": lambda: [torch.nn.Parameter(torch.rand(3)), torch.rand(2)],
    "devices": lambda: [torch.rand(3, device="meta"), torch.rand(2, device="meta")],
    "one": lambda: [torch.rand(7)],
    "many": lambda: [torch.rand(n) for n in range(40)],
}
CALLS = [
    lambda a, b: torch._foreach_add(a, b, alpha=2),
    torch._foreach_mul,
    lambda a, b: torch._foreach_mul_(a, 3),
    lambda a, b: torch._foreach_addcmul_(a, b, b, value=2),
    lambda a, b: torch._foreach_mul(a, [float(i) for i in range(len(a))]),
]


def cost(*calls):
    """Bytes, and FLOPs by name and dtype."""
    with FlopCounter(convention="exact") as counter:
        for call in calls:
            call()
    assert counter.uncounted == {}
    return counter.bytes, {(row.op, row.dtype): row.flops for row in counter.rows}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", LISTS)
@torch.no_grad()
def test_a_list_costs_what_its_tensors_do(name, call):
    a = LISTS[name]()
    b = [torch.ones_like(tensor) for tensor in a]

    each = [lambda at=at: call(a[at : at + 1], b[at : at + 1]) for at in range(len(a))]
    assert cost(lambda: call(a, b)) == cost(*each)


def test_a_tensor_twice_in_a_list():
    x = torch.ones(5)
    with FlopCounter() as counter:
        torch._foreach_add_([x, x], 1)
    assert x.tolist() == [3.0] * 5
    assert counter.total == 10


def test_a_sparse_tensor_in_a_list():
    # Kernels for lists run the plain ones here: 3 stored values, and 4.
    listed = [torch.eye(3).to_sparse(), torch.ones(4)]
    with FlopCounter() as counter:
        torch._foreach_mul_(listed, 2.0)
    assert counter.total == 3 + 4


def test_lists_in_place_get_the_versions_they_get_uncounted():
    with torch.inference_mode():
        unversioned = torch.ones(2)

    def versions():
        x, y = torch.ones(2), torch.ones(3)
        torch._foreach_add_([x, y, x], 1)
        torch._foreach_mul_([y], 2)
        torch._foreach_add([x, y], 1)
        with torch.inference_mode():
            torch._foreach_add_([unversioned, y], 1)
        return x._version, y._version

    plain = versions()
    with FlopCounter():
        assert versions() == plain
