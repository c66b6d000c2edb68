"""One pass of a model that yields the shapes of its layers and leaves no trace.

First on fake copies of parameters, buffers and inputs: no memory, no arithmetic, nothing touched.
Where forward reads data, on a real example in eval mode, without gradients, on real copies.
Either way every module's attributes, mode and hooks, and the random generators, are put back.
"""

import logging
import random
import sys
import threading
import warnings
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ._core import UncountedWarning
from ._example import Spec, arguments, batch_dims, batch_of, leaves, make, map_leaves, parse, twice


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
def _modules_as_before(model: Any) -> Iterator[None]:
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


@contextmanager
def _plain_paths() -> Iterator[None]:
    """Keep layers from being fused past their submodules, and compiled ones from compiling."""
    import torch

    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


def _set_eval(model: Any) -> None:
    # Not model.eval(): a user's own train() could do more than set the flag.
    for module in model.modules():
        if "training" in module.__dict__:
            module.training = False


# ---- the passes ----


def _replace_tensors(model: Any, change: Callable[[Any], Any]) -> dict[str, Any]:
    """Put stand-ins in the place of all tensors that forward can write to.

    Those among plain attributes are replaced here and now (and put back by _modules_as_before);
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


def _warn_of_new_modules(model: Any, known: set[int]) -> None:
    """Layers that forward makes have no hook: say so, since their work is in no list."""
    new = {type(m).__name__ for m in model.modules() if id(m) not in known}
    if new:
        warnings.warn(
            f"forward makes layers of its own ({', '.join(sorted(new))}), whose FLOPs are missing: "
            "call the model once on a batch before it is counted",
            UncountedWarning,
            stacklevel=2,
        )


def _call_on(model: Any, state: dict[str, Any], example: Any) -> None:
    import torch

    known = {id(module) for module in model.modules()}
    args, kwargs = arguments(example)
    torch.func.functional_call(model, state, args, kwargs)
    _warn_of_new_modules(model, known)


def _call_fake(model: Any, example: Any) -> None:
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    mode = FakeTensorMode(allow_non_fake_inputs=True)

    def fake(tensor: Any) -> Any:
        return mode.from_tensor(tensor if tensor.is_leaf else tensor.detach())

    with _modules_as_before(model):
        state = _replace_tensors(model, fake)
        fake_example = map_leaves(example, fake)
        with mode, torch.enable_grad():  # forward may differentiate; nothing is ever computed
            _call_on(model, state, fake_example)


def _call_real(model: Any, example: Any) -> None:
    import torch

    def copy(tensor: Any) -> Any:
        return tensor.detach().clone()

    with _modules_as_before(model), torch.no_grad():
        _call_on(model, _replace_tensors(model, copy), map_leaves(example, copy))


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


_FAKE = "torch._subclasses.fake_tensor"

# Attributes, modes and torch's switches are changed for the time of a dry run.
_one_at_a_time = threading.RLock()


def _examples(spec: Any, batch_dim: Any) -> list[Any]:
    """Give the example, with twice its batch and, where several inputs seem to have it, the first.

    The third shows whether they do: a table may be as long as the batch, or both 1.
    """
    if batch_dim is None:
        return [spec]
    dims = batch_dims(spec, batch_dim)
    examples = [spec, twice(spec, dims)]
    if isinstance(batch_dim, int) and sum(dim is not None for dim in dims) > 1:
        examples.append(twice(spec, [batch_dim] + [None] * (len(dims) - 1)))
    return examples


def _left_behind(model: Any) -> list[str]:
    """Attributes of plain objects on the model that forward set to a fake tensor."""
    from torch._subclasses.fake_tensor import FakeTensor

    return [
        ".".join(filter(None, (path, name, attribute)))
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        for attribute, item in getattr(value, "__dict__", {}).items()
        if isinstance(item, FakeTensor)
    ]


def trace(
    walk: Any, model: Any, input_example: Any, batch_dim: Any, device: Any, use_eval_mode: bool
) -> tuple[int, int, str]:
    """Run the hooked model on the example and, where possible, on twice its batch.

    Returns the batch size of the example, how many passes worked, and how: 'fake', or 'real: ' with
    the reason. What forward raises on a real example is raised unchanged.
    """
    with _one_at_a_time:
        result = _trace(walk, model, parse(input_example), batch_dim, device, use_eval_mode)
        left = _left_behind(model)
    if left:
        warnings.warn(
            f"forward keeps tensors in {', '.join(left)}, which the dry run can't put back: they "
            "hold fake tensors now, until forward sets them again",
            UserWarning,
            stacklevel=2,
        )
    return result


def _trace(
    walk: Any, model: Any, spec: Any, batch_dim: Any, device: Any, use_eval_mode: bool
) -> tuple[int, int, str]:
    batch, examples = batch_of(spec, batch_dim), _examples(spec, batch_dim)

    def passes(call: Callable[[Any, Any], None]) -> int:
        for number, example in enumerate(examples):
            walk.begin_pass(number)
            try:
                call(model, make(example, model, device))
            except Exception as error:
                walk.check()
                if number == 0:
                    _explain(error, spec, model)
                    raise
                return number  # a model of a fixed batch size: it is scaled in proportion
            walk.check()
        return len(examples)

    with ExitStack() as stack:
        contexts = (
            random_as_before(),
            _plain_paths(),
            _quiet_fake_tensors(),
            _modules_as_before(model),
        )
        for context in contexts:
            stack.enter_context(context)
        stack.callback(walk.detach)
        walk.attach()
        if use_eval_mode:
            _set_eval(model)
        try:
            return batch, passes(_call_fake), "fake"
        except Exception as error:
            if type(error).__module__ != _FAKE:
                walk.check()  # a rule failed, and not since it read data
            reason = f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}"
        _set_eval(model)
        return batch, passes(_call_real), f"real: fake copies would not do ({reason})"


def _explain(error: Exception, spec: Any, model: Any) -> None:
    """Add what the example was: most often it is the example that does not fit."""
    shapes = ", ".join(f"{tuple(leaf.shape)}" for leaf in leaves(spec))
    error.add_note(f"{type(model).__name__} failed on input_example {shapes}")
    floats = [leaf for leaf in leaves(spec) if isinstance(leaf, Spec) and leaf.dtype is None]
    if floats and "indices" in str(error):
        error.add_note(
            f"input_example {floats[0].shape} was taken as floating point; for token ids pass "
            f"input_example=({floats[0].shape}, torch.int64)"
        )


@contextmanager
def _quiet_fake_tensors() -> Iterator[None]:
    """Keep torch from logging what fails on fake copies: it is tried again on real ones."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    disabled = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = disabled


def ambiguous_message(input_example: Any, batch_dim: int) -> str:
    """Say that several inputs may or may not have the batch, and how to tell."""
    spec = parse(input_example)
    shapes = ", ".join(f"{tuple(leaf.shape)}" for leaf in leaves(spec))
    return (
        f"more than one input of {shapes} has the size {batch_of(spec, batch_dim)} along dimension "
        f"{batch_dim}, and whether all of them grow with the batch makes a difference: they are "
        "taken to. Use a batch of 2 or more in input_example that no other size equals, or say "
        "for each input, as in batch_dim=(0, None)"
    )


def uncounted_message(layers: list[Any]) -> str:
    """Say which layers have no rule, in one sentence that names the first few."""
    names = ", ".join(
        f"{x.module_class} at {x.path or 'the model itself'!r}" + (f" ({x.note})" if x.note else "")
        for x in layers[:3]
    )
    more = f" and {len(layers) - 3} more" if len(layers) > 3 else ""
    return (
        f"{len(layers)} layer(s) with parameters have no rule, so what is computed with them is "
        f"not counted: {names}{more}. "
        "See estimator.uncounted; for a layer, estimator.register(Class, fn) adds a rule."
    )
