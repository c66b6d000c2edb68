"""What PyTorch says of an operation: its name, how to call it, its arguments, what it gives."""

import functools
from typing import Any

import torch
from torch._ops import OpOverload

# Bounds of torch.profiler.record_function blocks, which torch.optim opens around each step.
_ENTER = ("profiler._record_function_enter", "profiler._record_function_enter_new")
_EXIT = ("profiler._record_function_exit",)
# They run a function of the user, and are counted by running it under the counter.
_CONTROL = ("cond", "while_loop")


def _kind(overload: OpOverload, packet: str) -> str:
    if packet in _ENTER:
        return "record_enter"
    if packet in _EXIT:
        return "record_exit"
    if packet.startswith("prim."):
        return "question"  # about a tensor; the dispatcher does not know them
    if torch._C._dispatch_has_kernel_for_dispatch_key(overload.name(), "CompositeImplicitAutograd"):
        return "composite"
    returns = overload._schema.returns
    if returns and all(r.alias_info is not None and not r.alias_info.is_write for r in returns):
        return "view"
    return "operation"


def describe(overload: Any) -> tuple[Any, str, str, str, dict[str, tuple[int, Any]]]:
    """Callable, name, name without overload, kind, and each argument's position and default."""
    if isinstance(overload, type):  # a class of modules that a user's rule counts as a whole
        return overload, overload.__qualname__, overload.__qualname__, "operation", {}
    if not isinstance(overload, OpOverload):
        name = overload.name()
        kind = "control" if name in _CONTROL else "operation"
        return overload, f"higher_order.{name}", f"higher_order.{name}", kind, {}
    name = str(overload)
    packet = name.rsplit(".", 1)[0]
    arguments = {
        argument.name: (-1 if argument.kwarg_only else position, argument.default_value)
        for position, argument in enumerate(overload._schema.arguments)
    }
    kind = _kind(overload, packet)
    call = overload._op
    if kind == "composite":
        # The C++ function that runs outside of a mode; decompose prefers Python's, which differ.
        call = functools.partial(overload._op_dk, torch._C.DispatchKey.CompositeImplicitAutograd)
    return call, name, packet, kind, arguments


def run_control(mode: Any, operator: Any, args: tuple[Any, ...]) -> Any:
    """Run a control-flow operator so that the operations inside of it are seen."""
    with mode:
        if operator.name() == "cond":
            predicate, on_true, on_false, operands = args
            return (on_true if predicate else on_false)(*operands)
        condition, body, carried, additional = args
        while condition(*carried, *additional):
            carried = body(*carried, *additional)
        return carried


def module_tree(root: Any) -> list[tuple[Any, str, int, list[str], bool, bool]]:
    """Each module once: itself, path, parent's index, other paths, has parameters, has forward."""
    if not isinstance(root, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {type(root).__name__}")
    rows: list[tuple[Any, str, int, list[str], bool, bool]] = []
    numbers: dict[int, int] = {}

    def add(module: Any, path: str, parent: int) -> None:
        number = numbers.setdefault(id(module), len(rows))
        if number < len(rows):
            rows[number][3].append(path)
            return
        own = any(p is not None for p in module._parameters.values())
        forward = type(module).forward is not torch.nn.Module.forward
        rows.append((module, path, parent, [], own, forward))
        for name, child in module._modules.items():
            if child is not None:
                add(child, f"{path}.{name}" if path else name, number)

    add(root, "", -1)
    return rows
