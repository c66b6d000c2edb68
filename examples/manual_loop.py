"""Count a training loop that you write yourself: three calls in the places where they belong."""

import torch
from torch import nn

from flops_tracker import FlopsTracker, TorchAutoEstimator


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    inputs = torch.randn(1000, 20)
    targets = (inputs.sum(1) > 0).long()

    # Linear 20->64 and 64->2: 2·(20·64 + 64·2) = 2,816 FLOPs forward, three times that in training.
    estimator = TorchAutoEstimator(model, input_example=(1, 20))
    with FlopsTracker(estimator, run_name="manual") as ft:
        for _ in range(3):
            ft.on_epoch_start()
            for start in range(0, 1000, 256):
                x, t = inputs[start : start + 256], targets[start : start + 256]
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), t).backward()
                optimizer.step()
                ft.update_batch(batch_size=len(x))
            ft.on_epoch_end()

    for log in ft.epoch_logs:
        print(f"epoch {log.epoch}: {log.batches} batches, {log.flops_epoch:,} FLOPs")
    ft.print_total_flops()
    print(f"largest batch: {ft.history['flops_batch'].max():,} FLOPs")


if __name__ == "__main__":
    main()
