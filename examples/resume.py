"""Training that is killed and goes on from its checkpoint, to the total of one never stopped.

python resume.py                  trains, or goes on from checkpoint.pt
python resume.py --kill-after 2   kills itself in the third epoch, as a cluster may
"""

import argparse
import os
import signal
import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from flops_tracker import FlopsTracker

EPOCHS = 5
CHECKPOINT = Path("checkpoint.pt")


def main(kill_after: int | None) -> None:
    """Train a small network on handwritten digits, with a checkpoint after each epoch."""
    torch.manual_seed(0)
    digits = load_digits()
    data = torch.tensor(digits.data, dtype=torch.float32) / 16
    batches = list(zip(data.split(64), torch.tensor(digits.target).split(64), strict=True))
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    done = 0

    with FlopsTracker(model, project="digits", runs_csv="runs.csv") as ft:
        if CHECKPOINT.exists():
            state = torch.load(CHECKPOINT, weights_only=True)
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            ft.load_state_dict(state["flops"])
            done = state["epoch"]
            print(f"goes on after epoch {done}, {ft.total_flops:,} FLOPs so far")

        for epoch in ft.epochs(range(done + 1, EPOCHS + 1)):
            for i, (x, y) in enumerate(ft.steps(batches)):
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                if epoch - 1 == kill_after and i == 3:
                    sys.stdout.flush()
                    os.kill(os.getpid(), signal.SIGKILL)
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "flops": ft.state_dict(),
                "epoch": epoch,
            }
            torch.save(state, CHECKPOINT.with_suffix(".new"))
            CHECKPOINT.with_suffix(".new").replace(CHECKPOINT)  # never half a checkpoint
            print(f"epoch {epoch}: loss {loss.item():.3f}, {ft.total_flops:,} FLOPs")

    print(f"total {ft.total_flops:,} FLOPs in {len(ft.epoch_logs)} epochs")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kill-after", type=int, metavar="EPOCHS", choices=range(EPOCHS))
    main(parser.parse_args().kill_after)
