"""Loops that the user writes: a step is counted, or costs what one like it had cost."""

import functools
import random
import threading
import warnings
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from . import _options
from ._batches import batch_size
from ._core import FlopCounter, StepReplay, UncountedWarning
from ._counting import compiled_calls, lower
from ._counts import FlopCount
from ._op_estimator import TorchOpEstimator
from ._step_keys import StepKeys, follow_optimizers
from ._untouched import root_of


class _Span:
    """A step, or a phase without steps, while it is open."""

    def __init__(self, replay: Any, key: bytes | None) -> None:
        self.replay = replay
        self.key = key  # None: it may do anything, and is counted each time
        self.counted = False
        self.start = self.excluded = 0  # autograd's numbering, and what of it is not the step's
        self.thread = threading.get_ident()
        self.flops: list[int] = []  # of its optimizers
        self.optimizers: list[tuple[bytes | None, bool, int]] = []  # that are at work
        self.outer: Any = None  # the step that it interrupts
        self.is_phase = self.paused = False
        self.compiled = 0  # calls of compiled code before it


class _Held:
    """A record that waits, or comes after one that waits."""

    def __init__(self, size: int, flops: list[int] | None, kind: Any, now: float) -> None:
        self.size = size
        self.flops = flops
        self.kind = kind
        self.now = now


class Loops:
    """Epochs, steps and phases of one tracker."""

    def __init__(self, tracker: Any, options: tuple[Any, ...]) -> None:
        trace, verify_every = options or _options.trace(None, None)
        estimator = tracker.estimator
        if not isinstance(estimator, TorchOpEstimator):
            raise TypeError(
                "steps are counted operation by operation: make FlopsTracker(model), or with a "
                f"{type(estimator).__name__} call on_epoch_start, update_batch and on_epoch_end"
            )
        import torch

        self._tracker = weakref.ref(tracker)
        self._model = estimator.model
        self._counter = FlopCounter(
            root_of(estimator.model), convention=estimator.convention, strict=estimator.strict
        )
        self._batch_dim = estimator.batch_dim
        self._new_replay = functools.partial(StepReplay, self._counter, trace, verify_every)
        self._keys = StepKeys()
        self._replays: dict[str, Any] = {}  # by phase
        self._optimizers: dict[str, Any] = {}
        self.traced_steps = self.replayed_steps = self.unattributed_steps = 0
        self._phase = "train"
        self._spans: list[_Span] = []
        self._held: list[_Held] = []
        self._said: set[str] = set()
        self._sequence = torch._C._autograd._get_sequence_nr
        follow_optimizers(self)

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
        size = self.size_of(batch) if batch_size is None else batch_size
        self._need_epoch()
        span = self._begin(batch)
        whole = False
        try:
            yield
            whole = True
        finally:
            self._end(span, size, whole)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what runs inside apart, under that name."""
        if not isinstance(name, str) or not name:
            raise TypeError(f"a phase is named by a word such as 'validate', not {name!r}")
        outer = self._pause()
        before, self._phase = self._phase, name
        span = _Span(self._replay(), None)
        span.is_phase = True
        self._open(span)
        try:
            yield
        finally:
            if span in self._spans:  # no step has ended it
                self._close(span, whole=True)
            self._phase = before
            self._resume(outer)

    # ---- reading ----

    @property
    def counts(self) -> Any:
        """All phases together."""
        first, *others = self._all_replays() or [self._replay()]
        return first.counts(FlopCount, others)

    @property
    def phase_counts(self) -> dict[str, Any]:
        """Each phase by its name."""
        return {
            name: replay.counts(FlopCount, [self._optimizers[name]])
            for name, replay in self._replays.items()
        }

    def _all_replays(self) -> list[Any]:
        return [*self._replays.values(), *self._optimizers.values()]

    # ---- epochs and records ----

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
                self._end_epoch(whole)

    def _need_epoch(self) -> bool:
        """Open an epoch where none is; whether one was opened."""
        tracker = self._record()
        if tracker._epoch_is_open or self._phase != "train":
            return False
        tracker.on_epoch_start()
        return True

    def _end_epoch(self, whole: bool) -> None:
        tracker = self._record()
        self._flush(tracker)
        if self._held:
            steps = sum(held.flops is None for held in self._held)
            for held in self._held:
                tracker._add_step(held.size, held.flops or [], held.now)
            self._held.clear()
            for replay in self._all_replays():
                replay.abandon()
            self.unattributed_steps += steps
            warnings.warn(
                f"{steps} of the steps of this epoch did work that was never counted: they are in "
                "unattributed_steps and in no total; trace='always' counts every step",
                UncountedWarning,
                stacklevel=3,
            )
        tracker._end_epoch(whole)

    def _flush(self, tracker: Any) -> None:
        while self._held and self._held[0].flops is not None:
            held = self._held.pop(0)
            tracker._add_step(held.size, held.flops, held.now)

    # ---- spans ----

    def _replay(self) -> Any:
        if self._phase not in self._replays:
            for replays in (self._replays, self._optimizers):
                replays[self._phase] = self._new_replay(random.getrandbits(63))
        return self._replays[self._phase]

    def _key_of(self, batch: Any) -> bytes | None:
        key = self._keys.of_step(self._model, batch)
        if key is None:
            self._say(
                f"a batch of {type(batch).__name__} says nothing of its contents: each step on "
                "one is counted, which takes longer"
            )
        return key

    def _begin(self, batch: Any) -> _Span:
        if self._spans and self._spans[-1].is_phase:
            self._close(self._spans[-1], whole=True)  # its steps say what is counted
        outer = self._pause()
        span = _Span(self._replay(), self._key_of(batch))
        span.outer = outer
        return self._open(span)

    def _open(self, span: _Span) -> _Span:
        self._spans.append(span)
        span.start = self._sequence()
        if span.key is None or span.replay.wants(span.key):
            span.counted = True
            span.compiled = compiled_calls()
            self._enter()
        return span

    def _end(self, span: _Span, size: int, whole: bool) -> None:
        flops, kind = self._close(span, whole)
        self._resume(span.outer)
        if self._phase != "train":
            return
        tracker = self._record()
        self._held.append(_Held(size, flops, kind, tracker._now()))
        self._flush(tracker)

    def _close(self, span: _Span, whole: bool) -> tuple[list[int] | None, Any]:
        """FLOPs of the step, None while they are not known, and its kind."""
        self._drop_optimizers(span)
        self._spans.remove(span)
        own_thread = span.thread == threading.get_ident()
        advance = self._sequence() - span.start - span.excluded if own_thread else 0
        kind = (span.key, advance)
        if span.counted:
            self._counter.__exit__(None, None, None)
            self.traced_steps += not span.is_phase
            if span.key is None or not whole or not own_thread:
                flops = span.replay.settle()
            else:
                flops = self._count(span, advance)
        else:
            self.replayed_steps += 1
            flops = span.replay.take(span.key, advance)
        return (None if flops is None else [flops, *span.flops]), kind

    def _count(self, span: _Span, advance: int) -> int:
        flops, before, differs, varies, resolved = span.replay.count(
            span.key, advance, compiled_calls() > span.compiled
        )
        if differs:
            more = "; from now on all steps like it are counted" if varies else ""
            warnings.warn(
                f"a step of the phase {self._phase!r} that was counted again cost {flops:,} FLOPs "
                f"and not {before:,} as the one before it: what it does depends on more than can "
                f"be seen before it runs{more}",
                UncountedWarning,
                stacklevel=4,
            )
        for held in self._held if resolved else ():
            if held.flops is None and held.kind[0] == span.key:
                known = span.replay.flops_of(*held.kind)
                held.flops = None if known is None else [known]
        return int(flops)

    def _enter(self) -> None:
        self._counter.__enter__()
        lower(self._counter)  # a body may leave a mode that it entered in an earlier step

    def _pause(self) -> tuple[_Span, int] | None:
        """Stop counting the step that is open, for a phase or a step inside of it."""
        if not self._spans or self._spans[-1].paused:
            return None
        outer = self._spans[-1]
        outer.paused = True
        if outer.counted:
            self._counter.__exit__(None, None, None)
            outer.replay.push()
        return outer, self._sequence()

    def _resume(self, paused: tuple[_Span, int] | None) -> None:
        if paused is None:
            return
        outer, before = paused
        outer.paused = False
        outer.excluded += self._sequence() - before
        if outer.counted and outer in self._spans:
            outer.replay.pop()
            self._enter()

    # ---- optimizers: each step of one is a kind of its own ----

    def before_optimizer(self, optimizer: Any) -> None:
        """Count a step of an optimizer, or leave it be where its cost is known."""
        if not self._spans or self._spans[-1].thread != threading.get_ident():
            return
        span = self._spans[-1]
        key = self._keys.of_optimizer(optimizer)
        replay = self._optimizers[self._phase]
        counted = key is None or replay.wants(key)
        if span.counted:
            replay.push()
        elif counted:
            self._enter()
            self._counter._enter_step()
        span.optimizers.append((key, counted, self._sequence()))

    def after_optimizer(self) -> None:
        """Add what the step cost to the step that it is in."""
        if not self._spans or self._spans[-1].thread != threading.get_ident():
            return
        span = self._spans[-1]
        if not span.optimizers:
            return  # it began before the step did
        key, counted, before = span.optimizers.pop()
        replay = self._optimizers[self._phase]
        span.excluded += self._sequence() - before
        if not span.counted and counted:
            self._counter.__exit__(None, None, None)
        if not (span.counted or counted):
            flops = replay.take(key, 0)
        elif key is None:
            flops = replay.settle()
        else:
            flops = replay.count(key, 0, False)[0]
        if span.counted:
            replay.pop()
        span.flops.append(flops)

    def _drop_optimizers(self, span: _Span) -> None:
        """Steps of optimizers that raised: what they did is the work of the step they were in."""
        while span.optimizers:
            _, counted, _ = span.optimizers.pop()
            if span.counted:
                self._optimizers[self._phase].pop()
            elif counted:
                self._counter.__exit__(None, None, None)
                span.flops.append(self._optimizers[self._phase].settle())

    # ---- odds and ends ----

    def size_of(self, batch: Any) -> int:
        """Samples in a batch; 1 where that can't be told."""
        data = batch[0] if isinstance(batch, tuple | list) and len(batch) > 0 else batch
        try:
            return batch_size(data, self._batch_dim)
        except TypeError:
            return 1

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            warnings.warn(text, UserWarning, stacklevel=4)


class _Steps:
    """What steps() gives: each loop over it has a generator of its own."""

    def __init__(self, loops: Loops, loader: Iterable[Any]) -> None:
        self._loops = loops
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        loops = self._loops
        opened = loops._need_epoch()
        whole_loop = False
        try:
            for batch in self._loader:
                span, whole = loops._begin(batch), False
                try:
                    yield batch
                    whole = True
                finally:
                    loops._end(span, loops.size_of(batch), whole)
            whole_loop = True
        finally:
            if opened:
                loops._end_epoch(whole_loop)
