"""Sparse tensors: what works on them is counted with the values that they store."""

import pytest
import torch
from counted_layers import work
from torch import nn

from flops_tracker import FlopCounter

pytestmark = pytest.mark.filterwarnings("ignore:Sparse")


def cost(call):
    with FlopCounter() as counter:
        call()
    assert counter.uncounted == {}
    return work(counter)


def listed():
    """Ones at (0, 1) twice, (1, 2) and (1, 0): 4 values in 3 places of a 2x3 matrix."""
    return torch.sparse_coo_tensor([[0, 0, 1, 1], [1, 1, 2, 0]], torch.ones(4), (2, 3))


LAYOUTS = {
    torch.sparse_coo: {},
    torch.sparse_csr: {},
    torch.sparse_csc: {},
    torch.sparse_bsr: {"blocksize": (2, 2)},
    torch.sparse_bsc: {"blocksize": (2, 2)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_elementwise_work_is_on_what_is_stored(layout):
    with torch.no_grad():
        sparse = torch.eye(4).to_sparse(layout=layout, **LAYOUTS[layout])
    stored = 8 if "blocksize" in LAYOUTS[layout] else 4  # 2 blocks of 2x2 on the diagonal
    assert cost(sparse.neg) == {"arith": stored}
    assert cost(sparse.sin) == {"special": stored}
    assert cost(lambda: sparse * 2.0) == {"arith": stored}


def test_adding_a_sparse_tensor_to_a_dense_one_touches_what_is_stored():
    dense, sparse = torch.ones(2, 3), listed()
    assert cost(lambda: dense + sparse) == {"arith": 4}
    assert cost(lambda: dense.add_(sparse, alpha=2.0)) == {"arith": 4 + 4}
    assert cost(lambda: dense + dense) == {"arith": 6}


def test_duplicates_are_added_up():
    assert cost(lambda: listed().coalesce()) == {"arith": 1}  # 4 values in 3 places


@pytest.mark.parametrize(
    ("total", "additions"),
    [
        (torch.sparse.sum, 3),  # 4 values
        (lambda sparse: torch.sparse.sum(sparse, 0), 1),  # in columns 1, 1, 2, 0
        (lambda sparse: torch.sparse.sum(sparse, 1), 2),  # in rows 0, 0, 1, 1
    ],
)
def test_sums(total, additions):
    sparse = torch.sparse_coo_tensor([[0, 0, 1, 1], [1, 2, 1, 0]], torch.ones(4), (2, 3))
    assert cost(lambda: total(sparse.coalesce())) == {"arith": additions}


def test_softmax_of_what_is_stored():
    """3 arithmetic steps, a comparison and an exponential each, of 3 values."""
    sparse = listed().coalesce()
    expected = {"arith": 3 * 3, "compare": 3, "special": 3}
    assert cost(lambda: torch.sparse.softmax(sparse, 1)) == expected
    assert cost(lambda: torch.sparse.log_softmax(sparse, 1)) == expected


@pytest.mark.parametrize("rows", [10, 100_000])
def test_an_embedding_with_sparse_gradients(rows):
    """Rows 1, 1 and 2 of width 4: 12 values, which coalesce adds up to 8; then Adam's steps on 8.

    g - m, times 1 - b1, added to m; g*g (a power) - v, times 1 - b2, added to v; the old m and v
    added; the root, epsilon, division, times the step size, added to the table: 12 and 2 functions.
    """
    table = nn.Embedding(rows, 4, sparse=True)
    optimizer = torch.optim.SparseAdam(table.parameters())
    with FlopCounter() as counter:
        table(torch.tensor([1, 1, 2])).sum().backward()
        optimizer.step()
    assert counter.uncounted == {}
    optimizer_rows = [row.cost for row in counter.rows if row.phase == "optimizer"]
    assert sum(row.get("arith", 0) for row in optimizer_rows) == 4 + 12 * 8
    assert sum(row.get("special", 0) for row in optimizer_rows) == 2 * 8


def test_bytes_are_those_of_values_and_indices():
    """4 values of 4 bytes with 2 indices of 8 bytes each: 80; the same for the result."""
    sparse = listed()
    with FlopCounter() as counter:
        sparse.neg()
    assert counter.bytes == 80 + 80


def test_a_sparse_matrix_with_sparse_result_times_a_dense_one():
    """3 entries of the first, each times a row of 5, added to nothing."""
    empty = torch.sparse_coo_tensor(torch.empty(2, 0), torch.empty(0), (2, 5))
    factor, dense = listed().coalesce(), torch.ones(3, 5)
    assert cost(lambda: torch.sspaddmm(empty, factor, dense))["mac"] == 3 * 5


def test_what_a_fake_sparse_tensor_stores_is_not_known():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode() as mode:
        sparse = mode.from_tensor(listed())
        with FlopCounter() as counter:
            sparse.sin()
    assert list(counter.uncounted) == ["aten.sin.default"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_dense_tensor_meets_any_layout(layout):
    sparse = torch.eye(4).to_sparse(layout=layout, **LAYOUTS[layout])
    if layout is torch.sparse_coo or layout is torch.sparse_csr:  # PyTorch adds no others
        assert cost(lambda: torch.ones(4, 4) + sparse) == {"arith": 4}
    with FlopCounter() as counter:
        sparse.clone()
    parts = (
        [sparse.values(), sparse.indices()]
        if layout is torch.sparse_coo
        else (
            [sparse.values(), sparse.crow_indices(), sparse.col_indices()]
            if "r" in str(layout).removeprefix("torch.sparse_")
            else [sparse.values(), sparse.ccol_indices(), sparse.row_indices()]
        )
    )
    assert counter.bytes == 2 * sum(part.nbytes for part in parts)


def test_sums_and_norms_of_what_is_stored():
    sparse = torch.eye(100).to_sparse()
    assert cost(sparse.sum) == {"arith": 99}
    # 100 squares, 99 additions, a root
    assert cost(sparse.norm) == {"arith": 100 + 99, "special": 1}


def test_scales_of_a_sparse_product():
    """3 entries of the first, scaled, times rows of 5, and 2 of what is added to, scaled."""
    added = torch.sparse_coo_tensor([[0, 1], [0, 1]], torch.ones(2), (2, 5))
    factor, dense = listed().coalesce(), torch.ones(3, 5)
    plain = cost(lambda: torch.sspaddmm(added, factor, dense))
    scaled = cost(lambda: torch.sspaddmm(added, factor, dense, beta=2, alpha=3))
    assert plain["mac"] == scaled["mac"] == 15
    assert scaled["arith"] - plain.get("arith", 0) == 3 + 2


def test_without_data_nothing_is_known():
    sparse = torch.eye(4).to_sparse_csr().to("meta")
    with FlopCounter() as counter:
        torch.ones(4, 4, device="meta") + sparse
    assert list(counter.uncounted) == ["aten.add.Tensor"]
