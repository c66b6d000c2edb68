"""TorchFLOPsByFX as users of torch_flops type it: FLOPs, time and memory, node by node."""

import csv
import warnings
from collections.abc import Iterable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _terminal
from .._core import FlopCounter
from .._count import Call, Ready
from .._frameworks import need
from .._profile import ignore_entries
from .._untouched import in_eval_mode, random_as_before, root_of
from .._watch import Watch

if TYPE_CHECKING:
    from .._counts import FlopCount

_COLUMNS = (
    "node_name",
    "node_op",
    "op_target",
    "nn_module_stack[-1]",
    "flops",
    "time(ms)",
    "mem_before_op(B)",
    "mem_after_op(B)",
    "mem_delta(B)",
)
_MEMORY = (None, "memory_allocated", "max_memory_allocated")


class _Row(NamedTuple):
    """A line of the table, and the numbers of the calls that it counts."""

    name: str
    op: str
    target: str
    module: str
    flops: int | str
    milliseconds: float
    before: int
    after: int
    calls: list[int]

    def cells(self) -> tuple[Any, ...]:
        return (*self[:-1], self.after - self.before)


class TorchFLOPsByFX:
    """FLOPs of each node of a model's torch.fx graph, or of each operation where it has none.

    ``ignore_ops`` drops nodes by their operation (``"Linear"``, ``"matmul"``, ``"add"``), by class
    or path of their module, and operations by name (``"aten.mm"``). ``mem_func_name`` is
    ``"memory_allocated"`` (the default) or ``"max_memory_allocated"``: of CUDA's allocator, or of
    the live tensors on a CPU. FLOPs are exact ones: a dot product of length n is 2n - 1.

    The model runs in eval mode without gradients, on copies, and stays as it is. ``counts`` is the
    FlopCount of the last run, ignored operations among it.
    """

    counts: "FlopCount | None" = None

    def __init__(
        self,
        model: Any,
        mem_func_name: str | None = None,
        ignore_ops: Iterable[str | type] | None = None,
    ) -> None:
        torch = need("torch", "torch")
        if not isinstance(model, torch.nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}")
        if mem_func_name not in _MEMORY:
            raise ValueError(
                "mem_func_name must be 'memory_allocated' or 'max_memory_allocated', not "
                f"{mem_func_name!r}"
            )
        self._model = root_of(model)
        self._peak = mem_func_name == "max_memory_allocated"
        self._ignored = ignore_entries("ignore_ops", () if ignore_ops is None else ignore_ops)
        self._rows: list[_Row] | None = None
        self._total = self._max_memory = 0
        self._traced = True
        self.graph_model: Any = _Untraced(self)
        from .._counting import unseen_by_counters  # with torch, which must not be imported before

        with unseen_by_counters(), random_as_before(), in_eval_mode(self._model):
            try:
                self.graph_model = torch.fx.symbolic_trace(self._model)
                graph = self.graph_model.graph
                graph.print_tabular = partial(_print_graph, graph)  # torch's needs tabulate
            except Exception as error:  # what forward does with a proxy may raise anything
                self._give_up_graph(f"{type(error).__name__}: {error}")

    def propagate(self, *x: Any, **kwargs: Any) -> None:
        """Run the model on these arguments and count it. TypeError where one is missing."""
        from .._counting import unseen_by_counters

        with unseen_by_counters(), random_as_before():
            rows, total = self._run_operations(x, kwargs)
            if self._traced:
                try:
                    nodes, of_nodes = self._run_nodes(x, kwargs)
                except Exception as error:
                    self._give_up_graph(f"{type(error).__name__}: {error}")
                else:
                    if of_nodes == total:
                        rows = nodes
                    else:
                        self._give_up_graph(f"its graph does {of_nodes:,} FLOPs, not {total:,}")
        self._rows = rows

    def _give_up_graph(self, reason: str) -> None:
        self._traced = False
        self.graph_model = _Untraced(self)
        warnings.warn(
            f"torch.fx can't trace {type(self._model).__name__}, so its table has a row per "
            f"operation ({reason.strip().splitlines()[0]})",
            stacklevel=3,
        )

    # ---- running ----

    def _run_operations(self, args: Any, kwargs: Any) -> tuple[list[_Row], int]:
        with _ready(self._model, args, kwargs) as ready:
            watch = Watch(ready.tensors, memory=True, cuda_time=_on_cuda(ready))
            counts = _count(FlopCounter(self._model, convention="exact"), ready, watch)
        used: dict[str, int] = {}
        kinds = {row[0]: row[1] for row in counts._modules}
        stacks = _stacks(self._model, counts)
        rows = []
        on_gpu = watch.cuda_times()
        for at, (op, module, _, op_class, flops, start, seconds) in enumerate(counts._calls):
            name = op.split(".")[1] if op.count(".") > 1 else op
            number = used[name] = used.get(name, -1) + 1
            dropped = self._drops([op, op.rpartition(".")[0], name], stacks.get(module, []))
            before, after = watch.memory.get(at, (0, 0))
            shown = _shown(flops, op_class == "unknown", dropped)
            rows.append(
                _Row(
                    f"{name}_{number}" if number else name,
                    "call_function",
                    op,
                    kinds[module],
                    shown,
                    1000 * on_gpu.get(at, (start, seconds))[1],
                    before,
                    after,
                    [] if dropped else [at],
                )
            )
        self._finish(counts, rows, watch)
        self.counts = counts
        return rows, counts.total

    def _run_nodes(self, args: Any, kwargs: Any) -> tuple[list[_Row], int]:
        from ._fx_nodes import Nodes

        model = self.graph_model
        counter = FlopCounter(convention="exact")
        nodes = Nodes(model, counter, self._peak)
        with _ready(nodes, _arguments(model.graph, args, kwargs), {}) as ready:
            watch = Watch(ready.tensors, memory=True, cuda_time=_on_cuda(ready))
            nodes.live = watch.live
            counts = _count(counter, ready, watch)
            noted = list(nodes.runs)  # what the module holds is put back
        on_gpu = watch.cuda_times()
        calls = counts._calls
        rows = []
        for node, first, last, before, after in noted:
            stack = list((node.meta.get("nn_module_stack") or {}).values())
            kind = stack[-1][1] if stack else None
            dropped = self._drops(_node_names(node, model), stack)
            kept = [n for n in range(first, last) if not (dropped or self._drops_call(calls[n][0]))]
            unknown = any(calls[n][3] == "unknown" for n in kept)
            rows.append(
                _Row(
                    node.name,
                    node.op,
                    str(node.target),
                    getattr(kind, "__name__", str(kind or "")),
                    _shown(counts._calls_sum(kept), unknown, dropped),
                    1000 * sum(on_gpu.get(n, calls[n][5:])[1] for n in range(first, last)),
                    before,
                    after,
                    kept,
                )
            )
        self._finish(counts, rows, watch)
        return rows, counts.total

    def _finish(self, counts: Any, rows: list[_Row], watch: Any) -> None:
        self._total = counts._calls_sum([number for row in rows for number in row.calls])
        self._max_memory = watch.live.peak

    # ---- what is ignored ----

    def _drops(self, names: list[Any], stack: list[tuple[str, Any]]) -> bool:
        """Whether an entry names the operation, or the class or path of a module around it."""
        around: list[Any] = list(names)
        for path, kind in stack:
            around.append(path)
            kinds = kind.__mro__ if isinstance(kind, type) else (kind,)
            around += [*kinds, *(getattr(k, "__name__", k) for k in kinds)]
        return any(entry == name for entry in self._ignored for name in around)

    def _drops_call(self, op: str) -> bool:
        return self._drops([op, op.rpartition(".")[0]], [])

    # ---- results ----

    def _result(self) -> list[_Row]:
        if self._rows is None:
            raise RuntimeError("nothing has run yet: call propagate(*x) first")
        return self._rows

    def print_result_table(self, show: bool = True) -> list[list[Any]]:
        """Print the table; returns its rows, without the header."""
        rows = [list(row.cells()) for row in self._result()]
        if show:
            shown = [[_text(cell) for cell in row] for row in rows]
            print(_terminal.text_table(_COLUMNS, shown, _COLUMNS[4:]))
        return rows

    def print_total_flops(self, show: bool = True) -> int:
        """Print and return the FLOPs of all rows, ignored ones left out."""
        self._result()
        if show:
            print(f"total_flops = {self._total:,}")
        return self._total

    def print_total_time(self, show: bool = True) -> float:
        """Print and return the time of all rows, in milliseconds."""
        total = sum(row.milliseconds for row in self._result())
        if show:
            print(f"total_time = {total:.3f} ms")
        return total

    def print_max_memory(self, show: bool = True) -> int:
        """Print and return the most bytes that were in use."""
        self._result()
        if show:
            print(f"max_memory = {self._max_memory:,} Bytes")
        return self._max_memory

    def save_result_to_csv(self, file_path: Any, mode: str = "a") -> None:
        """Write the rows; mode ``"a"`` appends to a file, with a header where it is empty."""
        if mode not in ("a", "w", "x"):
            raise ValueError(f"mode must be 'a', 'w' or 'x', not {mode!r}")
        rows = self._result()
        path = Path(file_path)
        with path.open(mode, newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if path.stat().st_size == 0:
                writer.writerow(_COLUMNS)
            writer.writerows(row.cells() for row in rows)


class _Untraced:
    """Stands for the graph of a model that has none: its table is the list of operations."""

    def __init__(self, owner: TorchFLOPsByFX) -> None:
        self._owner = owner

    @property
    def graph(self) -> "_Untraced":
        return self

    def print_tabular(self) -> None:
        """Print the operations of the last run."""
        rows = self._owner._rows
        if rows is None:
            print("no graph: torch.fx can't trace this model; propagate(*x) lists its operations")
            return
        cells = [(row.op, row.name, row.target) for row in rows]
        print(_terminal.text_table(("opcode", "name", "target"), cells, ()))


def _print_graph(graph: Any) -> None:
    cells = [
        (node.op, node.name, str(node.target), str(node.args), str(node.kwargs))
        for node in graph.nodes
    ]
    print(_terminal.text_table(("opcode", "name", "target", "args", "kwargs"), cells, ()))


def _shown(flops: int, unknown: bool, dropped: bool) -> int | str:
    return "ignored" if dropped else "not_recognized" if unknown else flops


def _text(cell: Any) -> str:
    return (
        f"{cell:,}" if isinstance(cell, int) else f"{cell:.3f}" if isinstance(cell, float) else cell
    )


# ---- the model ----


@contextmanager
def _ready(model: Any, args: Any, kwargs: Any) -> Any:
    """Copies of a model in eval mode, without gradients."""
    import torch

    call = Call(model, model, tuple(args), dict(kwargs), False, None, None)
    with call.ready("real") as ready, in_eval_mode(model), torch.no_grad():
        ready.step()  # once before what is measured
        yield ready


def _on_cuda(ready: Ready) -> bool:
    return any(tensor.is_cuda for tensor in ready.tensors)


def _count(counter: Any, ready: Ready, watch: Any) -> Any:
    counter._record_calls(watch)
    with counter:
        ready.step()
    return counter.counts


def _arguments(graph: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """The value of each placeholder, as the model's forward would bind them."""
    values = list(args)
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    for node in placeholders[len(args) :]:
        if node.target in kwargs:
            values.append(kwargs[node.target])
        elif node.args:
            values.append(node.args[0])
        else:
            raise TypeError(f"forward takes {node.target!r}, which propagate was not given")
    return values


def _node_names(node: Any, model: Any) -> list[Any]:
    names = [node.name, str(node.target), getattr(node.target, "__name__", None)]
    if node.op == "call_module":
        kind = type(model.get_submodule(node.target))
        names += [*kind.__mro__, *(k.__name__ for k in kind.__mro__)]
    return names


def _stacks(model: Any, counts: Any) -> dict[str, list[tuple[str, Any]]]:
    """Of each module's path in the counts, its own path and class and those around it."""
    root = counts._modules[1][0]
    kinds = {f"{root}.{path}" if path else root: type(m) for path, m in model.named_modules()}
    stacks: dict[str, list[tuple[str, Any]]] = {}
    for name, class_name, *_ in counts._modules[1:]:
        parent = stacks.get(name.rpartition(".")[0], [])
        path = name.partition(".")[2]
        stacks[name] = [*parent, (path, kinds.get(name, class_name))]
    return stacks
