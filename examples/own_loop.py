"""A loop of one's own with gradient accumulation, and validation counted apart."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from flops_tracker import FlopsTracker

ACCUMULATE = 4


def main() -> None:
    """Train a small network on handwritten digits for three epochs."""
    torch.manual_seed(0)
    digits = load_digits()
    data = torch.tensor(digits.data, dtype=torch.float32) / 16
    target = torch.tensor(digits.target)
    train = list(zip(data[:1500].split(32), target[:1500].split(32), strict=True))
    validation = list(zip(data[1500:].split(100), target[1500:].split(100), strict=True))

    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    ft = FlopsTracker(model)
    for epoch in ft.epochs(3):
        for i, (x, y) in enumerate(ft.steps(train), 1):
            (F.cross_entropy(model(x), y) / ACCUMULATE).backward()
            if i % ACCUMULATE == 0:
                optimizer.step()
                optimizer.zero_grad()
        with ft.phase("validate"), torch.no_grad():
            right = sum(int((model(x).argmax(1) == y).sum()) for x, y in ft.steps(validation))
        print(f"epoch {epoch}: {right} of {len(data) - 1500} right, {ft.total_flops:,} FLOPs")

    for name, counts in ft.phase_counts.items():
        print(f"{name}: {counts}")
    print(ft.phase_counts["train"].table())


if __name__ == "__main__":
    main()
