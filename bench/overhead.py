"""What FlopCounter costs beside an empty dispatch mode and PyTorch's FlopCounterMode.

All variants of a workload are interleaved in one run; overhead is the time above no mode at all.
``--steps`` compares steps of ft.steps that are not counted to bare ones, ``--memory`` counts
objects kept over 10,000 steps, ``--llama`` counts a step of 405B parameters.
"""

import gc
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import repeat
from typing import Any

import models
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from flops_tracker import FlopCounter, FlopsTracker


class EmptyMode(TorchDispatchMode):
    """The least that a mode written in Python can do."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


MODES: dict[str, Callable[[], Any]] = {
    "none": nullcontext,
    "empty mode": EmptyMode,
    "FlopCounterMode": lambda: FlopCounterMode(display=False),
    "FlopCounter": FlopCounter,
}


# ---- workloads: a function that does one step ----


def tiny_operations() -> Callable[[], None]:
    x = torch.randn(8, 8, requires_grad=True)

    def step() -> None:
        y = x
        for _ in range(100):
            y = torch.sin(y) + x
        y.sum().backward()
        x.grad = None

    return step


def training(model: nn.Module, x: torch.Tensor, **adamw: Any) -> Any:
    # Without a rate the weights stay: a step of numbers that vanish takes longer than others.
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, **adamw)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        model(x).sum().backward()
        optimizer.step()

    step.model = model  # type: ignore[attr-defined]
    return step


def mlp(**adamw: Any) -> Any:
    layers = [layer for _ in range(5) for layer in (nn.Linear(32, 32), nn.ReLU())]
    return training(nn.Sequential(*layers), torch.randn(32, 32), **adamw)


def resnet18() -> Any:
    # Fused, since the loop makes temporary tensors whose pages cost more than what is compared.
    return training(models.resnet18(), torch.randn(2, 3, 32, 32), fused=True)


def compare(step: Callable[[], None], steps: int, rounds: int) -> dict[str, float]:
    """Processor time of a step in each mode: the least of the rounds, in which they take turns."""
    best = dict.fromkeys(MODES, float("inf"))
    for _ in range(rounds):
        for name, make in MODES.items():
            with make():
                step()
                start = time.process_time()
                for _ in range(steps):
                    step()
                best[name] = min(best[name], (time.process_time() - start) / steps)
    return best


def overheads() -> None:
    workloads = {
        "200 tiny operations": (tiny_operations(), 10, 15),
        "MLP, AdamW loop": (mlp(foreach=False), 10, 15),
        "MLP, AdamW foreach": (mlp(foreach=True), 10, 15),
        "MLP, AdamW fused": (mlp(fused=True), 10, 15),
        "ResNet-18 at 32x32": (resnet18(), 1, 40),
    }
    print(f"{'overhead of FlopCounter':24} over empty mode   over FlopCounterMode   slowdown")
    for name, (step, steps, rounds) in workloads.items():
        best = compare(step, steps, rounds)
        ours, base = best["FlopCounter"], best["none"]
        print(
            f"{name:24} {(ours - base) / (best['empty mode'] - base):15.2f}   "
            f"{(ours - base) / (best['FlopCounterMode'] - base):20.2f}   {ours / base:8.2f}"
        )


# ---- steps that are not counted ----


def time_steps(loop: Any, step: Callable[[], None]) -> float:
    start = time.process_time()
    for _ in loop:
        step()
    return time.process_time() - start


def steps(rounds: int = 25) -> None:
    """Steps of ft.steps that are not counted, and bare ones, by turns."""
    workloads = {
        "MLP, AdamW fused": (mlp(fused=True), 200),
        "MLP, AdamW loop": (mlp(foreach=False), 200),
        "ResNet-18 at 32x32": (resnet18(), 6),
        "nothing": (training_of_nothing(), 2000),
        "nothing, 1000 tensors": (training_of_nothing(1000), 200),
    }
    for name, (step, count) in workloads.items():
        tracker = FlopsTracker(step.model, trace="first")
        batches = [torch.ones(1)] * count
        for _ in tracker.steps(batches):
            step()
        bare = counted = float("inf")
        for _ in range(rounds):
            bare = min(bare, time_steps(batches, step) / count)
            counted = min(counted, time_steps(tracker.steps(batches), step) / count)
        all_steps = tracker.traced_steps + tracker.replayed_steps
        print(
            f"{name:24} {counted / bare:6.3f} x the bare step, {(counted - bare) * 1e6:6.2f} us "
            f"more, {tracker.traced_steps} of {all_steps} counted"
        )


def training_of_nothing(tensors: int = 0) -> Any:
    """Steps without work, in which only the bookkeeping is left; its parameters have gradients."""
    model = nn.ParameterList(torch.ones(1) for _ in range(tensors))
    for parameter in model:
        parameter.grad = torch.ones(1)

    def step() -> None:
        pass

    step.model = model  # type: ignore[attr-defined]
    return step


def kept_by(step: Callable[[], None], loop: Any) -> tuple[int, int]:
    """Objects that are more after a loop of steps, and KiB by which the peak of memory grew."""
    import resource

    gc.collect()
    objects, peak = len(gc.get_objects()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in loop:
        step()
    gc.collect()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    return len(gc.get_objects()) - objects, grown


def memory(counted: int = 10_000, replayed: int = 100_000) -> None:
    """What is kept by steps inside one block, and by steps of ft.steps that are not counted."""
    step = mlp(foreach=False)
    with FlopCounter() as counter:
        for _ in range(100):
            step()
        objects, grown = kept_by(step, range(counted))
    assert counter.operations > counted
    print(f"kept over {counted:,} counted steps: {objects} objects, peak memory + {grown} KiB")
    step = mlp(fused=True)
    tracker = FlopsTracker(step.model, keep_batch_logs=False)
    batch = torch.ones(1)
    for _ in tracker.steps(repeat(batch, 1000)):
        step()
    before = tracker.traced_steps
    objects, grown = kept_by(step, tracker.steps(repeat(batch, replayed)))
    print(
        f"kept over {replayed:,} steps of ft.steps, {tracker.traced_steps - before} of them "
        f"counted: {objects} objects, peak memory + {grown} KiB"
    )


def llama() -> None:
    """A step of a Llama with 405B parameters on meta tensors, bare and counted."""
    import resource

    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=16384,
        intermediate_size=53248,
        num_hidden_layers=126,
        num_attention_heads=128,
        num_key_value_heads=8,
        vocab_size=128256,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
        ids = torch.zeros((1, 8192), dtype=torch.int64)
        mask = torch.zeros((1, 1, 8192, 8192))

    def step() -> None:
        model.zero_grad(set_to_none=True)
        model(ids, attention_mask=mask, use_cache=False).logits.sum().backward()

    def timed(make: Callable[[], Any]) -> tuple[float, Any]:
        with make() as counter:
            start = time.perf_counter()
            step()
            return time.perf_counter() - start, counter

    step()
    bare = min(timed(nullcontext)[0] for _ in range(3))
    counted, counter = min((timed(FlopCounter) for _ in range(3)), key=lambda pair: pair[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"405B: {counter.under('matmul').total:,} FLOPs (matmul), {counter.trust_line}")
    print(f"405B: counted in {counted / bare:.2f} x the bare run, peak memory {peak:.2f} GiB")


def main() -> None:
    torch.set_num_threads(1)
    if "--steps" in sys.argv:
        steps()
    elif "--memory" in sys.argv:
        memory()
    elif "--llama" in sys.argv:
        llama()
    else:
        overheads()


if __name__ == "__main__":
    main()
