"""TorchOpEstimator: what a training batch costs, from counting its operations."""

from collections.abc import Callable
from typing import Any

from ._core import FlopCounter, FlopsEstimator
from ._count import count
from ._counts import FlopCount
from ._example import arguments, batch_dims, batch_of, check_arguments, make, parse, resized
from ._untouched import unwrap


class TorchOpEstimator(FlopsEstimator):
    """FLOPs of a training batch, every operation of forward, backward and optimizer counted.

    Bound to a tracker, it counts the training itself: the first step with batches of some shapes
    is counted as it runs, and steps like it cost the same. Without training, batches are counted
    on fake copies of the model, which needs ``input_example`` (see TorchAutoEstimator).

    ``loss_fn(output)`` and ``optimizer`` are for that case too: without them, backward of the sum
    of the output, and no update. ``convention`` is how the counts are read.
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
        if input_example is not None:
            batch_dim = check_arguments(model, input_example, batch_dim)
        self.model = model
        self.input_example = input_example
        self.batch_dim = batch_dim
        self.loss_fn = loss_fn
        self.optimizer = optimizer
        self.strict = strict
        self.convention = FlopCounter(unwrap(model), convention=convention).convention
        self._by_size: dict[int, FlopCount] = {}
        self._by_step: dict[Any, FlopCount] = {}
        self._just_trained: tuple[int, FlopCount] | None = None
        self._last: FlopCount | None = None

    @property
    def counts(self) -> FlopCount | None:
        """The last batch that was asked for; None before the first."""
        return self._last

    def flops_for_batch(self, batch_size: int) -> int:
        """FLOPs of one training batch, under the convention."""
        trained, self._just_trained = self._just_trained, None
        if trained is not None and trained[0] == batch_size:
            self._last = trained[1]
        else:
            self._last = self.counts_for_batch(batch_size)
        return self._last.total

    def counts_for_batch(self, batch_size: int) -> FlopCount:
        """Count a training batch of that size on fake copies; needs input_example."""
        if self.input_example is None:
            raise ValueError(
                "TorchOpEstimator has no input_example, so a batch can only be counted while a "
                "bound tracker trains it: pass input_example=(1, ...)"
            )
        if batch_size not in self._by_size:
            self._by_size[batch_size] = self._count_on_copies(batch_size)
        return self._by_size[batch_size]

    def _count_on_copies(self, batch_size: int) -> FlopCount:
        spec = parse(self.input_example)
        if self.batch_dim is None:
            dims: list[int | None] = []
        else:
            dims = batch_dims(spec, self.batch_dim)
            spec = resized(spec, dims, batch_size)
        args, kwargs = arguments(make(spec, self.model, None))
        counts = count(
            self.model,
            *args,
            kwargs=kwargs,
            backward=True,
            loss_fn=self.loss_fn,
            optimizer=self.optimizer,
            convention=self.convention,
            strict=self.strict,
        )
        assert isinstance(counts, FlopCount)
        return counts

    # ---- in a tracker that trains ----

    def follow(self, key: Any, step: Callable[[], int]) -> int:
        """Run a training step, counted if no step with this key has been; returns what it does."""
        counts = self._by_step.get(key)
        if counts is not None:
            size = step()
        else:
            counter = FlopCounter(
                unwrap(self.model), convention=self.convention, strict=self.strict
            )
            with counter:
                size = step()
            counts = self._by_step[key] = counter.counts
        self._just_trained = (size, counts)
        return size

    @property
    def example_batch(self) -> int:
        """Batch size of the example."""
        return batch_of(parse(self.input_example), self.batch_dim)

    @property
    def trust_line(self) -> str:
        """Convention, operations of the last batch, share counted."""
        if self._last is None:
            return f"{self.convention} · no batch counted yet"
        return f"{self._last.trust_line} in the last batch"


def for_model(model: Any, convention: str) -> TorchOpEstimator:
    """Make what FlopsTracker(model) uses."""
    return TorchOpEstimator(model, convention=convention)
