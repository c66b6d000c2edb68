"""FlopCountAnalysis, flop_count_table and flop_count_str with the names of fvcore.nn.

Numbers are flops_tracker's under the convention ``macs``: multiply-accumulates, which fvcore calls
flops. Nothing is traced: the model runs on fake copies and is left as it is.
"""

import logging
import operator
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Self

from .._core import FlopCounter
from .._count import Call, run_counted
from .._frameworks import need
from .._untouched import root_of

_log = logging.getLogger(__name__)

Handle = Callable[[list[Any], list[Any]], Any]

# The operations that run, by the name that fvcore's users know; the others have their own.
_PARTS = {
    "batch_norm": (
        "native_batch_norm",
        "_native_batch_norm_legit",
        "_native_batch_norm_legit_no_training",
        "cudnn_batch_norm",
    ),
    "conv": ("convolution", "_convolution", "cudnn_convolution", "mkldnn_convolution"),
    "group_norm": ("native_group_norm",),
    "layer_norm": ("native_layer_norm",),
    "linear": ("addmm", "mm", "_addmm_activation"),
    "lstm": ("mkldnn_rnn_layer", "_thnn_fused_lstm_cell"),
    "matmul": ("bmm", "baddbmm", "mv", "dot"),
    "scaled_dot_product_attention": (
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_cudnn_attention",
        "_scaled_dot_product_fused_attention_overrideable",
    ),
}
_NAMES = {f"aten.{part}": name for name, parts in _PARTS.items() for part in parts}
# A handle for these sees the arguments that it has under torch.jit.trace, in that order.
_SAME_ARGUMENTS = ("batch_norm", "conv", "group_norm", "layer_norm")


class FlopCountAnalysis:
    """MACs of ``model(*inputs)``, counted when they are first asked for.

    ``inputs`` is a tensor or a tuple of arguments. ``counts`` is the FlopCount: other conventions,
    phases, bytes, and all that it prints.
    """

    def __init__(self, model: Any, inputs: Any) -> None:
        torch = need("torch", "torch")
        if not isinstance(model, torch.nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}")
        self._model = root_of(model)
        self._inputs = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
        self._handles: dict[str, Callable[[Any, Any, Any], int]] = {}
        self._stated: set[str] = set()
        self._counts: Any = None
        self._warn_unsupported = self._warn_uncalled = True

    # ---- what was counted ----

    @property
    def counts(self) -> Any:
        """The FlopCount of the call, under ``macs``."""
        if self._counts is None:
            counter = FlopCounter(self._model, convention="macs")
            counter._set_formulas(self._handles)
            call = Call(self._model, self._model, self._inputs, {}, False, None, None)
            self._counts = run_counted(counter, call, "fake", stacklevel=4)
            self._say_what_is_missing()
        return self._counts

    def total(self, module_name: str = "") -> int:
        """MACs of the model, or of a module of it by its path."""
        return self.by_module()[self.canonical_module_name(module_name)]

    def by_operator(self, module_name: str = "") -> Counter[str]:
        """MACs of each operation that has any, in the model or a module of it."""
        return self.by_module_and_operator()[self.canonical_module_name(module_name)]

    def by_module(self) -> Counter[str]:
        """MACs of each module by path, the modules inside included; "" is the model."""
        modules = self.counts.by_module()
        sums = {path: modules[name].inclusive for path, name in self._paths().items()}
        return Counter({**sums, "": self.counts.total})

    def by_module_and_operator(self) -> dict[str, Counter[str]]:
        """The two together, ``{path: {operation: MACs}}``."""
        return {
            path: Counter({op: n for op, (n, _, _) in sums.items() if n or op in self._stated})
            for path, sums in self._sums(_name_of).items()
        }

    def unsupported_ops(self, module_name: str = "") -> Counter[str]:
        """Operations without a rule or a handle, and how often they were called."""
        sums = self._sums(_traced_name)[self.canonical_module_name(module_name)]
        return Counter({op: calls for op, (_, _, calls) in sums.items() if calls})

    def uncalled_modules(self) -> set[str]:
        """Paths of modules with a forward of their own that never ran."""
        uncalled = set(self.counts.uncalled)
        return {path for path, name in self._paths().items() if name in uncalled}

    def canonical_module_name(self, name: str) -> str:
        """The path under which a module is counted that the model has under several."""
        paths = self._paths()
        for path, counted in paths.items():
            if name == path or name in self.counts.by_module()[counted].aliases:
                return path
        raise KeyError(f"the model has no module {name!r}")

    # ---- options; each returns the analysis ----

    def set_op_handle(self, *args: Any, **kwargs: Handle | None) -> Self:
        """Count an operation by a function, or as nothing: ``set_op_handle("aten::add", fn)``.

        ``fn(inputs, outputs)`` returns the MACs of a call, from its arguments and results, which
        have ``type().sizes()`` and ``toIValue()``; None leaves the operation out. Several pairs, a
        dict or keywords will do. Operations made of others, such as aten::linear, are counted by
        those (addmm, mm) and can only be left out: a function for one is a ValueError.
        """
        handles = dict(zip(args[::2], args[1::2], strict=False))
        if len(args) == 1 and isinstance(args[0], dict):
            handles = args[0]
        elif len(args) % 2:
            raise TypeError("set_op_handle takes a name and a function, pairs of them, or a dict")
        handles = {**handles, **kwargs}
        for name, handle in handles.items():
            _check_handle(name, handle)
        for name, handle in handles.items():
            for part in _operations_of(name, handle):
                self._handles[part] = _formula(part, handle)
                if handle is not None:
                    self._stated.add(_name_of(part))
        self._counts = None
        return self

    def clear_op_handles(self) -> Self:
        """Forget all handles; flops_tracker's rules stay."""
        self._handles, self._stated, self._counts = {}, set(), None
        return self

    def unsupported_ops_warnings(self, enabled: bool) -> Self:
        """Whether operations without a rule are logged when the model is counted."""
        self._warn_unsupported = enabled
        return self

    def uncalled_modules_warnings(self, enabled: bool) -> Self:
        """Whether modules that never ran are logged."""
        self._warn_uncalled = enabled
        return self

    def tracer_warnings(self, mode: str) -> Self:
        """Without effect, since nothing is traced: "no_tracer_warning", "all" or "none"."""
        if mode not in ("no_tracer_warning", "all", "none"):
            raise ValueError(f"mode must be no_tracer_warning, all or none, not {mode!r}")
        return self

    def ancestor_mode(self, mode: str) -> Self:
        """Only "owner": a module's MACs are those of the modules that it holds."""
        if mode == "caller":
            raise NotImplementedError(
                'only ancestor_mode("owner"): which module called another is not recorded'
            )
        if mode != "owner":
            raise ValueError(f'mode must be "owner" or "caller", not {mode!r}')
        return self

    # ---- inside ----

    def _paths(self) -> dict[str, str]:
        """The model's modules: path, and name in the FlopCount, which begins with a class."""
        root = type(self._model).__name__
        names = [row[0] for row in self.counts._modules]
        inside = [name for name in names if name == root or name.startswith(f"{root}.")]
        return {name[len(root) + 1 :]: name for name in inside}

    def _sums(self, name_of: Callable[[str], str]) -> dict[str, dict[str, tuple[int, int, int]]]:
        numbered = self.counts._module_op_sums(name_of)
        numbers = {row[0]: number for number, row in enumerate(self.counts._modules)}
        sums = {path: numbered.get(numbers[name], {}) for path, name in self._paths().items()}
        return {**sums, "": numbered.get(0, {})}

    def _say_what_is_missing(self) -> None:
        if self._warn_unsupported:
            for name, calls in self.unsupported_ops().items():
                _log.warning("no rule for %s, which was called %d times", name, calls)
        uncalled = self.uncalled_modules()
        if self._warn_uncalled and uncalled:
            _log.warning("never called: %s", ", ".join(sorted(uncalled)))


# ---- names and handles ----


def _name_of(packet: str) -> str:
    return _NAMES.get(packet, packet.rpartition(".")[2])


def _traced_name(packet: str) -> str:
    return packet.replace(".", "::", 1)


def _check_handle(name: Any, handle: Any) -> None:
    import torch

    if handle is not None and not callable(handle):
        raise TypeError(f"the handle of {name!r} must be a function or None, not {handle!r}")
    if not isinstance(name, str) or "::" not in name:
        raise ValueError(f"an operation is named such as 'aten::add', not {name!r}")
    library, _, operation = name.partition("::")
    if library == "aten" and not hasattr(torch.ops.aten, operation):  # others may come later
        raise ValueError(f"there is no operation {name!r} in this PyTorch")


def _operations_of(name: str, handle: Handle | None) -> list[str]:
    """Which operations run where torch.jit.trace says ``name``."""
    base = {"_convolution": "conv", "convolution": "conv"}.get(name[6:], name[6:])
    if not name.startswith("aten::") or base not in _PARTS:
        return [name.replace("::", ".", 1)]
    if handle is not None and base not in _SAME_ARGUMENTS:
        raise ValueError(
            f"{name} is counted by what it is made of: set a handle for "
            + ", ".join(f"aten::{part}" for part in _PARTS[base])
        )
    return [f"aten.{part}" for part in _PARTS[base]]


class _Value:
    """An argument as handles for torch.jit.trace expect it."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def isCompleteTensor(self) -> bool:
        return hasattr(self.value, "shape")

    def type(self) -> "_Value":
        return self

    def sizes(self) -> list[int] | None:
        return list(self.value.shape) if self.isCompleteTensor() else None

    def toIValue(self) -> Any:
        return self.value


def _as_traced(part: str, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments that torch.jit.trace has and the operation has not are put in."""
    if part == "aten.convolution":
        return (*inputs, None, None, None, None)  # switches of cuDNN
    if part == "aten._native_batch_norm_legit_no_training":
        return (*inputs[:5], False, *inputs[5:])
    return inputs


def _formula(part: str, handle: Handle | None) -> Callable[[Any, Any, Any], int]:
    def macs(args: Any, kwargs: Any, output: Any) -> int:
        if handle is None:
            return 0
        outputs = output if isinstance(output, tuple | list) else (output,)
        inputs = _as_traced(part, (*args, *kwargs.values()))
        found = handle([_Value(v) for v in inputs], [_Value(v) for v in outputs])
        if isinstance(found, dict):  # a handle may name what it counted
            return sum(map(operator.index, found.values()))
        return operator.index(found)

    return macs


# ---- tables ----


def flop_count_table(
    flops: FlopCountAnalysis,
    max_depth: int = 3,
    activations: Any = None,
    show_param_shapes: bool = True,
) -> str:
    """Modules with parameters and MACs as a Markdown table, ``max_depth`` levels of them."""
    _check_arguments(flops, activations)
    macs = flops.by_module()
    rows: list[tuple[str, ...]] = [("module", "#parameters or shape", "#flops")]
    for path, module in flops._model.named_modules():
        if path and path.count(".") >= max_depth:
            continue
        size = sum(p.numel() for p in module.parameters())
        rows.append((path or "model", f"{size:,}", f"{macs[path]:,}"))
        if show_param_shapes:
            for name, parameter in module.named_parameters(prefix=path, recurse=False):
                rows.append((name, str(tuple(parameter.shape)), ""))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    rows.insert(1, tuple(":" + "-" * (width - 1) for width in widths))
    lines = (" | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(f"| {line} |" for line in lines)


def flop_count_str(flops: FlopCountAnalysis, activations: Any = None) -> str:
    """The model as it prints itself, with parameters and MACs in each module that has any."""
    _check_arguments(flops, activations)
    return "\n".join(_lines(flops._model, "", flops.by_module(), flops.uncalled_modules()))


def _lines(module: Any, path: str, macs: Counter[str], uncalled: set[str]) -> Iterator[str]:
    size = sum(p.numel() for p in module.parameters())
    inside = [f"  {line}" for line in module.extra_repr().splitlines()]
    if path in macs and (size or macs[path]):  # under a second name, nothing
        count = "N/A" if path in uncalled else f"{macs[path]:,}"
        inside.append(f"  #params: {size:,}, #flops: {count}")
    for name, child in module.named_children():
        first, *rest = _lines(child, f"{path}.{name}" if path else name, macs, uncalled)
        inside += [f"  ({name}): {first}", *(f"  {line}" for line in rest)]
    if inside:
        yield from (f"{type(module).__name__}(", *inside, ")")
    else:
        yield f"{type(module).__name__}()"


def _check_arguments(flops: Any, activations: Any) -> None:
    if not isinstance(flops, FlopCountAnalysis):
        raise TypeError(
            f"a FlopCountAnalysis is needed, not {type(flops).__name__}: pass "
            "FlopCountAnalysis(model, inputs)"
        )
    if activations is not None:
        raise NotImplementedError("activations are not counted: leave activations=None")
