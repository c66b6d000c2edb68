"""What decides, beside models and batches, which work a step does; read by the core."""

import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

# Optimizers all of whose later steps do the same work. RAdam's and ASGD's depend on their number.
_STEADY = (
    *("SGD", "Adam", "AdamW", "Adagrad", "Adadelta", "Adamax", "NAdam", "RMSprop", "Rprop"),
    *("Adafactor", "Muon"),
)


def what_steps_depend_on() -> tuple[tuple[Callable[[], Any], ...], tuple[type, ...]]:
    """Functions that give flags of the process, and the classes of steady optimizers."""
    import torch

    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    core: Any = torch._C
    names = (
        "_get_mkldnn_enabled",
        "_get_cudnn_enabled",
        "_get_flash_sdp_enabled",
        "_get_mem_efficient_sdp_enabled",
        "_get_math_sdp_enabled",
        "_get_cudnn_sdp_enabled",
        "_get_deterministic_algorithms",
        "_len_torch_function_stack",
        "_len_torch_dispatch_stack",
        "_is_any_autocast_enabled",
    )
    flags = (
        torch.is_grad_enabled,
        torch.is_inference_mode_enabled,
        torch.get_default_dtype,
        torch.backends.mha.get_fastpath_enabled,
        *(getattr(core, name) for name in names if hasattr(core, name)),
        *(partial(torch.get_autocast_dtype, device) for device in devices),
    )
    steady = (getattr(torch.optim, name, None) for name in _STEADY)
    return flags, tuple(kind for kind in steady if kind is not None)


def as_dict(value: Any) -> dict[Any, Any] | None:
    """Give what a batch of an unusual kind holds; None where that can't be told."""
    import torch

    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, torch.device | torch.dtype | torch.Size):
        return {"": str(value)}
    return None


def optimizer_hooks(loops: Any) -> tuple[Any, Any, Any, Any]:
    """Tables of hooks that torch.optim calls before and after a step, and ours for them."""
    from torch.compiler import is_compiling
    from torch.optim import optimizer as torch_optimizer

    reference: Any = weakref.ref(loops)  # it is there while the hooks are

    # A step that is compiled itself has no room for calls of ours.
    def before(optimizer: Any, args: Any, kwargs: Any) -> None:
        if not is_compiling():
            closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
            reference()._before_optimizer(optimizer, closure is not None)

    def after(optimizer: Any, args: Any, kwargs: Any) -> None:
        if not is_compiling():
            reference()._after_optimizer(optimizer)

    return (
        torch_optimizer._global_optimizer_pre_hooks,
        torch_optimizer._global_optimizer_post_hooks,
        before,
        after,
    )
