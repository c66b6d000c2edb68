"""TorchOpEstimator: what a training batch costs, from counting its operations."""

import hashlib
import itertools
import weakref
from array import array
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from . import _options
from ._core import FlopCounter, FlopsEstimator
from ._count import Call, count, run_counted
from ._counts import FlopCount
from ._example import arguments, batch_dims, batch_of, check_arguments, make, parse, resized
from ._untouched import root_of, unwrap

_TOTALS_KEPT = 1024
_COUNTS_KEPT = 4


class TorchOpEstimator(FlopsEstimator):
    """FLOPs of a training batch, every operation of forward, backward and optimizer counted.

    In a tracker that trains, the training itself is counted, as loops of one's own are: the first
    steps of each kind as they run, and steps like them cost the same. The tracker's ``estimate``
    counts one on fake copies, with the loss and the optimizer that were bound: a later step, since
    the first may do less (SGD with momentum: by 2 per parameter).

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
        self._last: FlopCount | None = None

    @property
    def counts(self) -> FlopCount | None:
        """The last batch that was counted; None before the first."""
        return self._last

    def flops_for_batch(self, batch_size: int) -> int:
        """FLOPs of one training batch, under the convention."""
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

    # ---- of a tracker that trains ----

    def count_step(self, step: Callable[[], None], stacklevel: int) -> FlopCount:
        """Count a training step on fake copies of all that it reaches: the second of two."""
        counter = FlopCounter(root_of(self.model), convention=self.convention, strict=self.strict)
        call = Call(None, step, (), {}, False, None, None, repeat=True)
        self._last = run_counted(counter, call, "fake", stacklevel + 1, hint="")
        return self._last

    def trained(self, counts: FlopCount) -> None:
        """Take a step of a training that was counted as it ran."""
        self._last = counts

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


def for_model(model: Any, convention: str) -> TorchOpEstimator:
    """Make what FlopsTracker(model) uses."""
    return TorchOpEstimator(model, convention=convention)


def _keep(kept: OrderedDict[Hashable, Any], key: Hashable, value: Any, most: int) -> None:
    kept[key] = value
    if len(kept) > most:
        kept.popitem(last=False)


# ---- what decides what a batch costs ----

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


def model_state(model: Any) -> Hashable:
    """Its modules with modes and hooks, the shapes of their tensors, the flags of parameters."""
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
