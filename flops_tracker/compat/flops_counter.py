"""FLOPsCounter and compare_models: a training step by a fixed table of layers, part by part."""

import json
import math
from collections.abc import Callable, Iterator
from os import PathLike
from typing import Any, Literal, NamedTuple

from .. import _core, _dry_run, _example, _options, _output, _terminal, _views
from .._count import Call, run_counted
from .._counts import FlopCount
from .._frameworks import need
from .._untouched import root_of

PHASES = ("forward", "backward", "optimizer")
_OPTIMIZERS = {"adamw": "AdamW", "sgd": "SGD"}  # of the table: their names in torch.optim
_ITSELF = "(model itself)"  # what belongs to no part of it
_ALL = 2**32 - 1  # classes of operations, as a bit set


class FLOPsCount(NamedTuple):
    """FLOPs of the phases that were counted, 0 for the others, and their sum."""

    forward: int
    backward: int
    optimizer: int
    total: int


class _Phase(NamedTuple):
    """One phase by the table: FLOPs by part of the model, and of what they are made.

    ``by_rule`` and ``as_run`` count beside the table's layers: operations with a rule of the user's
    own, and contractions, these by class of module. ``left_out`` is what does not count.
    """

    parts: dict[str, int]
    by_rule: dict[str, int]
    as_run: dict[str, int]
    left_out: dict[str, int]
    operations: FlopCount


class FLOPsCounter:
    """FLOPs of a training step of ``batch_size`` sequences of ``seq_len`` token ids.

    The table: ``Linear(in, out)`` 2BN·in·out, backward twice that; ``LayerNorm`` 5BND and
    ``Embedding`` BND, backward the same; AdamW 15 and SGD 2 per trained parameter, each once.
    Beside these layers, operations with a rule of ``register_rule`` count what it says, and other
    contractions (convolution, attention, ``@``) 2 per multiply-accumulate, as they run. All else is
    not in the table; ``print_summary`` says how much that is, and what every operation comes to.

    The model runs on fake copies and stays as it is. For a model that takes no int64 ids
    (``batch_size``, ``seq_len``), ``input_fn(batch_size, seq_len)`` returns its arguments: a tensor
    or a shape, a tuple of these, or a dict by name. ``depth`` is how many levels of modules the
    breakdown shows; lists of modules are no level.
    """

    def __init__(
        self,
        model: Any,
        batch_size: int,
        seq_len: int,
        *,
        input_fn: Callable[[int, int], Any] | None = None,
        depth: int = 1,
    ) -> None:
        torch = need("torch", "torch")
        self.batch_size = _options.whole("batch_size", batch_size, 1)
        self.seq_len = _options.whole("seq_len", seq_len, 1)
        _options.function("input_fn", input_fn)
        example: Any = ((self.batch_size, self.seq_len), torch.int64)
        if input_fn is not None:
            example = input_fn(self.batch_size, self.seq_len)
        try:
            _example.check_arguments(model, example, None)
        except ValueError as error:
            error.add_note("input_example is what input_fn returned")
            raise
        self.model = model
        self._root = root_of(model)
        self._example = example
        self._takes_ids = input_fn is None
        self._parts = set(_parts(self._root, "", _options.whole("depth", depth, 1)))
        self._phases: dict[str, _Phase] = {}
        self._optimizer: tuple[str, dict[str, int]] | None = None

    # ---- counting ----

    def count_forward_flops(self) -> FLOPsCount:
        """Count the forward pass."""
        return self._count(forward=self._measure("forward").parts)

    def count_backward_flops(self) -> FLOPsCount:
        """Count the backward pass; ValueError where nothing requires a gradient."""
        self._check_trained()
        return self._count(backward=self._measure("backward").parts)

    def count_optimizer_flops(self, optimizer_name: str = "adamw") -> FLOPsCount:
        """Count a step of ``"adamw"`` or ``"sgd"`` on the parameters that require a gradient."""
        name = _optimizer_name(optimizer_name)
        parameters: dict[str, int] = {}
        for path, parameter in self._trained():
            part = self._part_of(path.rpartition(".")[0])
            parameters[part] = parameters.get(part, 0) + parameter.numel()
        flops = {part: _core._update_flops(name, n) for part, n in parameters.items()}
        self._optimizer = (name, flops)
        return self._count(optimizer=flops)

    def count_total_flops(self, optimizer_name: str = "adamw") -> FLOPsCount:
        """Count a training step: forward, backward and the optimizer's step."""
        name = _optimizer_name(optimizer_name)
        self._check_trained()
        forward = self.count_forward_flops().forward
        backward = self.count_backward_flops().backward
        return _counted(forward, backward, self.count_optimizer_flops(name).optimizer)

    def get_breakdown(self) -> dict[str, dict[str, int]]:
        """FLOPs by part of the model, in its order; of the phases that were counted, else 0.

        They add up to the totals. Empty before something was counted.
        """
        by_phase = {phase: self._phases[phase].parts for phase in self._phases}
        if self._optimizer is not None:
            by_phase["optimizer"] = self._optimizer[1]
        order = [path for path, _ in self._root.named_modules() if path in self._parts]
        breakdown = {}
        for part in [*order, _ITSELF]:
            flops = _counted(*(by_phase.get(phase, {}).get(part, 0) for phase in PHASES))
            if flops.total:
                breakdown[part] = flops._asdict()
        return breakdown

    def _measure(self, phase: Literal["forward", "backward"]) -> _Phase:
        ruled = _core._ruled()
        in_table = self._of_layers(phase, [rule for rule in ruled if isinstance(rule, type)])
        names = {rule.__name__ if isinstance(rule, type) else rule for rule in ruled}
        operations = self._operations(phase == "backward")
        classes = {module[0]: module[1] for module in operations._modules}
        parts: dict[str, list[int]] = {}
        for path, flops in in_table.items():
            parts.setdefault(self._part_of(path), []).append(flops)
        groups: dict[str, dict[str, list[int]]] = {"by_rule": {}, "as_run": {}, "left_out": {}}
        products = operations.under("matmul").rows
        for row, product in zip(operations.rows, products, strict=True):
            path = row.module.partition(".")[2]
            if row.phase != phase or path in in_table:
                continue
            if row.op in names or row.op.rpartition(".")[0] in names:
                group, title, flops = "by_rule", row.op.removesuffix(".default"), row.flops
            elif product.flops:
                title = classes[row.module] or "outside of modules"
                group, flops = "as_run", product.flops
            elif row.module:  # what is outside of modules is the sum that stands for a loss
                group, title, flops = "left_out", classes[row.module], row.flops
            else:
                continue
            groups[group].setdefault(title, []).append(flops)
            if group != "left_out":
                parts.setdefault(self._part_of(path), []).append(flops)
        sums = {name: _sums(found) for name, found in groups.items()}
        self._phases[phase] = _Phase(_sums(parts), **sums, operations=operations)
        return self._phases[phase]

    def _of_layers(self, phase: Literal["forward", "backward"], units: list[Any]) -> dict[str, int]:
        """FLOPs of the layers that have a row in the table, by path, in the model's order."""
        walk = _core.LayerWalk(self._root, dict.fromkeys(units, _nothing), _ALL, False, phase)
        try:
            _dry_run.trace(walk, self._root, self._example, None, None, False)
        except Warning:
            raise
        except Exception as error:
            self._explain(error)
            raise
        return {
            layer.path: layer.flops
            for layer in walk.layers()
            if layer.calls and layer.rule not in ("", "user") and not layer.note
        }

    def _operations(self, backward: bool, optimizer: Any = None) -> FlopCount:
        """Count every operation of the same call."""
        example = _example.make(_example.parse(self._example), self._root, None)
        args, kwargs = _example.arguments(example)
        counter = _core.FlopCounter(self._root)
        call = Call(self._root, self._root, args, kwargs, backward, None, optimizer)
        return run_counted(counter, call, "fake", stacklevel=5, hint="")

    def _count(self, **phases: dict[str, int]) -> FLOPsCount:
        return _counted(*(_core._add_counts(list(phases.get(p, {}).values())) for p in PHASES))

    def _trained(self) -> list[tuple[str, Any]]:
        return [(name, p) for name, p in self._root.named_parameters() if p.requires_grad]

    def _check_trained(self) -> None:
        if not self._trained():
            raise ValueError(
                f"no parameter of {type(self._root).__name__} requires a gradient, so there is no "
                "backward pass: count_forward_flops() counts the forward pass alone"
            )

    def _part_of(self, path: str) -> str:
        while path and path not in self._parts:
            path = path.rpartition(".")[0]
        return path or _ITSELF

    def _explain(self, error: Exception) -> None:
        """Raise what to do about a call that failed on token ids."""
        if not self._takes_ids:
            return
        what = (str(error).strip().splitlines() or [""])[0]
        raise ValueError(
            f"{type(self._root).__name__} can't be called on token ids, an int64 tensor "
            f"({self.batch_size}, {self.seq_len}): {type(error).__name__}: {what}. If it takes "
            "something else, pass input_fn=lambda batch_size, seq_len: (its arguments); if it is "
            "made for other sizes, batch_size and seq_len that it takes"
        ) from error

    # ---- what people read ----

    def _counted_whole(self) -> tuple[str, FLOPsCount]:
        """Count what has not been counted yet; the optimizer's name, and the whole step."""
        self._check_trained()
        if "forward" not in self._phases:
            self.count_forward_flops()
        if "backward" not in self._phases:
            self.count_backward_flops()
        if self._optimizer is None:
            self.count_optimizer_flops()
        name, flops = self._optimizer or ("", {})
        parts = {phase: self._phases[phase].parts for phase in self._phases}
        return name, self._count(**parts, optimizer=flops)

    def _of_operations(self, optimizer_name: str) -> dict[str, int]:
        """FLOPs of every operation, by phase, recomputation with backward."""
        import torch

        backward = self._phases["backward"].operations
        options = {} if optimizer_name == "adamw" else {"lr": 0.01}
        made = getattr(torch.optim, _OPTIMIZERS[optimizer_name])(
            [parameter for _, parameter in self._trained()], **options
        )
        sums = {
            "forward": self._phases["forward"].operations.forward,
            "backward": _core._add_counts([backward.backward, backward.recompute]),
            "optimizer": self._operations(True, made).optimizer,
        }
        return {**sums, "total": _core._add_counts(list(sums.values()))}

    def print_summary(self) -> None:
        """Print the parts, the phases beside what every operation comes to, and what is left out.

        Counts what has not been counted before; the optimizer is AdamW then.
        """
        name, flops = self._counted_whole()
        operations = self._of_operations(name)
        print(
            f"{type(self._root).__name__} · a training step of {self.batch_size} × {self.seq_len} "
            f"· {_OPTIMIZERS[name]}\n"
        )
        titles = ("part", "forward", "of forward", "backward", "optimizer", "total")
        rows = [
            [part, f"{of['forward']:,}", _views.share(of["forward"], flops.forward)]
            + [f"{of[phase]:,}" for phase in ("backward", "optimizer", "total")]
            for part, of in self.get_breakdown().items()
        ]
        print(_terminal.text_table(titles, rows, titles[1:]) + "\n")
        beside = ("FLOPs", "by the table", "by every operation", "table / operations")
        rows = []
        for phase, by_table in flops._asdict().items():
            ratio = f"{_ratio(by_table, operations[phase]):.3f}"
            rows.append([phase, f"{by_table:,}", f"{operations[phase]:,}", ratio])
        print(_terminal.text_table(beside, rows, beside[1:]) + "\n")
        backward = self._phases["backward"].operations
        print(f"table: {_core.format_flops(flops.total)} · operations: {backward.trust_line}")
        for title, group in (
            ("counted by register_rule", "by_rule"),
            ("counted as they run, 2 per multiply-accumulate", "as_run"),
            ("not in the table", "left_out"),
        ):
            found = self._group(group)
            if found:
                of_each = ", ".join(f"{name} {n:,}" for name, n in found.items())
                total = _core._add_counts(list(found.values()))
                print(f"{title}: {total:,} FLOPs forward and backward ({of_each})")
        for op, shapes in backward.uncounted.items():
            print(f"not counted: {op} on {shapes or 'no tensor'}")

    def save_to_json(self, path: str | PathLike[str]) -> None:
        """Write everything to a file; counts what has not been counted, with AdamW, before."""
        name, flops = self._counted_whole()
        backward = self._phases["backward"].operations
        data = {
            "format": "flops_tracker.compat.flops_counter",
            "version": 1,
            "model": type(self._root).__name__,
            "batch_size": self.batch_size,
            "seq_len": self.seq_len,
            "optimizer": name,
            "flops": flops._asdict(),
            "breakdown": self.get_breakdown(),
            "counted_by_register_rule": self._group("by_rule"),
            "counted_as_they_run": self._group("as_run"),
            "not_in_the_table": self._group("left_out"),
            "operations": {
                "flops": self._of_operations(name),
                "convention": backward.convention,
                "coverage": backward.coverage,
                "uncounted": backward.uncounted,
            },
        }
        _output.write_text(path, json.dumps(data, indent=2) + "\n")

    def _group(self, name: str) -> dict[str, int]:
        """FLOPs that are not by the table's layers, of forward and backward, largest first."""
        found: dict[str, list[int]] = {}
        for phase in self._phases.values():
            for title, flops in getattr(phase, name).items():
                found.setdefault(title, []).append(flops)
        return dict(sorted(_sums(found).items(), key=lambda item: -item[1]))


def compare_models(
    model1: Any,
    model2: Any,
    batch_size: int,
    seq_len: int,
    model1_name: str = "Model 1",
    model2_name: str = "Model 2",
    *,
    optimizer_name: str = "adamw",
    input_fn: Callable[[int, int], Any] | None = None,
) -> dict[str, Any]:
    """Count a training step of two models by the table, on the same input.

    Returns ``model1`` and ``model2``, each with its name and FLOPs by phase, and ``speedup``: by
    phase and in total, FLOPs of the first over those of the second.
    """
    result: dict[str, Any] = {"batch_size": batch_size, "seq_len": seq_len}
    for key, model, name in (("model1", model1, model1_name), ("model2", model2, model2_name)):
        counter = FLOPsCounter(model, batch_size, seq_len, input_fn=input_fn)
        result[key] = {"name": name, **counter.count_total_flops(optimizer_name)._asdict()}
    first, second = result["model1"], result["model2"]
    result["speedup"] = {p: _ratio(first[p], second[p]) for p in (*PHASES, "total")}
    return result


def _optimizer_name(value: Any) -> str:
    name = value.lower() if isinstance(value, str) else value
    return _options.choice("optimizer_name", name, _OPTIMIZERS)


def _counted(forward: int, backward: int, optimizer: int) -> FLOPsCount:
    total = _core._add_counts([forward, backward, optimizer])
    return FLOPsCount(forward, backward, optimizer, total)


def _sums(parts: dict[str, list[int]]) -> dict[str, int]:
    sums = {name: _core._add_counts(flops) for name, flops in parts.items()}
    return {name: flops for name, flops in sums.items() if flops}


def _ratio(first: int, second: int) -> float:
    """One count over another: infinite over nothing, and no number where both are."""
    return first / second if second else math.inf if first else math.nan


def _nothing(*_: Any) -> int:
    """The rule, for the walk, of a class of modules that the operation counter counts."""
    return 0


def _parts(module: Any, prefix: str, depth: int) -> Iterator[str]:
    """Paths of the modules that the breakdown shows."""
    import torch

    for name, child in module.named_children():
        is_list = isinstance(child, torch.nn.ModuleList | torch.nn.ModuleDict)
        if not is_list:
            yield prefix + name
        if is_list or depth > 1:
            yield from _parts(child, f"{prefix}{name}.", depth if is_list else depth - 1)
