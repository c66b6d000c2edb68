"""What is known of a step before it runs, as a digest, and when optimizers step."""

import hashlib
import weakref
from typing import Any

from ._batches import UnknownContent, described
from ._op_estimator import model_state, optimizer_state, serial


def step_digest(model: Any, batch: Any) -> bytes | None:
    """Digest all that is known before a step; None where it may do anything."""
    import torch

    try:
        content = described(batch)
    except UnknownContent:
        return None
    known = (
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
    return _digest(known)


def _digest(known: Any) -> bytes:
    return hashlib.blake2b(repr(known).encode(), digest_size=16).digest()


def optimizer_digest(optimizer: Any) -> bytes | None:
    """Digest what decides which work a step of it does; None where that can't be told."""
    state = optimizer_state(optimizer)
    if state is None:
        return None
    gradients = [p.grad is None for group in optimizer.param_groups for p in group["params"]]
    return _digest((serial(optimizer), state, gradients))


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
