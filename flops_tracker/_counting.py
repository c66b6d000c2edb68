"""What a FlopCounter changes while it counts, and how that is undone."""

import sys
import threading
from contextlib import ExitStack
from typing import Any

import torch
from torch.nn.modules import module as nn_module


def open_session(counter: Any) -> ExitStack:
    """Count in this thread, and in threads that it starts; closing the stack undoes all of it."""
    with ExitStack() as stack:
        if "torch._dynamo" in sys.modules:
            # A compiled function that is first called under a mode would never be compiled.
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        # Global hooks only: a hook on a module turns PyTorch's fused paths off.
        before = nn_module.register_module_forward_pre_hook(counter._enter_module)
        stack.callback(before.remove)
        after = nn_module.register_module_forward_hook(counter._leave_module, always_call=True)
        stack.callback(after.remove)
        _follow_threads(counter, stack)
        mode = counter._new_mode()
        mode.__enter__()
        stack.callback(_leave, mode)
        return stack.pop_all()


def _follow_threads(counter: Any, stack: ExitStack) -> None:
    previous = threading.getprofile()

    def start_counting(frame: Any, event: str, argument: Any) -> None:
        """Run as the profile function of a new thread, once: its first event starts counting."""
        sys.setprofile(previous)
        counter._new_mode().__enter__()

    threading.setprofile(start_counting)

    def restore() -> None:
        if threading.getprofile() is start_counting:
            threading.setprofile(previous)  # type: ignore[arg-type]

    stack.callback(restore)


def _leave(mode: Any) -> None:
    """Take a mode off this thread's stack, wherever in it it is; others stay as they are."""
    size = torch._C._len_torch_dispatch_stack()
    places = [torch._C._get_dispatch_stack_at(i) for i in range(size)]
    if not any(place is mode for place in places):
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
