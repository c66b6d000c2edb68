"""profile(): FLOPs, time and memory of a model's operations or modules, measured on copies."""

import json
import numbers
import time as clock
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from . import _options, _views
from ._core import FlopCounter
from ._count import Call, Ready
from ._counts import FlopCount
from ._frameworks import need
from ._untouched import parameter_count, random_as_before, root_of
from ._watch import Watch


class OperationRecord(NamedTuple):
    """One call of an operation: seconds, and bytes in use before and after it."""

    module: str
    op: str
    phase: str
    op_class: str
    flops: int
    share: float
    time: float | None
    memory_before: int | None
    memory_after: int | None
    memory_delta: int | None


class ModuleRecord(NamedTuple):
    """A module with all inside it: memory before its first operation and after its last."""

    module: str
    module_class: str
    calls: int
    flops: int
    share: float
    time: float | None
    memory_before: int | None
    memory_after: int | None
    memory_delta: int | None


class Ignored(NamedTuple):
    """What one entry of ``ignore`` took out of the table."""

    entry: str
    calls: int
    flops: int


def profile(
    model: Any,
    *args: Any,
    kwargs: dict[str, Any] | None = None,
    backward: bool = False,
    by: Literal["module", "op"] = "module",
    time: bool = True,
    memory: bool = False,
    warm_up: int = 5,
    steps: int = 10,
    ignore: Iterable[str | type] = (),
    loss_fn: Callable[[Any], Any] | None = None,
    convention: str = "standard",
    peak_flops: float | None = None,
) -> "Profile":
    """Run ``model(*args, **kwargs)`` for real, on copies, and measure it; returns a Profile.

    ``by="op"`` gives a record per call of an operation, ``by="module"`` one per module. With
    ``time``, the model runs ``warm_up`` times, then ``steps`` times for the time of a whole step,
    then ``steps`` times under the counter for the time of each operation; all are means, in
    seconds. Without, it runs once. ``memory`` notes the bytes in use before and after each
    operation: of CUDA's allocator, or else of the live tensors. ``backward=True`` differentiates
    ``loss_fn(output)``, or the sum of the output's floating point tensors.

    ``ignore`` drops operations from the table, not from the totals: by name (``"aten.mm"``), by
    the class of a module they ran in (``nn.Linear`` or ``"Linear"``), or by its path. With
    ``peak_flops``, in FLOP/s, there is an ``mfu``. ValueError and TypeError for options that make
    no sense.
    """
    torch = need("torch", "torch")
    _options.choice("by", by, ("module", "op"))
    backward = _options.switch("backward", backward)
    time, memory = _options.switch("time", time), _options.switch("memory", memory)
    _options.call(model, kwargs, backward, loss_fn)
    steps, warm_up = _options.whole("steps", steps, 1), _options.whole("warm_up", warm_up, 0)
    _check_peak(peak_flops)
    entries = ignore_entries("ignore", ignore)
    root = root_of(model) if isinstance(model, torch.nn.Module) else None
    counter = FlopCounter(root, convention=convention)
    call = Call(root, model, args, dict(kwargs or {}), backward, loss_fn, None)

    from ._counting import unseen_by_counters

    with unseen_by_counters(), random_as_before(), call.ready("real") as ready:
        bare = _bare_seconds(ready, warm_up, steps) if time else None
        runs = [_recorded_run(counter, ready, time, memory) for _ in range(steps if time else 1)]
    result = counter._counts_as(Profile)
    result.on = "real"
    result.params = parameter_count(root)
    result.by, result.time, result.peak_flops = by, bare, peak_flops
    result._entries = [
        (e if isinstance(e, str) else e.__name__, isinstance(e, str)) for e in entries
    ]
    result._by_class = _ignored_classes(root, result, entries)
    result._times = _mean_times([run.calls for run in runs]) if time else None
    result._timeline = [(start, seconds) for *_, start, seconds in runs[-1].calls] if time else None
    if memory:
        result._bytes = runs[-1].watch.memory
        result.memory = runs[-1].watch.live.peak
    for entry in result._unmatched():
        warnings.warn(
            f"ignore has {entry!r}, and no such operation or module ran: nothing is left out",
            stacklevel=2,
        )
    return result


def _check_peak(peak_flops: Any) -> None:
    if peak_flops is None:
        return
    problem = f"peak_flops must be a number of FLOP/s above 0, not {peak_flops!r}"
    if isinstance(peak_flops, bool) or not isinstance(peak_flops, numbers.Real):
        raise TypeError(problem)
    if not float(peak_flops) > 0:
        raise ValueError(problem)


def ignore_entries(option: str, ignore: Any) -> list[str | type]:
    """Check what is to be ignored: names, paths and classes."""
    entries = ignore if isinstance(ignore, Iterable) and not isinstance(ignore, str) else [ignore]
    entries = [ignore] if isinstance(ignore, type) else list(entries)
    for entry in entries:
        if not isinstance(entry, str | type):
            raise TypeError(
                f"{option} takes names of operations, classes of modules and their paths, not "
                f"{entry!r}"
            )
    return entries


# ---- measuring ----


class _Run(NamedTuple):
    calls: list[tuple[Any, ...]]
    watch: Any


def _on_cuda(ready: Ready) -> bool:
    return any(tensor.is_cuda for tensor in ready.tensors)


def _one_step(ready: Ready) -> None:
    ready.step()
    for tensor in ready.tensors:
        tensor.grad = None  # the next step must not add to them


def _bare_seconds(ready: Ready, warm_up: int, steps: int) -> float:
    import torch

    for _ in range(warm_up):
        _one_step(ready)
    seconds = 0.0
    for _ in range(steps):
        if _on_cuda(ready):
            torch.cuda.synchronize()
        start = clock.perf_counter()
        ready.step()
        if _on_cuda(ready):
            torch.cuda.synchronize()
        seconds += clock.perf_counter() - start
        for tensor in ready.tensors:
            tensor.grad = None
    return seconds / steps


def _recorded_run(counter: Any, ready: Ready, time: bool, memory: bool) -> _Run:
    cuda_time = time and _on_cuda(ready)
    watch = None
    if memory or cuda_time:
        watch = Watch(ready.tensors, memory=memory, cuda_time=cuda_time)
    counter.reset()
    counter._record_calls(watch)
    with counter:
        ready.step()
    calls = counter.counts._calls
    if watch is not None and cuda_time:
        on_gpu = watch.cuda_times()
        calls = [(*call[:5], *on_gpu.get(at, call[5:])) for at, call in enumerate(calls)]
    for tensor in ready.tensors:
        tensor.grad = None
    return _Run(calls, watch)


def _mean_times(runs: list[list[tuple[Any, ...]]]) -> list[float]:
    """Mean seconds of each call of the last run, over the runs that made the same calls."""
    last = [call[:3] for call in runs[-1]]
    same = [run for run in runs if [call[:3] for call in run] == last]
    return [sum(run[at][6] for run in same) / len(same) for at in range(len(last))]


def _ignored_classes(
    root: Any, counts: Any, entries: list[str | type]
) -> dict[str, frozenset[int]]:
    """Of each path, the numbers of the entries that are a class of the module, or its name."""
    classes: dict[str, tuple[Any, ...]] = {row[0]: (row[1],) for row in counts._modules[1:]}
    if root is not None:
        root_name = counts._modules[1][0]
        for path, module in root.named_modules():
            kinds = type(module).__mro__
            name = f"{root_name}.{path}" if path else root_name
            classes[name] = (*kinds, *(kind.__name__ for kind in kinds))
    return {
        path: frozenset(n for n, entry in enumerate(entries) if entry in kinds)
        for path, kinds in classes.items()
    }


# ---- the result ----


class Profile(FlopCount):
    """A FlopCount of one step, with what was measured.

    ``time`` is seconds of a step without the counter, ``memory`` the most bytes that were in use;
    None where they were not asked for. ``records`` are the rows of the table.
    """

    by: str = "module"
    time: float | None = None
    memory: int | None = None
    peak_flops: float | None = None
    _entries: list[tuple[str, bool]]  # the text, and whether it was given as text
    _by_class: dict[str, frozenset[int]]
    _times: list[float] | None = None
    _timeline: list[tuple[float, float]] | None = None
    _bytes: dict[int, tuple[int, int]] | None = None

    @property
    def flops_per_second(self) -> float | None:
        """FLOPs of a step over its time; None without a time."""
        return None if not self.time else self.total / self.time

    @property
    def mfu(self) -> float | None:
        """Share of ``peak_flops`` that contractions reach (``matmul``), recomputation left out."""
        if not self.time or self.peak_flops is None:
            return None
        counts = self.under("matmul")
        work = (counts.forward, counts.backward, counts.optimizer)
        return sum(flops / self.time / self.peak_flops for flops in work)

    # ---- what is ignored ----

    def _ignored_by(self, op: str, module: str) -> int | None:
        """The number of the entry that drops an operation in a module, if one does."""
        return next(self._matches(op, module), None)

    def _matches(self, op: str, module: str) -> Iterator[int]:
        """The numbers of all entries that would drop it."""
        around = list(_paths_to(module))
        names = [op, op.rpartition(".")[0], *around]
        names += [path.partition(".")[2] for path in around]  # without the root's name
        by_class = frozenset[int]().union(*(self._by_class.get(path, ()) for path in around))
        for number, (text, as_text) in enumerate(self._entries):
            if number in by_class or (as_text and text in names):
                yield number

    def _unmatched(self) -> list[str]:
        """Entries that name nothing that ran."""
        ran = {(op, module) for op, module, *_ in self._calls or ()}
        ran |= {("", path) for path, module in self.by_module().items() if module.calls}
        matched = {number for op, module in ran for number in self._matches(op, module)}
        return [text for number, (text, _) in enumerate(self._entries) if number not in matched]

    def _kept(self) -> tuple[list[int], list[list[int]]]:
        """Numbers of the calls that stay, and of those that each entry drops."""
        kept: list[int] = []
        dropped: list[list[int]] = [[] for _ in self._entries]
        for at, (op, module, *_) in enumerate(self._calls or ()):
            number = self._ignored_by(op, module)
            (kept if number is None else dropped[number]).append(at)
        return kept, dropped

    @property
    def ignored(self) -> list[Ignored]:
        """Of each entry of ``ignore``, the calls it dropped from the table and their FLOPs."""
        return [
            Ignored(text, len(calls), self._calls_sum(calls))
            for (text, _), calls in zip(self._entries, self._kept()[1], strict=True)
        ]

    # ---- records ----

    @property
    def records(self) -> list[OperationRecord] | list[ModuleRecord]:
        """One per call of an operation, or one per module, in the order of the model."""
        return self._operations() if self.by == "op" else self._per_module()

    def _operations(self) -> list[OperationRecord]:
        calls = self._calls or []
        records = []
        for at in self._kept()[0]:
            op, module, phase, op_class, flops, _, _ = calls[at]
            seconds = None if self._times is None else self._times[at]
            share = flops / self.total if self.total else 0.0
            records.append(
                OperationRecord(
                    module, op, phase, op_class, flops, share, seconds, *self._memory_of([at])
                )
            )
        return records

    def _per_module(self) -> list[ModuleRecord]:
        inside: dict[str, list[int]] = {}
        calls = self._calls or []
        for at in self._kept()[0]:
            for path in _paths_to(calls[at][1]) if calls[at][1] else ("",):
                inside.setdefault(path, []).append(at)
        records = []
        for path, module in self.by_module().items():
            if path in inside or (module.calls and self._ignored_by("", path) is None):
                numbers = inside.get(path, [])
                records.append(self._module(path, module.module_class, module.calls, numbers))
        if "" in inside:
            records.append(self._module("", "", 0, inside[""]))
        return records

    def _module(self, path: str, kind: str, calls: int, numbers: list[int]) -> ModuleRecord:
        flops = self._calls_sum(numbers)
        seconds = None if self._times is None else sum(self._times[at] for at in numbers)
        share = flops / self.total if self.total else 0.0
        return ModuleRecord(path, kind, calls, flops, share, seconds, *self._memory_of(numbers))

    def _memory_of(self, numbers: list[int]) -> tuple[int | None, int | None, int | None]:
        noted = [at for at in numbers if self._bytes is not None and at in self._bytes]
        if not noted or self._bytes is None:
            return None, None, None
        before, after = self._bytes[noted[0]][0], self._bytes[noted[-1]][1]
        return before, after, after - before

    # ---- views ----

    def table(self, depth: int | None = None, top: int | None = None) -> str:
        """Give the records as text, and below them what was ignored and the totals.

        ``depth`` is the number of levels of modules, ``top`` keeps the records of most FLOPs.
        """
        return _views.profile_table(self, depth, top)

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain data, the records among it."""
        return {
            **super().to_dict(),
            "time": self.time,
            "memory": self.memory,
            "flops_per_second": self.flops_per_second,
            "mfu": self.mfu,
            "records": [record._asdict() for record in self.records],
            "ignored": [ignored._asdict() for ignored in self.ignored],
        }

    def to_trace(self, path: Any) -> None:
        """Write the last measured run as Chrome trace JSON (chrome://tracing, Perfetto).

        One slice per operation, in microseconds. ValueError without times.
        """
        if self._timeline is None:
            raise ValueError("a trace needs times: profile(..., time=True)")
        events: list[dict[str, Any]] = []
        zero = min((start for start, _ in self._timeline), default=0.0)
        for at, (op, module, phase, op_class, flops, _, _) in enumerate(self._calls or ()):
            start, seconds = self._timeline[at]
            common = {"pid": 0, "tid": 0, "ts": 1e6 * (start - zero)}
            arguments = {"module": module, "class": op_class, "flops": flops}
            event = {"name": op, "cat": phase, "ph": "X", "dur": 1e6 * seconds, "args": arguments}
            events.append({**event, **common})
            if self._bytes is not None and at in self._bytes:
                memory = {"name": "memory", "ph": "C", "args": {"bytes": self._bytes[at][1]}}
                events.append({**memory, **common, "ts": 1e6 * (start - zero + seconds)})
        about = {"convention": self.convention, "total_flops": self.total}
        text = json.dumps({"traceEvents": events, "displayTimeUnit": "ms", "otherData": about})
        Path(path).write_text(text + "\n", encoding="utf-8")

    def __str__(self) -> str:
        return _views.profile_summary(self)

    def __repr__(self) -> str:
        return super().__repr__().replace("<FlopCount", "<Profile", 1)


def _paths_to(module: str) -> Iterable[str]:
    """A module's path and those of the modules around it, the innermost first."""
    while module:
        yield module
        module = module.rpartition(".")[0]
