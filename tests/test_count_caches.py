"""count() leaves nothing in what a function keeps from one call to the next."""

# ruff: noqa: PLW0108 (a lambda is what is tested)

import contextvars
import functools
import queue
import threading
import types
import warnings
import weakref
from collections import ChainMap, UserDict, UserList

import pytest
import torch
from torch import nn

from flops_tracker import count

PLACES = ("fake", "meta", "real")
MAKING = ("fake", "real")  # where a tensor that a function makes is on the device of the copies
X = torch.ones(4, 4)


@functools.lru_cache
def bounded(n):
    return torch.arange(n).float()


@functools.cache
def unbounded(n):
    return torch.arange(n).float()


def remembers(function):
    kept = {}

    @functools.wraps(function)
    def call(n):
        if n not in kept:
            kept[n] = function(n)
        return kept[n]

    return call


# As if it came from a library, whose functions are not followed.
remembers = types.FunctionType(
    remembers.__code__, {"functools": functools, "__name__": "elsewhere", "__builtins__": {}}
)


@remembers
def remembered(n):
    return torch.arange(n).float()


class Key:
    pass


KEY = Key()


class Keeps:
    """Makes a tensor on the first call and keeps it in some place."""

    def __init__(self, place, get, put):
        self.place, self.get, self.put = place, get, put

    def __call__(self, x):
        kept = self.get(self.place)
        if kept is None:
            self.put(self.place, torch.zeros(4))
            kept = self.get(self.place)
        return x + kept


def put_key(place, value):
    place[KEY] = value


class Namespace(threading.local):
    value = None


IN_PLACES = {
    "UserDict": (UserDict, lambda p: p.get(KEY), put_key),
    "ChainMap": (ChainMap, lambda p: p.get(KEY), put_key),
    "UserList": (UserList, lambda p: p[0] if p else None, lambda p, v: p.append(v)),
    "WeakKeyDictionary": (weakref.WeakKeyDictionary, lambda p: p.get(KEY), put_key),
    "threading.local": (
        threading.local, lambda p: getattr(p, "value", None), lambda p, v: setattr(p, "value", v)
    ),
    "a subclass of it": (Namespace, lambda p: p.value, lambda p, v: setattr(p, "value", v)),
    "Queue": (queue.Queue, lambda p: p.queue[0] if p.queue else None, lambda p, v: p.put(v)),
    "ContextVar": (
        lambda: contextvars.ContextVar("kept"), lambda p: p.get(None), lambda p, v: p.set(v)
    ),
    "an object in a list": (
        list, lambda p: p[0].value if p else None,
        lambda p, v: p.append(types.SimpleNamespace(value=v)),
    ),
    "a module in a list": (
        list, lambda p: p[0].weight if p else None,
        lambda p, v: p.append(nn.Embedding(1, 4, _weight=v[None])),
    ),
}  # fmt: skip


@pytest.mark.parametrize("on", MAKING)
@pytest.mark.parametrize("kind", IN_PLACES)
def test_a_tensor_that_came(kind, on):
    make, get, put = IN_PLACES[kind]
    place = make()
    counts = count(Keeps(place, get, put), X, on=on)
    assert (counts.total, counts.on) == (16, on)
    assert get(place) is None


@pytest.mark.parametrize("on", PLACES)
@pytest.mark.parametrize("kind", IN_PLACES)
def test_a_tensor_that_was_there(kind, on):
    """Where the function takes it away or writes to it, it is there afterwards, as it was."""
    make, get, put = IN_PLACES[kind]
    place = make()
    put(place, torch.ones(4))
    kept = get(place)

    def function(x):
        tensor = get(place)
        with torch.no_grad():
            tensor.add_(1)
        y = x + tensor
        if hasattr(place, "clear"):
            place.clear()
        elif isinstance(place, queue.Queue):
            place.get()
        elif isinstance(place, contextvars.ContextVar):
            place.set(None)
        else:
            place.value = None
        return y

    assert count(function, X, on=on).total == kept.numel() + 16
    assert get(place) is kept
    assert torch.equal(kept, torch.ones_like(kept))


@pytest.mark.parametrize("on", MAKING)
@pytest.mark.parametrize("cache", [bounded, unbounded, remembered])
def test_a_cache_of_results(cache, on):
    size = 5 + MAKING.index(on)  # not called with before
    x = torch.ones(2, size)
    # 2·size additions; one conversion counts nothing.
    assert count(lambda x: x + cache(x.shape[1]), x, on=on).total == 2 * size
    assert type(cache(size)) is torch.Tensor
    assert torch.equal(cache(size), torch.arange(size).float())


@pytest.mark.parametrize("maxsize", [1, None])
@pytest.mark.parametrize("on", PLACES)
def test_a_model_in_a_cache(on, maxsize):
    @functools.lru_cache(maxsize)
    def the_model():
        return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))

    model = the_model()
    # 2·4·12 forward, and as much for the gradient of the weight.
    counts = count(lambda x: the_model()(x), X, backward=True, on=on, convention="matmul")
    assert (counts.forward, counts.backward) == (96, 96)
    assert the_model() is model
    assert model[1].num_batches_tracked == 0
    assert model[0].weight.grad is None
    assert type(model[0].weight) is nn.Parameter


class OnAClass:
    @staticmethod
    @functools.lru_cache
    def table(n):
        return torch.arange(n).float()

    def __call__(self, x):
        return x + self.table(x.shape[1])


def test_a_cache_on_a_class():
    assert count(OnAClass(), X).total == 16
    assert type(OnAClass.table(4)) is torch.Tensor


def test_what_a_cache_has_of_no_tensors_stays():
    calls = []

    @functools.lru_cache
    def size(n):
        calls.append(n)
        return n

    count(lambda x: x * size(x.shape[0]), X)
    assert (size(4), calls) == (4, [4])


state = torch.ones(4)


@pytest.mark.parametrize("on", PLACES)
def test_a_tensor_that_a_function_takes_out_of_its_variables(on):
    inner = before = torch.ones(4)
    kept = state

    def function(x):
        global state  # noqa: PLW0603 (it is what is tested)
        nonlocal inner
        y = x + state + inner
        state = inner = None
        return y

    assert count(function, X, on=on).total == 2 * 16
    assert state is kept
    assert inner is before


def test_a_queue_has_the_tasks_it_had():
    tasks = queue.Queue()
    count(lambda x: tasks.put(x), X)
    assert (tasks.qsize(), tasks.unfinished_tasks) == (0, 0)


def test_what_a_variable_of_the_context_is_set_to_ends_with_the_call():
    variable = contextvars.ContextVar("variable")
    count(lambda x: variable.set(x), X)
    with pytest.raises(LookupError):
        variable.get()


def test_fake_tensors_that_can_not_be_found_are_warned_of():
    hidden = queue.SimpleQueue()  # shows nothing of what it holds
    with pytest.warns(UserWarning, match=r"keeps tensors where .* \(\(4, 4\)\)") as caught:
        count(lambda x: hidden.put(x + 1), X)
    assert caught[0].filename == __file__
    hidden.get()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        count(lambda x: hidden.put(x + 1), X, on="real")
    assert type(hidden.get()) is torch.Tensor
