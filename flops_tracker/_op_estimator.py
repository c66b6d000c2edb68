"""TorchOpEstimator: what a training batch costs, from counting its operations."""

import hashlib
import itertools
import weakref
from array import array
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from . import _options
from ._batches import UnknownContent, described
from ._core import FlopCounter, FlopsEstimator, WorkSum
from ._count import Call, count, run_counted
from ._counts import FlopCount
from ._example import arguments, batch_dims, batch_of, check_arguments, make, parse, resized
from ._tell import tell_of_another_way, tell_of_difference
from ._untouched import root_of, unwrap

_TOTALS_KEPT = 1024
_COUNTS_KEPT = 4


class TorchOpEstimator(FlopsEstimator):
    """FLOPs of a training batch, every operation of forward, backward and optimizer counted.

    In a tracker that trains, it counts the training itself: the first step of its kind is counted
    as it runs, and steps like it cost the same (see step_key). The tracker's ``estimate`` counts
    one on fake copies, with the loss and the optimizer that were bound: a later step, since the
    first may do less (SGD with momentum: by 2 per parameter).

    Without a training, batches are counted on fake copies of the model, which needs
    ``input_example`` (see TorchAutoEstimator), ``loss_fn(output)`` and ``optimizer``: without
    these, backward of the sum of the output, and no update. ``convention`` is how counts are read.
    """

    def __init__(
        self,
        model: Any,
        input_example: Any = None,
        *,
        loss_fn: Callable[[Any], Any] | None = None,
        optimizer: Any = None,
        convention: str = "standard",
        batch_dim: Any = 0,
        strict: bool = False,
    ) -> None:
        strict = _options.switch("strict", strict)
        _options.function("loss_fn", loss_fn)
        if optimizer is not None:
            _options.optimizer(optimizer, "count it as it runs, in a FlopCounter() block")
        if input_example is not None:
            batch_dim = check_arguments(model, input_example, batch_dim)
        self.model = model
        self.input_example = input_example
        self.batch_dim = batch_dim
        self.loss_fn = loss_fn
        self.optimizer = optimizer
        self.strict = strict
        self.convention = FlopCounter(unwrap(model), convention=convention).convention
        self._totals: OrderedDict[Hashable, int] = OrderedDict()  # the last used at the end
        self._counts: OrderedDict[Hashable, FlopCount] = OrderedDict()
        self._kinds: OrderedDict[Hashable, _Kind] = OrderedDict()  # of steps that were trained
        self._varies = False  # their cost: they are counted each time
        self._doubts = 0  # steps counted again that cost something else
        self.work_of_step: WorkSum | None = None  # of the last one
        self._just_trained: tuple[int, int] | None = None
        self._last: FlopCount | None = None

    @property
    def counts(self) -> FlopCount | None:
        """The last batch that was counted; None before the first."""
        return self._last

    def flops_for_batch(self, batch_size: int) -> int:
        """FLOPs of one training batch, under the convention."""
        trained, self._just_trained = self._just_trained, None
        if trained is not None and trained[0] == batch_size:
            return trained[1]
        key = (batch_size, model_state(self.model))
        if key not in self._totals:
            self._keep_total(key, self.counts_for_batch(batch_size).total)
        elif key in self._counts:
            self._last = self._counts[key]
        return self._totals[key]

    def counts_for_batch(self, batch_size: int) -> FlopCount:
        """Count a training batch of that size on fake copies; needs input_example."""
        if self.input_example is None:
            raise ValueError(
                "there is no input_example, so a batch can only be counted while a bound tracker "
                "trains it, or by its estimate. For a loop of your own: "
                "FlopsTracker(TorchOpEstimator(model, input_example=(1, ...)))"
            )
        key = (batch_size, model_state(self.model))
        if key not in self._counts:
            _keep(self._counts, key, self._count_on_copies(batch_size), _COUNTS_KEPT)
        self._last = self._counts[key]
        return self._last

    def _keep_total(self, key: Hashable, total: int) -> None:
        _keep(self._totals, key, total, _TOTALS_KEPT)

    def _count_on_copies(self, batch_size: int) -> FlopCount:
        spec = parse(self.input_example)
        if self.batch_dim is None:
            dims: list[int | None] = []
        else:
            dims = batch_dims(spec, self.batch_dim)
            spec = resized(spec, dims, batch_size)
        args, kwargs = arguments(make(spec, self.model, None))
        return count(
            self.model,
            *args,
            kwargs=kwargs,
            backward=True,
            loss_fn=self.loss_fn,
            optimizer=self.optimizer,
            convention=self.convention,
            strict=self.strict,
        )

    # ---- in a tracker that trains ----

    def count_step(self, step: Callable[[], None], stacklevel: int) -> FlopCount:
        """Count a training step on fake copies of all that it reaches: the second of two."""
        counter = FlopCounter(root_of(self.model), convention=self.convention, strict=self.strict)
        call = Call(None, step, (), {}, False, None, None, repeat=True)
        self._last = run_counted(counter, call, "fake", stacklevel + 1, hint="")
        return self._last

    def follow(self, key: Hashable, step: Callable[[], int]) -> int:
        """Run a training step, counted if no step with this key has been; returns what it does.

        With None as the key, it is counted in any case, and so it is now and then where steps like
        it are known: what they cost may depend on more than their key. What shows that they do:
        another number of autograd nodes, an operation that gives as much as data decides.
        """
        kind = None if key is None or self._varies else self._kinds.get(key)
        if kind is None or kind.until_audit == 0:
            size, kind = self._count_step(key, kind, step)
        else:
            before = _sequence()
            size = step()
            if not kind.accepts(_sequence() - before):
                self._varies = True
                tell_of_another_way(kind.total)
        if key is not None:
            _keep(self._kinds, key, kind, _TOTALS_KEPT)
            self._kinds.move_to_end(key)
        self.work_of_step = kind.work
        self._just_trained = (size, kind.total)
        return size

    def _count_step(
        self, key: Hashable, known: "_Kind | None", step: Callable[[], int]
    ) -> tuple[int, "_Kind"]:
        counter = FlopCounter(unwrap(self.model), convention=self.convention, strict=self.strict)
        from ._counting import compiled_calls

        before, calls = _sequence(), compiled_calls()
        with counter:
            size = step()
        self._last = counter.counts
        kind = _Kind(self._last, _sequence() - before, compiled_calls() > calls)
        differs = known is not None and known.total != kind.total
        if known is not None and not differs:
            kind.goes_on(known)
        if key is None:
            return size, kind
        varied, self._varies = self._varies, self._varies or counter._varying is not None
        self._doubts += differs
        self._varies = self._varies or self._doubts > 1
        if (differs or self._varies) and not varied:
            total = kind.total if known is None else known.total
            why = counter._varying
            tell_of_difference("train", kind.total, total, differs, self._varies, why)
        return size, kind

    @property
    def example_batch(self) -> int:
        """Batch size of the example."""
        return batch_of(parse(self.input_example), self.batch_dim)

    @property
    def trust_line(self) -> str:
        """Convention, operations of the last batch, share counted."""
        if self._last is None:
            return f"{self.convention} · no batch counted yet"
        return f"{self._last._what_counted} in the last batch"


def _sequence() -> int:
    """How many autograd nodes this thread has made."""
    import torch

    number: int = torch._C._autograd._get_sequence_nr()
    return number


class _Kind:
    """Steps that cost the same, by one of them that was counted."""

    def __init__(self, counts: FlopCount, nodes: int, compiled: bool) -> None:
        self.total = counts.total
        self.work = WorkSum()
        self.work.add(counts)
        self.nodes = {nodes}
        # Compiled code makes other nodes, and is compiled anew; autocast keeps casts of weights.
        self.compiled = compiled
        self.looks = 4 if compiled else 1
        self.gap = self.until_audit = 1

    def accepts(self, nodes: int) -> bool:
        """Whether a step that made so many nodes may be one of these."""
        self.until_audit -= 1
        known = nodes in self.nodes
        accepted = known or self.looks > 0
        self.nodes.add(nodes)
        # Uncompiled, what is seen first is so from then on.
        self.looks = max(0, self.looks - (not known)) if self.compiled else 0
        return accepted

    def goes_on(self, before: "_Kind") -> None:
        """Cost what they had cost, which is asked less often from now on."""
        self.gap = self.until_audit = min(2 * before.gap, _options.VERIFY_EVERY)
        self.nodes |= before.nodes
        self.looks = before.looks
        self.work = before.work


def for_model(model: Any, convention: str) -> TorchOpEstimator:
    """Make what FlopsTracker(model) uses."""
    return TorchOpEstimator(model, convention=convention)


def _keep(kept: OrderedDict[Hashable, Any], key: Hashable, value: Any, most: int) -> None:
    kept[key] = value
    if len(kept) > most:
        kept.popitem(last=False)


# ---- which steps cost the same ----

# Optimizers all of whose later steps do the same work. RAdam's and ASGD's depend on their number.
_STEADY = {
    *("SGD", "Adam", "AdamW", "Adagrad", "Adadelta", "Adamax", "NAdam", "RMSprop", "Rprop"),
    *("Adafactor", "Muon"),
}
_RATES = ("params", "lr", "initial_lr")


def step_key(model: Any, optimizer: Any, batch: Any, device: str) -> Hashable:
    """What decides which work a step does, before it runs; None where that can't be told.

    Not seen is what a forward or a loss decides by itself, such as layers it drops at random.
    """
    import torch

    update = optimizer_state(optimizer)
    if update is None:
        return None
    try:
        data = described(batch)
    except UnknownContent:
        return None
    autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
    return data, update, autocast, model_state(model, gradients=True)


def optimizer_state(optimizer: Any) -> Hashable:
    """What decides which work a step of it does; None where that can't be told."""
    import torch

    kind = type(optimizer)
    steady = kind.__module__.startswith("torch.optim.") and kind.__name__ in _STEADY
    if not steady or optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        return None
    gradients = (p.grad for group in optimizer.param_groups for p in group["params"])
    if any(grad is not None and grad.layout is not torch.strided for grad in gradients):
        return None  # how much a sparse one stores depends on the batch
    groups = tuple(
        # A rate of -1 scales nothing: alpha is 1.
        (
            group.get("lr") == -1,
            len(group["params"]),
            *((k, _switch(v)) for k, v in group.items() if k not in _RATES),
        )
        for group in optimizer.param_groups
    )
    return groups, len(optimizer.state), sum(map(bool, optimizer.state.values()))


def _switch(value: Any) -> Hashable:
    """Of an option of an optimizer, what decides which work it does: 0 or not, for a number."""
    if isinstance(value, float):
        return value == 0
    if isinstance(value, tuple | list):
        return tuple(map(_switch, value))
    known = value is None or isinstance(value, int | str)
    return (type(value), value if known else None)


_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


def model_state(model: Any, gradients: bool = False) -> Hashable:
    """Its modules with modes and hooks, the shapes of their tensors, the flags of parameters.

    And, where asked for, which parameters have a gradient.
    """
    state: list[int] = []
    for module in model.modules():
        held = module.__dict__
        state += serial(module), module.training
        for kind, name in enumerate(_HOOKS):
            hooks = held.get(name)
            if hooks:
                state += ~kind, *hooks  # their numbers, which no two have
        for parameter in module._parameters.values():
            if parameter is not None:
                state += serial(parameter), parameter.requires_grad
                state += parameter._backward_hooks or ()
                _add_shape(state, parameter)
                if gradients:
                    state.append(parameter.grad is None)
        for buffer in module._buffers.values():  # which may be another one after each step
            if buffer is not None:
                _add_shape(state, buffer)
    # Large models have thousands of parameters, and many keys are kept.
    return hashlib.blake2b(array("q", state).tobytes(), digest_size=16).digest()


def _add_shape(state: list[int], tensor: Any) -> None:
    try:
        shape = tensor.shape
    except RuntimeError:  # a lazy layer's
        return
    state += id(tensor.dtype), len(shape), *shape


_met: dict[int, tuple[weakref.ref[Any], int]] = {}  # by address
_serials = itertools.count(1)


def serial(thing: Any) -> int:
    """A number of its own: an address may have been that of something else before."""
    met = _met.get(id(thing))
    if met is not None and met[0]() is thing:
        return met[1]
    serial = next(_serials)

    def forget(gone: Any, address: int = id(thing)) -> None:
        if _met.get(address, (None,))[0] is gone:
            del _met[address]

    _met[id(thing)] = weakref.ref(thing, forget), serial
    return serial
