"""What users give as an example input: shapes, dtypes, tensors, nested; and tensors made of it."""

from collections.abc import Callable, Iterator, Mapping
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


def parse(value: Any) -> Any:
    """Shapes become Spec, tensors stay, containers are kept; ValueError for anything else."""
    import torch

    if isinstance(value, torch.Tensor):
        return value
    if _is_shape(value):
        if min(value) < 0:
            raise ValueError(f"a shape can't have negative dimensions: {tuple(value)}")
        return Spec(tuple(value), None)
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


def leaves(value: Any) -> Iterator[Any]:
    if _is_leaf(value):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from leaves(item)


def map_leaves(value: Any, change: Callable[[Any], Any]) -> Any:
    if _is_leaf(value):
        return change(value)
    if isinstance(value, dict):
        return {key: map_leaves(item, change) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(map_leaves(item, change) for item in value)
    return value


def arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of forward."""
    if isinstance(example, dict):
        return (), example
    if isinstance(example, tuple) and not isinstance(example, Spec):
        return example, {}
    return (example,), {}


def check_arguments(model: Any, example: Any, batch_dim: Any) -> int | None:
    """Check what an estimator was given; returns batch_dim (False stands for the default, 0)."""
    torch = need("torch", "torch")

    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}")
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError("layers inside a ScriptModule can't be observed: pass the eager model")
    if batch_dim is False:
        batch_dim = 0
    if batch_dim is not None and (not isinstance(batch_dim, int) or isinstance(batch_dim, bool)):
        raise TypeError(f"batch_dim must be an int or None, not {batch_dim!r}")
    batch_of(parse(example), batch_dim)
    return batch_dim


def batch_of(example: Any, batch_dim: int | None) -> int:
    """Batch size of the example; 1 for unbatched input."""
    first = next(leaves(example), None)
    if first is None:
        raise ValueError("input_example holds no tensor and no shape")
    if batch_dim is None:
        return 1
    shape = tuple(first.shape)
    if not -len(shape) <= batch_dim < len(shape):
        raise ValueError(f"batch_dim={batch_dim} is no dimension of the example {shape}")
    if shape[batch_dim] == 0:
        raise ValueError(f"the example {shape} has an empty batch (dimension {batch_dim})")
    return int(shape[batch_dim])


def sample_shape(example: Any, batch_dim: int | None) -> tuple[int, ...]:
    """Shape of the first tensor of an example, or of a batch, without its batch dimension."""
    return without_batch(next(leaves(parse(example))).shape, batch_dim)


def without_batch(shape: Any, batch_dim: int | None) -> tuple[int, ...]:
    """Leave the batch dimension out of a shape."""
    sizes = list(shape)
    if batch_dim is not None and -len(sizes) <= batch_dim < len(sizes):
        del sizes[batch_dim]
    return tuple(sizes)


def twice(example: Any, batch_dim: int, batch: int) -> Any:
    """Give the same example with every batch dimension doubled."""
    import torch

    def change(leaf: Any) -> Any:
        shape = list(leaf.shape)
        if not -len(shape) <= batch_dim < len(shape) or shape[batch_dim] != batch:
            return leaf
        if isinstance(leaf, torch.Tensor):
            return torch.cat([leaf, leaf], dim=batch_dim)
        shape[batch_dim] *= 2
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
            return leaf.detach().to(device)
        wanted = leaf.dtype or dtype
        if not wanted.is_floating_point:
            return torch.zeros(leaf.shape, dtype=wanted, device=device)
        own = torch.Generator().manual_seed(0)  # the user's generators are not drawn from
        return torch.rand(leaf.shape, generator=own).to(device, wanted)

    return map_leaves(example, change)
