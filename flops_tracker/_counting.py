"""What counting changes in the process while it lasts, and how that is undone."""

import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.nn.modules import module as nn_module
from torch.utils import _python_dispatch

from ._control_flow import run_control_as_written
from ._dtensor import leave_out_global_shapes
from ._dynamo import Eager
from ._pipelining import leave_out_trial_runs
from ._undo import call_twice, replace
from ._untouched import one_at_a_time


class _Session(ExitStack):
    """Ends also where it is lost: between its making and its keeping a KeyboardInterrupt fits."""

    __del__ = ExitStack.close


def open_session(counter: Any) -> ExitStack:
    """Count in this thread, and in threads that it starts meanwhile; closing the stack ends it."""
    with _Session() as stack:
        call_twice(stack, _remove_hooks, counter)
        # Global hooks only: a hook on a module turns PyTorch's fused paths off.
        nn_module.register_module_forward_pre_hook(counter._enter_module)
        nn_module.register_module_forward_hook(
            counter._leave_module, with_kwargs=True, always_call=True
        )
        call_twice(stack, _process.remove, counter)
        _process.add(counter)
        mode = counter._new_mode()
        call_twice(stack, _leave, mode)
        _set_stack([other for other in _stack() if not _is_left(other)] + [mode])
        return stack.pop_all()


# ---- hooks ----

_HOOKS = (nn_module._global_forward_pre_hooks, nn_module._global_forward_hooks)
_OTHER_HOOKS = (nn_module._global_backward_pre_hooks, nn_module._global_backward_hooks)


def _hooks_of(counter: Any) -> list[tuple[Any, int, Any]]:
    """Where its hooks are: the table, the number in it, and the hook."""
    own = (counter._enter_module, counter._leave_module)
    return [
        (table, number, hook)
        for table in _HOOKS
        for number, hook in list(table.items())
        if getattr(hook, "muted", hook) in own
    ]


def _remove_hooks(counter: Any) -> None:
    for table, number, _ in _hooks_of(counter):
        nn_module._global_forward_hooks_always_called.pop(number, None)
        nn_module._global_forward_hooks_with_kwargs.pop(number, None)
        table.pop(number, None)


class _Muted:
    """A hook that one thread does not call."""

    def __init__(self, hook: Any, thread: int) -> None:
        self.muted = hook
        self.thread = thread

    def __call__(self, *args: Any) -> Any:
        return None if threading.get_ident() == self.thread else self.muted(*args)


def _hide_hooks_from_dynamo(undo: ExitStack) -> None:
    """It warns of global hooks, of which ours are gone when it matters."""

    def has_others() -> bool:
        ours = sum(len(_hooks_of(counter)) for counter in _process.counters)
        return sum(map(len, _HOOKS + _OTHER_HOOKS)) > ours

    replace(undo, nn_module, "_has_any_global_hook", has_others)


# ---- the process ----


class _Process:
    """What is set once for all counters, by the first that enters, until the last has left."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.counters: list[Any] = []
        self.undo = ExitStack()
        self.flags: list[bool] = []  # as the first counter found them; empty without one

    def add(self, counter: Any) -> None:
        with self.lock:
            if not self.counters:
                self.flags = [getattr(_python_dispatch, name) for name, _ in _FLAGS]
                _follow_threads(self.undo)
                _hide_hooks_from_dynamo(self.undo)
                leave_out_global_shapes(self.undo)
                leave_out_trial_runs(self.undo, unseen_by_counters)
                run_control_as_written(self.undo)
                # A compiled function that is first called under a mode is never compiled.
                eager = Eager()
                call_twice(self.undo, eager.end)
                eager.begin()
            self.counters.append(counter)
            _set_flags([True] * len(_FLAGS))

    def remove(self, counter: Any) -> None:
        with self.lock:
            self.counters = [c for c in self.counters if c is not counter]
            if not self.counters:
                if self.flags:
                    # A mode that was there before the counter, and was left meanwhile, has put back
                    # what it had found.
                    now = [getattr(_python_dispatch, name) for name, _ in _FLAGS]
                    _set_flags([was and is_on for was, is_on in zip(self.flags, now, strict=True)])
                    self.flags = []
                self.undo.close()


_process = _Process()


def _renew_lock() -> None:
    """Another thread may have held it when this process was forked, and is not here."""
    _process.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@contextmanager
def unseen_by_counters() -> Iterator[None]:
    """Hide what this thread does, and threads that it starts, from all counters that are open."""
    with one_at_a_time:
        me, stack = threading.get_ident(), _stack()
        muted = [place for counter in _process.counters for place in _hooks_of(counter)]
        try:
            for table, number, hook in muted:
                table[number] = _Muted(hook, me)
            _set_stack([mode for mode in stack if not _is_ours(mode)])
            yield
        finally:
            _set_stack(stack)
            for table, number, hook in muted:
                if number in table:
                    table[number] = hook


# ---- modes ----


def _is_ours(mode: Any) -> bool:
    return (type(mode).__module__, type(mode).__name__) == ("flops_tracker._core", "CountingMode")


def _is_left(mode: Any) -> bool:
    """Whether it is of a block that was left in another thread."""
    return _is_ours(mode) and not any(counter._owns(mode) for counter in _process.counters)


def _stack() -> list[Any]:
    """The modes of this thread, the innermost last."""
    size = torch._C._len_torch_dispatch_stack()
    return [torch._C._get_dispatch_stack_at(i) for i in range(size)]


def _set_stack(modes: list[Any]) -> None:
    """Without __enter__ and __exit__ of the modes, which set flags of the whole process."""
    for _ in range(torch._C._len_torch_dispatch_stack()):
        torch._C._pop_torch_dispatch_stack(None)
    for mode in modes:
        torch._C._push_on_torch_dispatch_stack(mode)


# Of torch.utils._python_dispatch; and where a mode keeps what it found on entering.
_FLAGS = (
    ("_is_in_torch_dispatch_mode", "old_dispatch_mode_flags"),
    ("_is_in_non_infra_torch_dispatch_mode", "old_non_infra_dispatch_mode_flags"),
    (
        "_is_in_any_mode_without_ignore_compile_internals",
        "old_without_ignore_compile_internals_dispatch_mode_flags",
    ),
)


def _set_flags(values: list[bool]) -> None:
    for (name, _), value in zip(_FLAGS, values, strict=True):
        setattr(_python_dispatch, name, value)
    _python_dispatch.set_is_in_mode_without_ignore_compile_internals(values[-1])


def _leave(mode: Any) -> None:
    """Take a mode off this thread's stack, wherever in it it is; others stay as they are."""
    stack = _stack()
    at = next((i for i, other in enumerate(stack) if other is mode), None)
    if at is None:
        return  # entered in another thread: there it passes everything through
    above = stack[at + 1 :]
    _set_stack(stack[:at] + above)
    if above and len(_process.counters) == 1 and _process.flags:
        # The one above found the flags that we had set, and will set them again.
        for (_, found), value in zip(_FLAGS, _process.flags, strict=True):
            if getattr(above[0], found, None):
                getattr(above[0], found)[-1] = value
        _process.flags = [True] * len(_FLAGS)


def lower(counter: Any) -> None:
    """Put a counter's mode below all others of this thread, which may leave before it."""
    stack = _stack()
    own = [mode for mode in stack if counter._owns(mode)]
    if stack[: len(own)] != own:
        _set_stack(own + [mode for mode in stack if mode not in own])


# ---- threads ----


def _follow_threads(undo: ExitStack) -> None:
    """Count in threads that a counted thread starts."""
    start = threading.Thread.start

    @functools.wraps(start)
    def start_counted(thread: threading.Thread) -> None:
        modes = _stack()
        counters = [c for c in _process.counters if any(map(c._owns, modes))]
        if counters:
            thread.run = _counted(thread.run, counters)  # type: ignore[method-assign]
        start(thread)

    replace(undo, threading.Thread, "start", start_counted)


def _counted(run: Callable[[], None], counters: list[Any]) -> Callable[[], None]:
    def run_counted() -> None:
        modes = [mode for counter in counters if (mode := counter._new_mode()) is not None]
        _set_stack(_stack() + modes)
        try:
            run()
        finally:
            # C++ would do it when Python may be gone.
            _set_stack([mode for mode in _stack() if mode not in modes])

    return run_counted
