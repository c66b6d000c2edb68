"""What counting changes in the process while it lasts, and how that is undone."""

import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.nn.modules import module as nn_module

from ._dtensor import leave_out_global_shapes
from ._dynamo import Eager, run_control_as_written
from ._untouched import one_at_a_time


class _Session(ExitStack):
    """Ends also where it is lost: between its making and its keeping a KeyboardInterrupt fits."""

    __del__ = ExitStack.close


def open_session(counter: Any) -> ExitStack:
    """Count in this thread, and in threads that start meanwhile; closing the stack ends it."""
    # What undoes a change is in the stack before the change, since an interrupt may come between
    # them; and it is there twice, since it may be interrupted itself.
    with _Session() as stack:
        _call_twice(stack, _remove_hooks, counter)
        # Global hooks only: a hook on a module turns PyTorch's fused paths off.
        nn_module.register_module_forward_pre_hook(counter._enter_module)
        nn_module.register_module_forward_hook(
            counter._leave_module, with_kwargs=True, always_call=True
        )
        _call_twice(stack, _process.remove, counter)
        _process.add(counter)
        mode = counter._new_mode()
        _call_twice(stack, _leave, mode)
        mode.__enter__()
        return stack.pop_all()


def _call_twice(stack: ExitStack, undo: Callable[..., None], *arguments: Any) -> None:
    stack.callback(undo, *arguments)
    stack.callback(undo, *arguments)


_HOOKS = (
    nn_module._global_forward_pre_hooks,
    nn_module._global_forward_hooks,
)


def _hooks_of(counter: Any) -> list[tuple[Any, int, Any]]:
    """Where its hooks are: the table, the number in it, and the hook."""
    return [
        (table, number, hook)
        for table in _HOOKS
        for number, hook in list(table.items())
        if getattr(hook, "__self__", None) is counter
    ]


def _remove_hooks(counter: Any) -> None:
    for table, number, _ in _hooks_of(counter):
        nn_module._global_forward_hooks_always_called.pop(number, None)
        nn_module._global_forward_hooks_with_kwargs.pop(number, None)
        table.pop(number, None)


class _Process:
    """What is set once for all counters, by the first that enters, until the last has left."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.counters: list[Any] = []
        self.unseeing: list[Any] = []  # those that threads which start now are hidden from
        self.undo = ExitStack()

    def add(self, counter: Any) -> None:
        with self.lock:
            if not self.counters:
                _follow_threads(self.undo)
                _silence_dynamo(self.undo)
                leave_out_global_shapes(self.undo)
                run_control_as_written(self.undo)
                # A compiled function that is first called under a mode is never compiled.
                eager = Eager()
                _call_twice(self.undo, eager.end)
                eager.begin()
            self.counters.append(counter)

    def remove(self, counter: Any) -> None:
        with self.lock:
            self.counters = [c for c in self.counters if c is not counter]
            if not self.counters:
                self.undo.close()


_process = _Process()


@contextmanager
def unseen_by_counters() -> Iterator[None]:
    """Hide what this thread does, and threads that it starts, from all counters that are open."""
    with one_at_a_time:
        me = threading.get_ident()
        counters, unseeing = list(_process.counters), _process.unseeing
        stack = [torch._C._get_dispatch_stack_at(i) for i in range(_stack_size())]
        above = next((i for i, mode in enumerate(stack) if _is_ours(mode)), len(stack))
        muted = [place for counter in counters for place in _hooks_of(counter)]
        try:
            for table, number, hook in muted:
                table[number] = _Muted(hook, me)
            _process.unseeing = [*unseeing, *counters]
            _set_stack(above, [mode for mode in stack[above:] if not _is_ours(mode)])
            yield
        finally:
            _set_stack(above, stack[above:])
            _process.unseeing = unseeing
            for table, number, hook in muted:
                if number in table:
                    table[number] = hook


class _Muted:
    """A hook that one thread does not call."""

    def __init__(self, hook: Any, thread: int) -> None:
        self.hook = hook
        self.thread = thread
        self.__self__ = getattr(hook, "__self__", None)  # whose it is

    def __call__(self, *args: Any) -> Any:
        return None if threading.get_ident() == self.thread else self.hook(*args)


def _is_ours(mode: Any) -> bool:
    return (type(mode).__module__, type(mode).__name__) == ("flops_tracker._core", "CountingMode")


def _stack_size() -> int:
    return int(torch._C._len_torch_dispatch_stack())


def _set_stack(size: int, above: list[Any]) -> None:
    """Cut this thread's stack of modes down to ``size``, and put these on it."""
    while _stack_size() > size:
        torch._C._pop_torch_dispatch_stack(None)
    for mode in above:
        torch._C._push_on_torch_dispatch_stack(mode)


class _LeftAtEnd:
    """Takes modes off the stack of a thread that ends: C++ does it when Python may be gone."""

    def __init__(self, modes: list[Any]) -> None:
        self.modes = modes

    def __del__(self) -> None:
        stack = [torch._C._get_dispatch_stack_at(i) for i in range(_stack_size())]
        _set_stack(0, [mode for mode in stack if mode not in self.modes])


_of_thread = threading.local()


def _follow_threads(undo: ExitStack) -> None:
    previous = threading.getprofile()

    def start_counting(frame: Any, event: str, argument: Any) -> None:
        """Be the profile function of a new thread for one event."""
        sys.setprofile(previous)
        # Without the lock, which a new thread must not wait for: lists are replaced or appended to.
        hidden = {id(counter) for counter in _process.unseeing}
        counters = [c for c in _process.counters if id(c) not in hidden]
        modes = [mode for counter in counters if (mode := counter._new_mode()) is not None]
        # Without __enter__, which sets flags of the whole process; the block's thread has set them.
        _set_stack(_stack_size(), modes)
        _of_thread.modes = _LeftAtEnd(modes)

    def restore() -> None:
        if threading.getprofile() is start_counting:
            threading.setprofile(previous)  # type: ignore[arg-type]

    _call_twice(undo, restore)
    threading.setprofile(start_counting)


_HOOKS_WARNING = "Using `torch.compile.module.` when there are global"


def _silence_dynamo(undo: ExitStack) -> None:
    """Its warning of global hooks is about ours, and the hooks are gone when it matters."""
    entry = ("ignore", re.compile(_HOOKS_WARNING, re.IGNORECASE), Warning, None, 0)

    def restore() -> None:
        if entry in warnings.filters:
            warnings.filters.remove(entry)  # type: ignore[attr-defined]

    _call_twice(undo, restore)
    warnings.filterwarnings("ignore", message=_HOOKS_WARNING)


def _leave(mode: Any) -> None:
    """Take a mode off this thread's stack, wherever in it it is; others stay as they are."""
    if not any(torch._C._get_dispatch_stack_at(i) is mode for i in range(_stack_size())):
        return  # entered in another thread: there it passes everything through
    above = []
    try:
        while torch._C._get_dispatch_stack_at(_stack_size() - 1) is not mode:
            above.append(torch._C._pop_torch_dispatch_stack(None))
        if above:
            _swap_flags(mode, above[-1])
        mode.__exit__(None, None, None)
    finally:
        for other in reversed(above):
            torch._C._push_on_torch_dispatch_stack(other)


_FLAGS = (
    "old_dispatch_mode_flags",
    "old_non_infra_dispatch_mode_flags",
    "old_without_ignore_compile_internals_dispatch_mode_flags",
)


def _swap_flags(mode: Any, above: Any) -> None:
    """A mode remembers what it found on entering: what we found now belongs to the one above."""
    for name in _FLAGS:
        mine, theirs = getattr(mode, name), getattr(above, name, None)
        if mine and theirs:
            mine[-1], theirs[-1] = theirs[-1], mine[-1]
