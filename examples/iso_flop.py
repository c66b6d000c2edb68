"""Which width learns more from the same compute? Two networks, one budget of FLOPs.

Trains each on scikit-learn's digits until it has cost BUDGET, and draws the loss on images that
were held back against the training FLOPs, into iso_flop.png here. Needs matplotlib:
pip install flops-tracker[plot].
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from flops_tracker import FlopsTracker

BUDGET = "1.2 GFLOP"
WIDTHS = (16, 128)


def digits() -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """1500 images of 8x8 pixels to train on, in random order, and 297 to judge by."""
    data = load_digits()
    order = torch.randperm(len(data.data))
    images = torch.tensor(data.data, dtype=torch.float32)[order] / 16
    labels = torch.tensor(data.target)[order]
    return (images[:1500], labels[:1500]), (images[1500:], labels[1500:])


def train(width: int) -> tuple[list[int], list[float]]:
    """Training FLOPs so far, and the loss on the images held back, after each epoch."""
    torch.manual_seed(0)
    (x, y), (held_x, held_y) = digits()
    model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loader = list(zip(x.split(50), y.split(50), strict=True))

    ft = FlopsTracker(model, convention="matmul", max_flops=BUDGET)
    ft.torch_bind(model, optimizer, train_loader=loader)
    flops, losses = [], []
    for _ in ft(range(1000), print_level="none"):  # the budget ends it long before
        with torch.no_grad():
            losses.append(F.cross_entropy(model(held_x), held_y).item())
        flops.append(ft.total_flops)
    parameters = sum(p.numel() for p in model.parameters())
    print(
        f"width {width}: {parameters:,} parameters, {len(ft.step_logs):,} steps, "
        f"{ft.total_flops:,} FLOPs, loss {losses[-1]:.3f}"
    )
    return flops, losses


def main() -> None:
    torch.set_num_threads(1)  # for matrices as small as these more of them are slower
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for width in WIDTHS:
        axes.plot(*train(width), ".-", markersize=3, label=f"width {width}")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="training compute (FLOPs of contractions)",
        ylabel="loss on images held back",
        title=f"The same {BUDGET} for both",
    )
    axes.legend()
    figure.savefig("iso_flop.png", dpi=150)
    print("drawn: iso_flop.png")


if __name__ == "__main__":
    main()
