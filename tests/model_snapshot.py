"""Everything about a model and its surroundings that a dry run must leave as it was."""

import collections
import random

import numpy as np
import torch
from torch.nn.modules import module as torch_module
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

CONTAINERS = (dict, list, set, tuple, collections.deque)


class Same:
    """Equal only to the same object, which it keeps alive so that its id is not used again."""

    def __init__(self, thing):
        self.thing = thing

    def __eq__(self, other):
        return self.thing is other.thing

    def __repr__(self):
        return f"<{type(self.thing).__name__} at {id(self.thing):#x}>"

    __hash__ = None


def content(tensor):
    if torch.nn.parameter.is_lazy(tensor):
        return type(tensor).__name__
    data = tensor.detach().cpu().contiguous()
    return (tuple(data.shape), data.dtype, data.view(-1).view(torch.uint8).numpy().tobytes())


def tensor_state(tensor):
    gradient = None if tensor.grad is None else (Same(tensor.grad), content(tensor.grad))
    return (Same(tensor), content(tensor), tensor._version, tensor.requires_grad, gradient)


def items(container):
    if isinstance(container, dict):
        return list(container.items())
    return [(None, value) for value in container]


def attribute(value, depth=0):
    """A value by identity; its items too where it is a container, its bytes where a tensor."""
    if isinstance(value, torch.Tensor) and value.is_leaf:
        return tensor_state(value)
    if isinstance(value, torch.Tensor):
        return (Same(value), content(value), value._version)
    if isinstance(value, CONTAINERS) and depth < 5:
        return (Same(value), [(key, attribute(item, depth + 1)) for key, item in items(value)])
    return Same(value)


def module_state(module):
    return {
        "class": type(module),
        "training": module.training,
        **{f"attribute {name}": attribute(value) for name, value in vars(module).items()},
    }


def surroundings():
    python_random, numpy_random = random.getstate(), np.random.get_state()
    return {
        "torch RNG": torch.get_rng_state().numpy().tobytes(),
        "random RNG": python_random,
        "NumPy RNG": (numpy_random[0], numpy_random[1].tobytes(), *numpy_random[2:]),
        "default dtype": torch.get_default_dtype(),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "attention fast path": torch.backends.mha.get_fastpath_enabled(),
        "cudnn": (torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "compile stance": torch._dynamo.eval_frame._stance.stance,
        "dispatch modes": len(_get_current_dispatch_mode_stack()),
        "function modes": torch._C._len_torch_function_stack(),
        "global hooks": {
            name: dict(hooks)
            for name, hooks in vars(torch_module).items()
            if name.startswith("_global_") and isinstance(hooks, dict)
        },
        "Module.__call__": Same(torch.nn.Module.__call__),
    }


def snapshot(model):
    """The state of every module, parameter and buffer, and what lies around the model."""
    return {
        **surroundings(),
        "names": list(model.state_dict(keep_vars=True)),
        **{f"module {name!r}": module_state(m) for name, m in model.named_modules()},
        **{f"parameter {name}": tensor_state(p) for name, p in model.named_parameters()},
        **{f"buffer {name}": tensor_state(b) for name, b in model.named_buffers()},
    }


def changes(before, after):
    """The names of what is not as it was; [] is what every test wants."""
    different = [name for name in before if name not in after or before[name] != after[name]]
    details = []
    for name in different:
        old, new = before[name], after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
            details.append(f"{name}: {', '.join(map(str, keys))}")
        else:
            details.append(name)
    return details + [f"new: {name}" for name in after if name not in before]
