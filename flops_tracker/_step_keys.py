"""What is known of a step before it runs, as a key, and when optimizers step."""

import itertools
import weakref
from typing import Any

from ._batches import UnknownContent, described
from ._op_estimator import model_state, optimizer_state, serial

_KEPT = 4096


class StepKeys:
    """Keys of 16 bytes: the same for the same things known, and never the same for others."""

    def __init__(self) -> None:
        self._keys: dict[Any, bytes] = {}
        self._numbers = itertools.count()

    def _key_of(self, known: Any) -> bytes:
        key = self._keys.get(known)
        if key is None:
            if len(self._keys) == _KEPT:
                self._keys.clear()  # what is met again gets another number, and is counted again
            key = self._keys[known] = next(self._numbers).to_bytes(16, "little")
        return key

    def of_step(self, model: Any, batch: Any) -> bytes | None:
        """Of all that is known before a step; None where it may do anything."""
        import torch

        try:
            content = described(batch)
        except UnknownContent:
            return None
        return self._key_of(
            (
                content,
                model_state(model, gradients=True),
                torch.is_grad_enabled(),
                torch.is_inference_mode_enabled(),
                torch.is_autocast_enabled("cpu"),
                torch.is_autocast_enabled("cuda"),
                torch.get_autocast_dtype("cpu"),
                torch.get_autocast_dtype("cuda"),
                torch.backends.mkldnn.enabled,
                torch.are_deterministic_algorithms_enabled(),
            )
        )

    def of_optimizer(self, optimizer: Any) -> bytes | None:
        """Of what decides which work a step of it does; None where that can't be told."""
        state = optimizer_state(optimizer)
        if state is None:
            return None
        gradients = tuple(p.grad is None for g in optimizer.param_groups for p in g["params"])
        return self._key_of((serial(optimizer), state, gradients))


def follow_optimizers(loops: Any) -> None:
    """Tell loops, while they are there, before and after each step of any optimizer."""
    from torch.optim.optimizer import (
        register_optimizer_step_post_hook,
        register_optimizer_step_pre_hook,
    )

    reference = weakref.ref(loops)

    def before(optimizer: Any, args: Any, kwargs: Any) -> None:
        found = reference()
        if found is not None:
            found.before_optimizer(optimizer)

    def after(optimizer: Any, args: Any, kwargs: Any) -> None:
        found = reference()
        if found is not None:
            found.after_optimizer()

    handles = (register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after))
    weakref.finalize(loops, _remove, handles).atexit = False


def _remove(handles: tuple[Any, ...]) -> None:
    for handle in handles:
        handle.remove()
