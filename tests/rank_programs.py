"""What ranks do in test_ranks.py: torchrun starts this file; each rank writes down what it saw.

A row costs, as contractions, in the model below: forward 2*(16*32 + 32*4) = 1,280; backward the
gradients of both weights and of what is between them, 2*16*32 + 2*2*32*4 = 1,536.
"""

import contextlib
import io
import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.pipelining import PipelineStage as Stage
from torch.distributed.pipelining import Schedule1F1B, ScheduleGPipe
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)
from torch.nn.parallel import DistributedDataParallel

from flops_tracker import FlopCounter, FlopsEstimator, FlopsTracker, register_rule

RANK, SIZE = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])

LIBRARY = torch.library.Library("rank_programs", "FRAGMENT")
LIBRARY.define("much(Tensor x) -> Tensor")
LIBRARY.impl("much", lambda x: x.clone(), "CPU")


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))


def with_steps(model, batches, body, around):
    """The total of all ranks, counted step by step, and what this rank's steps cost."""
    ft = FlopsTracker(model, convention="matmul")
    with around:
        for batch in ft.steps(batches):
            body(batch)
    return ft.global_flops, [step.flops_batch for step in ft.step_logs]


def with_a_counter(model, batches, body, around):
    with FlopCounter(model, convention="matmul") as counter, around:
        for batch in batches:
            body(batch)
    assert counter.uncounted == {}
    everywhere = counter.all_reduce()
    return everywhere.total, everywhere.by_phase()


def both_ways(make, batches, around=lambda model: contextlib.nullcontext()):
    """Train a model that make gives, step by step and in one block."""
    totals = []
    for way in (with_steps, with_a_counter):
        model = make(network())
        optimizer = torch.optim.AdamW(model.parameters())

        def body(batch, model=model, optimizer=optimizer):
            model(batch).sum().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

        totals.append(way(model, batches, body, around(model)))
    return totals


def my_batches():
    """27 rows dealt out in turn, in batches of 4: the last ones are uneven."""
    return list(torch.rand(27, 16)[RANK::SIZE].split(4))


def replicated():
    return both_ways(DistributedDataParallel, my_batches())


def sharded():
    mesh = init_device_mesh("cpu", (SIZE,))
    return both_ways(lambda model: fully_shard(model, mesh=mesh), my_batches())


def tensor_parallel():
    """All ranks have the same rows and a part of each layer."""
    mesh = init_device_mesh("cpu", (SIZE,))
    plan = {"0": ColwiseParallel(), "2": RowwiseParallel(use_local_output=False)}

    def sliced(model):
        parallelize_module(model, mesh, plan)
        return model

    return both_ways(sliced, list(torch.rand(27, 16).split(8)))


def joined():
    """The first rank has 3 batches, of 12 rows; the others 2, of 5."""
    batches = list(torch.rand(5 if RANK else 12, 16).split(4))
    return both_ways(DistributedDataParallel, batches, lambda model: model.join())


def pipeline():
    """A layer on each rank; 3 batches of 8 rows in 4 microbatches."""
    totals = []
    for schedule, way in ((ScheduleGPipe, with_steps), (Schedule1F1B, with_a_counter)):
        layer = nn.Linear(16, 16)
        stage = Stage(layer, RANK, SIZE, torch.device("cpu"))
        runs = schedule(stage, n_microbatches=4, loss_fn=nn.functional.mse_loss)

        def body(batch, runs=runs, stage=stage, layer=layer):
            given = (batch,) if stage.is_first else ()
            runs.step(*given, **({"target": torch.rand(8, 16)} if stage.is_last else {}))
            layer.zero_grad()

        totals.append(way(layer, list(torch.rand(24, 16).split(8)), body, contextlib.nullcontext()))
    return totals


def phases():
    """Every rank trains 2 rows, the first alone validates 3."""
    model = network()
    ft = FlopsTracker(model, convention="matmul")
    for batch in ft.steps([torch.rand(2, 16)]):
        model(batch).sum().backward()
    if RANK == 0:
        with ft.phase("validate"), torch.no_grad():
            model(torch.rand(3, 16))
    apart = ft.global_phase_counts
    return {
        "each": {name: counts.total for name, counts in apart.items()},
        "together": ft.global_counts.total,
        "own": ft.counts.total,
        "calls": apart["train"].by_module()["Sequential.0"].calls,
        "ranks": [ft.counts.ranks, apart["train"].ranks, ft.global_counts.under("macs").ranks],
    }


class Stated(FlopsEstimator):
    def __init__(self, flops):
        self.flops = flops

    def flops_for_batch(self, batch_size):
        return self.flops


def stated(flops):
    ft = FlopsTracker(Stated(flops))
    with ft:
        ft.on_epoch_start()
        ft.update_batch(1)
        ft.on_epoch_end()
    return ft


def error_of(call):
    try:
        return str(call())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def large_counts():
    return {
        "exact": str(stated(10**25 * (RANK + 1) + 1).global_flops),
        "too large": error_of(lambda: stated(2**127).global_flops),
    }


def misuse():
    convention = "macs" if RANK else "matmul"
    model = network()
    with FlopCounter(model, convention=convention) as counter:
        model(torch.rand(1, 16))
    everywhere = counter.under("exact").all_reduce()
    alone = dist.new_group([1])
    return {
        "conventions": error_of(lambda: FlopsTracker(model, convention=convention).global_flops),
        "conventions of counts": error_of(counter.all_reduce),
        "twice": error_of(everywhere.all_reduce),
        "too large": too_large(),
        "another group": error_of(lambda: counter.all_reduce(alone).total),
        "in a block": in_a_block(),
    }


def too_large():
    """Counts that one rank can't send, as they don't fit into 128 bits; all of them say so."""
    register_rule("rank_programs::much", lambda args, kwargs, output: 2**127, override=True)
    with FlopCounter() as counter:
        for _ in range(0 if RANK else 2):
            torch.ops.rank_programs.much(torch.rand(1))
    return error_of(counter.all_reduce)


def grid():
    """Ranks two by two: summed along the rows of the mesh, then along its columns."""
    mesh = init_device_mesh("cpu", (SIZE // 2, 2), mesh_dim_names=("column", "row"))
    with FlopCounter(convention="matmul") as counter:
        torch.rand(1 + RANK, 2) @ torch.rand(2, 3)
    pair = counter.all_reduce(mesh["row"].get_group())
    everywhere = pair.all_reduce(mesh["column"].get_group()) if SIZE > 2 else pair
    twice = error_of(lambda: pair.all_reduce(mesh["row"].get_group()))
    return [pair.total, pair.ranks, everywhere.total, everywhere.ranks, twice]


def in_a_block():
    """What ranks send each other for a total is no work that a block sees."""
    ft = stated(5)
    with FlopCounter() as counter:
        _ = ft.global_flops
        counter.counts.all_reduce()
    return counter.operations


def printed(folder):
    """Train by itself, once with the files of the first rank and once with those of all."""
    texts = []
    for name, options in (("first", {}), ("all", {"export_only_rank0": False})):
        model = DistributedDataParallel(network())
        loader = [(torch.rand(2, 16), torch.tensor([0, 1]))]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        ft = FlopsTracker(model, convention="matmul", log_wall_time=False)
        ft.torch_bind(model, optimizer, train_loader=loader)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            for _ in ft(
                1, print_level="both", export="both", export_prefix=folder / name, **options
            ):
                pass
            ft.print_total_flops()
        texts.append(out.getvalue().splitlines())
    return texts


def absent():
    """The last rank is at another collective; the others say so when their time is up."""
    ft = stated(7)
    dist.barrier()
    dist.distributed_c10d._set_pg_timeout(timedelta(seconds=2), dist.group.WORLD)
    if RANK == SIZE - 1:
        return error_of(lambda: dist.all_reduce(torch.rand(1000))), ft.total_flops
    return error_of(lambda: ft.global_flops), ft.total_flops


class Batches:
    """Five batches of 2 rows; the last rank comes to its end before the fourth."""

    def __init__(self, how):
        self.how = how

    def __iter__(self):
        for number in range(5):
            if RANK == SIZE - 1 and number == 3:
                if self.how == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise SystemExit("a sample that can't be read")
            yield torch.rand(2, 16), torch.tensor([0, 1])


def dying(folder, how):
    """Train by itself, then in a loop, while the last rank dies in the middle."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun ends those that are left
    model = DistributedDataParallel(network())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ft = FlopsTracker(model, convention="matmul")
    ft.torch_bind(model, optimizer, train_loader=Batches(how))
    options = {"export": "both", "export_prefix": folder / "run", "export_only_rank0": False}
    training = error_of(lambda: ft.run(2, **options))
    epochs = [(e.batches, e.flops_epoch, e.complete) for e in ft.epoch_logs]
    return {
        "training": training,
        "global": error_of(lambda: ft.global_flops),
        "total": ft.total_flops,
        "epochs": epochs,
    }


SCENES = {
    "work": [
        replicated,
        sharded,
        tensor_parallel,
        joined,
        pipeline,
        phases,
        large_counts,
        misuse,
        grid,
        printed,
        absent,
    ],
    "killed": [dying],
    "failed": [dying],
}


def main():
    name, folder = sys.argv[1], Path(sys.argv[2])
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    seen = {}
    for scene in SCENES[name]:
        given = {"folder": folder, "how": name}
        wanted = scene.__code__.co_varnames[: scene.__code__.co_argcount]
        seen[scene.__name__] = scene(**{key: given[key] for key in wanted})
    (folder / f"rank{RANK}.json").write_text(json.dumps(seen))
    if dist.is_initialized() and name == "work":
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
