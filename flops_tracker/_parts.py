"""What containers and objects hold, and how that is put back."""

import sys
import threading
import types
import weakref
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import MutableMapping
from operator import is_
from typing import Any

PLAIN = (int, float, complex, bool, str, bytes, type(None), type)
# Their objects are not looked into: they hold no tensors of the user, or far too much else.
CLOSED = {
    "torch",
    "numpy",
    "pandas",
    "flops_tracker",
    "pytest",
    "_pytest",
} | sys.stdlib_module_names
# But these hold what the user puts into them.
WEAK = (weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet)
HOLDERS = (ChainMap, UserDict, UserList, threading.local, types.SimpleNamespace)
CONTAINERS = (dict, list, set, deque, *WEAK)


def package_of(name: Any) -> str:
    """Of the name of a module, the package."""
    return str(name).partition(".")[0]


def parts_of(container: Any) -> list[Any]:
    """Give the items of a container; of a mapping the keys, and after them the values."""
    # No list of pairs: thousands of tuples would wake the garbage collector.
    if isinstance(container, dict):
        return [*dict.keys(container), *dict.values(container)]
    if isinstance(container, MutableMapping):
        pairs = list(container.items())
        return [key for key, _ in pairs] + [value for _, value in pairs]
    return list(container)


def same(before: list[Any], after: list[Any]) -> bool:
    """Whether two lists hold the same objects."""
    return len(before) == len(after) and all(map(is_, before, after))


def fill(container: Any, parts: list[Any]) -> None:
    """Put what parts_of gave into a container, in the place of all that it holds."""
    if not isinstance(container, dict | MutableMapping):
        container.clear()
        for item in parts:
            (container.append if hasattr(container, "append") else container.add)(item)
        return
    keys, values = parts[: len(parts) // 2], parts[len(parts) // 2 :]
    if isinstance(container, dict) and same(list(dict.keys(container)), keys):
        for key, value in zip(keys, values, strict=True):
            dict.__setitem__(container, key, value)
        return
    container.clear()
    container.update(zip(keys, values, strict=True))


def holds_tensor(value: Any, depth: int = 4) -> bool:
    """Whether there is a tensor in a value, not too deep."""
    import torch

    if isinstance(value, torch.Tensor):
        return True
    if isinstance(value, torch.nn.Module):
        return any(True for part in (value.parameters(), value.buffers()) for _ in part)
    if depth == 0 or isinstance(value, (*PLAIN, types.ModuleType, types.FunctionType)):
        return False
    if isinstance(value, (tuple, *CONTAINERS)):
        return any(holds_tensor(part, depth - 1) for part in parts_of(value))
    if package_of(type(value).__module__) in CLOSED and not isinstance(value, HOLDERS):
        return False
    return holds_tensor(getattr(value, "__dict__", None), depth - 1)


def restore_parts(container: Any, before: list[Any], after: list[Any], whole: bool) -> None:
    """Put the parts of before back, if all are to be, or if tensors came or went since after."""
    now = parts_of(container)
    if same(before, now):
        return
    if whole or _any_other(now, before) or _any_other(after, now):
        fill(container, before)


def _any_other(parts: list[Any], known: list[Any]) -> bool:
    """Whether there are tensors in some parts that are not among others."""
    ids = set(map(id, known))
    return any(id(part) not in ids and holds_tensor(part) for part in parts)
