"""What a loader says of its batches before they are drawn, and what a batch holds."""

from collections.abc import Hashable, Mapping
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
    name = type(batch).__name__
    article = "an" if name[:1].lower() in "aeiou" else "a"
    size = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
    return f"{article} {name}{size}"


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
    if isinstance(loader, list | tuple):
        sizes = [batch_size(b[0] if isinstance(b, tuple | list) else b, batch_dim) for b in loader]
        return [(size, sizes.count(size)) for size in dict.fromkeys(sizes)]
    samples = _sample_counts(loader)
    return samples if batch_dim is not None else [(1, sum(times for _, times in samples))]


def _sample_counts(loader: Any) -> list[tuple[int, int]]:
    """How many samples a DataLoader's batches have, and how often."""
    from torch.utils.data import BatchSampler, IterableDataset

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
    return [(sampler.batch_size, full)] * bool(full) + [(rest, 1)] * bool(rest)


def example_batches(loader: Any) -> list[tuple[Any, int]]:
    """Batches like those of one epoch and how often each occurs; draws none of a DataLoader.

    Of a list those that differ in shapes, dtypes or plain values; else the dataset's first samples.
    """
    if isinstance(loader, list | tuple):
        kinds: dict[Any, list[Any]] = {}
        for batch in loader:
            try:
                key = described(batch)
            except UnknownContent:
                key = object()  # like no other
            kinds.setdefault(key, []).append(batch)
        return [(batches[0], len(batches)) for batches in kinds.values()]
    return [(_read_samples(loader, count), times) for count, times in _sample_counts(loader)]


def _read_samples(loader: Any, count: int) -> Any:
    from ._counting import unseen_by_counters

    dataset = loader.dataset
    with unseen_by_counters(), random_as_before():
        try:
            several = getattr(dataset, "__getitems__", None)
            indices = list(range(count))
            return loader.collate_fn(several(indices) if several else [dataset[i] for i in indices])
        except Exception as error:
            error.add_note(f"estimate reads samples 0 to {count - 1} of the loader's dataset")
            raise


# ---- what a batch holds ----


class UnknownContent(Exception):
    """An object in a batch of which nothing is known."""


def described(value: Any) -> Hashable:
    """Shapes of tensors, and all other values: a forward may decide by them."""
    import torch

    kind = type(value)
    if isinstance(value, torch.Tensor):
        if value.is_nested or value.layout is not torch.strided:  # work goes by what it stores
            raise UnknownContent
        return kind, value.shape, value.dtype, value.layout, value.requires_grad
    if value is None or kind in (bool, int, float, str, bytes):
        return kind, value
    if isinstance(value, tuple | list):
        return kind, *map(described, value)
    if isinstance(value, Mapping):
        return kind, *((described(key), described(item)) for key, item in value.items())
    if isinstance(value, torch.device | torch.dtype):
        return str(value)
    raise UnknownContent
