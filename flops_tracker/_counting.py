"""What counting changes in the process while it lasts, and how that is undone."""

import sys
import threading
import warnings
from contextlib import ExitStack
from typing import Any

import torch
from torch.nn.modules import module as nn_module

from ._dtensor import leave_out_global_shapes


def open_session(counter: Any) -> ExitStack:
    """Count in this thread, and in threads that start meanwhile; closing the stack ends it."""
    with ExitStack() as stack:
        # Global hooks only: a hook on a module turns PyTorch's fused paths off.
        before = nn_module.register_module_forward_pre_hook(counter._enter_module)
        stack.callback(before.remove)
        after = nn_module.register_module_forward_hook(counter._leave_module, always_call=True)
        stack.callback(after.remove)
        _process.add(counter)
        stack.callback(_process.remove, counter)
        mode = counter._new_mode()
        mode.__enter__()
        stack.callback(_leave, mode)
        return stack.pop_all()


class _Process:
    """What is set once for all counters, by the first that enters, until the last has left."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.counters: list[Any] = []
        self.undo = ExitStack()
        self.eager = False

    def add(self, counter: Any) -> None:
        with self.lock:
            if not self.counters:
                _follow_threads(self.undo)
                _silence_dynamo(self.undo)
                leave_out_global_shapes(self.undo)
            if "torch._dynamo" in sys.modules and not self.eager:
                # A compiled function that is first called under a mode is never compiled.
                self.eager = True
                self.undo.enter_context(torch.compiler.set_stance("force_eager"))
            self.counters.append(counter)

    def remove(self, counter: Any) -> None:
        with self.lock:
            self.counters = [c for c in self.counters if c is not counter]
            if not self.counters:
                self.eager = False
                self.undo.close()


_process = _Process()


def _follow_threads(undo: ExitStack) -> None:
    previous = threading.getprofile()

    def start_counting(frame: Any, event: str, argument: Any) -> None:
        """Be the profile function of a new thread for one event."""
        sys.setprofile(previous)
        with _process.lock:
            counters = list(_process.counters)
        for counter in counters:
            counter._new_mode().__enter__()

    threading.setprofile(start_counting)

    def restore() -> None:
        if threading.getprofile() is start_counting:
            threading.setprofile(previous)  # type: ignore[arg-type]

    undo.callback(restore)


def _silence_dynamo(undo: ExitStack) -> None:
    """Its warning of global hooks is about ours, and the hooks are gone when it matters."""
    warnings.filterwarnings("ignore", message="Using `torch.compile.module.` when there are global")
    entry = warnings.filters[0]

    def restore() -> None:
        if entry in warnings.filters:
            warnings.filters.remove(entry)  # type: ignore[attr-defined]

    undo.callback(restore)


def _leave(mode: Any) -> None:
    """Take a mode off this thread's stack, wherever in it it is; others stay as they are."""
    size = torch._C._len_torch_dispatch_stack()
    if not any(torch._C._get_dispatch_stack_at(i) is mode for i in range(size)):
        return  # entered in another thread: there it passes everything through
    above = []
    while torch._C._get_dispatch_stack_at(torch._C._len_torch_dispatch_stack() - 1) is not mode:
        above.append(torch._C._pop_torch_dispatch_stack(None))
    if above:
        _swap_flags(mode, above[-1])
    mode.__exit__(None, None, None)
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
