"""Data-parallel training: each rank counts its own work, global_flops adds them up exactly.

torchrun --standalone --nproc-per-node 2 examples/ddp.py
"""

import os

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from flops_tracker import FlopsTracker


def main() -> None:
    """Train a small network on handwritten digits, dealt out to all ranks."""
    if "RANK" in os.environ:  # torchrun says who this is
        dist.init_process_group("gloo")
    else:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    rank, size = dist.get_rank(), dist.get_world_size()

    torch.manual_seed(0)
    digits = load_digits()
    # 1797 images are no multiple of anything here: the last batches are uneven, some are missing.
    data = torch.tensor(digits.data, dtype=torch.float32)[rank::size] / 16
    target = torch.tensor(digits.target)[rank::size]
    batches = list(zip(data.split(64), target.split(64), strict=True))

    model = DistributedDataParallel(
        nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    ft = FlopsTracker(model, convention="matmul")
    for epoch in ft.epochs(3):
        with model.join():
            for x, y in ft.steps(batches):
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                optimizer.zero_grad()
        total = ft.global_flops  # all ranks read it, also those that don't print it
        if rank == 0:
            print(
                f"epoch {epoch}: {total:,} FLOPs of {size} ranks, {ft.total_flops:,} of them here"
            )

    counts = ft.global_counts
    if rank == 0:
        print(counts.table(top=3))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
