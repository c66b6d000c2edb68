"""Operators that take functions, as torch.cond: not compiled, and run so that they are seen."""

import functools
import sys
from contextlib import ExitStack
from typing import Any

import torch
from torch._ops import OperatorBase
from torch.utils._pytree import tree_flatten, tree_unflatten

from ._undo import replace

_DENSE_KEY = torch._C.DispatchKey.CompositeExplicitAutograd

# ---- what they compile is run as it is ----

_COMPILE = "_hop_compile_and_call"
# Of what is compiled for each operator: its name, and where it gets functions that give results.
_RESULTS_OF = {
    "_cond_op_wrapper": (1, 2),
    "_while_loop_op_wrapper": (1,),
    "run_flattened_map": (0,),
    "run_flattened_scan": (0,),
}


def run_control_as_written(undo: ExitStack) -> None:
    """Have torch.cond, while_loop, map and scan work where nothing is compiled.

    They compile themselves, which makes flat tuples of what their functions take and return: the
    operators and their backward need these. Here they are made for the operator, and undone.
    """
    utils = sys.modules.get("torch._higher_order_ops.utils")
    compile_and_call = getattr(utils, _COMPILE, None)
    if compile_and_call is None:
        return

    @functools.wraps(compile_and_call)
    def call(fn: Any, args: Any, kwargs: Any = None) -> Any:
        places = _RESULTS_OF.get(getattr(fn, "__name__", ""))
        if places is None or kwargs or len(args) <= max(places):
            return compile_and_call(fn, args, kwargs)
        if fn.__name__ == "_cond_op_wrapper" and any(map(_reaches_out, args[1:3])):
            # Compiled, what it reaches becomes an operand; the operator alone would not
            # differentiate it.
            return (args[1] if args[0] else args[2])(*args[3])
        return _run_flat(fn, list(args), places)

    replace(undo, utils, _COMPILE, call)


def _reaches_out(function: Any) -> bool:
    """Whether a function has more to work on than its arguments: a closure, an object, a module."""
    bare = hasattr(function, "__code__") and not hasattr(function, "__self__")
    return not bare or bool(function.__closure__)


def _run_flat(fn: Any, args: list[Any], places: tuple[int, ...]) -> Any:
    structure = None

    def flat(function: Any, taken: Any) -> Any:
        def run(*leaves: Any) -> tuple[Any, ...]:
            nonlocal structure
            given = leaves if taken is None else tree_unflatten(leaves, taken)
            result, structure = tree_flatten(function(*given))
            return tuple(result)

        return run

    taken = None
    if fn.__name__ == "_cond_op_wrapper":  # the others flatten what their functions take
        args[3], taken = tree_flatten(args[3])
    for place in places:
        args[place] = flat(args[place], taken)
    leaves = fn(*args)
    if structure is None:  # a loop of no rounds gives what it was given
        return tree_unflatten(leaves, _structure_of_carried(args[0]))[0]
    return tree_unflatten(leaves, structure)


def _structure_of_carried(condition: Any) -> Any:
    """The structure of (carried, additional) inputs, which while_loop's own function knows."""
    variables = dict(zip(condition.__code__.co_freevars, condition.__closure__, strict=True))
    return variables["in_spec"].cell_contents


# ---- what runs in them is counted ----


def _plain(function: Any) -> Any:
    """A graph that autograd made is no module of the model's."""
    return function.forward if isinstance(function, torch.fx.GraphModule) else function


def _each_round(name: str) -> Any:
    """What runs each round of a map or a scan where fake tensors are asked for one of them."""
    modes = torch._C._TorchDispatchModeKey
    fake, proxy = map(torch._C._get_dispatch_mode, (modes.FAKE, modes.PROXY))
    if fake is None or proxy is not None:
        return None
    if name == "map_impl":
        from torch._higher_order_ops.map import map_dense

        return map_dense
    if name == "scan":
        from torch._higher_order_ops.scan import generic_scan

        return lambda function, init, xs, more: generic_scan(
            function, init, xs, additional_inputs=more
        )
    return None


def run_control(mode: Any, operator: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
    """Run a higher-order operator so that the operations in its functions are seen."""
    name = operator.name()
    if name == "cond":
        predicate, on_true, on_false, operands = args
        with mode:
            return _plain(on_true if predicate else on_false)(*operands)
    if name == "while_loop":
        condition, body, given, additional = args
        carried = given
        with mode:
            while _plain(condition)(*carried, *additional):
                carried = tuple(_plain(body)(*carried, *additional))
        if carried is given:  # results are no inputs
            return tuple(v.clone() if isinstance(v, torch.Tensor) else v for v in given)
        return carried
    kernel = operator.py_kernels.get(_DENSE_KEY)
    if kernel is not None and any(isinstance(arg, OperatorBase) for arg in args):
        # They look at the operation they are to call, so it can't be one that counts.
        with mode:
            return kernel(*args, **(kwargs or {}))

    def seen(value: Any) -> Any:
        if not callable(value) or isinstance(value, torch.Tensor | OperatorBase):
            return value

        @functools.wraps(value, updated=())
        def run(*args: Any, **kwargs: Any) -> Any:
            with mode:
                return _plain(value)(*args, **kwargs)

        return run

    named = {key: seen(value) for key, value in (kwargs or {}).items()}
    run_all = _each_round(name) or operator
    return run_all(*map(seen, args), **named)
