"""One pass of a model that yields the shapes of its layers and leaves no trace.

First on fake copies of parameters, buffers and inputs: no memory, no arithmetic, nothing touched.
Where forward reads data, on a real example in eval mode, without gradients, on real copies.
Either way every module's attributes, mode and hooks, and the random generators, are put back.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ._core import UncountedWarning
from ._example import (
    Spec,
    arguments,
    batch_dims,
    batch_of,
    leaves,
    make,
    map_leaves,
    parse,
    resized,
)
from ._untouched import (
    modules_as_before,
    quiet_fake_tensors,
    random_as_before,
    replace_tensors,
)


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

    with modules_as_before(model):
        state = replace_tensors(model, fake)
        fake_example = map_leaves(example, fake)
        with mode, torch.enable_grad():  # forward may differentiate; nothing is ever computed
            _call_on(model, state, fake_example)


def _call_real(model: Any, example: Any) -> None:
    import torch

    def copy(tensor: Any) -> Any:
        return tensor.detach().clone()

    with modules_as_before(model), torch.no_grad():
        _call_on(model, replace_tensors(model, copy), map_leaves(example, copy))


_FAKE = "torch._subclasses.fake_tensor"


def _examples(spec: Any, batch_dim: Any) -> list[Any]:
    """Give the example, with twice its batch and, where several inputs seem to have it, the first.

    The third shows whether they do: a table may be as long as the batch, or both 1.
    """
    if batch_dim is None:
        return [spec]
    dims, double = batch_dims(spec, batch_dim), 2 * batch_of(spec, batch_dim)
    examples = [spec, resized(spec, dims, double)]
    if isinstance(batch_dim, int) and sum(dim is not None for dim in dims) > 1:
        examples.append(resized(spec, [batch_dim] + [None] * (len(dims) - 1), double))
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
    from ._counting import unseen_by_counters

    with unseen_by_counters():
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
            quiet_fake_tensors(),
            modules_as_before(model),
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
