"""What a call can reach and change: stand-ins in the place of tensors, and all put back."""

import functools
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

_PLAIN = (int, float, complex, bool, str, bytes, type(None), type)
# Their objects are not looked into: they hold no tensors of the user, or far too much else.
_CLOSED = {
    "torch",
    "numpy",
    "pandas",
    "flops_tracker",
    "pytest",
    "_pytest",
} | sys.stdlib_module_names
# But these do, and count their steps.
_STATEFUL = ("torch.optim", "torch.amp", "torch.cuda.amp")


def _package(name: Any) -> str:
    return str(name).partition(".")[0]


class How(NamedTuple):
    """What is done with what a value holds."""

    data: bool  # tensors may hold other data the next time: what depends on it is not counted
    whole: bool  # all is put back, not only where a tensor came that was not there before


FREE, ARGUMENT, MODULE = How(False, False), How(True, False), How(True, True)
COUNTS_STEPS = How(False, True)


class StandIns:
    """Copies of all tensors that some objects hold, put in their place until ``put_back``.

    It looks into modules, containers, tuples, functions (closures, defaults, the globals they
    name), methods, partials, optimizers and the user's own objects. What a module holds is put
    back as it was; of the rest, whatever has got a tensor that it did not have before.

    ``copy(tensor, data)`` makes a stand-in; see How.
    """

    def __init__(self, copy: Callable[[Any, bool], Any]) -> None:
        self._copy = copy
        self._made: dict[int, tuple[Any, Any]] = {}  # by address: the tensor, its stand-in
        self._seen: dict[int, Any] = {}
        self._todo: deque[tuple[Any, How]] = deque()
        self._undo = ExitStack()
        self.tensors: list[Any] = []  # all stand-ins
        self.scripted = False  # whether there is a TorchScript module among them

    def of(self, tensor: Any) -> Any:
        """The stand-in of a tensor; itself where it has none."""
        return self._made.get(id(tensor), (tensor, tensor))[1]

    def take(self, value: Any, how: How) -> Any:
        """Replace what a value holds, in place; returns what stands for the value itself."""
        result = self._swap(value, how)
        while self._todo:
            self._open(*self._todo.popleft())
        return result

    def put_back(self) -> None:
        """Undo everything."""
        self._undo.close()

    # ---- one value ----

    def _swap(self, value: Any, how: How) -> Any:
        import torch

        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, torch.Tensor):
            return self._stand_in(value, how)
        if isinstance(value, tuple):
            items = [self._swap(item, how) for item in value]
            same = all(a is b for a, b in zip(items, value, strict=True))
            return value if same else tuple.__new__(type(value), items)
        if id(value) not in self._seen:
            self._seen[id(value)] = value
            self._todo.append((value, how))
        return value

    def _stand_in(self, tensor: Any, how: How) -> Any:
        import torch

        known = self._made.get(id(tensor))
        if known is not None:
            return known[1]
        if torch.nn.parameter.is_lazy(tensor):
            raise ValueError(
                "a parameter is not initialised yet (a lazy module): call the model once on a "
                "batch before it is counted"
            )
        stand_in = self._copy(tensor, how.data)
        self._made[id(tensor)] = (tensor, stand_in)
        self._made[id(stand_in)] = (stand_in, stand_in)  # a place may be come to again
        self.tensors.append(stand_in)
        return stand_in

    def _open(self, value: Any, how: How) -> None:
        import torch

        kind = type(value)
        if isinstance(value, torch.nn.Module):
            if isinstance(value, torch.jit.ScriptModule):
                self._script(value)
            self._container(vars(value), MODULE)
            self._class(kind)
        elif isinstance(value, dict | list | set | deque):
            self._container(value, how)
            if kind not in (dict, list, set, deque):
                self._attributes(value, how)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, types.MethodType):
            self._swap(value.__self__, FREE)
            self._swap(value.__func__, FREE)
        elif isinstance(value, functools.partial):
            self._partial(value)
        elif isinstance(value, torch.Generator):
            state = value.get_state()
            self._undo.callback(value.set_state, state)
        elif isinstance(value, functools._lru_cache_wrapper):
            self._swap(value.__wrapped__, FREE)
        elif str(kind.__module__).startswith(_STATEFUL):
            self._attributes(value, COUNTS_STEPS)
        elif kind is types.SimpleNamespace or _package(kind.__module__) not in _CLOSED:
            self._attributes(value, how._replace(whole=False))
            self._class(kind)

    # ---- places ----

    def _container(self, container: Any, how: How) -> None:
        before = _items_of(container)
        self._undo.callback(_restore, container, before, how.whole)
        after = [(self._swap(k, how), self._swap(v, how)) for k, v in before]
        if not _same(before, after):
            _fill(container, after)

    def _attributes(self, value: Any, how: How) -> None:
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict):
            self._container(attributes, how)
        for owner in type(value).__mro__:
            for name, slot in vars(owner).items():
                if (
                    isinstance(slot, types.MemberDescriptorType)
                    and _package(owner.__module__) not in _CLOSED
                ):
                    self._place(
                        functools.partial(getattr, value, name),
                        functools.partial(slot.__set__, value),
                        how,
                    )

    def _place(self, get: Callable[[], Any], put: Callable[[Any], Any], how: How) -> None:
        """Replace what is read and written by two functions."""

        def read() -> Any:
            try:
                return get()
            except (ValueError, AttributeError, KeyError):
                return None  # it holds nothing

        before = read()

        def restore() -> None:
            now = read()
            if now is not before and (how.whole or _holds_tensor(now)):
                put(before)

        self._undo.callback(restore)
        after = self._swap(before, how)
        if after is not before:
            put(after)

    def _partial(self, value: Any) -> None:
        def put(args: Any) -> None:
            value.__setstate__((value.func, args, value.keywords, vars(value)))

        self._swap(value.func, FREE)
        self._place(lambda: value.args, put, FREE)
        self._swap(value.keywords, FREE)

    def _function(self, function: Any) -> None:
        for cell in function.__closure__ or ():
            self._place(
                functools.partial(getattr, cell, "cell_contents"),
                functools.partial(setattr, cell, "cell_contents"),
                FREE,
            )
        self._place(
            lambda: function.__defaults__,
            functools.partial(setattr, function, "__defaults__"),
            FREE,
        )
        self._swap(function.__kwdefaults__, FREE)
        self._swap(vars(function), FREE)
        scope = function.__globals__
        if _package(scope.get("__name__")) not in _CLOSED:
            self._globals(scope, set(_names(function.__code__)))

    def _globals(self, scope: dict[str, Any], names: set[str]) -> None:
        for name in names & scope.keys():
            value = scope[name]
            if isinstance(value, types.ModuleType):
                if _package(value.__name__) not in _CLOSED and id(value) not in self._seen:
                    self._seen[id(value)] = value
                    self._globals(vars(value), names)
                continue
            # Functions of other files are not followed: that would lead through whole libraries.
            if not isinstance(value, types.FunctionType) or value.__globals__ is scope:
                self._place(
                    functools.partial(scope.__getitem__, name),
                    functools.partial(scope.__setitem__, name),
                    FREE,
                )

    def _class(self, kind: type) -> None:
        """Its methods may name globals, and its attributes hold tensors."""
        for owner in kind.__mro__:
            if _package(owner.__module__) in _CLOSED or id(owner) in self._seen:
                continue
            self._seen[id(owner)] = owner
            for name, member in list(vars(owner).items()):
                method = getattr(member, "fget", getattr(member, "__func__", member))
                if isinstance(method, types.FunctionType):
                    self._swap(method, FREE)
                elif not name.startswith("__"):
                    self._place(
                        functools.partial(vars(owner).get, name),
                        functools.partial(type.__setattr__, owner, name),
                        FREE,
                    )

    def _script(self, module: Any) -> None:
        """A TorchScript module keeps its tensors in C++."""
        import torch

        self.scripted = True
        for part in module.modules():
            for entries in (torch._C.ParameterDict(part._c), torch._C.BufferDict(part._c)):
                for name, tensor in entries.items():
                    self._undo.callback(part._c.setattr, name, tensor)
                    part._c.setattr(name, self._stand_in(tensor, MODULE))


def _names(code: types.CodeType) -> Iterator[str]:
    """Of a function and of the functions that are written in it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


# ---- containers ----


def _items_of(container: Any) -> list[tuple[Any, Any]]:
    if isinstance(container, dict):
        return list(dict.items(container))
    return [(None, item) for item in container]


def _same(before: list[tuple[Any, Any]], after: list[tuple[Any, Any]]) -> bool:
    return len(before) == len(after) and all(
        a is c and b is d for (a, b), (c, d) in zip(before, after, strict=True)
    )


def _fill(container: Any, items: list[tuple[Any, Any]]) -> None:
    if isinstance(container, dict):
        if [id(key) for key in dict.keys(container)] == [id(key) for key, _ in items]:
            for key, value in items:
                dict.__setitem__(container, key, value)
        else:
            container.clear()
            container.update(items)
        return
    container.clear()
    for _, item in items:
        (container.add if isinstance(container, set) else container.append)(item)


def _holds_tensor(value: Any, depth: int = 4) -> bool:
    import torch

    if isinstance(value, torch.Tensor):
        return True
    if depth == 0 or not isinstance(value, tuple | list | dict | set | deque):
        return False
    return any(_holds_tensor(part, depth - 1) for item in _items_of(value) for part in item)


def _restore(container: Any, before: list[tuple[Any, Any]], whole: bool) -> None:
    after = _items_of(container)
    if _same(before, after):
        return
    old = {id(part) for item in before for part in item}
    if whole or any(id(p) not in old and _holds_tensor(p) for item in after for p in item):
        _fill(container, before)


@contextmanager
def stand_ins(copy: Callable[[Any, bool], Any]) -> Iterator[StandIns]:
    """Give a StandIns, and put everything back afterwards."""
    made = StandIns(copy)
    try:
        yield made
    finally:
        made.put_back()
