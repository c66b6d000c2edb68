"""What ``torch_bind`` trains: zero_grad, forward, loss, backward, step, on the user's loader."""

import inspect
import operator
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import _options
from ._batches import (
    ASK_FOR_STEP,
    batch_size,
    example_batches,
    loader_batch_sizes,
    parts_of,
)
from ._core import SklearnSGDEstimator, TorchLayerwiseEstimator, UncountedWarning
from ._count import check_loss
from ._example import is_one_object, parse, sample_shape, to_device
from ._frameworks import need
from ._op_estimator import TorchOpEstimator
from ._untouched import unwrap

_ASK_FOR_LOSS = (
    "pass loss_fn to torch_bind: loss_fn(output, target) -> scalar tensor. Without it the output "
    "must be (B, C) logits or log-probabilities with integer targets (B,), or have a .loss"
)

LOSSES_KEPT = 512


def _call_model(model: Any, data: Any) -> Any:
    if isinstance(data, Mapping):
        return model(**data)
    if isinstance(data, tuple | list) and not is_one_object(data):
        return model(*data)
    return model(data)


def _loss(model: Any, loss_fn: Callable[..., Any] | None, data: Any, target: Any) -> Any:
    output = _call_model(model, data)
    return loss_fn(output, target) if loss_fn else _default_loss(output, target)


def _default_loss(output: Any, target: Any) -> Any:
    """Cross entropy, which is also the NLL of log-probabilities: log_softmax is idempotent."""
    import torch
    import torch.nn.functional as F

    loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if isinstance(loss, torch.Tensor):
        return loss
    logits_and_classes = (
        isinstance(output, torch.Tensor)
        and isinstance(target, torch.Tensor)
        and output.ndim == 2
        and output.shape[1] > 1
        and output.is_floating_point()
        and target.ndim == 1
        and target.shape[0] == output.shape[0]
        and not target.is_floating_point()
        and target.dtype != torch.bool
    )
    if not logits_and_classes:
        shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        goal = (
            f"{tuple(target.shape)} of {target.dtype}"
            if isinstance(target, torch.Tensor)
            else type(target).__name__
        )
        raise TypeError(f"no loss for output {shape} and target {goal}: {_ASK_FOR_LOSS}")
    return F.cross_entropy(output, target.long())


class TorchTraining:
    """One epoch at a time over the user's loader; keeps the loss on its device until asked."""

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        loss_fn: Callable[..., Any] | None,
        loader: Iterable[Any],
        device: Any,
        step_fn: Callable[..., Any] | None,
        zero_grad_kwargs: dict[str, Any],
        batch_dim: Any,
        counted_shape: tuple[int, ...] | None,
        operations: TorchOpEstimator | None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.loss_fn = loss_fn
        self.loader = loader
        self.device = device
        self.step_fn = step_fn
        self.zero_grad_kwargs = zero_grad_kwargs
        self.batch_dim = batch_dim
        self.operations = operations
        self._warned_of_target = False
        self.counted_shape = counted_shape  # of a sample, in the estimator's example; or unknown
        self._loops: Any = None  # that record the steps; None where the estimator knows their cost
        self._forget_losses()

    def _forget_losses(self) -> None:
        self._losses: list[Any] = []  # of the last batches, still on their device
        self._sizes: list[int] = []
        self._loss_sum = 0.0
        self._samples = 0

    def start_epoch(self, tracker: Any) -> Any:
        """Put the model into train mode and forget the last epoch's loss; returns what counts."""
        self.model.train()
        self._forget_losses()
        self._loops = None if self.operations is None else tracker._own_loops()
        return self._loops

    def batches(self) -> Iterable[Any]:
        """Give the loader itself: it is iterated once an epoch and never peeked at."""
        return self.loader

    def train(self, batch: Any) -> int:
        """Train one batch; returns the number of its samples."""
        batch = to_device(batch, self.device)
        if self._loops is None:
            return self._train(batch)
        return int(self._loops.train_step(batch, self._train))

    def _train(self, batch: Any) -> int:
        self.optimizer.zero_grad(**self.zero_grad_kwargs)
        loss, size = self._own_step(batch) if self.step_fn else self._usual_step(batch)
        check_loss(loss, "the loss")
        loss.backward()
        self.optimizer.step()
        self._losses.append(loss.detach().clone())  # its memory may be used again
        self._sizes.append(size)
        if len(self._losses) == LOSSES_KEPT:
            self._add_losses()
        return size

    def _add_losses(self) -> None:
        """Read the losses kept, in one go: a GPU is waited for once in LOSSES_KEPT batches."""
        import torch

        if self._losses:
            values = torch.stack([loss.reshape(()) for loss in self._losses]).tolist()
            pairs = zip(values, self._sizes, strict=True)
            self._loss_sum += sum(value * size for value, size in pairs)
            self._samples += sum(self._sizes)
        self._losses.clear()
        self._sizes.clear()

    def mean_loss(self) -> float | None:
        """Mean over the samples of the epoch; None where there was none."""
        self._add_losses()
        return self._loss_sum / self._samples if self._samples else None

    def _usual_step(self, batch: Any) -> tuple[Any, int]:
        data, target = parts_of(batch)
        size = self._batch_size(data)
        loss = _loss(self.model, self.loss_fn, data, target)
        self._compare_with_example(data)
        self._compare_with_target(size, target)
        return loss, size

    def _own_step(self, batch: Any) -> tuple[Any, int]:
        assert self.step_fn is not None
        result = self.step_fn(self.model, batch)
        if not isinstance(result, tuple):
            return result, self._batch_size(batch)
        if len(result) != 2:
            raise TypeError(f"step_fn gave {len(result)} values: {ASK_FOR_STEP}")
        loss, size = result
        if isinstance(size, bool) or not hasattr(size, "__index__") or operator.index(size) < 0:
            raise TypeError(f"step_fn gave {size!r} as the batch size: {ASK_FOR_STEP}")
        return loss, operator.index(size)

    def batch_count(self) -> int:
        """Batches of one epoch; TypeError where the loader does not know."""
        return len(self.loader)  # type: ignore[arg-type]

    def batch_sizes(self) -> list[tuple[int, int]]:
        """Sizes of the batches of one epoch and how often each occurs; draws no batch."""
        if self.step_fn is not None:
            raise TypeError(
                "estimate can't know the sizes of the batches, since step_fn may give a size of "
                "its own: train with run or ft(...), which count what it gives"
            )
        return loader_batch_sizes(self.loader, self.batch_dim)

    def batch_costs(self) -> list[tuple[int, int]] | None:
        """FLOPs of the steps of one epoch and how often each occurs, where operations are counted.

        Of steps on fake copies: the model and the optimizer stay as they are.
        """
        if self.operations is None:
            return None
        self.batch_sizes()  # refuses what can't be known
        return [
            (self.operations.count_step(self._step_on(batch), stacklevel=2).total, times)
            for batch, times in example_batches(self.loader)
        ]

    def _step_on(self, batch: Any) -> Callable[[], None]:
        batch = to_device(batch, self.device)
        # Not by way of self: what a step reaches is copied, and the loader is large.
        model, optimizer, loss_fn = self.model, self.optimizer, self.loss_fn
        options = self.zero_grad_kwargs

        def step() -> None:
            model.train()
            optimizer.zero_grad(**options)
            loss = _loss(model, loss_fn, *parts_of(batch))
            check_loss(loss, "the loss")
            loss.backward()
            optimizer.step()

        return step

    def _batch_size(self, data: Any) -> int:
        return batch_size(data, self.batch_dim)

    def _compare_with_example(self, data: Any) -> None:
        """Warn once where the batches have another shape than what was counted."""
        if self.counted_shape is None:
            return
        shape = sample_shape(data, self.batch_dim)
        if shape != self.counted_shape:
            warnings.warn(
                f"a sample of this batch has the shape {shape}, and that of input_example "
                f"{self.counted_shape}: FLOPs are counted for input_example",
                UncountedWarning,
                stacklevel=2,
            )
            self.counted_shape = None

    def _compare_with_target(self, size: int, target: Any) -> None:
        """Warn once where the batch seems to lie along another dimension."""
        length = getattr(target, "shape", (size,))[:1]
        if length and length[0] != size and not self._warned_of_target:
            self._warned_of_target = True
            warnings.warn(
                f"the batch has {size} samples along dimension {self.batch_dim} and its target "
                f"{length[0]}: FLOPs are counted for {size}; the estimator's batch_dim says which "
                "dimension of the input is the batch",
                UncountedWarning,
                stacklevel=2,
            )


def _check_parameters(model: Any, optimizer: Any) -> None:
    """Refuse an optimizer that would leave the model as it is."""
    trained = {id(p) for group in getattr(optimizer, "param_groups", ()) for p in group["params"]}
    if trained and not any(id(p) in trained for p in model.parameters()):
        raise ValueError(
            "the optimizer has none of the model's parameters: make it from this model"
        )


def _check_loss_fn(loss_fn: Any) -> None:
    """Refuse what is no function, a loader above all: it comes to mind as the third argument."""
    is_loader = hasattr(loss_fn, "__iter__") or hasattr(loss_fn, "__getitem__")
    if is_loader and not callable(loss_fn) and not isinstance(loss_fn, str):
        raise TypeError(
            "the third argument is loss_fn, and this is no function but a "
            f"{type(loss_fn).__name__}: write train_loader=..."
        )
    _options.function("loss_fn", loss_fn)


def _check_zero_grad(optimizer: Any, given: Any) -> dict[str, Any]:
    """What zero_grad is called with; TypeError for what it does not take."""
    if given is None:
        return {"set_to_none": True}
    if not isinstance(given, Mapping):
        raise TypeError(
            f"zero_grad_kwargs must be a dict such as {{'set_to_none': False}}, not {given!r}"
        )
    try:
        inspect.signature(optimizer.zero_grad).bind(**given)
    except TypeError as error:
        raise TypeError(
            f"zero_grad_kwargs={given!r} does not fit {type(optimizer).__name__}.zero_grad: {error}"
        ) from None
    except ValueError:
        pass  # a function without a signature
    return dict(given)


def _device_of(model: Any, device: Any) -> Any:
    """Where batches go; an error at once where there is no such device."""
    import torch

    if device is None:
        first = next(model.parameters(), None)
        return torch.device("cpu") if first is None else first.device
    found = torch.device(device)
    try:
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:  # a build without CUDA asserts
        raise RuntimeError(f"device={device!r} can't be used here: {error}") from None
    return found


def _check_same_model(estimator: Any, model: Any) -> None:
    own = isinstance(estimator, TorchLayerwiseEstimator | TorchOpEstimator | SklearnSGDEstimator)
    counted = estimator.model if own else None
    if counted is not None and unwrap(counted) is not unwrap(model):
        raise ValueError(
            f"the estimator was made for another model than the one to train, a "
            f"{type(model).__name__}: make it from the same object (and again, when the model is "
            "made anew)"
        )


def _read_example(estimator: Any) -> tuple[Any, tuple[int, ...] | None]:
    """Where the batch lies and a sample's shape; 0 and None where the estimator has no example."""
    if isinstance(estimator, TorchOpEstimator):
        return estimator.batch_dim, None  # it follows every shape
    if not isinstance(estimator, TorchLayerwiseEstimator):
        return 0, None
    dim = estimator.batch_dim
    return dim, sample_shape(parse(estimator.input_example), dim)


def torch_bind(
    estimator: Any,
    model: Any,
    optimizer: Any,
    loss_fn: Callable[..., Any] | None = None,
    train_loader: Iterable[Any] | None = None,
    device: Any = None,
    *,
    step_fn: Callable[..., Any] | None = None,
    zero_grad_kwargs: dict[str, Any] | None = None,
) -> TorchTraining:
    """Check what ``FlopsTracker.torch_bind`` was given."""
    torch = need("torch", "torch")

    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}")
    _check_loss_fn(loss_fn)
    if train_loader is None:
        raise TypeError("torch_bind needs train_loader, the batches to train on")
    map_style = isinstance(train_loader, torch.utils.data.Dataset) and not isinstance(
        train_loader, torch.utils.data.IterableDataset
    )
    if map_style:
        raise TypeError(
            f"train_loader is a Dataset ({type(train_loader).__name__}), which gives single "
            "samples: wrap it, DataLoader(dataset, batch_size=...)"
        )
    if not hasattr(train_loader, "__iter__") and not hasattr(train_loader, "__getitem__"):
        raise TypeError(f"train_loader must be iterable, not {type(train_loader).__name__}")
    _options.optimizer(
        optimizer,
        "write the loop yourself, with on_epoch_start, update_batch and on_epoch_end",
    )
    _check_parameters(model, optimizer)
    _options.function("step_fn", step_fn)
    if loss_fn is not None and step_fn is not None:
        raise TypeError("step_fn computes the loss itself: pass either loss_fn or step_fn")
    _check_same_model(estimator, model)
    batch_dim, counted_shape = _read_example(estimator)
    return TorchTraining(
        model,
        optimizer,
        loss_fn,
        train_loader,
        _device_of(model, device),
        step_fn,
        _check_zero_grad(optimizer, zero_grad_kwargs),
        batch_dim,
        counted_shape if step_fn is None else None,
        estimator if isinstance(estimator, TorchOpEstimator) else None,
    )
