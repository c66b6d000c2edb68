"""@track_flops: counts every operation that a function runs, call by call."""

import functools
import inspect
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never, ParamSpec, Protocol, TypeVar, overload

from . import _core, _options, _output, _ranks, _views

if TYPE_CHECKING:
    from ._counts import FlopCount

_P = ParamSpec("_P")
_R_co = TypeVar("_R_co", covariant=True)
_PRINT_LEVELS = ("none", "total", "table")


class TrackedFunction(Protocol[_P, _R_co]):
    """What track_flops makes of a function, as types: a function, which has ``counts``."""

    counts: "FlopCount | None"

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co: ...
    def __get__(self, instance: Any, owner: Any = None, /) -> "TrackedFunction[..., _R_co]": ...


@overload
def track_flops(fn: Callable[_P, _R_co], /) -> "TrackedFunction[_P, _R_co]": ...
@overload
def track_flops(
    fn: None = None,
    /,
    *,
    convention: str = "standard",
    strict: bool = False,
    causal: str = "full",
    print_level: str = "total",
    output: str | PathLike[str] | None = None,
) -> "Callable[[Callable[_P, _R_co]], TrackedFunction[_P, _R_co]]": ...
def track_flops(
    fn: Any = None,
    /,
    *,
    convention: str = "standard",
    strict: bool = False,
    causal: str = "full",
    print_level: str = "total",
    output: str | PathLike[str] | None = None,
    **unknown: Never,
) -> Any:
    """Count all that PyTorch computes in a function; its ``counts`` are those of the last call.

    ``@track_flops`` or ``@track_flops(convention="matmul", print_level="none")``. What the function
    returns and raises stays as it is. ``convention``, ``strict`` and ``causal`` are those of
    FlopCounter. ``print_level`` is "total" (a line after each call), "table" or "none"; ``output``
    is a file (.json, .csv, .html, .md) that is written after each call.
    """
    if unknown:
        _options.refuse_unknown("track_flops", next(iter(unknown)), _option_names())
    conventions = _options.operation_conventions()
    tracking = _Tracking(
        {
            "convention": _options.choice("convention", convention, conventions),
            "strict": _options.switch("strict", strict),
            "causal": _options.choice("causal", causal, ("full", "exact")),
        },
        _options.choice("print_level", print_level, _PRINT_LEVELS),
        None if output is None else _output.check(output),
    )
    return tracking.decorate if fn is None else tracking.decorate(fn)


def _option_names() -> list[str]:
    return [p.name for p in inspect.signature(track_flops).parameters.values()][1:-1]


class _Tracking:
    """The options of one use of track_flops."""

    def __init__(self, counting: dict[str, Any], print_level: str, output: Path | None) -> None:
        self.counting = counting
        self.print_level = print_level
        self.output = output

    def decorate(self, fn: Any) -> Any:
        if isinstance(fn, staticmethod | classmethod):
            return type(fn)(self.decorate(fn.__func__))
        _check_function(fn)
        # Of a callable object, as functools.partial gives, the attributes are its own affair.
        copied = functools.WRAPPER_UPDATES if inspect.isroutine(fn) else ()
        active = threading.local()

        def call(*args: Any, **kwargs: Any) -> Any:
            if getattr(active, "calls", 0):  # a recursive call is a part of the outer one
                return fn(*args, **kwargs)
            with _Call(self, tracked, active) as counted, counted.counting():
                return fn(*args, **kwargs)

        def generate(*args: Any, **kwargs: Any) -> Any:
            if getattr(active, "calls", 0):
                return (yield from fn(*args, **kwargs))
            with _Call(self, tracked, active) as counted:
                return (yield from counted.steps(fn(*args, **kwargs)))

        tracked: Any = generate if inspect.isgeneratorfunction(fn) else call
        tracked.__name__ = tracked.__qualname__ = _name(fn)
        functools.update_wrapper(tracked, fn, updated=copied)
        tracked.counts = None
        return tracked


def _name(fn: Any) -> str:
    """Give a callable's name: of a partial, that of its function."""
    inside = getattr(fn, "func", fn)
    return str(getattr(inside, "__qualname__", type(fn).__name__)).rpartition("<locals>.")[-1]


def _check_function(fn: Any) -> None:
    """Refuse what can't be counted as a function, with what to do instead."""
    name = _name(fn)
    if isinstance(fn, type):
        raise TypeError(
            f"track_flops decorates functions, not the class {name}: "
            "decorate its method that trains"
        )
    if not callable(fn):
        raise TypeError(
            f"track_flops decorates a function, not {fn!r}; options go by name: "
            'track_flops(convention="matmul")'
        )
    inside = getattr(fn, "func", fn)
    for called in (inside, getattr(inside, "__call__", None)):  # noqa: B004 - to look at, not to call
        if inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called):
            raise TypeError(
                f"track_flops can't count the async function {name}: other tasks run in its thread "
                "meanwhile. Decorate the plain function in it that trains"
            )


class _Call:
    """One call from its beginning to its end, with a counter of its own."""

    def __init__(self, tracking: _Tracking, tracked: Any, active: Any) -> None:
        self._tracking = tracking
        self._tracked = tracked
        self._active = active

    def __enter__(self) -> "_Call":
        self._process = os.getpid()
        self._counter = _core.FlopCounter(**self._tracking.counting)
        self._start = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        seconds = time.perf_counter() - self._start
        counts = self._tracked.counts = self._counter.counts
        if os.getpid() != self._process:
            return  # forked inside: the call ends in the first process
        if self._tracking.output is not None:
            try:
                _output.write(counts, self._tracking.output)
            except OSError as error:  # what the function returns may have taken hours
                warnings.warn(f"the FLOPs were not written: {error}", RuntimeWarning, stacklevel=3)
        if self._tracking.print_level == "none" or _ranks.rank():
            return
        if self._tracking.print_level == "table":
            print(_views.table(counts, None, None, sys.stdout))
        broken = "" if kind in (None, GeneratorExit) else f" · ended by {kind.__name__}"
        total = _views.summary(counts).partition("\n")[0]
        print(f"{_name(self._tracked)} · {total} · {seconds:.2f} s{broken}")

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what runs inside, in this thread and those that it starts."""
        self._active.calls = getattr(self._active, "calls", 0) + 1
        try:
            with self._counter:
                yield
        finally:
            self._active.calls -= 1

    def steps(self, generator: Any) -> Any:
        """Count what a generator does; what its caller does between is not its work."""
        resume, given = generator.send, None
        while True:
            try:
                with self.counting():
                    item = resume(given)
            except StopIteration as end:
                return end.value
            try:
                resume, given = generator.send, (yield item)
            except GeneratorExit:
                with self.counting():
                    generator.close()
                raise
            except BaseException as error:
                resume, given = generator.throw, error
