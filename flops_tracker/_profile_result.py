"""Profile: what profile() counted and measured, to read, print and export."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from . import _profile_views
from ._counts import FlopCount
from ._measure import Spread, spread_of


class OperationRecord(NamedTuple):
    """One call of an operation: seconds, and bytes in use before and after it."""

    module: str
    op: str
    phase: str
    op_class: str
    flops: int
    share: float
    time: float | None
    memory_before: int | None
    memory_after: int | None
    memory_delta: int | None


class ModuleRecord(NamedTuple):
    """A module with all inside it: bytes in use before its forward and after it.

    ``flops`` and ``time`` (seconds, a mean over the steps) are of all phases, ``spread`` says how
    the time differs; ``backward`` has what is recomputed for it.
    """

    module: str
    module_class: str
    calls: int
    flops: int
    share: float
    time: float | None
    memory_before: int | None
    memory_after: int | None
    memory_delta: int | None
    params: int
    forward: int
    backward: int
    forward_time: float | None
    backward_time: float | None
    spread: Spread | None
    flops_per_second: float | None


class ModuleFacts(NamedTuple):
    """What a module is: its parameters, with those inside it, and its own repr."""

    params: int
    extra_repr: str


class Ignored(NamedTuple):
    """What one entry of ``ignore`` took out of the table."""

    entry: str
    calls: int
    flops: int


class Profile(FlopCount):
    """A FlopCount of one step, with what was measured.

    ``time`` is the mean seconds of a step without the counter, ``spread`` its median and quartiles,
    ``memory`` the most bytes that were in use; None where they were not asked for. ``records`` are
    the rows of the table.
    """

    by: str = "module"
    time: float | None = None
    spread: Spread | None = None
    memory: int | None = None
    peak_flops: float | None = None
    depth: int | None = None
    top: int | None = None
    _entries: list[tuple[str, bool]]  # the text, and whether it was given as text
    _by_class: dict[str, frozenset[int]]
    _facts: dict[str, ModuleFacts]
    _seconds: list[list[float]] | None = None  # of each call, in each step that was like the last
    _starts: list[float] | None = None  # of the last step
    _bytes: dict[int, tuple[int, int]] | None = None

    @property
    def flops_per_second(self) -> float | None:
        """FLOPs of a step over its time; None without a time."""
        return None if not self.time else self.total / self.time

    @property
    def mfu(self) -> float | None:
        """Share of ``peak_flops`` that contractions reach (``matmul``), recomputation left out."""
        if not self.time or self.peak_flops is None:
            return None
        counts = self.under("matmul")
        work = (counts.forward, counts.backward, counts.optimizer)
        return sum(flops / self.time / self.peak_flops for flops in work)

    # ---- what is ignored ----

    def _ignored_by(self, op: str, module: str) -> int | None:
        """The number of the entry that drops an operation in a module, if one does."""
        return next(self._matches(op, module), None)

    def _matches(self, op: str, module: str) -> Iterator[int]:
        """The numbers of all entries that would drop it."""
        around = list(paths_to(module))
        names = [op, op.rpartition(".")[0], *around]
        names += [path.partition(".")[2] for path in around]  # without the root's name
        by_class = frozenset[int]().union(*(self._by_class.get(path, ()) for path in around))
        for number, (text, as_text) in enumerate(self._entries):
            if number in by_class or (as_text and text in names):
                yield number

    def _unmatched(self) -> list[str]:
        """Entries that name nothing that ran."""
        ran = {(op, module) for op, module, *_ in self._calls or ()}
        ran |= {("", path) for path, module in self.by_module().items() if module.calls}
        matched = {number for op, module in ran for number in self._matches(op, module)}
        return [text for number, (text, _) in enumerate(self._entries) if number not in matched]

    def _kept(self) -> tuple[list[int], list[list[int]]]:
        """Numbers of the calls that stay, and of those that each entry drops."""
        kept: list[int] = []
        dropped: list[list[int]] = [[] for _ in self._entries]
        for at, (op, module, *_) in enumerate(self._calls or ()):
            number = self._ignored_by(op, module)
            (kept if number is None else dropped[number]).append(at)
        return kept, dropped

    @property
    def ignored(self) -> list[Ignored]:
        """Of each entry of ``ignore``, the calls it dropped from the table and their FLOPs."""
        return [
            Ignored(text, len(calls), self._calls_sum(calls))
            for (text, _), calls in zip(self._entries, self._kept()[1], strict=True)
        ]

    # ---- records ----

    @property
    def records(self) -> list[OperationRecord] | list[ModuleRecord]:
        """One per call of an operation, or one per module, in the order of the model."""
        return self._operations() if self.by == "op" else self.modules

    def _operations(self) -> list[OperationRecord]:
        calls = self._calls or []
        records = []
        for at in self._kept()[0]:
            op, module, phase, op_class, flops, _, _ = calls[at]
            measured = (self._time_of([at]), *self._memory_of([at]))
            records.append(
                OperationRecord(module, op, phase, op_class, flops, self._share(flops), *measured)
            )
        return records

    @property
    def modules(self) -> list[ModuleRecord]:
        """One record per module, in the order of the model; under "" what ran outside of them."""
        calls = self._calls or []
        inside = calls_inside(calls, self._kept()[0])
        phases = [call[2] for call in calls]
        records = [
            self._module(path, module.module_class, module.calls, inside.get(path, []), phases)
            for path, module in self.by_module().items()
            if path in inside or (module.calls and self._ignored_by("", path) is None)
        ]
        if "" in inside:
            records.append(self._module("", "", 0, inside[""], phases))
        return records

    def _module(
        self, path: str, kind: str, calls: int, numbers: list[int], phases: list[str]
    ) -> ModuleRecord:
        forward = [at for at in numbers if phases[at] == "forward"]
        backward = [at for at in numbers if phases[at] in ("backward", "recompute")]
        flops, seconds = self._calls_sum(numbers), self._time_of(numbers)
        return ModuleRecord(
            path,
            kind,
            calls,
            flops,
            self._share(flops),
            seconds,
            *self._memory_of(forward or numbers),
            params=self._facts[path].params if path in self._facts else 0,
            forward=self._calls_sum(forward),
            backward=self._calls_sum(backward),
            forward_time=self._time_of(forward),
            backward_time=self._time_of(backward),
            spread=self._spread_of(numbers),
            flops_per_second=flops / seconds if seconds else None,
        )

    def _share(self, flops: int) -> float:
        return flops / self.total if self.total else 0.0

    def _steps_of(self, numbers: list[int]) -> list[float]:
        """Seconds that these calls took together, in each step."""
        return [sum(seconds[at] for at in numbers) for seconds in self._seconds or ()]

    def _time_of(self, numbers: list[int]) -> float | None:
        steps = self._steps_of(numbers)
        return sum(steps) / len(steps) if steps else None

    def _spread_of(self, numbers: list[int]) -> Spread | None:
        steps = self._steps_of(numbers)
        return spread_of(steps) if steps else None

    def _memory_of(self, numbers: list[int]) -> tuple[int | None, int | None, int | None]:
        noted = [at for at in numbers if self._bytes is not None and at in self._bytes]
        if not noted or self._bytes is None:
            return None, None, None
        before, after = self._bytes[noted[0]][0], self._bytes[noted[-1]][1]
        return before, after, after - before

    # ---- views ----

    def table(self, depth: int | None = None, top: int | None = None) -> str:
        """Give the records as text, and below them what was ignored and the totals.

        ``depth`` is the number of levels of modules, ``top`` keeps the records of most FLOPs.
        """
        return _profile_views.table(self, self.depth if depth is None else depth, top)

    def tree(self, depth: int | None = None, top: int | None = None) -> str:
        """Show the model as it prints itself, each module with what it costs.

        Parameters, FLOPs, time and memory are of a module with all inside it, and so are shares of
        the whole. ``depth`` is the number of levels; below the tree are the ``top`` classes of
        modules at the deepest of them.
        """
        depth = self.depth if depth is None else depth
        return _profile_views.tree(self, depth, self.top if top is None else top)

    def top_modules(self, top: int = 3, depth: int = -1) -> dict[str, dict[str, float]]:
        """Give the classes of modules at a depth that have most, added up over their modules.

        ``{"flops": {class: FLOPs}, "params": ..., "time": seconds, "memory": bytes}``, the largest
        first, without what was not measured. The root is at depth 0, the innermost at -1. Memory is
        what is in use after a module's forward more than before it.
        """
        return _profile_views.top_modules(self, top, depth)[1]

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain data, the records among it."""
        return {
            **super().to_dict(),
            "time": self.time,
            "spread": None if self.spread is None else self.spread._asdict(),
            "memory": self.memory,
            "flops_per_second": self.flops_per_second,
            "mfu": self.mfu,
            "records": [_plain(record) for record in self.records],
            "ignored": [ignored._asdict() for ignored in self.ignored],
        }

    def to_trace(self, path: Any) -> None:
        """Write the last measured step as Chrome trace JSON (chrome://tracing, Perfetto).

        A slice per operation in microseconds, with its module, class, FLOPs and FLOP/s; forward,
        backward, recompute and optimizer on a track each; where memory was watched, bytes in use.
        ValueError without times.
        """
        _profile_views.write_trace(self, path)

    def __str__(self) -> str:
        return _profile_views.summary(self)

    def _repr_html_(self) -> str:
        from ._html import cells

        return cells.profile_cell(self)

    def __repr__(self) -> str:
        return super().__repr__().replace("<FlopCount", "<Profile", 1)


def _plain(record: Any) -> dict[str, Any]:
    plain: dict[str, Any] = record._asdict()
    if plain.get("spread") is not None:
        plain["spread"] = plain["spread"]._asdict()
    return plain


def paths_to(module: str) -> Iterable[str]:
    """A module's path and those of the modules around it, the innermost first."""
    while module:
        yield module
        module = module.rpartition(".")[0]


def calls_inside(calls: list[tuple[Any, ...]], kept: Iterable[int]) -> dict[str, list[int]]:
    """The numbers of the calls in each module and those inside it; "" has those outside of all."""
    inside: dict[str, list[int]] = {}
    for at in kept:
        for path in paths_to(calls[at][1]) if calls[at][1] else ("",):
            inside.setdefault(path, []).append(at)
    return inside
