"""profile(): FLOPs, time and memory of a model's operations or modules, measured on copies."""

import numbers
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Literal

from . import _options
from ._core import FlopCounter
from ._count import Call
from ._frameworks import need
from ._measure import alike, bare_seconds, recorded_run, spread_of
from ._profile_result import ModuleFacts, Profile
from ._untouched import parameter_count, random_as_before, root_of


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
    depth: int | None = None,
    top: int | None = None,
) -> Profile:
    """Run ``model(*args, **kwargs)`` for real, on copies, and measure it; returns a Profile.

    ``print(result.tree())`` shows the model with what each module costs, ``result.table()`` rows:
    with ``by="op"`` one per call of an operation, with ``by="module"`` one per module. ``depth``
    is how many levels of modules both show, ``top`` how many classes of modules the tree lists as
    the largest in FLOPs, parameters, time and memory.

    With ``time``, the model runs ``warm_up`` times, then ``steps`` times for the time of a whole
    step, then ``steps`` times under the counter for the time of each operation; all are means, in
    seconds, and ``spread`` has median and quartiles. Without, it runs once. ``memory`` notes the
    bytes in use before and after each operation: of CUDA's allocator, or else of the live tensors.
    ``backward=True`` differentiates ``loss_fn(output)``, or the sum of the output's floating point
    tensors.

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
    depth = _options.whole_or_none("depth", depth)
    top = None if top is None else _options.whole("top", top, 1)
    _check_peak(peak_flops)
    entries = ignore_entries("ignore", ignore)
    root = root_of(model) if isinstance(model, torch.nn.Module) else None
    counter = FlopCounter(root, convention=convention)
    if peak_flops is not None and convention == "flops_profiler":
        raise ValueError("mfu is of FLOPs under 'matmul', so peak_flops needs another convention")
    call = Call(root, model, args, dict(kwargs or {}), backward, loss_fn, None)

    from ._counting import unseen_by_counters

    with unseen_by_counters(), random_as_before(), call.ready("real") as ready:
        bare = bare_seconds(ready, warm_up, steps) if time else None
        runs = [recorded_run(counter, ready, time, memory) for _ in range(steps if time else 1)]
    result = counter._counts_as(Profile)
    result.on = "real"
    result.params = parameter_count(root)
    result.by, result.peak_flops, result.depth, result.top = by, peak_flops, depth, top
    result._entries = [
        (e if isinstance(e, str) else e.__name__, isinstance(e, str)) for e in entries
    ]
    result._by_class = _ignored_classes(root, result, entries)
    result._facts = facts_of(root, result)
    if bare is not None:
        result.time, result.spread = sum(bare) / len(bare), spread_of(bare)
        kept = alike(runs)
        if len(kept) < len(runs):
            warnings.warn(
                f"steps differ in their operations: FLOPs are those of the last step, times of "
                f"operations those of the {len(kept)} of {len(runs)} steps like it, and the time "
                "of a step is of them all",
                stacklevel=2,
            )
        result._seconds = [[call[6] for call in run.calls] for run in kept]
        result._starts = [call[5] for call in runs[-1].calls]
    if runs[-1].watch is not None and runs[-1].watch.live is not None:
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


def modules_by_path(root: Any, counts: Any) -> dict[str, Any]:
    """The modules of a model by their paths in its counts."""
    if root is None:
        return {}
    name = counts._modules[1][0]
    return {f"{name}.{path}" if path else name: module for path, module in root.named_modules()}


def facts_of(root: Any, counts: Any) -> dict[str, ModuleFacts]:
    """Of each path, the parameters in the module and those inside it, and its own repr."""
    return {
        path: ModuleFacts(parameter_count(module), module.extra_repr())
        for path, module in modules_by_path(root, counts).items()
    }


def _ignored_classes(
    root: Any, counts: Any, entries: list[str | type]
) -> dict[str, frozenset[int]]:
    """Of each path, the numbers of the entries that are a class of the module, or its name."""
    classes: dict[str, tuple[Any, ...]] = {row[0]: (row[1],) for row in counts._modules[1:]}
    for path, module in modules_by_path(root, counts).items():
        kinds = type(module).__mro__
        classes[path] = (*kinds, *(kind.__name__ for kind in kinds))
    return {
        path: frozenset(n for n, entry in enumerate(entries) if entry in kinds)
        for path, kinds in classes.items()
    }
