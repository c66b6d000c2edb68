"""What a call can reach and change: stand-ins in the place of tensors, and all put back."""

import contextvars
import functools
import gc
import queue
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from ._parts import (
    CLOSED,
    CONTAINERS,
    HOLDERS,
    PLAIN,
    fill,
    holds_tensor,
    package_of,
    parts_of,
    restore_parts,
    same,
)

_SURELY_PLAIN = frozenset(PLAIN)  # most values are exactly of these
# Of what is closed otherwise, these count their steps; as all optimizers and queues do.
_STATEFUL = ("torch.optim", "torch.amp", "torch.cuda.amp")
# Exactly of these, they have no attributes. A model has thousands of OrderedDicts: to look for
# attributes of theirs would give each an empty dict for them.
_BARE = frozenset((*CONTAINERS, OrderedDict))


class How(NamedTuple):
    """What is done with what a value holds."""

    data: bool  # tensors may hold other data the next time: what depends on it is not counted
    whole: bool  # all is put back, not only where a tensor came that was not there before


FREE, ARGUMENT, MODULE = How(False, False), How(True, False), How(True, True)
COUNTS_STEPS = How(False, True)


class StandIns:
    """Copies of all tensors that some objects hold, put in their place until ``put_back``.

    It looks into modules, containers, tuples, functions (closures, defaults, the globals they
    name), methods, partials, caches, optimizers and the user's own objects. What a module holds
    is put back as it was; of the rest, whatever has got a tensor that it did not have before, or
    has lost one.

    ``copy(tensor, data)`` makes a stand-in; see How.
    """

    def __init__(self, copy: Callable[[Any, bool], Any]) -> None:
        import torch

        self._torch = torch  # a statement in functions that are called so often takes time
        self._copy = copy
        self._made: dict[int, tuple[Any, Any]] = {}  # by address: the tensor, its stand-in
        self._seen: dict[int, Any] = {}
        self._todo: deque[tuple[Any, How]] = deque()
        self._undo: list[tuple[Any, ...]] = []  # functions and their arguments
        self._slots: dict[type, list[Any]] = {}  # of classes that were met
        self.tensors: list[Any] = []  # all stand-ins
        self.scripted = False  # whether there is a TorchScript module among them
        self.packed = False  # or an object of TorchScript's, such as quantized weights

    def of(self, tensor: Any) -> Any:
        """The stand-in of a tensor; itself where it has none."""
        return self._made.get(id(tensor), (tensor, tensor))[1]

    def give(self, tensor: Any, stand_in: Any) -> None:
        """Have this one stand for a tensor."""
        self._made[id(tensor)] = (tensor, stand_in)
        self._made[id(stand_in)] = (stand_in, stand_in)  # a place may be come to again

    def take(self, value: Any, how: How) -> Any:
        """Replace what a value holds, in place; returns what stands for the value itself."""
        result = self._swap(value, how)
        while self._todo:
            self._open(*self._todo.popleft())
        return result

    def put_back(self) -> None:
        """Undo everything; what fails does not keep the rest from being undone."""
        failure = None
        while self._undo:
            undo, *args = self._undo.pop()
            try:
                undo(*args)
            except Exception as error:
                failure = failure or error
        if failure is not None:
            raise failure

    # ---- one value ----

    def _swap(self, value: Any, how: How) -> Any:
        if type(value) in _SURELY_PLAIN or isinstance(value, PLAIN):
            return value
        if isinstance(value, self._torch.Tensor):
            return self._stand_in(value, how)
        if isinstance(value, tuple):
            items = [self._swap(item, how) for item in value]
            return value if same(items, list(value)) else tuple.__new__(type(value), items)
        if id(value) not in self._seen:
            self._seen[id(value)] = value
            if type(value) in _BARE and not value:  # as most of a module's tables of hooks
                self._undo.append((restore_parts, value, [], [], how.whole))
            else:
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
        self.give(tensor, stand_in)
        self.tensors.append(stand_in)
        if isinstance(tensor, torch.nn.Parameter):
            stand_in._is_param = True  # what isinstance asks of a tensor that is none by its type
        if type(tensor) in (torch.Tensor, torch.nn.Parameter):  # those of others make them up
            for name, value in vars(tensor).items():
                setattr(stand_in, name, self._swap(value, how))
        return stand_in

    def _open(self, value: Any, how: How) -> None:
        torch, kind = self._torch, type(value)
        self.packed = self.packed or isinstance(value, torch.ScriptObject)
        if isinstance(value, CONTAINERS):
            self._container(value, how)
            if kind not in _BARE:
                self._attributes(value, how)
        elif isinstance(value, torch.nn.Module):
            if isinstance(value, torch.jit.ScriptModule):
                self._script(value)
            self._container(vars(value), MODULE)
            self._class(kind)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, types.MethodType):
            self._swap(value.__self__, FREE)
            self._swap(value.__func__, FREE)
        elif isinstance(value, functools.partial):
            self._partial(value)
        elif isinstance(value, torch.Generator):
            self._undo.append((value.set_state, value.get_state()))
        elif isinstance(value, functools._lru_cache_wrapper):
            self._cache(value)
        elif isinstance(value, contextvars.ContextVar):
            self._variable(value, how)
        elif isinstance(value, queue.Queue | torch.optim.Optimizer) or str(
            kind.__module__
        ).startswith(_STATEFUL):
            self._attributes(value, COUNTS_STEPS)
            self._class(kind)
        elif isinstance(value, HOLDERS) or package_of(kind.__module__) not in CLOSED:
            self._attributes(value, how._replace(whole=False))
            self._class(kind)

    # ---- places ----

    def _container(self, container: Any, how: How) -> None:
        before = parts_of(container)
        after = [self._swap(part, how) for part in before]
        after = before if same(before, after) else after
        self._undo.append((restore_parts, container, before, after, how.whole))
        if after is not before:
            fill(container, after)

    def _attributes(self, value: Any, how: How) -> None:
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict):
            self._container(attributes, how)
        kind = type(value)
        if kind not in self._slots:
            self._slots[kind] = [
                slot
                for owner in kind.__mro__
                if package_of(owner.__module__) not in CLOSED
                for slot in vars(owner).values()
                if isinstance(slot, types.MemberDescriptorType)
            ]
        for slot in self._slots[kind]:
            self._place(
                functools.partial(slot.__get__, value),
                functools.partial(slot.__set__, value),
                how,
            )

    def _place(self, get: Callable[[], Any], put: Callable[[Any], Any], how: How) -> None:
        """Replace what is read and written by two functions."""

        def read() -> Any:
            try:
                return get()
            except (ValueError, AttributeError, LookupError):
                return None  # it holds nothing

        def restore() -> None:
            now = read()
            if now is not before and (
                how.whole or holds_tensor(now) or (now is not after and holds_tensor(before))
            ):
                put(before)

        before = read()
        after = self._swap(before, how)
        self._undo.append((restore,))
        if after is not before:
            put(after)

    def _partial(self, value: Any) -> None:
        def put(args: Any) -> None:
            value.__setstate__((value.func, args, value.keywords, vars(value)))

        self._swap(value.func, FREE)
        self._place(lambda: value.args, put, FREE)
        self._swap(value.keywords, FREE)

    def _variable(self, variable: Any, how: How) -> None:
        """What it is set to; what the call itself sets ends with its context, see Call.ready."""
        try:
            value = variable.get()
        except LookupError:
            return
        self._undo.append((variable.reset, variable.set(self._swap(value, how))))

    def _cache(self, cache: Any) -> None:
        """What functools.lru_cache keeps, which nothing but the garbage collector tells."""
        self._swap(cache.__wrapped__, FREE)
        bounded = cache.cache_parameters()["maxsize"] is not None
        kept = [part for part in gc.get_referents(cache) if part is not vars(cache)]
        if not bounded:
            for table in kept:
                if type(table) is dict:
                    self._container(table, FREE)
            return
        for part in kept:
            if type(part) is not dict:  # of C's links, which can't be replaced
                self._swap(part, FREE)
        misses = cache.cache_info().misses

        def restore() -> None:
            old = {id(part) for part in kept}
            new = [part for part in gc.get_referents(cache) if id(part) not in old]
            if cache.cache_info().misses != misses and any(map(holds_tensor, new)):
                cache.cache_clear()  # single entries can't be taken out

        self._undo.append((restore,))

    def _function(self, function: Any) -> None:
        for cell in function.__closure__ or ():
            self._place(
                functools.partial(getattr, cell, "cell_contents"),
                functools.partial(setattr, cell, "cell_contents"),
                FREE,
            )
        if function.__defaults__:
            self._place(
                lambda: function.__defaults__,
                functools.partial(setattr, function, "__defaults__"),
                FREE,
            )
        self._swap(function.__kwdefaults__, FREE)
        self._swap(vars(function), FREE)
        scope = function.__globals__
        if package_of(scope.get("__name__")) not in CLOSED:
            self._globals(scope, set(_names(function.__code__)))

    def _globals(self, scope: dict[str, Any], names: set[str]) -> None:
        for name in names & scope.keys():
            value = scope[name]
            if isinstance(value, types.ModuleType):
                if package_of(value.__name__) not in CLOSED and id(value) not in self._seen:
                    self._seen[id(value)] = value
                    self._globals(vars(value), names)
                continue
            # Functions of other files are not followed: that would lead through whole libraries.
            # But those that they wrap around a function of this file are.
            if (
                not isinstance(value, types.FunctionType)
                or value.__globals__ is scope
                or value.__module__ == scope.get("__name__")
            ):
                self._place(
                    functools.partial(scope.__getitem__, name),
                    functools.partial(scope.__setitem__, name),
                    FREE,
                )

    def _class(self, kind: type) -> None:
        """Its methods may name globals, and its attributes hold tensors."""
        for owner in kind.__mro__:
            if package_of(owner.__module__) in CLOSED or id(owner) in self._seen:
                continue
            self._seen[id(owner)] = owner
            for name, member in list(vars(owner).items()):
                method = getattr(member, "fget", getattr(member, "__func__", member))
                if isinstance(method, types.FunctionType | functools._lru_cache_wrapper):
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
                    self._undo.append((part._c.setattr, name, tensor))
                    part._c.setattr(name, self._stand_in(tensor, MODULE))


def _names(code: types.CodeType) -> Iterator[str]:
    """Of a function and of the functions that are written in it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


@contextmanager
def stand_ins(copy: Callable[[Any, bool], Any]) -> Iterator[StandIns]:
    """Give a StandIns, and put everything back afterwards."""
    made = StandIns(copy)
    try:
        yield made
    finally:
        made.put_back()


def left_behind(mode: Callable[[], Any]) -> str:
    """Name the fake tensors that outlive a call; a weak reference to their mode shows if any do."""
    from torch._subclasses.fake_tensor import FakeTensor

    for generation in (1, 2):  # what torch itself leaves in cycles is young
        if mode() is None:
            return ""
        gc.collect(generation)
    found = [
        f"{tuple(value.shape)}"
        for value in gc.get_objects()
        if type(value) is FakeTensor and value.fake_mode is mode()
    ]
    return ", ".join(found[:3]) + ", ..." * (len(found) > 3)
