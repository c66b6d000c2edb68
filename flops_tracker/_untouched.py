"""Running a model so that nothing about it changes: stand-ins for tensors, all else put back."""

import logging
import random
import sys
import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Attributes, modes and torch's switches are changed for the time of a run.
one_at_a_time = threading.RLock()


def unwrap(model: Any) -> Any:
    """Give the module inside DataParallel, DistributedDataParallel and torch.compile."""
    import torch

    while True:
        if isinstance(model, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel):
            model = model.module
        elif "_orig_mod" in getattr(model, "_modules", {}):
            model = model._modules["_orig_mod"]
        else:
            return model


# ---- leaving no trace ----

_CONTAINERS = (dict, OrderedDict, defaultdict, list, set, deque)


def _copies(value: Any, seen: dict[int, tuple[Any, Any]]) -> None:
    """Remember the items of a container and of the containers in it, by identity."""
    if type(value) not in _CONTAINERS or id(value) in seen:
        return
    seen[id(value)] = (value, value.copy())
    for item in value.values() if isinstance(value, dict) else value:
        _copies(item, seen)


def _same(container: Any, copy: Any) -> bool:
    if len(container) != len(copy):
        return False
    if isinstance(container, dict):
        pairs = zip(container.items(), copy.items(), strict=True)
        return all(a is c and b is d for (a, b), (c, d) in pairs)
    if isinstance(container, set):
        return bool(container == copy)
    return all(a is b for a, b in zip(container, copy, strict=True))


def _put_back(container: Any, copy: Any) -> None:
    if _same(container, copy):
        return
    container.clear()
    if isinstance(container, dict | set):
        container.update(copy)
    else:
        container.extend(copy)


@contextmanager
def modules_as_before(model: Any) -> Iterator[None]:
    """Put back every module's attributes: modes, hooks, caches, lists of weights, buffers."""
    seen: dict[int, tuple[Any, Any]] = {}
    for module in model.modules():
        _copies(module.__dict__, seen)
    try:
        yield
    finally:
        for container, copy in seen.values():
            _put_back(container, copy)


@contextmanager
def in_eval_mode(model: Any) -> Iterator[None]:
    """Put all modules into eval mode, and everything about them back."""
    with modules_as_before(model):
        for module in model.modules():
            module.training = False
        yield


@contextmanager
def random_as_before() -> Iterator[None]:
    """Put back the generators of torch, CUDA (where in use), NumPy (where imported) and random."""
    import torch

    torch_state = torch.get_rng_state()
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    numpy = sys.modules.get("numpy")
    numpy_state = numpy.random.get_state() if numpy is not None else None
    python_state = random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        if cuda_states is not None:
            torch.cuda.set_rng_state_all(cuda_states)
        if numpy is not None:
            numpy.random.set_state(numpy_state)
        random.setstate(python_state)


def replace_tensors(model: Any, change: Callable[[Any], Any]) -> dict[str, Any]:
    """Put stand-ins in the place of all tensors that forward can write to.

    Those among plain attributes are replaced here and now (and put back by modules_as_before);
    those of parameters and buffers are returned by name, for functional_call.
    """
    import torch

    made: dict[int, Any] = {}

    def stand_in(tensor: Any) -> Any:
        if id(tensor) not in made:
            made[id(tensor)] = change(tensor)
        return made[id(tensor)]

    def swap(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return stand_in(value)
        if type(value) in (list, tuple):
            items = [swap(item) for item in value]
            changed = any(a is not b for a, b in zip(items, value, strict=True))
            return type(value)(items) if changed else value
        if type(value) is dict:
            pairs = {key: swap(item) for key, item in value.items()}
            return pairs if any(pairs[k] is not value[k] for k in value) else value
        return value

    for module in model.modules():
        for name, value in list(module.__dict__.items()):
            if name not in ("_parameters", "_buffers", "_modules"):
                module.__dict__[name] = swap(value)
    state = {name: stand_in(p) for name, p in model.named_parameters()}
    state.update((name, stand_in(b)) for name, b in model.named_buffers())
    return state


@contextmanager
def quiet_fake_tensors() -> Iterator[None]:
    """Keep torch from logging what fails on fake copies: it is tried again on real ones."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    disabled = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = disabled


def parameter_count(root: Any) -> int:
    """Numbers in the parameters of a module, shared ones once; 0 of a function (None)."""
    if root is None:
        return 0
    from torch.nn.parameter import is_lazy

    return sum(p.numel() for p in root.parameters() if not is_lazy(p))


def root_of(model: Any) -> Any:
    """Unwrap the module whose layers are counted; ValueError while one of them is lazy."""
    import torch

    model = unwrap(model)
    for name, parameter in list(model.named_parameters()) + list(model.named_buffers()):
        if torch.nn.parameter.is_lazy(parameter):
            raise ValueError(
                f"{name!r} is not initialised yet (a lazy module): call the model once on a batch "
                "before it is counted"
            )
    return model
