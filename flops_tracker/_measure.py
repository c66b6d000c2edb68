"""Measuring a step: how long it takes, and the time and memory of each of its operations."""

import statistics
import time as clock
from collections.abc import Sequence
from typing import Any, NamedTuple

from ._count import Ready
from ._watch import Watch


class Spread(NamedTuple):
    """How seconds differ over the steps: the median, and the quartiles below and above it."""

    median: float
    lower: float
    upper: float
    steps: int


def spread_of(seconds: Sequence[float]) -> Spread:
    """Median and quartiles; of a single step all are its time."""
    if len(seconds) < 2:
        return Spread(*(seconds[0],) * 3, 1)
    lower, median, upper = statistics.quantiles(seconds, n=4, method="inclusive")
    return Spread(median, lower, upper, len(seconds))


def is_on_cuda(ready: Ready) -> bool:
    """Whether a tensor of the step is on a CUDA device, where calls return before they are done."""
    return any(tensor.is_cuda for tensor in ready.tensors)


def bare_seconds(ready: Ready, warm_up: int, steps: int) -> list[float]:
    """Seconds of each of so many steps, without a counter, after some that are not measured."""
    cuda = is_on_cuda(ready)
    for _ in range(warm_up):
        _timed_step(ready, cuda)
    return [_timed_step(ready, cuda) for _ in range(steps)]


def _timed_step(ready: Ready, cuda: bool) -> float:
    import torch

    events = [torch.cuda.Event(enable_timing=True) for _ in range(2 * cuda)]
    if cuda:
        torch.cuda.synchronize()
        events[0].record()
    start = clock.perf_counter()
    ready.step()
    seconds = clock.perf_counter() - start
    if cuda:
        events[1].record()
        events[1].synchronize()
        seconds = events[0].elapsed_time(events[1]) / 1000
    _drop_gradients(ready)
    return seconds


def _drop_gradients(ready: Ready) -> None:
    for tensor in ready.tensors:
        tensor.grad = None  # the next step must not add to them


class Run(NamedTuple):
    """The calls of a step that was recorded, as FlopCount._calls has them, and what watched it."""

    calls: list[tuple[Any, ...]]
    watch: Watch | None


def recorded_run(counter: Any, ready: Ready, time: bool, memory: bool) -> Run:
    """Run a step under a counter that records its calls."""
    watch = None
    if memory or (time and is_on_cuda(ready)):
        watch = Watch(ready.tensors, memory=memory, cuda_time=time and is_on_cuda(ready))
    counter.reset()
    counter._record_calls(watch)
    with counter:
        ready.step()
    _drop_gradients(ready)
    return Run(timed_calls(counter.counts, watch), watch)


def timed_calls(counts: Any, watch: Watch | None) -> list[tuple[Any, ...]]:
    """Calls with start and seconds in the last places: of the GPU's clock where it was watched."""
    on_gpu = {} if watch is None else watch.cuda_times()
    calls: list[tuple[Any, ...]] = counts._calls
    return [(*call[:5], *on_gpu.get(at, call[5:])) for at, call in enumerate(calls)]


def alike(runs: list[Run]) -> list[Run]:
    """The runs that made the same calls as the last one, which is among them."""
    last = [call[:3] for call in runs[-1].calls]
    return [run for run in runs if [call[:3] for call in run.calls] == last]
