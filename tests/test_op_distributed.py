"""Programs of several ranks: each counts its own work, and what it sends is none."""

import pytest
import torch
from torch import nn

from flops_tracker import FlopCounter

dist = pytest.importorskip("torch.distributed")
if not dist.is_available():
    pytest.skip("this build has no torch.distributed", allow_module_level=True)

from torch.distributed.device_mesh import init_device_mesh  # noqa: E402
from torch.distributed.fsdp import fully_shard  # noqa: E402
from torch.distributed.tensor import Replicate, Shard, distribute_tensor  # noqa: E402
from torch.distributed.tensor.parallel import (  # noqa: E402
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)
from torch.testing._internal.distributed.fake_pg import FakeStore  # noqa: E402


@pytest.fixture
def mesh():
    """Four ranks of which this is the first and the others are pretended."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=4)
    yield init_device_mesh("cpu", (4,))
    dist.destroy_process_group()


def two_layers():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))


def step(model, optimizer):
    with FlopCounter(model) as counter:
        model(torch.rand(3, 8)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert counter.uncounted == {}
    counts = counter.under("matmul")
    updates = counter.under("standard").optimizer
    return (counts.forward, counts.backward, counts.recompute, updates), counts.by_module()


def test_a_product_of_parts(mesh):
    for rows in (8, 12):  # each shape is new to DTensor, which then looks for that of the result
        parts = distribute_tensor(torch.rand(rows, 6), mesh, [Shard(0)])
        whole = distribute_tensor(torch.rand(6, 10), mesh, [Replicate()])
        with FlopCounter() as counter:
            result = parts @ whole
        assert result.shape == (rows, 10)
        # A quarter of the rows.
        assert counter.under("matmul").total == 2 * (rows // 4) * 6 * 10


def test_tensor_parallel_layers(mesh):
    plan = {"0": ColwiseParallel(), "2": RowwiseParallel()}
    model = parallelize_module(two_layers(), mesh, plan)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    # 3 rows: 8 to 4 of 16, and these 4 to 8. Both weights' gradients, and those of the 4.
    part = 2 * 3 * 8 * 4
    # A quarter of both weights and of the first bias; the second bias, 8, is everywhere.
    updates = 2 * (8 * 4 + 4 + 4 * 8 + 8)
    for _ in range(2):
        found, modules = step(model, optimizer)
        assert found == (2 * part, 3 * part, 0, updates)
        assert modules["Sequential.0"].own == 2 * part
        assert modules["Sequential.2"].own == 3 * part


def test_fully_sharded_parameters(mesh):
    model = fully_shard(two_layers(), mesh=mesh)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    # The layers are gathered and run whole; each rank updates a quarter of 2*128 + 16 + 8.
    layer = 2 * 3 * 8 * 16
    for _ in range(2):
        found, _ = step(model, optimizer)
        assert found == (2 * layer, 3 * layer, 0, 2 * 280 // 4)


@pytest.mark.skipif(not dist.is_gloo_available(), reason="this build has no gloo")
def test_gradients_that_all_ranks_share():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(two_layers())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        layer = 2 * 3 * 8 * 16
        for _ in range(2):
            found, _ = step(model, optimizer)
            assert found == (2 * layer, 3 * layer, 0, 2 * 280)
    finally:
        dist.destroy_process_group()


def test_nothing_of_dtensor_and_pipelines_stays_changed(mesh):
    from torch.distributed.pipelining import PipelineStage
    from torch.distributed.tensor._sharding_prop import ShardingPropagator

    def methods():
        return [
            {name: id(value) for name, value in vars(owner).items()}
            for owner in (ShardingPropagator, PipelineStage)
        ]

    before = methods()
    with FlopCounter():
        assert all(now != then for now, then in zip(methods(), before, strict=True))
    assert methods() == before
