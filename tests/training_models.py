"""Small trainings whose FLOPs are known by hand, shared by the tests of the tracker."""

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from flops_tracker import FlopsEstimator, FlopsTracker, TorchAutoEstimator

STEP_COLUMNS = "epoch,step,batch_size,flops_batch,flops_epoch_cum,flops_total_cum,wall_time_s"
EPOCH_COLUMNS = "epoch,flops_epoch,flops_total_cum"

# Linear(4, 3) is 2*4*3 = 24 FLOPs forward for a sample; training is three times that.
TOY_FLOPS = 72
# Ten samples in batches of 4, 4 and 2: 288 + 288 + 144 = 720 FLOPs an epoch.
TOY_EPOCH = 720


class Flat(FlopsEstimator):
    """100 FLOPs a batch."""

    def flops_for_batch(self, batch_size: int) -> int:
        return 100


class PerSample(FlopsEstimator):
    """The same cost for every sample."""

    def __init__(self, cost: int) -> None:
        self.cost = cost

    def flops_for_batch(self, batch_size: int) -> int:
        return self.cost * batch_size


class OneAfterTheOther(FlopsEstimator):
    """The given counts, one per batch."""

    def __init__(self, counts: list[int]) -> None:
        self.counts = iter(counts)

    def flops_for_batch(self, batch_size: int) -> int:
        return next(self.counts)


class Toy(NamedTuple):
    """A tracker bound to a Linear(4, 3) and what it trains."""

    tracker: FlopsTracker
    model: nn.Module
    optimizer: torch.optim.Optimizer


# Linear(4, 3) on B rows under `matmul`: forward 2·B·4·3 = 24·B, its weight gradient as much again;
# the input needs none.
STEP = 48


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 3)


def sgd(model: nn.Module, **options: Any) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.1, **options)


def toy_batches(samples: int = 10, batch_size: int = 4) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Consecutive batches of noise in three classes; the last one is what is left."""
    generator = torch.Generator().manual_seed(1)
    data = torch.randn(samples, 4, generator=generator)
    target = torch.arange(samples) % 3
    return list(zip(data.split(batch_size), target.split(batch_size), strict=True))


def toy(loader: Any = None, *, run_name: str = "run", **bind: Any) -> Toy:
    """Bind a tracker to Linear(4, 3); loader is by default ten samples in batches of 4, 4, 2."""
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = FlopsTracker(TorchAutoEstimator(model, (1, 4)), run_name=run_name)
    batches = toy_batches() if loader is None else loader
    tracker.torch_bind(model, optimizer, train_loader=batches, **bind)
    return Toy(tracker, model, optimizer)


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copy all parameters and buffers."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def same_state(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def read_csv(path: str | Path) -> list[dict[str, str]]:
    """Rows by column name."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(path: str | Path, name: str) -> list[int]:
    """One integer column."""
    return [int(row[name]) for row in read_csv(path)]


def files_in(folder: Path) -> list[str]:
    """Sorted names."""
    return sorted(path.name for path in folder.iterdir())


def run_python(code: str, folder: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that sees the installed package and this module."""
    path = f"import sys; sys.path.append({str(Path(__file__).parent)!r})\n"
    return subprocess.run(
        [sys.executable, "-P", "-X", "dev", "-W", "ignore::DeprecationWarning", "-c", path + code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )
