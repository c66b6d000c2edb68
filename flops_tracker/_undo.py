"""Changes that are undone by an ExitStack, also where a KeyboardInterrupt comes in between."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any


def call_twice(stack: ExitStack, undo: Callable[..., None], *arguments: Any) -> None:
    """Have the stack call this, and once more: the first may be interrupted.

    Do so before the change that is undone, since an interrupt may come after it.
    """
    stack.callback(undo, *arguments)
    stack.callback(undo, *arguments)


def replace(stack: ExitStack, owner: Any, name: str, value: Any) -> None:
    """Set an attribute until the stack is closed."""
    call_twice(stack, setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)
