"""What counting costs: the price of update_batch, of the import, and of a tracked training.

Times vary with the machine; ratios are interleaved in one run. `--json` prints the figures alone.
"""

import json
import statistics
import subprocess
import sys
import timeit
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from flops_tracker import FlopsTracker, SklearnSGDEstimator, TorchAutoEstimator


def update_batch_ns(keep: bool, calls: int = 200_000, rounds: int = 9) -> float:
    """Nanoseconds of ft.update_batch(batch_size=n), the empty loop taken off; median of rounds."""
    estimator = SklearnSGDEstimator(64, 10)
    times = []
    for _ in range(rounds):
        ft = FlopsTracker(estimator, keep_batch_logs=keep)
        ft.on_epoch_start()
        loop = timeit.timeit("pass", number=calls)
        full = timeit.timeit("ft.update_batch(batch_size=128)", globals={"ft": ft}, number=calls)
        assert ft.total_flops == calls * 4 * 128 * 64 * 10  # it did count
        times.append((full - loop) / calls * 1e9)
    return statistics.median(times)


def import_ms(loaded: str, rounds: int = 15) -> tuple[float, list[str]]:
    """Milliseconds of the import where these are imported already, and heavy modules it brought."""
    script = (
        f"import {loaded}; t = time.perf_counter(); {{}}; "
        "print(time.perf_counter() - t, [m for m in ('torch', 'numpy') if m in sys.modules])"
    )
    command = [sys.executable, "-P", "-c"]
    added, heavy = [], "[]"
    for _ in range(rounds):
        bare = subprocess.run(
            [*command, script.format("pass")], capture_output=True, text=True, check=True
        )
        ours = subprocess.run(
            [*command, script.format("import flops_tracker")],
            capture_output=True,
            text=True,
            check=True,
        )
        time_ours, heavy = ours.stdout.strip().split(" ", 1)
        added.append((float(time_ours) - float(bare.stdout.split(" ", 1)[0])) * 1e3)
    return statistics.median(added), json.loads(heavy.replace("'", '"'))


def training_ratio(rounds: int = 15) -> float:
    """Time of an epoch trained by the tracker over the same epoch in a plain loop, interleaved."""

    def make() -> tuple[nn.Module, torch.optim.Optimizer, list[Any]]:
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for _ in range(5):
            layers += [nn.Linear(64, 64), nn.ReLU()]
        model = nn.Sequential(*layers, nn.Linear(64, 10))
        loader = [(torch.randn(32, 64), torch.randint(0, 10, (32,))) for _ in range(50)]
        return model, torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9), loader

    model, optimizer, loader = make()

    def plain() -> None:
        model.train()
        for data, target in loader:
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(model(data), target).backward()
            optimizer.step()

    own_model, own_optimizer, own_loader = make()
    ft = FlopsTracker(TorchAutoEstimator(own_model, (1, 64)))
    ft.torch_bind(own_model, own_optimizer, train_loader=own_loader)

    def tracked() -> None:
        ft.run(1)

    torch.set_num_threads(1)
    plain(), tracked()
    return statistics.median(seconds(tracked) / seconds(plain) for _ in range(rounds))


def seconds(function: Callable[[], None]) -> float:
    """One run of it."""
    return timeit.timeit(function, number=1)


def main() -> None:
    added, heavy = import_ms("time, sys")
    own, _ = import_ms("time, sys, typing, importlib.util")
    figures = {
        "update_batch_ns": round(update_batch_ns(True), 1),
        "update_batch_without_batch_logs_ns": round(update_batch_ns(False), 1),
        "import_ms_over_bare_python": round(added, 1),
        "import_ms_without_typing_and_importlib_util": round(own, 1),
        "heavy_modules_imported": heavy,
        "tracked_epoch_over_plain_epoch": round(training_ratio(), 3),
    }
    if "--json" in sys.argv:
        print(json.dumps(figures))
        return
    print(
        "update_batch(batch_size=n)          ", figures["update_batch_ns"], "ns (goal: under 100)"
    )
    print(
        "  with keep_batch_logs=False        ", figures["update_batch_without_batch_logs_ns"], "ns"
    )
    print(
        "import flops_tracker                ",
        figures["import_ms_over_bare_python"],
        "ms (goal: under 30)",
    )
    print(
        "  where typing is imported already  ",
        figures["import_ms_without_typing_and_importlib_util"],
        "ms",
    )
    print("  torch or NumPy imported with it   ", heavy or "neither")
    print("epoch of a 6-layer MLP, tracked/plain", figures["tracked_epoch_over_plain_epoch"])


if __name__ == "__main__":
    main()
