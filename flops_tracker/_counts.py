"""FlopCount: what was counted, to read, print and export; all sums come from the core."""

from collections.abc import Mapping
from os import PathLike
from typing import Any, NamedTuple

from . import _core, _options, _ranks, _saved, _views


class ModuleCount(NamedTuple):
    """FLOPs of one module: of its own operations, and with those of the modules inside it."""

    module_class: str
    own: int
    inclusive: int
    calls: int
    aliases: tuple[str, ...]


class FlopCount(_core.OperationCounts):
    """FLOPs by operation, module, phase and dtype, under one convention.

    ``total``, ``forward``, ``backward``, ``recompute`` and ``optimizer`` are exact integers;
    ``under(name)`` gives the same counts under another convention.
    """

    params: int = 0
    on: str = "real"
    ranks: str = ""  # whose work it is, where several processes train
    _of: tuple[int, ...] = ()  # the ranks of a sum

    def __reduce__(self) -> tuple[Any, ...]:
        """Plain data, that a process without PyTorch can read as well."""
        return type(self)._from_state, (self._state(),), vars(self)

    def by_op(self) -> dict[str, int]:
        """FLOPs of each operation, the largest first."""
        return _largest_first(self._sums("op"))

    def by_class(self) -> dict[str, int]:
        """FLOPs of each class of operations (matmul, conv, norm, ...), the largest first."""
        return _largest_first(self._sums("class"))

    def by_phase(self) -> dict[str, int]:
        """FLOPs of forward, backward, recompute and optimizer."""
        sums = self._sums("phase")
        return {phase: sums.get(phase, 0) for phase in _PHASES}

    def by_dtype(self) -> dict[str, int]:
        """FLOPs by dtype of the result, the largest first."""
        return {k: v for k, v in _largest_first(self._sums("dtype")).items() if k != "none" or v}

    def by_module(self, depth: int | None = None) -> dict[str, ModuleCount]:
        """Count of each module by path, down to ``depth`` levels below the roots.

        The sum of ``own`` over all modules and ``outside`` is the total.
        """
        depth = _options.whole_or_none("depth", depth)
        counts = {}
        for (name, kind, _, calls, aliases, _, _), (own, inclusive) in zip(
            self._modules[1:], self._module_sums()[1:], strict=True
        ):
            if depth is None or name.count(".") <= depth:
                counts[name] = ModuleCount(kind, own, inclusive, calls, aliases)
        return counts

    def by_module_and_op(self) -> dict[str, dict[str, int]]:
        """FLOPs of each operation in each module that ran, the modules inside it included.

        Under "" are those of all modules and outside of them.
        """
        return {
            self._modules[number][0]: {op: flops for op, (flops, _, _) in sums.items()}
            for number, sums in sorted(self._module_op_sums(None).items())
        }

    @property
    def outside(self) -> int:
        """FLOPs outside of all modules."""
        return self._module_sums()[0][0]

    @property
    def calls(self) -> int:
        """Operations that ran."""
        return self.operations

    @property
    def coverage(self) -> float:
        """Share of the operations that a rule counted."""
        if self.operations == 0:
            return 1.0
        return (self.operations - self.unknown_operations) / self.operations

    @property
    def uncounted(self) -> dict[str, str]:
        """Operations without a rule, and the shapes of the first call of each."""
        return self.unknown

    @property
    def uncalled(self) -> list[str]:
        """Paths of modules that never ran, and in which nothing ran either."""
        running = {0}
        for number, (_, _, parent, calls, *_) in reversed(list(enumerate(self._modules))):
            if calls or number in running:  # children come after their parents
                running |= {number, parent}
        return [
            name
            for number, (name, *_, forward) in enumerate(self._modules)
            if forward and number not in running
        ]

    @property
    def trust_line(self) -> str:
        """Ranks, convention, operations, share counted, those without a rule, upper bounds."""
        return f"{self.ranks} · {self._what_counted}" if self.ranks else self._what_counted

    @property
    def _what_counted(self) -> str:
        named = ", causal exact" if self.causal == "exact" else ""
        line = f"{self.convention}{named} · {_views.number_of(self.operations, 'operation')}"
        if self.operations:
            line += f", {_percent(self.coverage)} counted, {len(self.unknown)} unknown"
        bounds = ", ".join(self.upper_bounds)
        return f"{line}, upper bound for {bounds}" if bounds else line

    def all_reduce(self, group: Any = None) -> "FlopCount":
        """Add up these counts over all ranks of torch.distributed, exactly.

        All ranks of the group, by default of all processes, must call it. Without a process group
        it gives the counts themselves.
        """
        return _ranks.gather("all_reduce", {"": self}, group)[""]

    # ---- views ----

    def table(self, depth: int | None = None, top: int | None = None) -> str:
        """Modules and operations with their FLOPs, as text: ``print(count.table())``.

        ``depth`` is the number of levels of modules, ``top`` keeps the largest rows.
        """
        return _views.table(self, depth, top)

    def tree(self, depth: int | None = None) -> str:
        """Show the modules as a tree with their FLOPs, as text."""
        return _views.tree(self, depth)

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain data."""
        return _views.to_dict(self)

    def to_json(self, path: str | PathLike[str] | None = None) -> str:
        """Give the same as JSON, and write it where a path is given."""
        return _views.to_json(self, path)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "FlopCount":
        """Give the counts of what ``to_dict`` gave; ValueError for anything else."""
        return _saved.from_dict(data)

    @classmethod
    def from_json(cls, path: str | PathLike[str]) -> "FlopCount":
        """Read the file that ``to_json`` wrote, a profile's too; ValueError for any other."""
        return _saved.from_json(path)

    def to_markdown(
        self,
        path: str | PathLike[str] | None = None,
        *,
        depth: int | None = None,
        top: int | None = None,
    ) -> str:
        """Give what ``table`` has as tables in Markdown, and write it where a path is given."""
        return _views.to_markdown(self, path, depth, top)

    def to_csv(self, path: str | PathLike[str]) -> None:
        """Write one line per operation, module, phase and dtype."""
        _views.to_csv(self, path)

    def to_pandas(self) -> Any:
        """Give the same as a data frame (needs pandas)."""
        return _views.to_pandas(self)

    def to_html(
        self,
        path: str | PathLike[str] | None = None,
        *,
        peak_flops: Any = None,
        bandwidth: float | None = None,
    ) -> str:
        """Give a page that stands alone, and write it where a path is given.

        ``peak_flops``, in FLOP/s, as for FlopsTracker, and ``bandwidth``, in bytes per second, are
        the device's that operations are held against in its roofline.
        """
        from ._html import page

        return page.to_html(self, path, peak_flops, bandwidth)

    def _repr_html_(self) -> str:
        from ._html import cells

        return cells.count_cell(self)

    def __str__(self) -> str:
        return _views.summary(self)

    def __repr__(self) -> str:
        return f"<FlopCount {_core.format_flops(self.total)} · {self.trust_line}>"


def merged(first: FlopCount, second: FlopCount) -> FlopCount:
    """Counts of two parts of one run, maybe of two processes, matched by names."""
    state, other = list(first._state()), second._state()
    numbers: dict[Any, int] = {}  # (path, class, number of the parent): number
    modules: list[Any] = []
    renumbered: list[list[int]] = []
    for old in (state[_MODULES], other[_MODULES]):
        renumbered.append([])
        for name, kind, parent, calls, *rest in old:
            above = renumbered[-1][parent] if renumbered[-1] else 0
            number = numbers.setdefault((name, kind, above), len(modules))
            if number == len(modules):
                modules.append((name, kind, above, calls, *rest))
            else:
                known = modules[number]
                both = _core._add_counts([known[3], calls])
                modules[number] = (*known[:3], both, *known[4:])
            renumbered[-1].append(number)
    for at in (_OPERATIONS, _WITHOUT_RULE):
        state[at] = _core._add_counts([state[at], other[at]])
    for at in (_UNKNOWN, _BOUNDED):
        state[at] = {**other[at], **state[at]}
    state[_MODULES] = modules
    state[_ROWS] = [
        (*row[:2], numbers_of[row[2]], *row[3:])  # the core adds up rows that are alike
        for rows, numbers_of in zip((state[_ROWS], other[_ROWS]), renumbered, strict=True)
        for row in rows
    ]
    counts = FlopCount._from_state(tuple(state))
    vars(counts).update({**vars(first), **vars(second)})
    return counts


# Places in what OperationCounts._state gives.
_OPERATIONS, _WITHOUT_RULE, _MODULES, _UNKNOWN, _BOUNDED, _ROWS = range(1, 7)

_PHASES = ("forward", "backward", "recompute", "optimizer")


def _largest_first(sums: dict[str, int]) -> dict[str, int]:
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def _percent(share: float) -> str:
    """Never 100.0 % where something is missing."""
    text = f"{100 * share:.1f}"
    return "99.9 %" if text == "100.0" and share < 1 else f"{text} %"
