"""Choose a transformer to a budget before it exists: sizes, FLOPs, and what 6ND would have said."""

import numpy as np
import torch
from torch import nn

from flops_tracker import count, formulas

BUDGET = 10**18
VOCABULARY, LENGTH = 8192, 1024


def plan_all() -> tuple[np.ndarray, np.ndarray, formulas.Plan]:
    """Every pair of a width and a depth, on 20 tokens a parameter (Hoffmann et al. 2022)."""
    widths, layers = np.meshgrid(np.arange(128, 833, 64), np.arange(2, 17), indexing="ij")
    sizes = {
        "layers": layers,
        "d_model": widths,
        "heads": widths // 64,
        "vocab_size": VOCABULARY,
        "seq_len": LENGTH,
    }
    parameters = formulas.transformer(**sizes).parameters
    return widths, layers, formulas.transformer(**sizes, tokens=20 * parameters)


class Block(nn.Module):
    """Attention and a feed-forward layer, each after a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // 64
        self.norm_one, self.norm_two = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Positions (B, L, width) to positions of the same shape."""
        batch, length, width = x.shape
        qkv = self.qkv(self.norm_one(x)).reshape(batch, length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.norm_two(x))


class LanguageModel(nn.Module):
    """The model that was planned; its output has the embedding's matrix."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Token ids (B, L) to logits (B, L, vocabulary)."""
        x = self.norm(self.blocks(self.embedding(tokens)))
        return nn.functional.linear(x, self.embedding.weight)


def main() -> None:
    """Plan, choose, and look whether the counter says the same of the real model."""
    widths, layers, plan = plan_all()
    fits = plan.training <= BUDGET
    print(f"{fits.sum()} of {fits.size} models fit into {BUDGET:.0e} FLOPs")
    best = np.unravel_index(np.where(fits, plan.parameters, 0).argmax(), fits.shape)
    width, depth = int(widths[best]), int(layers[best])
    print(f"the largest: width {width}, {depth} layers, {plan.parameters[best]:,} parameters")
    print(f"  {plan.tokens[best]:,} tokens, {plan.training[best]:,} FLOPs")
    print(f"  6ND: {plan.six_nd[best]:,}, {plan.six_nd_ratio[best]:.2f} of it")

    with torch.device("meta"):
        model = LanguageModel(width, depth)
        tokens = torch.zeros(1, LENGTH, dtype=torch.long)
    counts = count(model, tokens, backward=True, on="meta", convention="matmul")
    step = plan.forward[best], plan.backward[best]
    print(f"a sequence as planned: forward {step[0]:,}, backward {step[1]:,}")
    print(f"and as counted:        forward {counts.forward:,}, backward {counts.backward:,}")


if __name__ == "__main__":
    main()
