"""Count every operation of a transformer block whose attention is written with matrix products."""

import torch
from torch import nn

from flops_tracker import FlopCounter, count, explain


class Block(nn.Module):
    """A block of ViT-B/16, its attention written with @ and softmax; two heads."""

    def __init__(self, width: int = 768, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.norm_one, self.norm_two = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens (B, L, width) to tokens of the same shape."""
        batch, length, width = x.shape
        qkv = self.qkv(self.norm_one(x)).reshape(batch, length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(-2, -1)) * (width // self.heads) ** -0.5
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, width)
        x = x + self.out(mixed)
        return x + self.mlp(self.norm_two(x))


def main() -> None:
    block = Block()
    tokens = torch.randn(1, 197, 768)

    # On fake copies: nothing is computed, and nothing about the block changes.
    forward = count(block, tokens)
    print(f"forward, contractions only: {forward.under('matmul').total:,} FLOPs")
    print(forward.tree())

    optimizer = torch.optim.AdamW(block.parameters())
    with FlopCounter(block) as counter:
        block(tokens).square().mean().backward()
        optimizer.step()
    print()
    print(counter.table(depth=1, top=8))
    print()
    print(explain("aten.addmm", (768,), (197, 3072), (3072, 768)))


if __name__ == "__main__":
    main()
