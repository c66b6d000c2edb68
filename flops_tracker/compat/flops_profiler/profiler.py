"""FlopsProfiler and get_model_profile: MACs, parameters and time of a model's forward passes.

MACs are counted by that tool's rules, the convention ``flops_profiler``. No function of PyTorch is
replaced, and the model is left as it is.
"""

import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from ... import _core, _options
from ..._core import FlopCounter
from ..._count import Call
from ..._counts import FlopCount
from ..._frameworks import need
from ..._measure import timed_calls
from ..._profile import facts_of, modules_by_path
from ..._profile_result import ModuleFacts, calls_inside, paths_to
from ..._profile_views import Node, largest_classes, model_tree
from ..._untouched import in_eval_mode, random_as_before, root_of
from ..._watch import Watch

# ---- numbers as text ----


def flops_to_string(flops: float, units: str | None = None, precision: int = 2) -> str:
    """Multiply-accumulates as text: 439_549_952 is ``"439.55 MMACs"``."""
    sizes = {"GMACs": 1e9, "MMACs": 1e6, "KMACs": 1e3, "MACs": 1}
    return _with_unit(flops, units, precision, sizes)


def params_to_string(params_num: float, units: str | None = None, precision: int = 2) -> str:
    """A number of parameters as text: 61_706 is ``"61.71 k"``."""
    sizes = {"M": 1e6, "k": 1e3, "": 1}
    units = "k" if units == "K" else units
    return _with_unit(params_num, units, precision, sizes).rstrip()


def duration_to_string(duration: float, units: str | None = None, precision: int = 2) -> str:
    """Seconds as text: 0.02562 is ``"25.62 ms"``."""
    return _with_unit(duration, units, precision, {"s": 1, "ms": 1e-3, "us": 1e-6})


def _with_unit(number: float, unit: str | None, precision: int, sizes: dict[str, float]) -> str:
    if unit is None:  # the largest of which there is one, or else the smallest
        unit = next((name for name, size in sizes.items() if number >= size), [*sizes][-1])
    size = sizes[_options.choice("units", unit, sizes)]
    return f"{round(number if size == 1 else number / size, precision)} {unit}"


# ---- the profiler ----


class FlopsProfiler:
    """Profile the forward passes of a model between ``start_profile`` and ``end_profile``.

    Every number is a mean over the passes, of which backward and what runs outside of the model are
    no part. A time is the sum of the times of a module's operations. The results stay after
    ``end_profile``, until the next ``start_profile``. TypeError for what is no module.
    """

    _steps: int
    _alike: bool  # all passes so far, which then are as the last
    _last: dict[str, int]
    _sums: dict[str, int]
    _seconds: dict[str, float]

    def __init__(self, model: Any) -> None:
        torch = need("torch", "torch")
        if not isinstance(model, torch.nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}")
        self.model = model
        self.started = False
        self._hooks = ExitStack()
        self._pass: _Pass | None = None
        self._lock = threading.RLock()
        self._counter: Any = None
        self._modules: list[Any] = []  # path, class, aliases
        self._facts: dict[str, ModuleFacts] = {}
        self._ignored: set[str] = set()
        self.reset_profile()

    def start_profile(self, ignore_list: Iterable[type] | type | None = None) -> None:
        """Count and time every forward pass from now on, from 0.

        What runs in modules of the classes in ``ignore_list`` is left out. Where threads call the
        model at once, one of them is profiled; the others run as they do.
        """
        if self.started:
            raise RuntimeError("this FlopsProfiler is profiling: call end_profile() first")
        ignored = (ignore_list,) if isinstance(ignore_list, type) else tuple(ignore_list or ())
        if not all(isinstance(kind, type) for kind in ignored):
            raise TypeError(f"modules to ignore are given by their classes, not {ignore_list!r}")
        root = root_of(self.model)
        self._counter = FlopCounter(root, convention="flops_profiler")
        counts = self._counter.counts
        self._modules = [(row[0], row[1], row[4]) for row in counts._modules[1:]]
        self._facts = facts_of(root, counts)
        modules = modules_by_path(root, counts)
        self._ignored = {path for path, module in modules.items() if isinstance(module, ignored)}
        self.reset_profile()
        self._add_hooks()
        self.started = True

    def _add_hooks(self) -> None:
        model = self.model

        def before(module: Any, _: Any) -> None:
            if module is model:  # and no copy that was made of it meanwhile
                with self._lock:
                    self._begin_pass()

        def after(module: Any, _: Any, __: Any) -> None:
            if module is model:
                with self._lock:
                    self._end_pass()

        with ExitStack() as hooks:
            hooks.callback(model.register_forward_pre_hook(before, prepend=True).remove)
            hooks.callback(model.register_forward_hook(after, always_call=True).remove)
            self._hooks = hooks.pop_all()

    def _begin_pass(self) -> None:
        if self._pass is not None and not self._pass.is_lost():
            self._pass.inside += self._pass.is_here()  # the model calls itself
            return
        self._drop_pass()
        self._pass = _Pass(self._counter, self.model)

    def _end_pass(self) -> None:
        if self._pass is None or not self._pass.is_here():
            return
        self._pass.inside -= 1
        if self._pass.inside:
            return
        counted, self._pass = self._pass, None
        if counted.end():
            self._add(*counted.measure(self._ignored))

    def _drop_pass(self) -> None:
        """End a pass that was broken off."""
        if self._pass is not None:
            self._pass.end()
            self._pass = None

    def _add(self, flops: dict[str, int], seconds: dict[str, float]) -> None:
        self._alike = self._alike and (self._steps == 0 or flops == self._last)
        self._last = flops
        self._steps += 1
        for path, count in flops.items():
            self._sums[path] = _core._add_counts([self._sums.get(path, 0), count])
        for path, time in seconds.items():
            self._seconds[path] = self._seconds.get(path, 0.0) + time

    def end_profile(self) -> None:
        """Stop; the model has its hooks no longer. What was profiled can still be read."""
        self._hooks.close()
        self._drop_pass()
        self.started = False

    def reset_profile(self) -> None:
        """Forget the passes so far."""
        self._steps, self._alike = 0, True
        self._last, self._sums, self._seconds = {}, {}, {}

    # ---- results ----

    def get_total_flops(self, as_string: bool = False) -> Any:
        """Multiply-accumulates of a forward pass; an int where all passes had as many."""
        flops = self._flops_of([self._root])
        return flops_to_string(float(flops)) if as_string else flops

    def get_total_params(self, as_string: bool = False) -> Any:
        """Numbers in the model's parameters, an int; shared ones once."""
        params = self._facts[self._root].params
        return params_to_string(params) if as_string else params

    def get_total_duration(self, as_string: bool = False) -> Any:
        """Seconds of a forward pass, the sum over its operations."""
        seconds = self._time_of([self._root])
        return duration_to_string(seconds) if as_string else seconds

    def get_total_steps(self) -> int:
        """Forward passes that were profiled; one that raised is none."""
        return self._steps

    @property
    def _root(self) -> str:
        if not self._modules:
            raise RuntimeError("nothing was profiled: call start_profile() before the model runs")
        path: str = self._modules[0][0]
        return path

    def _flops_of(self, paths: list[str]) -> float:
        """Of these modules together, in a pass; what all passes share is exact."""
        if self._alike:
            return _core._add_counts([self._last.get(path, 0) for path in paths])
        return _core._add_counts([self._sums.get(path, 0) for path in paths]) / self._steps

    def _time_of(self, paths: list[str]) -> float:
        return sum(self._seconds.get(path, 0.0) for path in paths) / max(self._steps, 1)

    def _params_of(self, paths: list[str]) -> int:
        return _core._add_counts([self._facts[p].params for p in paths if p in self._facts])

    def print_model_profile(self) -> None:
        """Print the model, with parameters, MACs, time and rate of each module in its brackets."""
        root = self._root
        if self._steps == 0:
            print("no forward pass was profiled")
        nodes = [
            Node(path, kind, self._line_of(path, root), aliases)
            for path, kind, aliases in self._modules
        ]
        print(model_tree(nodes))

    def _line_of(self, path: str, root: str) -> str:
        params, extra_repr = self._facts[path]
        flops, seconds = float(self._flops_of([path])), self._time_of([path])
        teraflops = 2 * flops / seconds / 1e12 if seconds else 0.0
        return ", ".join(
            [
                params_to_string(params),
                f"{_percent(params, self._facts[root].params)} Params",
                flops_to_string(flops),
                f"{_percent(flops, self._flops_of([root]))} MACs",
                duration_to_string(seconds),
                f"{_percent(seconds, self._time_of([root]))} time",
                f"{float(f'{teraflops:.2g}')} TFLOPS",
                extra_repr,
            ]
        )

    def print_model_aggregated_profile(self, module_depth: int = -1, top_modules: int = 3) -> None:
        """Print the classes of modules at a depth that have most MACs, parameters and time.

        -1 is the depth of the innermost modules. ValueError where there is none so deep.
        """
        self._root  # noqa: B018
        depth, found = largest_classes(
            {path: kind for path, kind, _ in self._modules},
            {"flops": self._flops_of, "params": self._params_of, "time": self._time_of},
            top_modules,
            module_depth,
        )
        if self._steps == 0:
            print("no forward pass was profiled")
            return
        texts: dict[str, Callable[[float], str]] = {
            "flops": lambda flops: flops_to_string(float(flops)),
            "params": params_to_string,
            "time": duration_to_string,
        }
        for measure, sums in found.items():
            shown = {kind: texts[measure](value) for kind, value in sums.items()}
            print(f"Top {len(shown)} modules in {measure} at depth {depth} are {shown}")


class _Pass:
    """A forward pass that is counted."""

    def __init__(self, counter: Any, model: Any) -> None:
        self.inside = 1
        self._counter = counter
        self._error = sys.exception()
        self._frame = sys._getframe(3)  # that of the model's call
        self._thread = threading.get_ident()
        cuda = any(parameter.is_cuda for parameter in model.parameters())
        self._watch = Watch(model.parameters(), memory=False, cuda_time=True) if cuda else None
        counter.reset()
        counter._record_calls(self._watch)
        counter.__enter__()

    def is_lost(self) -> bool:
        """Whether the call of the model is over: nothing tells a hook of a KeyboardInterrupt."""
        frame = sys._current_frames().get(self._thread)
        while frame is not None and frame is not self._frame:
            frame = frame.f_back
        return frame is None

    def is_here(self) -> bool:
        """Whether it is of this thread."""
        return self._thread == threading.get_ident()

    def end(self) -> bool:
        """Stop counting; whether the pass came to its end."""
        self._counter.__exit__(None, None, None)
        return sys.exception() is self._error

    def measure(self, ignored: set[str]) -> tuple[dict[str, int], dict[str, float]]:
        """Give the MACs and seconds of each module with all inside it."""
        counts = self._counter._counts_as(FlopCount)
        calls = timed_calls(counts, self._watch)
        root = counts._modules[1][0]
        calls = [(call[0], call[1] or root, *call[2:]) for call in calls]  # its hook is ours
        kept = [at for at, call in enumerate(calls) if not ignored & set(paths_to(call[1]))]
        inside = calls_inside(calls, kept)
        return (
            {path: counts._calls_sum(numbers) for path, numbers in inside.items()},
            {path: sum(calls[at][6] for at in numbers) for path, numbers in inside.items()},
        )


def _percent(part: float, whole: float) -> str:
    return f"{part / whole if whole else 0.0:.2%}"


# ---- a model outside of a training ----


def get_model_profile(
    model: Any,
    input_res: Any,
    input_constructor: Callable[[Any], Any] | None = None,
    print_profile: bool = True,
    print_aggregated_profile: bool = True,
    module_depth: int = -1,
    top_modules: int = 3,
    warm_up: int = 5,
    num_steps: int = 10,
    as_strings: bool = True,
    ignore_modules: Iterable[type] | type | None = None,
) -> tuple[Any, Any, int]:
    """Profile forward passes of a model in eval mode; returns ``(macs, params, steps)``.

    ``input_res`` is the shape of its input, of the dtype and on the device of its parameters, or
    what ``input_constructor(input_res)`` makes of it for each pass: a dict of keyword arguments, a
    tuple or list of positional ones, or the one argument. MACs and parameters are text, or numbers
    with ``as_strings=False``. The passes run on copies of the model's tensors.
    """
    warm_up, num_steps = (
        _options.whole("warm_up", warm_up, 0),
        _options.whole("num_steps", num_steps, 1),
    )
    profiler = FlopsProfiler(model)
    _options.function("input_constructor", input_constructor)
    if input_constructor is None:
        _check_shape(input_res)
    _options.whole("top_modules", top_modules, 1)
    _options.whole("module_depth", module_depth, -1)

    def one_pass() -> None:
        args, kwargs = _inputs(model, input_res, input_constructor)
        model(*args, **kwargs)

    call = Call(None, one_pass, (), {}, False, None, None)
    from ..._counting import unseen_by_counters

    with unseen_by_counters(), random_as_before(), ExitStack() as stack:
        ready = stack.enter_context(call.ready("real"))
        stack.enter_context(in_eval_mode(model))
        try:
            for _ in range(warm_up):
                ready.step()
            profiler.start_profile(ignore_modules)
            stack.callback(profiler.end_profile)
            for _ in range(num_steps):
                ready.step()
        except Exception as error:
            if input_constructor is None:
                error.add_note(
                    f"the model was called with a tensor {tuple(input_res)} of its parameters' "
                    "dtype: for token ids or several inputs pass input_constructor"
                )
            raise
    if print_profile:
        profiler.print_model_profile()
    if print_aggregated_profile:
        profiler.print_model_aggregated_profile(module_depth, top_modules)
    macs, params = profiler.get_total_flops(as_strings), profiler.get_total_params(as_strings)
    return macs, params, profiler.get_total_steps()


def _check_shape(input_res: Any) -> None:
    if not isinstance(input_res, tuple | list) or not input_res:
        raise TypeError(f"input_res must be a shape such as (1, 3, 224, 224), not {input_res!r}")
    for size in input_res:
        _options.whole("a size in input_res", size, 0)


def _inputs(
    model: Any, input_res: Any, input_constructor: Callable[[Any], Any] | None
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Arguments of a pass, by position and by name."""
    import torch

    if input_constructor is None:
        like = next(model.parameters(), torch.empty(0))
        return (torch.zeros(tuple(input_res), dtype=like.dtype, device=like.device),), {}
    made = input_constructor(input_res)
    if isinstance(made, Mapping):
        return (), made
    return (tuple(made) if isinstance(made, tuple | list) else (made,)), {}
