"""Loops that the user writes: epochs, steps and phases, counted operation by operation."""

import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import reduce
from typing import Any

from . import _options
from ._batches import batch_size
from ._core import FlopCounter, PhaseTally
from ._counting import lower
from ._counts import FlopCount, merged
from ._op_estimator import TorchOpEstimator
from ._untouched import root_of

_TRAIN = "train"


class _Span:
    """A step or a phase while it is open; what runs in an inner one is not its own."""

    def __init__(self, tally: Any, size: int | None) -> None:
        self.tally = tally
        self.size = size  # of a step that is recorded; None: a phase
        self.closed = False


class Loops:
    """Epochs, steps and phases of one tracker."""

    def __init__(self, tracker: Any) -> None:
        estimator = tracker.estimator
        if not isinstance(estimator, TorchOpEstimator):
            raise TypeError(
                "steps are counted operation by operation: make FlopsTracker(model), or with a "
                f"{type(estimator).__name__} call on_epoch_start, update_batch and on_epoch_end"
            )
        self._tracker = weakref.ref(tracker)
        self._counter = FlopCounter(
            root_of(estimator.model), convention=estimator.convention, strict=estimator.strict
        )
        self._batch_dim = estimator.batch_dim
        self._tallies: dict[str, Any] = {}  # by phase
        self._phase = _TRAIN
        self._spans: list[_Span] = []  # the innermost last; the counter's work is that one's
        self._thread = 0
        self._run_through = 0  # the epoch of which a loop over steps() was the last to end whole
        self._before: dict[str, FlopCount] = {}  # of the run that this one resumes, by phase

    # ---- what users call ----

    def epochs(self, epochs: int | Iterable[Any]) -> Iterator[Any]:
        """Open an epoch for each item, as the loop comes to it."""
        items = range(_options.whole("epochs", epochs, 0)) if isinstance(epochs, int) else epochs
        if not isinstance(items, Iterable):
            raise TypeError(f"epochs must be an int or iterable, not {epochs!r}")
        return self._epochs(items)

    def steps(self, loader: Iterable[Any]) -> "_Steps":
        """Give the loader's batches; the body of the loop is a step."""
        if not isinstance(loader, Iterable) and not hasattr(loader, "__getitem__"):
            raise TypeError(f"loader must be iterable, not {type(loader).__name__}")
        return _Steps(self, loader)

    @contextmanager
    def step(self, batch: Any = None, *, batch_size: int | None = None) -> Iterator[None]:
        """Count what runs inside as one step."""
        size = self._size_of(batch)
        if batch_size is not None:
            size = _options.whole("batch_size", batch_size, 0)
        span = self.begin(size)
        try:
            yield
        finally:
            self.end(span)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what runs inside apart, under that name."""
        if not isinstance(name, str) or not name:
            raise TypeError(f"a phase is named by a word such as 'validate', not {name!r}")
        before = self._phase
        span = self._open(_Span(self._tally(name), None))
        self._phase = name
        try:
            yield
        finally:
            self._phase = before
            self.end(span)

    # ---- reading ----

    @property
    def counts(self) -> Any:
        """All phases together."""
        first, *others = self._tallies.values() or [self._tally(_TRAIN)]
        return reduce(merged, [*self._before.values(), first.counts(FlopCount, others)])

    @property
    def phase_counts(self) -> dict[str, Any]:
        """Each phase by its name."""
        return self._with_before({n: t.counts(FlopCount, []) for n, t in self._tallies.items()})

    def _with_before(self, counts: dict[str, FlopCount]) -> dict[str, FlopCount]:
        both = {n: merged(c, counts[n]) if n in counts else c for n, c in self._before.items()}
        return {**both, **{n: c for n, c in counts.items() if n not in both}}

    # ---- state_dict ----

    def state(self) -> tuple[bool, list[tuple[int, int]], dict[str, FlopCount]]:
        """Whether the epoch is over, size and FLOPs of steps that are open, counts by phase."""
        inner = self._spans[-1].tally if self._spans else None
        flops = {id(t): iter(t.open_flops(t is inner)) for t in self._tallies.values()}
        spans = [(span.size, next(flops[id(span.tally)])) for span in self._spans]
        steps = [(size, cost) for size, cost in reversed(spans) if size is not None]
        counts = {n: t.so_far(FlopCount, t is inner) for n, t in self._tallies.items()}
        over = self._run_through == self._record()._epochs_begun and not steps
        return over, steps, self._with_before(counts)

    @property
    def has_counted(self) -> bool:
        """Whether there was a step or a phase."""
        return bool(self._spans or self._before) or any(
            tally.counts(FlopCount, []).operations for tally in self._tallies.values()
        )

    def load(self, before: dict[str, FlopCount]) -> None:
        """Go on from the counts of another run."""
        self._before = before

    # ---- epochs ----

    def _record(self) -> Any:
        tracker = self._tracker()
        if tracker is None:
            raise RuntimeError("the FlopsTracker of this loop is gone: keep it in a variable")
        return tracker

    def _epochs(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self._record().on_epoch_start()
            whole = False
            try:
                yield item
                whole = True
            finally:
                self._record()._end_epoch(whole)

    def loop(self, loader: Iterable[Any]) -> Iterator[Any]:
        """Give batches, each in a step; without an epoch that is open, the loop is one."""
        if self._phase != _TRAIN:  # which counts everything in it
            yield from loader
            return
        tracker = self._record()
        opened = not tracker._epoch_is_open
        if opened:
            tracker.on_epoch_start()
        whole = False
        try:
            for batch in loader:
                span = self.begin(self._size_of(batch))
                try:
                    yield batch
                finally:
                    self.end(span)
            whole = True
            self._run_through = tracker._epochs_begun
        finally:
            if opened:
                tracker._end_epoch(whole)

    # ---- spans ----

    def _tally(self, phase: str) -> Any:
        if phase not in self._tallies:
            self._tallies[phase] = PhaseTally(self._counter)
        return self._tallies[phase]

    def begin(self, size: int) -> _Span:
        """Open a step; in another phase than training it is the phase's."""
        if self._phase == _TRAIN:
            self._run_through = 0
        return self._open(_Span(self._tally(self._phase), size if self._phase == _TRAIN else None))

    def _open(self, span: _Span) -> _Span:
        if not self._spans:
            self._thread = threading.get_ident()
            self._counter.__enter__()
            lower(self._counter)  # a body may leave a mode that it entered in an earlier step
        elif self._thread != threading.get_ident():
            raise RuntimeError(
                "a step or phase of this tracker is open in another thread: what this thread does "
                "is counted there, if it was started inside; else give it a tracker of its own"
            )
        else:
            self._spans[-1].tally.push()
        self._spans.append(span)
        return span

    def end(self, span: _Span) -> None:
        """Close a span; one that others are open in, as its loop is gone, when these are closed."""
        span.closed = True
        while self._spans and self._spans[-1].closed:
            done = self._spans[-1]
            if len(self._spans) == 1:
                self._counter.__exit__(None, None, None)
            flops = done.tally.settle()
            self._spans.pop()
            if self._spans:
                self._spans[-1].tally.pop()
            if done.size is not None:
                self._add_step(done.size, flops)

    def _add_step(self, size: int, flops: int) -> None:
        tracker = self._record()
        if not tracker._epoch_is_open:
            tracker.on_epoch_start()
        tracker._add_step(size, flops)

    def _size_of(self, batch: Any) -> int:
        """Samples in a batch; 1 where that can't be told."""
        data = batch[0] if isinstance(batch, tuple | list) and len(batch) > 0 else batch
        try:
            return batch_size(data, self._batch_dim)
        except TypeError:
            return 1


class _Steps:
    """What steps() gives: each loop over it has a generator of its own."""

    def __init__(self, loops: Loops, loader: Iterable[Any]) -> None:
        self._loops = loops
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        return self._loops.loop(self._loader)
