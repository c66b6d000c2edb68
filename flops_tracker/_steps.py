"""Loops that the user writes: epochs, steps and phases. The core keeps what is open (StepLoops)."""

import random
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import ContextDecorator, suppress
from functools import reduce
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any, NamedTuple

from . import _options
from ._batches import batch_size
from ._core import FlopCounter, StepLoops, _add_counts
from ._counts import FlopCount, merged
from ._loop_output import Output
from ._op_estimator import TorchOpEstimator
from ._tell import is_theirs, tell_of_no_step
from ._untouched import root_of


class State(NamedTuple):
    """What loops have for state_dict."""

    over: bool  # the epoch
    steps: list[tuple[int, int]]  # size and FLOPs of those that have no record yet
    phases: dict[str, FlopCount]
    counted_steps: dict[str, int] | None  # "traced", "replayed", "unattributed"


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
        self._steps_before = (0, 0, 0)  # of that run: counted, like one of them, not known
        self._knows_steps = True
        self._output: Output | None = None  # of the epoch that is open
        self._phases_begun = 0
        self._told_of_no_step = False

    def epochs(self, epochs: int | Iterable[Any], **options: Any) -> Iterator[Any]:
        """Open an epoch for each item, as the loop comes to it."""
        items = range(_options.whole("epochs", epochs, 0)) if isinstance(epochs, int) else epochs
        if not isinstance(items, Iterable):
            raise TypeError(f"epochs must be an int or iterable, not {epochs!r}")
        return self._epochs(items, Output(options, self._record()))

    def _record(self) -> Any:
        tracker = self._tracker()
        if tracker is None:
            raise RuntimeError("the FlopsTracker of this loop is gone: keep it in a variable")
        return tracker

    def _epochs(self, items: Iterable[Any], output: Output) -> Iterator[Any]:
        if not self._record()._mind_budget(2):
            try:
                output.open(self._record())
                yield from self._each_epoch(items, output)
            finally:
                output.close()
        self._record()._run.loop_over(self._record())
        output.end(self._record())

    def _each_epoch(self, items: Iterable[Any], output: Output) -> Iterator[Any]:
        for item in items:
            self._record().on_epoch_start()
            output.begin_epoch(self._record())
            whole = self._cut = False
            phases = self._phases_begun
            try:
                self._output = output
                yield item
                whole = not self._cut
            finally:
                self._output = None
                try:
                    self._end_epoch(whole)
                finally:  # what it says may be an error: the epoch has ended all the same
                    output.end_epoch(self._record())
            if self._record()._mind_budget(1):
                return
            if self._phases_begun == phases and not self._told_of_no_step:
                self._told_of_no_step = self._mind_steps(self._record())

    def _mind_steps(self, tracker: Any) -> bool:
        """Whether an epoch had no step, which is said: most likely the loader is not wrapped."""
        if tracker._batches == 0:
            tell_of_no_step(tracker._epochs_begun, self._run_through == tracker._epochs_begun)
        return bool(tracker._batches == 0)

    def steps(self, loader: Iterable[Any]) -> "_Steps":
        """Give the loader's batches; the body of the loop is a step."""
        if not isinstance(loader, Iterable) and not hasattr(loader, "__getitem__"):
            raise TypeError(f"loader must be iterable, not {type(loader).__name__}")
        return _Steps(self, loader)

    def step(self, batch: Any = None, *, batch_size: int | None = None) -> "_Span":
        """Count what runs inside as one step."""
        if batch_size is not None:
            batch_size = _options.whole("batch_size", batch_size, 0)

        def begin() -> int:
            return self._begin_step(batch, batch_size, _position(2))

        return _Span(self, begin, ends_a_step=True)

    def phase(self, name: str) -> "_Span":
        """Count what runs inside apart, under that name; as often as it is entered."""
        name = _options.phase_name(name)

        def begin() -> int:
            self._phases_begun += 1
            return self._begin_phase(name)

        return _Span(self, begin, ends_a_step=False)

    def _break_off(self, end: Callable[[int, Any], None], number: int, how: bool | None) -> None:
        with suppress(Warning):  # where warnings are errors, the body's own comes first
            end(number, how)

    def train_step(self, batch: Any, train: Callable[[Any], int]) -> int:
        """Train a batch as one step; train returns its size. One that raises is not counted."""
        number = self._begin_step(batch, None, 0)
        try:
            size = train(batch)
        except BaseException:
            self._break_off(self._end_batch, number, None)
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
    def traced_steps(self) -> int:
        """Steps that were counted, of the run before too."""
        return _add_counts([self._steps_before[0], super().traced_steps])

    @property
    def replayed_steps(self) -> int:
        """Steps that cost what one like them had cost."""
        return _add_counts([self._steps_before[1], super().replayed_steps])

    @property
    def unattributed_steps(self) -> int:
        """Steps of which nothing is known."""
        return _add_counts([self._steps_before[2], super().unattributed_steps])

    @property
    def trust_line(self) -> str:
        """Convention, share counted, and how many steps stand for others."""
        steps = _add_counts([self.traced_steps, self.replayed_steps, self.unattributed_steps])
        line = str(self.counts._what_counted)
        if steps:
            line += f" · {self.traced_steps:,} of {steps:,} steps counted"
        if self.replayed_steps:
            line += f", {self.replayed_steps:,} like one of them"
        if self.unattributed_steps:
            line += f", {self.unattributed_steps:,} not known and in no total"
        if self._differing:
            line += f", {self._differing:,} unlike those they stood for: the total may be off"
        if not self._knows_steps:  # a state without them
            line += " · steps before the state was loaded not among them" if steps else ""
            line += "" if steps else " · counts of the state that was loaded"
        return line

    # ---- state_dict ----

    def state(self) -> "State":
        """Give the loops as they are now."""
        steps, counts, open_steps = self._state(FlopCount)
        over = self._run_through == self._record()._epochs_begun and not steps
        ended = (self.traced_steps, self.replayed_steps, self.unattributed_steps)
        numbers = [_add_counts(list(pair)) for pair in zip(ended, open_steps, strict=True)]
        counted = dict(zip(("traced", "replayed", "unattributed"), numbers, strict=True))
        return State(over, steps, self._with_before(counts), counted)

    @property
    def has_counted(self) -> bool:
        """Whether there was a step or a phase."""
        return bool(self._is_used or self._before)

    def load(self, before: dict[str, FlopCount], steps: tuple[int, int, int] | None) -> None:
        """Go on from the counts of another run; of its steps, where the state says them."""
        self._before = before
        self._steps_before = steps or (0, 0, 0)
        self._knows_steps = steps is not None


class _Span(ContextDecorator):
    """A step or a phase, for ``with``: anew each time it is entered, also inside of itself."""

    def __init__(self, loops: Loops, begin: Callable[[], int], *, ends_a_step: bool) -> None:
        self._loops = loops
        self._begin = begin
        self._ends_a_step = ends_a_step
        self._open: list[int] = []  # numbers, the innermost last

    def __call__(self, function: Any) -> Any:
        later = (isgeneratorfunction, iscoroutinefunction, isasyncgenfunction)
        if any(is_one(function) for is_one in later):
            raise TypeError(
                f"{function.__qualname__} does its work after the call has returned: write "
                "`with` around the work instead"
            )
        return super().__call__(function)

    def __enter__(self) -> None:
        self._open.append(self._begin())

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        number = self._open.pop()
        if kind is not None:
            self._loops._break_off(self._loops._end, number, False)
            return
        self._loops._end(number, True)
        if self._ends_a_step:
            self._loops._record()._mind_budget(0)  # there is no loop to end

    def __del__(self) -> None:
        for number in reversed(getattr(self, "_open", [])):  # entered, and never left
            with suppress(RuntimeError, Warning):  # there may be no tracker any more
                self._loops._end(number, False)


class _Steps:
    """What steps() gives: each loop over it has an iterator of its own."""

    def __init__(self, loops: Loops, loader: Iterable[Any]) -> None:
        self._loops = loops
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        place = _position(_CALLERS)
        steps, output = self._loops._iterate(self._loader, place), self._loops._output
        if output is None or not output.by_step:
            return steps
        return output.follow(steps, self._loops._record())


_CALLERS = 8


def _position(callers: int) -> int:
    """Where in the user's code a step or a loop stands: another place is another kind of step."""
    place: list[Any] = []
    frame = sys._getframe(1)
    while frame is not None and callers > 0:
        if is_theirs(frame):
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
