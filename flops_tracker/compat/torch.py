"""FlopCounterMode and register_flop_formula with the names of torch.utils.flop_counter.

Numbers are flops_tracker's under the convention ``matmul``.
"""

import warnings
from collections.abc import Callable
from typing import Any, Self

from .._core import FlopCounter
from .._frameworks import need
from .._terminal import text_table
from .._views import share

torch = need("torch", "torch")

_TITLES = ("Module", "FLOP", "% Total")
# Of every FlopCounterMode, by name of the operation.
_registered: dict[str, Callable[[Any, Any, Any], int]] = {}


def register_flop_formula(
    targets: Any, get_raw: bool = False
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Decorate a function that gives the FLOPs of one or several operations.

    ``targets`` is an operation such as ``torch.ops.mylib.scan``, or a list of them. The function is
    called with the arguments of a call, shapes in the place of tensors, and ``out_shape=``; with
    ``get_raw=True`` with the tensors themselves and ``out_val=``. It comes before the rule that
    flops_tracker has. A second one for the same operation is a RuntimeError.
    """

    def register(function: Callable[..., int]) -> Callable[..., int]:
        names = [_name_of(target) for target in _as_list(targets)]
        for name in names:
            if name in _registered:
                raise RuntimeError(f"{name} has a formula already: duplicate registrations")
        _registered.update(dict.fromkeys(names, _formula(function, get_raw)))
        return function

    return register


class FlopCounterMode:
    """Count the FLOPs of a block: ``with FlopCounterMode() as m: ...``; ``m.get_total_flops()``.

    ``depth`` is how many levels of modules the table shows that is printed at the end, unless
    ``display`` is False. ``custom_mapping`` has formulas for this mode, ``{operation: function}``,
    as register_flop_formula takes them. Each block counts from 0. ``mods`` is not needed.
    ``counter`` is the FlopCounter behind it, with phases, other conventions and what had no rule.
    """

    def __init__(
        self,
        mods: Any = None,
        depth: int = 2,
        display: bool = True,
        custom_mapping: dict[Any, Callable[..., int]] | None = None,
    ) -> None:
        if mods is not None:
            warnings.warn("mods is not needed: all modules are counted", stacklevel=2)
        self.depth = depth
        self.display = display
        self.counter = FlopCounter(convention="matmul")
        self._counting = False
        self._custom = {
            _name_of(target): _formula(function, getattr(function, "_get_raw", False))
            for target, function in (custom_mapping or {}).items()
        }

    def __enter__(self) -> Self:
        if self._counting:
            raise RuntimeError(
                "this FlopCounterMode is counting already: make a second one for a block in its "
                "block"
            )
        self.counter.reset()
        self.counter._set_formulas({**_registered, **self._custom})
        self.counter.__enter__()
        self._counting = True
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._counting = False
        self.counter.__exit__(*exc_info)
        if self.display:
            print(self.get_table())

    def get_total_flops(self) -> int:
        """FLOPs of the block, in all modules and outside of them."""
        return self.counter.counts.total

    def get_flop_counts(self) -> dict[str, dict[Any, int]]:
        """Give ``{module path: {operation: FLOPs}}``, the modules inside included.

        Everything is under "Global". Operations and modules without FLOPs are left out.
        """
        counts = self.counter.counts
        by_module = {}
        for number, sums in sorted(counts._module_op_sums(_operation).items()):
            flops = {operation: flops for operation, (flops, _, _) in sums.items() if flops}
            if flops:
                by_module[counts._modules[number][0] or "Global"] = flops
        return {"Global": {}, **by_module}

    def get_table(self, depth: int | None = None) -> str:
        """Give the same as text, ``depth`` levels of modules (default: the one of the mode)."""
        counts = self.counter.counts
        by_module, total = self.get_flop_counts(), counts.total
        inclusive = {name: module.inclusive for name, module in counts.by_module().items()}
        levels = self.depth if depth is None else depth
        shown = [name for name in by_module if name != "Global" and name.count(".") < levels]
        if not any(inclusive[name] == total for name in shown):
            shown.insert(0, "Global")  # no module has everything
        rows = []
        for name in shown:
            flops = inclusive.get(name, total)
            rows.append((name, f"{flops:,}", share(flops, total)))
            for operation, part in by_module[name].items():
                rows.append((f" - {operation}", f"{part:,}", share(part, total)))
        return text_table(_TITLES, rows, _TITLES[1:])


def _as_list(targets: Any) -> list[Any]:
    return list(targets) if isinstance(targets, list | tuple | set) else [targets]


def _name_of(target: Any) -> str:
    if not isinstance(target, torch._ops.OpOverloadPacket):
        raise ValueError(
            f"an operation such as torch.ops.mylib.scan is needed, not {target!r} "
            f"({type(target).__name__}); of an overload, take .overloadpacket"
        )
    return str(target)


def _operation(name: str) -> Any:
    """Find an operation by name; the name itself where it is a class of modules with a rule."""
    try:
        namespace, operation = name.split(".")
        return getattr(getattr(torch.ops, namespace), operation)
    except (ValueError, AttributeError):
        return name


def _formula(function: Callable[..., int], raw: bool) -> Callable[[Any, Any, Any], int]:
    from torch.utils._pytree import tree_map

    def shape_of(value: Any) -> Any:
        return value.shape if isinstance(value, torch.Tensor) else value

    def flops(args: Any, kwargs: Any, output: Any) -> int:
        if raw:
            return function(*args, **kwargs, out_val=output)
        args, kwargs, output = tree_map(shape_of, (args, kwargs, output))
        return function(*args, **kwargs, out_shape=output)

    return flops
