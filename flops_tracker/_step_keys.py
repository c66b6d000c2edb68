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


_Flags = tuple[Callable[[], Any], ...]


def what_steps_depend_on() -> tuple[_Flags, _Flags, tuple[Any, ...], tuple[Any, ...], Any]:
    """Functions that give flags of the process, and the classes of steady optimizers.

    All flags, the last of which says whether autocast is on; what to ask then; dicts and keys of
    those that Python keeps; dicts whose size counts; classes.
    """
    import torch

    core: Any = torch._C
    on_gpus = (
        "_get_cudnn_enabled",
        "_get_mem_efficient_sdp_enabled",
        "_get_cudnn_sdp_enabled",
    )
    names = (
        *(on_gpus if torch.backends.cuda.is_built() else ()),
        "_get_mkldnn_enabled",
        "_get_flash_sdp_enabled",
        "_get_math_sdp_enabled",
        "_get_deterministic_algorithms",
        "_len_torch_function_stack",
        "_len_torch_dispatch_stack",
        "_is_any_autocast_enabled",
    )
    module = torch.nn.modules.module
    tables = (
        module._global_forward_pre_hooks,
        module._global_forward_hooks,
        module._global_backward_pre_hooks,
        module._global_backward_hooks,
    )
    flags = (
        torch.is_grad_enabled,
        torch.is_inference_mode_enabled,
        torch.get_default_dtype,
        *(getattr(core, name) for name in names if hasattr(core, name)),
    )
    devices = ("cpu", "cuda")
    autocast = (
        *(partial(torch.is_autocast_enabled, device) for device in devices),
        *(partial(torch.get_autocast_dtype, device) for device in devices),
    )
    switches = ((vars(torch.backends.mha), "_is_fastpath_enabled"),)
    steady = (getattr(torch.optim, name, None) for name in _STEADY)
    return flags, autocast, switches, tables, tuple(kind for kind in steady if kind is not None)


def is_aloof(loader: Any) -> bool:
    """Whether a loader is known to leave models alone, where it runs between two steps.

    Then the state that a step leaves is that which the next one finds.
    """
    return type(loader) in (list, tuple) or type(loader).__module__.startswith("torch.utils.data.")


def as_dict(value: Any) -> dict[Any, Any] | None:
    """Give what a batch of an unusual kind holds; None where that can't be told."""
    import torch

    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, torch.device | torch.dtype | torch.Size):
        return {"": str(value)}
    return None


def optimizer_hooks(loops: Any) -> tuple[Any, Any, Any, Any]:
    """Tables of hooks that torch.optim calls before and after a step, and ours for them.

    They keep no loops alive: nobody would collect what the tables of a module hold.
    """
    from torch.optim import optimizer as torch_optimizer

    reference = weakref.ref(loops)

    def before(*args: Any) -> None:
        found = reference()
        if found is not None:
            found._before_optimizer(*args)

    def after(*args: Any) -> None:
        found = reference()
        if found is not None:
            found._after_optimizer(*args)

    return (
        torch_optimizer._global_optimizer_pre_hooks,
        torch_optimizer._global_optimizer_post_hooks,
        before,
        after,
    )
