"""What tests of counts share: equal layers and their phases in forwards of one; work; products."""

import subprocess
import sys
from collections import Counter

import torch
from torch import nn

# Under `matmul` only products count: Linear(4, 4) on 3 rows is 2*3*4*4 = 96 forward; backward to
# its weight is 96, to its input 96.
LAYER = 96


def layers(count):
    torch.manual_seed(0)
    return nn.Sequential(*[nn.Linear(4, 4) for _ in range(count)])


def rows(**options):
    return torch.randn(3, 4, **options)


def units(counter):
    """Forward, backward, recompute and optimizer in forwards of one layer."""
    counts = counter.under("matmul")
    parts = (counts.forward, counts.backward, counts.recompute, counts.optimizer)
    assert sum(parts) == counts.total
    assert all(part % LAYER == 0 for part in parts)
    return tuple(part // LAYER for part in parts)


def work(counter, biases="bias"):
    """Everything counted, by kind; bytes apart. Biases may be put with the additions."""
    total = Counter()
    for row in counter.rows:
        for kind, count in row.cost.items():
            if kind != "bytes" and count:
                total[biases if kind == "bias" else kind] += count
    return dict(total)


# mm (2,2) times (2,2): 2*2*2*2 under `matmul`.
MM = 16


def mm_total(counter):
    return counter.under("matmul").total


def run_apart(script):
    subprocess.run([sys.executable, "-P", "-c", script], check=True)
