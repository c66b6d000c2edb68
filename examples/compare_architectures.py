"""Attention with softmax beside linear attention: which part is dearer, and how both grow with N.

Counts on fake copies, so nothing is computed; draws the growth into compare_architectures.png here.
Needs matplotlib: pip install flops-tracker[plot].
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

from flops_tracker import compare, count, scaling

WIDTH = 64
KINDS = ("linear", "softmax")


class Attention(nn.Module):
    """One head over a sequence (B, N, WIDTH), with a projection before and after it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Softmax makes N x N scores; linear attention one WIDTH x WIDTH matrix of all tokens."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.kind == "softmax":
            mixed = (q @ k.transpose(-2, -1) / WIDTH**0.5).softmax(-1) @ v
        else:
            q, k = nn.functional.elu(q) + 1, nn.functional.elu(k) + 1
            mixed = q @ (k.transpose(-2, -1) @ v)
        return self.out(mixed)


def main() -> None:
    x = torch.zeros(1, 1024, WIDTH)
    counts = [count(Attention(kind), x, convention="matmul") for kind in KINDS]
    print(compare(*counts, names=KINDS))

    figure, ax = plt.subplots(figsize=(5, 3.6), layout="constrained")
    for kind in KINDS:
        growth = scaling(
            lambda N, kind=kind: (Attention(kind), torch.zeros(1, N, WIDTH)),
            N=[64, 128, 256, 512, 1024, 2048, 4096],
            convention="matmul",
        )
        print(f"\n{kind}\n{growth}")
        growth.plot(label=kind, ax=ax)
    figure.savefig("compare_architectures.png", dpi=150)
    print("drawn: compare_architectures.png")


if __name__ == "__main__":
    main()
