"""Keeps torch.compile from compiling for a while, and what would compile itself at work."""

import functools
import importlib.abc
import importlib.util
import sys
from contextlib import ExitStack
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_NAME = "torch._dynamo.decorators"  # has set_stance, and is imported after what it sets


class Eager:
    """The stance "force_eager"; a stance that the user sets meanwhile holds from the end on."""

    def __init__(self) -> None:
        self._theirs: Any = None
        self._decorators: Any = None
        self._set_stance: Any = None
        self._finder = _Finder(self)

    def begin(self) -> None:
        """Hold it from now on, or from the import of torch._dynamo on."""
        if _NAME in sys.modules:
            self.hold(sys.modules[_NAME])
        else:
            sys.meta_path.insert(0, self._finder)

    def hold(self, decorators: Any) -> None:
        """Set the stance, and keep what others set from being it."""
        frames = sys.modules.get("torch._dynamo.eval_frame")
        if not hasattr(frames, "_stance") or not hasattr(decorators, "_set_stance"):
            return  # a PyTorch that has no stances yet
        self._theirs, self._set_stance = frames._stance, decorators._set_stance  # type: ignore[union-attr]
        self._decorators = decorators
        decorators._set_stance = self._keep
        frames._stance = frames.DynamoStance("force_eager")  # type: ignore[union-attr]

    def _keep(self, stance: Any) -> Any:
        before, self._theirs = self._theirs, stance
        return before

    def end(self) -> None:
        """Let the user's stance hold."""
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        if self._decorators is not None:
            self._decorators._set_stance = self._set_stance
            sys.modules["torch._dynamo.eval_frame"]._stance = self._theirs  # type: ignore[attr-defined]
            self._decorators = None


class _Finder(importlib.abc.MetaPathFinder):
    """Finds one module as it would be found without it, and notices when it has been run."""

    def __init__(self, eager: Eager) -> None:
        self.eager = eager

    def find_spec(
        self, name: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _NAME:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = None if find is None else find(name, path, target)
            if spec is not None:
                return self._noticed(spec)
        return None

    def _noticed(self, spec: ModuleSpec) -> ModuleSpec:
        loader: Any = spec.loader
        run = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            del loader.exec_module
            if self in sys.meta_path:
                self.eager.hold(module)

        loader.exec_module = exec_module
        return spec


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

    undo.callback(setattr, utils, _COMPILE, compile_and_call)
    setattr(utils, _COMPILE, call)


def _reaches_out(function: Any) -> bool:
    """Whether a function has more to work on than its arguments: a closure, an object, a module."""
    bare = hasattr(function, "__code__") and not hasattr(function, "__self__")
    return not bare or bool(function.__closure__)


def _run_flat(fn: Any, args: list[Any], places: tuple[int, ...]) -> Any:
    from torch.utils._pytree import tree_flatten, tree_unflatten

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
