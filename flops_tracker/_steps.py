"""Loops that the user writes: epochs, steps and phases. The core keeps what is open (StepLoops)."""

import random
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import reduce
from typing import Any

from . import _options
from ._batches import batch_size
from ._core import FlopCounter, StepLoops
from ._counts import FlopCount, merged
from ._op_estimator import TorchOpEstimator
from ._untouched import root_of


class Loops(StepLoops):
    """Epochs, steps and phases of one tracker."""

    def __init__(self, tracker: Any, options: tuple[str, int] | None) -> None:
        estimator = tracker.estimator
        if not isinstance(estimator, TorchOpEstimator):
            raise TypeError(
                "steps are counted operation by operation: make FlopsTracker(model), or with a "
                f"{type(estimator).__name__} call on_epoch_start, update_batch and on_epoch_end"
            )
        model = root_of(estimator.model)
        counter = FlopCounter(model, convention=estimator.convention, strict=estimator.strict)
        trace, verify_every = options or _options.trace(None, None)
        dim, seed = estimator.batch_dim, random.getrandbits(60)
        super().__init__(tracker, counter, model, dim, trace, verify_every, seed)
        self._tracker = weakref.ref(tracker)
        self._estimator = estimator
        self._before: dict[str, FlopCount] = {}  # of the run that this one resumes, by phase

    def epochs(self, epochs: int | Iterable[Any]) -> Iterator[Any]:
        """Open an epoch for each item, as the loop comes to it."""
        items = range(_options.whole("epochs", epochs, 0)) if isinstance(epochs, int) else epochs
        if not isinstance(items, Iterable):
            raise TypeError(f"epochs must be an int or iterable, not {epochs!r}")
        return self._epochs(items)

    def _record(self) -> Any:
        tracker = self._tracker()
        if tracker is None:
            raise RuntimeError("the FlopsTracker of this loop is gone: keep it in a variable")
        return tracker

    def _epochs(self, items: Iterable[Any]) -> Iterator[Any]:
        if self._record()._mind_budget(2):
            return
        for item in items:
            self._record().on_epoch_start()
            whole = self._cut = False
            try:
                yield item
                whole = not self._cut
            finally:
                self._end_epoch(whole)
            if self._record()._mind_budget(1):
                return

    def steps(self, loader: Iterable[Any]) -> "_Steps":
        """Give the loader's batches; the body of the loop is a step."""
        if not isinstance(loader, Iterable) and not hasattr(loader, "__getitem__"):
            raise TypeError(f"loader must be iterable, not {type(loader).__name__}")
        return _Steps(self, loader)

    @contextmanager
    def step(self, batch: Any = None, *, batch_size: int | None = None) -> Iterator[None]:
        """Count what runs inside as one step."""
        if batch_size is not None:
            batch_size = _options.whole("batch_size", batch_size, 0)
        with self._open(self._begin_step(batch, batch_size, _position(2))):
            yield
        self._record()._mind_budget(0)  # there is no loop to end

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what runs inside apart, under that name."""
        if not isinstance(name, str) or not name:
            raise TypeError(f"a phase is named by a word such as 'validate', not {name!r}")
        with self._open(self._begin_phase(name)):
            yield

    @contextmanager
    def _open(self, number: int) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._break_off(number)
            raise
        self._end(number, True)

    def _break_off(self, number: int) -> None:
        with suppress(Warning):  # where warnings are errors, the body's own comes first
            self._end(number, False)

    def train_step(self, batch: Any, train: Callable[[Any], int]) -> int:
        """Train a batch as one step; train returns its size. One that raises is not counted."""
        number = self._begin_step(batch, None, 0)
        try:
            size = train(batch)
        except BaseException:
            with suppress(Warning):  # where warnings are errors, the body's own comes first
                self._end_batch(number, None)
            raise
        self._end_batch(number, size)
        counts = self._take_last(FlopCount)
        if counts is not None:
            self._estimator.trained(counts)
        return size

    @property
    def counts(self) -> FlopCount:
        """All phases together."""
        return reduce(merged, [*self._before.values(), self._counts(FlopCount)])

    @property
    def phase_counts(self) -> dict[str, FlopCount]:
        """Each phase by its name."""
        return self._with_before(self._phase_counts(FlopCount))

    def own_counts(self, phase: str) -> FlopCount | None:
        """Counts of a phase in this process alone."""
        return self._phase_counts(FlopCount).get(phase)

    def _with_before(self, counts: dict[str, FlopCount]) -> dict[str, FlopCount]:
        both = {n: merged(c, counts[n]) if n in counts else c for n, c in self._before.items()}
        return {**both, **{n: c for n, c in counts.items() if n not in both}}

    @property
    def trust_line(self) -> str:
        """Convention, share counted, and how many steps stand for others."""
        steps = self.traced_steps + self.replayed_steps + self.unattributed_steps
        line = f"{self.counts._what_counted} · {self.traced_steps:,} of {steps:,} steps counted"
        if self.replayed_steps:
            line += f", {self.replayed_steps:,} like one of them"
        if self.unattributed_steps:
            line += f", {self.unattributed_steps:,} not known and in no total"
        return line

    # ---- state_dict ----

    def state(self) -> tuple[bool, list[tuple[int, int]], dict[str, FlopCount]]:
        """Whether the epoch is over, size and FLOPs of steps that are open, counts by phase."""
        steps, counts = self._state(FlopCount)
        over = self._run_through == self._record()._epochs_begun and not steps
        return over, steps, self._with_before(counts)

    @property
    def has_counted(self) -> bool:
        """Whether there was a step or a phase."""
        return bool(self._is_used or self._before)

    def load(self, before: dict[str, FlopCount]) -> None:
        """Go on from the counts of another run."""
        self._before = before


class _Steps:
    """What steps() gives: each loop over it has an iterator of its own."""

    def __init__(self, loops: Loops, loader: Iterable[Any]) -> None:
        self._loops = loops
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        return self._loops._iterate(self._loader, _position(_CALLERS))


_CALLERS = 8
_NOT_THEIRS = ("flops_tracker", "contextlib")


def _position(callers: int) -> int:
    """Where in the user's code a step or a loop stands: another place is another kind of step."""
    place: list[Any] = []
    frame = sys._getframe(1)
    while frame is not None and callers > 0:
        if frame.f_globals.get("__name__", "").split(".")[0] not in _NOT_THEIRS:
            place += frame.f_code.co_filename, frame.f_lineno
            callers -= 1
        frame = frame.f_back  # type: ignore[assignment]
    return hash(tuple(place))


def size_of(data: Any, batch_dim: Any) -> int:
    """Samples in a batch; 1 where that can't be told."""
    try:
        return batch_size(data, batch_dim)
    except TypeError:
        return 1
