"""What PyTorch says of an operation: its name, how to call it, its arguments, what it gives."""

import functools
import inspect
from typing import Any

import torch
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import _disable_current_modes

# Bounds of torch.profiler.record_function blocks, which torch.optim opens around each step.
_ENTER = ("profiler._record_function_enter", "profiler._record_function_enter_new")
_EXIT = ("profiler._record_function_exit",)
# Counted by a rule, and not by running their functions.
_COUNTED_WHOLE = ("higher_order.flex_attention", "higher_order.flex_attention_backward")
# Tensors that keep their sizes to themselves are asked for them by operations.
_SIZES = """
    size sym_size stride sym_stride numel sym_numel dim storage_offset sym_storage_offset
    is_contiguous sym_is_contiguous is_strides_like_format is_non_overlapping_and_dense
"""
_QUESTIONS = {f"aten.{name}" for name in _SIZES.split()}
_DENSE = ("CPU", "CUDA", "Meta")
_COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
# Kernels for strided nested tensors run other operations, as composite ones do.
_NESTED = ("aten.linear_backward", "aten.matmul_backward")
_NESTED_KEYS = (
    torch._C.DispatchKey.NestedTensorCPU,
    torch._C.DispatchKey.CompositeImplicitAutogradNestedTensor,
)
# What holds a sparse tensor, the values first.
_ROWS, _COLUMNS = (
    ("values", "crow_indices", "col_indices"),
    ("values", "ccol_indices", "row_indices"),
)
_STORED = {
    torch.sparse_coo: ("_values", "_indices"),
    torch.sparse_csr: _ROWS,
    torch.sparse_bsr: _ROWS,
    torch.sparse_csc: _COLUMNS,
    torch.sparse_bsc: _COLUMNS,
}


def _has_kernel(overload: OpOverload, key: str) -> bool:
    try:
        return bool(torch._C._dispatch_has_kernel_for_dispatch_key(overload.name(), key))
    except RuntimeError:  # TorchScript's own, of which the dispatcher knows nothing
        return False


def _made_of_others(overload: OpOverload) -> bool:
    """Whether it runs as other operations; where it has a kernel too, the kernel runs."""
    return _has_kernel(overload, "CompositeImplicitAutograd") and not any(
        _has_kernel(overload, key) for key in _DENSE
    )


def _check_signature(fn: Any, arguments: tuple[str, ...]) -> None:
    try:
        inspect.signature(fn).bind(*arguments)
    except TypeError:
        raise TypeError(
            f"fn is called as fn({', '.join(arguments)}), which it does not take"
        ) from None
    except ValueError:  # it does not say what it takes
        pass


def check_rule_target(target: Any, key: Any, fn: Any) -> None:
    """Refuse what no rule could ever count: other classes, unknown operations, composite ones."""
    if isinstance(key, type):
        if not issubclass(key, torch.nn.Module):
            raise TypeError(f"target must be a class of modules or an operation, not {target!r}")
        _check_signature(fn, ("module", "args", "kwargs", "output"))
        return
    _check_signature(fn, ("args", "kwargs", "output"))
    namespace, operation, *overload = key.split(".")
    packet = getattr(getattr(torch.ops, namespace), operation, None)
    names = overload or getattr(packet, "overloads", lambda: [""])()
    found = [getattr(packet, name, None) if name else packet for name in names]
    if packet is None or None in found:
        raise ValueError(
            f"there is no operation {target!r}: register its rule when the library that defines it "
            "has been imported"
        )
    # Those that write to an `out` are no composite ones.
    new = [each for each in found if overload or "out" not in str(each)]
    if new and all(isinstance(each, OpOverload) and _made_of_others(each) for each in new):
        raise ValueError(
            f"{target!r} is made of other operations, and these are counted: give one of them a "
            "rule, or a class of modules"
        )


def _kind(overload: OpOverload, packet: str) -> str:
    if packet in _ENTER:
        return "record_enter"
    if packet in _EXIT:
        return "record_exit"
    if packet.startswith("prim.") or packet in _QUESTIONS:
        return "question"
    returns = overload._schema.returns
    if returns and all(r.alias_info is not None and not r.alias_info.is_write for r in returns):
        return "view"
    return "operation"


def _changes_first_list(arguments: Any) -> bool:
    first = arguments[0] if arguments else None
    written = getattr(getattr(first, "alias_info", None), "is_write", False)
    return written and isinstance(getattr(first, "type", None), torch.ListType)


def describe(
    overload: Any,
) -> tuple[Any, Any, Any, str, str, str, dict[str, tuple[int, Any]], bool, bool]:
    """What it is called, what kind it is, and how to call it.

    Callable, the same by its parts or None, that of nested tensors or None, name, name without
    overload, kind, each argument's position and default, whether it changes a list of tensors,
    whether the size of its result depends on data.
    """
    if isinstance(overload, type):  # a class of modules that a user's rule counts as a whole
        name = overload.__qualname__
        return overload, None, None, name, name, "operation", {}, False, False
    if not isinstance(overload, OpOverload):
        name = f"higher_order.{overload.name()}"
        call = inspect.signature(type(overload).__call__).parameters
        # Without the operator itself.
        arguments = {key: (at - 1, None) for at, key in enumerate(call)}
        kind = "operation" if name in _COUNTED_WHOLE else "control"
        return overload, None, None, name, name, kind, arguments, False, False
    name = str(overload)
    packet = name.rsplit(".", 1)[0]
    arguments = {
        argument.name: (-1 if argument.kwarg_only else position, argument.default_value)
        for position, argument in enumerate(overload._schema.arguments)
    }
    kind = _kind(overload, packet)
    parts = nested_parts = None
    if _made_of_others(overload):
        # The C++ function that runs outside of a mode; decompose prefers Python's, which differ.
        parts = functools.partial(overload._op_dk, _COMPOSITE)
    if parts or packet in _NESTED:
        key = next((key for key in _NESTED_KEYS if _has_kernel(overload, key.name)), None)
        nested_parts = key and functools.partial(overload._op_dk, key)
    changes_lists = _changes_first_list(overload._schema.arguments)
    call, varies = overload._op, torch.Tag.dynamic_output_shape in overload.tags
    return call, parts, nested_parts, name, packet, kind, arguments, changes_lists, varies


def stored(tensor: Any) -> tuple[int, int] | None:
    """How many values a sparse tensor holds, and its bytes; None for a tensor that is none."""
    layout = tensor.layout
    if layout not in _STORED:
        return None
    if isinstance(tensor, FakeTensor) or tensor.is_meta:
        raise ValueError("what a sparse tensor without data stores is not known")
    with _disable_current_modes():  # what we ask is no operation of the program
        values, *indices = (getattr(tensor, part)() for part in _STORED[layout])
        return values.numel(), sum(part.nbytes for part in (values, *indices))


def has_packed_bias(packed: Any) -> bool:
    """Whether packed weights, an object of TorchScript, come with a bias."""
    with _disable_current_modes():
        try:
            return packed.bias() is not None
        except (RuntimeError, AttributeError):  # kinds that do not say
            return False


def nested_lengths(tensor: Any) -> list[int] | None:
    """The first size of every tensor in a strided nested one."""
    with _disable_current_modes():
        try:
            return [sizes[0] for sizes in tensor._nested_tensor_size().tolist()]
        except (RuntimeError, AttributeError, IndexError):
            return None


def mask_blocks(mask: tuple[Any, ...]) -> list[int] | None:
    """The blocks of a BlockMask's tuple, as the formulas of flex_attention take them.

    Queries and keys of a block, the number of masks, row and column of each block in any of them;
    None where there are no numbers, or on an accelerator that would have to be waited for.
    """
    partial_count, partial_index, full_count, full_index = mask[2:6]
    if type(partial_count) is not torch.Tensor or not partial_count.is_cpu:
        return None
    blocks = [mask[-3], mask[-2], partial_count.numel() // max(1, partial_count.shape[-1])]
    for count, index in ((partial_count, partial_index), (full_count, full_index)):
        if count is None:
            continue
        with _disable_current_modes():
            counts, indices = count.flatten(0, -2).tolist(), index.flatten(0, -3).tolist()
        for rows, columns in zip(counts, indices, strict=True):
            for row, listed in enumerate(rows):
                for column in columns[row][:listed]:
                    blocks += (row, column)
    return blocks


_TreeRow = tuple[Any, str, int, list[str], bool, bool]


def module_tree(root: Any) -> list[_TreeRow]:
    """Each module once, after its parent.

    Itself, its name in the parent, the parent's index, its other paths below the root, whether it
    has parameters of its own, and a forward.
    """
    if not isinstance(root, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {type(root).__name__}")
    rows: list[_TreeRow] = []
    _add_tree(rows, {}, root, "", "", -1)
    return rows


# No closure: one that calls itself would keep the modules until the garbage collector runs.
def _add_tree(
    rows: list[_TreeRow], numbers: dict[int, int], module: Any, name: str, path: str, parent: int
) -> None:
    number = numbers.setdefault(id(module), len(rows))
    if number < len(rows):
        rows[number][3].append(path)
        return
    own = any(p is not None for p in module._parameters.values())
    # A scripted module's class has none: each instance brings its own.
    forward = getattr(type(module), "forward", None) is not torch.nn.Module.forward
    rows.append((module, name, parent, [], own, forward))
    if isinstance(module, torch.jit.ScriptModule):
        return  # its interpreter calls what is inside
    for child_name, child in module._modules.items():
        if child is not None:
            below = f"{path}.{child_name}" if path else child_name
            _add_tree(rows, numbers, child, child_name, below, number)
