"""count(): the FLOPs of one call of a model, on copies, so that nothing about it changes."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, Literal, NamedTuple

from ._core import FlopCounter
from ._frameworks import need
from ._untouched import (
    modules_as_before,
    one_at_a_time,
    quiet_fake_tensors,
    random_as_before,
    replace_tensors,
    root_of,
)

_PLACES = ("fake", "meta", "real")


def count(
    model: Any,
    *args: Any,
    kwargs: dict[str, Any] | None = None,
    backward: bool = False,
    loss_fn: Callable[[Any], Any] | None = None,
    optimizer: Any = None,
    on: str = "fake",
    convention: str = "standard",
    strict: bool = False,
    causal: Literal["full", "exact"] = "full",
    **model_kwargs: Any,
) -> Any:
    """Count ``model(*args, **model_kwargs)``, operation by operation; returns a FlopCount.

    ``model`` is a module or any function; arguments of it whose names are taken here go in
    ``kwargs``. ``backward=True`` differentiates ``loss_fn(output)``, or the sum of the output's
    floating point tensors; ``optimizer``, made for this model, adds one step of it (a later one,
    after its state has been made). The model is called in the mode it is in.

    ``on="fake"`` runs on fake copies: no memory, no arithmetic. Where the model reads data, that
    fails, and the call is repeated on copies of the real tensors, with a warning. ``on="meta"``
    runs on copies on the meta device, ``on="real"`` on copies of the real tensors. Either way
    weights, buffers, gradients, modes, hooks and random state stay as they are.
    """
    torch = need("torch", "torch")
    if on not in _PLACES:
        raise ValueError(f"on must be 'fake', 'meta' or 'real', not {on!r}")
    if not callable(model):
        raise TypeError(f"model must be a module or a function, not {type(model).__name__}")
    if loss_fn is not None and not backward:
        raise TypeError("loss_fn is for backward=True")
    if optimizer is not None and not backward:
        raise TypeError("an optimizer step needs gradients: pass backward=True")
    is_module = isinstance(model, torch.nn.Module)
    if optimizer is not None and not is_module:
        raise TypeError("optimizer works on the parameters of a module, and model is none")
    root = root_of(model) if is_module else None
    counter = FlopCounter(root, convention=convention, strict=strict, causal=causal)
    call = Call(root, model, args, {**(kwargs or {}), **model_kwargs}, backward, loss_fn, optimizer)
    return run_counted(counter, call, on, stacklevel=3)


def run_counted(counter: Any, call: "Call", on: str, stacklevel: int) -> Any:
    """Make a call on copies under a counter; returns its FlopCount."""
    root = call.root
    with one_at_a_time, random_as_before(), quiet_fake_tensors():
        try:
            call.run(counter, on)
        except Exception as error:
            if on != "fake" or not _on_fake_alone(error):
                raise
            reason = f"{type(error).__name__}: {_first_line(error)}"
            counter.reset()
            call.run(counter, "real")
            on = f"real: fake copies would not do ({reason})"
            warnings.warn(f"counted on real tensors: {reason}", stacklevel=stacklevel)
    counts = counter.counts
    counts.on = on
    counts.params = sum(p.numel() for p in root.parameters()) if root is not None else 0
    return counts


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def _on_fake_alone(error: Exception) -> bool:
    """Whether the same call may work on real tensors: everything but errors of the counter."""
    return not str(error).startswith("no rule for")


class Ready(NamedTuple):
    """One step on copies, to be called as often as wanted, and all tensors that were copied."""

    step: Callable[[], Any]
    tensors: list[Any]


class Call:
    """One call of a model with what follows it."""

    def __init__(
        self,
        root: Any,
        model: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        backward: bool,
        loss_fn: Callable[[Any], Any] | None,
        optimizer: Any,
    ) -> None:
        self.root = root
        self.function = model
        self.args = args
        self.kwargs = kwargs
        self.backward = backward
        self.loss_fn = loss_fn
        self.optimizer = optimizer

    def run(self, counter: Any, on: str) -> None:
        """Count one step; with an optimizer, one after its state has been made."""
        with self.ready(on) as ready:
            if self.optimizer is not None:
                ready.step()
            with counter:
                ready.step()

    @contextmanager
    def ready(self, on: str) -> Iterator[Ready]:
        """Make the copies, and put everything back afterwards."""
        import torch
        from torch.utils._pytree import tree_map

        mode, make_copy = _copier(on)
        tensors: list[Any] = []

        def copy(tensor: Any) -> Any:
            tensors.append(make_copy(tensor))
            return tensors[-1]

        def change(value: Any) -> Any:
            return copy(value) if isinstance(value, torch.Tensor) else value

        with ExitStack() as stack:
            state = {}
            if self.root is not None:
                stack.enter_context(modules_as_before(self.root))
                state = replace_tensors(self.root, copy)
            args, kwargs = tree_map(change, (self.args, self.kwargs))
            stack.enter_context(mode)
            if self.backward:
                stack.enter_context(torch.enable_grad())
            optimizer = self._optimizer_of(state)
            yield Ready(lambda: self._step(state, args, kwargs, optimizer), tensors)

    def _step(self, state: Any, args: Any, kwargs: Any, optimizer: Any) -> None:
        import torch

        if self.root is None:
            output = self.function(*args, **kwargs)
        else:
            output = torch.func.functional_call(self.root, state, args, kwargs)
        if self.backward:
            (self.loss_fn(output) if self.loss_fn else _sum_of(output)).backward()
        if optimizer is not None:
            optimizer.step()
            optimizer.zero_grad()

    def _optimizer_of(self, state: dict[str, Any]) -> Any:
        """Make the same optimizer for the copies of the parameters."""
        if self.optimizer is None:
            return None
        copies = {id(p): state[name] for name, p in self.root.named_parameters()}
        groups = []
        for group in self.optimizer.param_groups:
            missing = [p for p in group["params"] if id(p) not in copies]
            if missing:
                raise ValueError(
                    f"the optimizer has a parameter {tuple(missing[0].shape)} that is not the "
                    "model's: make it from this model"
                )
            groups.append({**group, "params": [copies[id(p)] for p in group["params"]]})
        return type(self.optimizer)(groups)


def _copier(on: str) -> tuple[Any, Callable[[Any], Any]]:
    """Give the mode to run in, and what copies a tensor for it."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    def leaf(tensor: Any, copy: Callable[[Any], Any]) -> Any:
        made = copy(tensor.detach())
        if tensor.is_floating_point() or tensor.is_complex():
            made.requires_grad_(tensor.requires_grad)
        return made

    def fake(tensor: Any) -> Any:
        if str(tensor.layout).startswith("torch.sparse_"):
            raise NotImplementedError("a fake copy of a sparse tensor has no entries")
        return mode.from_tensor(tensor)

    if on == "fake":
        mode = FakeTensorMode(allow_non_fake_inputs=True)
        return mode, lambda tensor: leaf(tensor, fake)
    if on == "meta":
        return nullcontext(), lambda tensor: leaf(tensor, lambda t: t.to("meta"))
    return nullcontext(), lambda tensor: leaf(tensor, torch.clone)


def _sum_of(output: Any) -> Any:
    """The sum of all floating point tensors in an output that require a gradient."""
    import torch
    from torch.utils._pytree import tree_leaves

    if not isinstance(output, torch.Tensor | tuple | list | dict):
        output = vars(output)
    tensors = [
        leaf
        for leaf in tree_leaves(output)
        if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.requires_grad
    ]
    if not tensors:
        raise ValueError(
            "backward=True, but nothing in the output requires a gradient: pass loss_fn(output)"
        )
    total = tensors[0].sum()
    for tensor in tensors[1:]:
        total = total + tensor.sum()
    return total
