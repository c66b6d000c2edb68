"""What a loader says of its batches before they are drawn, and what a batch holds."""

from collections.abc import Mapping
from typing import Any

from ._example import batched_leaf
from ._untouched import random_as_before

ASK_FOR_STEP = "pass step_fn to torch_bind: step_fn(model, batch) -> loss, or (loss, batch_size)"


def parts_of(batch: Any) -> tuple[Any, Any]:
    """Data and target; a dict is both."""
    if isinstance(batch, Mapping):
        return batch, batch
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    raise TypeError(
        "a batch must be (data, target) or a dict for model(**batch), not "
        f"{describe(batch)}: {ASK_FOR_STEP}"
    )


def describe(batch: Any) -> str:
    """Say what was given for a batch."""
    if isinstance(batch, tuple | list):
        return f"a {type(batch).__name__} of {len(batch)}"
    return f"a {type(batch).__name__}"


def batch_size(data: Any, batch_dim: Any) -> int:
    """Size of a batch along batch_dim of its first tensor; 1 where samples come one by one."""
    tensor, dim = batched_leaf(data, batch_dim)
    if tensor is None:
        raise TypeError(
            f"the size of {describe(data)} can't be told, since it holds no tensor (looked for by "
            f"batch_dim={batch_dim!r}): convert the batch to tensors, or {ASK_FOR_STEP}"
        )
    if dim is None:
        return 1
    if not -tensor.ndim <= dim < tensor.ndim:
        raise TypeError(
            f"the size of a batch can't be told: its first tensor {tuple(tensor.shape)} has no "
            f"dimension {dim}: {ASK_FOR_STEP}"
        )
    return int(tensor.shape[dim])


def loader_batch_sizes(loader: Any, batch_dim: Any) -> list[tuple[int, int]]:
    """Sizes of the batches of one epoch and how often each occurs, from the loader's own sizes."""
    from torch.utils.data import BatchSampler, IterableDataset

    if isinstance(loader, list | tuple):
        sizes = [batch_size(b[0] if isinstance(b, tuple | list) else b, batch_dim) for b in loader]
        return [(size, sizes.count(size)) for size in dict.fromkeys(sizes)]
    sampler: Any = getattr(loader, "batch_sampler", None)
    of_fixed_size = (
        type(sampler) is BatchSampler
        and hasattr(sampler.sampler, "__len__")
        and not isinstance(getattr(loader, "dataset", None), IterableDataset)
    )
    if not of_fixed_size:
        raise TypeError(
            f"the batch sizes of {type(loader).__name__} are not known before it is read: "
            "estimate needs a DataLoader with batch_size over a dataset with a length, or a list"
        )
    full, rest = divmod(len(sampler.sampler), sampler.batch_size)
    rest = 0 if sampler.drop_last else rest
    if batch_dim is None:
        return [(1, full + bool(rest))]
    return [(sampler.batch_size, full)] * bool(full) + [(rest, 1)] * bool(rest)


def batch_of_size(loader: Any, size: int, batch_dim: Any) -> Any:
    """A batch of that size, of a list the first that has it; draws no batch of a DataLoader."""
    if isinstance(loader, list | tuple):
        return next(b for b in loader if batch_size(parts_of(b)[0], batch_dim) == size)
    count = loader.batch_sampler.batch_size if batch_dim is None else size
    dataset = loader.dataset
    with random_as_before():
        try:
            several = getattr(dataset, "__getitems__", None)
            samples = several([0] * count) if several else [dataset[0]] * count
            return loader.collate_fn(samples)
        except Exception as error:
            error.add_note("estimate reads sample 0 of the loader's dataset")
            raise
