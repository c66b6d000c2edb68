"""count(): the FLOPs of one call of a model, on copies, so that nothing about it changes."""

import contextvars
import functools
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from . import _options
from ._core import FlopCounter, UnknownOperationError
from ._frameworks import need
from ._stand_ins import ARGUMENT, FREE, StandIns, left_behind, stand_ins
from ._untouched import quiet_fake_tensors, random_as_before, root_of

if TYPE_CHECKING:
    from ._counts import FlopCount

_PLACES = ("fake", "meta", "real")
_CAUSAL = ("full", "exact")


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
) -> "FlopCount":
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
    _options.choice("on", on, _PLACES)
    _options.choice("causal", causal, _CAUSAL)
    backward = _options.switch("backward", backward)
    strict = _options.switch("strict", strict)
    _options.call(model, kwargs, backward, loss_fn)
    _options.misspelled(model, model_kwargs, count)
    if optimizer is not None and not backward:
        raise TypeError("an optimizer step needs gradients: pass backward=True")
    is_module = isinstance(model, torch.nn.Module)
    if optimizer is not None and not is_module:
        raise TypeError("optimizer works on the parameters of a module, and model is none")
    if optimizer is not None:
        _options.optimizer(optimizer, "count it as it runs, in a FlopCounter() block")
    root = root_of(model) if is_module else None
    counter = FlopCounter(root, convention=convention, strict=strict, causal=causal)
    call = Call(root, model, args, {**(kwargs or {}), **model_kwargs}, backward, loss_fn, optimizer)
    try:
        return run_counted(counter, call, on, stacklevel=3)
    except Exception as error:
        call.explain(error)
        raise


def run_counted(
    counter: Any,
    call: "Call",
    on: str,
    stacklevel: int,
    hint: str = "; on='real' says that this is meant, without a warning",
) -> "FlopCount":
    """Make a call on copies under a counter; returns its FlopCount."""
    from torch._subclasses.fake_tensor import (
        DataDependentOutputException,
        DynamicOutputShapeException,
    )

    from ._counting import unseen_by_counters

    reason = why = ""
    with unseen_by_counters(), random_as_before(), quiet_fake_tensors():
        try:
            call.run(counter, on)
        except Exception as error:
            if on == "meta" and "meta" in str(error):
                error.add_note(
                    "tensors on meta hold no data: where the model reads some (.item(), nonzero), "
                    "use on='real', which runs it on copies of its tensors"
                )
            if on != "fake" or isinstance(error, UnknownOperationError | LossError):
                raise
            reason = f"{type(error).__name__}: {_first_line(error)}"
            why = (
                "the model reads data, which fake copies have none of"
                if isinstance(error, DataDependentOutputException | DynamicOutputShapeException)
                else "fake copies would not do"
            )
        if why:  # what the real run raises is told without the error of the fake one
            counter.reset()
            call.run(counter, "real")
    if why:
        on = f"real: fake copies would not do ({reason})"
        warnings.warn(
            f"counted on real tensors, since {why} ({reason}){hint}", stacklevel=stacklevel
        )
    left = left_behind(call.fake_mode)
    if left:
        warnings.warn(
            f"the call keeps tensors where count does not look ({left}), and they are fake tensors "
            "now, until it sets them again; on='real' leaves tensors of the usual kind",
            stacklevel=stacklevel,
        )
    counts: FlopCount = counter.counts
    counts.on = on
    return counts


class LossError(TypeError):
    """What a loss function gave can't be differentiated, on whatever tensors it runs."""


def check_loss(loss: Any, giver: str) -> None:
    """Refuse what backward can't start from."""
    import torch

    if isinstance(loss, torch.Tensor) and loss.numel() == 1 and loss.requires_grad:
        return
    what = (
        f"a tensor {tuple(loss.shape)} with requires_grad={loss.requires_grad}"
        if isinstance(loss, torch.Tensor)
        else repr(loss)
    )
    raise LossError(f"{giver} must be a scalar tensor that requires grad, and is {what}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]


class _Shape:
    """A tensor in a message."""

    def __init__(self, tensor: Any) -> None:
        self.text = f"{str(tensor.dtype).removeprefix('torch.')} tensor {tuple(tensor.shape)}"

    def __repr__(self) -> str:
        return self.text


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
        repeat: bool = False,
    ) -> None:
        self.root = root
        self.function = model
        self.args = args
        self.kwargs = kwargs
        self.backward = backward
        self.loss_fn = loss_fn
        self.optimizer = optimizer
        self.repeat = repeat or optimizer is not None
        self.fake_mode: Callable[[], Any] = lambda: None  # a weak reference to that of the last run

    def explain(self, error: Exception) -> None:
        """Add what the call was: most often it is the arguments that do not fit."""
        import torch
        from torch.utils._pytree import tree_map_only

        if isinstance(error, LossError | UnknownOperationError):
            return
        shown = tree_map_only(torch.Tensor, _Shape, (self.args, self.kwargs))
        args = [repr(a) for a in shown[0]] + [f"{k}={v!r}" for k, v in shown[1].items()]
        name = getattr(self.function, "__name__", type(self.function).__name__)
        error.add_note(f"{name} was called with ({', '.join(args)})")
        if any(isinstance(a, tuple) and all(type(n) is int for n in a) for a in self.args):
            error.add_note("count takes what the model takes: torch.zeros(shape), not a shape")

    def run(self, counter: Any, on: str) -> None:
        """Count one step; to repeat it counts the second, after an optimizer has made its state."""
        with self.ready(on) as ready:
            if self.repeat:
                ready.step()
            with counter:
                ready.step()

    @contextmanager
    def ready(self, on: str) -> Iterator[Ready]:
        """Make the copies, and put everything back afterwards."""
        import torch
        from torch.utils._pytree import tree_map

        mode, copy = _copier(on)
        if on == "fake":
            self.fake_mode = weakref.ref(mode)
        with ExitStack() as stack:
            made = stack.enter_context(stand_ins(copy))
            if self.root is not None:
                made.take(self.root, FREE)
            function, loss_fn = (made.take(f, FREE) for f in (self.function, self.loss_fn))
            args, kwargs = tree_map(
                lambda leaf: made.take(leaf, ARGUMENT), (self.args, self.kwargs)
            )
            optimizer = self._optimizer_of(made, on)
            if made.scripted and on == "fake":
                raise RuntimeError("TorchScript takes no fake tensors")
            if made.packed and on == "fake":
                mode.cache_enabled = False  # it would compare what can't be compared
            stack.enter_context(mode)
            if self.backward:
                stack.enter_context(torch.enable_grad())
            note_others = stack.enter_context(_gradients_of_others(made))
            called = function if self.root is None else self.root

            def step() -> None:
                output = called(*args, **kwargs)
                if self.backward:
                    loss = loss_fn(output) if loss_fn else _sum_of(output)
                    if loss_fn:
                        check_loss(loss, "what loss_fn returns")
                    note_others(loss)
                    loss.backward()
                if optimizer is not None:
                    optimizer.step()
                    optimizer.zero_grad()

            # What the call sets in context variables ends with this context.
            yield Ready(functools.partial(contextvars.copy_context().run, step), made.tensors)

    def _optimizer_of(self, made: StandIns, on: str) -> Any:
        """Give the optimizer, with copies in the place of all that it holds."""
        import torch
        from torch.utils._pytree import tree_leaves

        if self.optimizer is None:
            return None
        own = {id(p) for p in self.root.parameters()}  # the copies are in their places
        for group in self.optimizer.param_groups:
            missing = [p for p in group["params"] if id(made.of(p)) not in own]
            if missing:
                raise ValueError(
                    f"the optimizer has a parameter {tuple(missing[0].shape)} that is not the "
                    "model's: make it from this model"
                )
        if on == "meta":
            for value in tree_leaves(list(self.optimizer.state.values())):
                if isinstance(value, torch.Tensor) and value.dim() == 0:
                    made.give(value, value.clone())  # a count of steps, which is read
        return made.take(self.optimizer, FREE)


@contextmanager
def _gradients_of_others(made: StandIns) -> Iterator[Callable[[Any], None]]:
    """Give what is told of a loss: leaves that no stand-in was found for keep their gradients."""
    noted: dict[int, tuple[Any, Any]] = {}
    own = {id(tensor) for tensor in made.tensors}
    done = False

    def note(loss: Any) -> None:
        nonlocal done
        if done:
            return  # they are the same in every step, and looking for them takes time
        done = True
        seen, todo = set(), [getattr(loss, "grad_fn", None)]
        while todo:
            node = todo.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            todo += [following for following, _ in node.next_functions]
            leaf = getattr(node, "variable", None)
            if leaf is not None and id(leaf) not in own:
                noted[id(leaf)] = (leaf, leaf.grad)
                leaf.grad = None

    try:
        yield note
    finally:
        for leaf, gradient in noted.values():
            leaf.grad = gradient


def _copier(on: str) -> tuple[Any, Callable[[Any, bool], Any]]:
    """Give the mode to run in, and what copies a tensor for it."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    fake = FakeTensorMode(allow_non_fake_inputs=True)

    def copy(tensor: Any, data: bool) -> Any:
        bare = tensor.detach()
        if on == "real":
            made = bare.clone()
        elif on == "meta":
            made = bare.to("meta")
        elif str(bare.layout).startswith("torch.sparse_"):
            raise NotImplementedError("a fake copy of a sparse tensor has no entries")
        else:
            made = _fake_of(fake, bare)
            if not data and tensor.numel() == 1 and not tensor.requires_grad:
                made.constant = bare.clone()  # a number, such as an optimizer's count of steps
        if tensor.is_floating_point() or tensor.is_complex():
            made.requires_grad_(tensor.requires_grad)
        return made

    return fake if on == "fake" else nullcontext(), copy


def _fake_of(mode: Any, tensor: Any) -> Any:
    """A fake copy; of a plain tensor without what from_tensor looks at, which takes ten times long.

    One that shares its memory, or does not fill it, is from_tensor's: a model may take it apart.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensor

    plain = (
        type(tensor) is torch.Tensor
        and tensor.layout is torch.strided
        and not (
            tensor.is_quantized or tensor.is_conj() or tensor.is_neg() or tensor.is_inference()
        )
        and tensor.untyped_storage().nbytes() == tensor.nbytes
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    )
    if not plain:
        return mode.from_tensor(tensor)
    meta = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
    return FakeTensor(mode, meta, tensor.device)


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
