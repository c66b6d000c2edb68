"""What users give as an example input: shapes, dtypes, tensors, nested; and tensors made of it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ._frameworks import need


class Spec(NamedTuple):
    """A tensor to make: its shape, and its dtype where one was given."""

    shape: tuple[int, ...]
    dtype: Any


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, tuple | list)
        and len(value) > 0
        and all(isinstance(n, int) and not isinstance(n, bool) for n in value)
    )


def _read_dtype(value: Any) -> Any:
    import torch

    if isinstance(value, str):
        value = getattr(torch, value, None)
    return value if isinstance(value, torch.dtype) else None


def _check_shape(value: Any) -> None:
    """Refuse numbers that look like a shape, were it not for one of them."""
    if isinstance(value, tuple | list) and all(type(n) in (int, float, bool) for n in value):
        for number in value:
            if type(number) is not int and any(type(n) is int for n in value):
                raise ValueError(
                    f"input_example has {value!r}: a shape takes integers, not {number!r}"
                )


def parse(value: Any) -> Any:
    """Shapes become Spec, tensors stay, containers are kept; ValueError for anything else."""
    import torch

    if isinstance(value, torch.Tensor) or is_one_object(value):
        return value
    if _is_shape(value):
        if min(value) < 0:
            raise ValueError(f"a shape can't have negative dimensions: {tuple(value)}")
        return Spec(tuple(value), None)
    _check_shape(value)
    if isinstance(value, tuple | list) and len(value) == 2 and _is_shape(value[0]):
        dtype = _read_dtype(value[1])
        if dtype is not None:
            return Spec(tuple(value[0]), dtype)
    if isinstance(value, Mapping):
        return {key: parse(item) for key, item in value.items()}
    if isinstance(value, tuple | list) and len(value) > 0:
        return tuple(parse(item) for item in value)
    if value is None or isinstance(value, bool | float):
        return value
    raise ValueError(
        f"input_example has {value!r}: it takes a shape such as (1, 3, 32, 32), a pair "
        "((1, 16), torch.int64), tensors, or a tuple or dict of these"
    )


def _is_leaf(value: Any) -> bool:
    import torch

    return isinstance(value, Spec | torch.Tensor)


def is_one_object(value: Any) -> bool:
    """Whether a tuple is one argument of forward and not several: PackedSequence has a `to`."""
    return isinstance(value, tuple) and callable(getattr(value, "to", None))


def rebuilt(value: Any, items: Iterable[Any]) -> Any:
    """Make a tuple or list of the same type with other items."""
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def leaves(value: Any) -> Iterator[Any]:
    """Tensors and specs in nested tuples, lists and mappings."""
    if _is_leaf(value):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from leaves(item)


def map_leaves(value: Any, change: Callable[[Any], Any]) -> Any:
    """Change the leaves of a parsed example, in the order of `leaves`."""
    if _is_leaf(value):
        return change(value)
    if isinstance(value, dict):
        return {key: map_leaves(item, change) for key, item in value.items()}
    if isinstance(value, tuple):
        items = [map_leaves(item, change) for item in value]
        return rebuilt(value, items) if is_one_object(value) else tuple(items)
    return value


def to_device(value: Any, device: Any) -> Any:
    """Move all tensors of an example or a batch; anything else stays as it is."""
    if callable(getattr(value, "to", None)):  # tensors, PackedSequence, BatchEncoding, ...
        return value.to(device)
    if isinstance(value, tuple | list) and not isinstance(value, Spec):
        return rebuilt(value, [to_device(item, device) for item in value])
    if isinstance(value, dict):
        return {key: to_device(item, device) for key, item in value.items()}
    return value


def arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of forward."""
    if isinstance(example, dict):
        return (), example
    if isinstance(example, tuple) and not isinstance(example, Spec) and not is_one_object(example):
        return example, {}
    return (example,), {}


def check_arguments(model: Any, example: Any, batch_dim: Any) -> Any:
    """Check what an estimator was given; returns batch_dim (False stands for the default, 0)."""
    torch = need("torch", "torch")

    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}")
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError("layers inside a ScriptModule can't be observed: pass the eager model")
    if batch_dim is False:
        batch_dim = 0
    spec = parse(example)
    batch_of(spec, batch_dim)
    return batch_dim if any(dim is not None for _, dim in _pairs(spec, batch_dim)) else None


# ---- the batch: along one dimension of all inputs, or per input ----


def _items(value: Any) -> dict[Any, Any] | None:
    """Keys and items of a dict or tuple; None for anything else."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple | list) and not _is_leaf(value):
        return dict(enumerate(value))
    return None


def _pairs(example: Any, batch_dim: Any) -> list[tuple[Any, int | None]]:
    """Give each leaf with the dimension that is its batch, as batch_dim has it."""
    dims = _items(batch_dim)
    if dims is None:
        if (batch_dim is not None and not isinstance(batch_dim, int)) or isinstance(
            batch_dim, bool
        ):
            raise TypeError(
                f"batch_dim must be an int, None, or a tuple or dict of these, not {batch_dim!r}"
            )
        return [(leaf, batch_dim) for leaf in leaves(example)]
    items = _items(example)
    if items is None or items.keys() != dims.keys():
        raise ValueError(
            f"batch_dim={batch_dim!r} is not shaped like input_example: give an int or None for "
            "each input, or one int for all of them"
        )
    return [pair for key, item in items.items() for pair in _pairs(item, dims[key])]


def _size(shape: Any, dim: int | None) -> Any:
    """Size along a dimension; None where there is no such dimension."""
    return shape[dim] if dim is not None and -len(shape) <= dim < len(shape) else None


def batch_of(example: Any, batch_dim: Any) -> int:
    """Batch size of the example; 1 for unbatched input."""
    pairs = _pairs(example, batch_dim)
    if not pairs:
        raise ValueError("input_example holds no tensor and no shape")
    batched = [(tuple(leaf.shape), dim) for leaf, dim in pairs if dim is not None]
    if not batched:
        return 1
    if isinstance(batch_dim, int):
        batched = batched[:1]  # what else has no such dimension, or not of this size, has no batch
    sizes = [_size(shape, dim) for shape, dim in batched]
    for (shape, dim), size in zip(batched, sizes, strict=True):
        if size is None:
            raise ValueError(f"batch_dim={batch_dim} is no dimension of the example {shape}")
        if size == 0:
            raise ValueError(f"the example {shape} has an empty batch (dimension {dim})")
    if len(set(sizes)) > 1:
        raise ValueError(
            f"the inputs have batches of {sizes} by batch_dim={batch_dim}: give them one size, or "
            "None to those without a batch"
        )
    return int(sizes[0])


def batch_dims(example: Any, batch_dim: Any) -> list[int | None]:
    """For each leaf the dimension that grows with the batch, or None."""
    batch = batch_of(example, batch_dim)
    return [
        dim if _size(leaf.shape, dim) == batch else None for leaf, dim in _pairs(example, batch_dim)
    ]


def batched_leaf(value: Any, batch_dim: Any) -> tuple[Any, int | None]:
    """Find the first tensor of an example or a batch that has a batch, and its dimension."""
    dims = _items(batch_dim)
    if dims is None:
        return next(leaves(value), None), batch_dim
    items = _items(value) or {}
    for key, dim in dims.items():
        leaf, found = batched_leaf(items.get(key), dim)
        if found is not None:
            return leaf, found
    return None, None


def sample_shape(value: Any, batch_dim: Any) -> tuple[int, ...]:
    """Shape of that tensor without its batch dimension."""
    leaf, dim = batched_leaf(value, batch_dim)
    sizes = list(leaf.shape)
    if dim is not None and _size(sizes, dim) is not None:
        del sizes[dim]
    return tuple(sizes)


def resized(example: Any, dims: list[int | None], batch: int) -> Any:
    """Give the same example with a batch of another size along these dimensions of its leaves."""
    import torch

    remaining = iter(dims)

    def change(leaf: Any) -> Any:
        dim = next(remaining)
        if dim is None:
            return leaf
        if isinstance(leaf, torch.Tensor):
            rows = torch.arange(batch, device=leaf.device) % leaf.shape[dim]
            return leaf.index_select(dim, rows)
        shape = list(leaf.shape)
        shape[dim] = batch
        return Spec(tuple(shape), leaf.dtype)

    return map_leaves(example, change)


def make(example: Any, model: Any, device: Any) -> Any:
    """Turn specs into tensors: noise, or zeros, which are valid token ids; all go to the device."""
    import torch

    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    dtype = torch.get_default_dtype() if parameter is None else parameter.dtype
    if device is None:
        first = next(model.parameters(), None)
        device = torch.device("cpu") if first is None else first.device

    def change(leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor):
            return leaf.detach()
        wanted = leaf.dtype or dtype
        if not wanted.is_floating_point:
            return torch.zeros(leaf.shape, dtype=wanted, device=device)
        own = torch.Generator("cpu").manual_seed(0)  # the user's generators are not drawn from
        return torch.rand(leaf.shape, generator=own, device="cpu").to(device, wanted)

    return map_leaves(to_device(example, device), change)
