"""An optimizer for a model that is only counted: by name, by class, or by a function."""

from difflib import get_close_matches
from typing import Any

from ._frameworks import need


def optimizer_for(model: Any, given: Any) -> Any:
    """Make an optimizer of the model's parameters; None stays None.

    ``given`` is the name of a class of torch.optim in any case ("adamw"), such a class, or a
    function that takes the model and returns an optimizer. ValueError for a name that there is not.
    """
    torch = need("torch", "torch")
    if given is None:
        return None
    if isinstance(given, torch.optim.Optimizer):
        raise TypeError(
            f"optimizer is one of another model: give its class or a function, such as "
            f"lambda model: {type(given).__name__}(model.parameters())"
        )
    if isinstance(given, str):
        given = _named(given)
    if not isinstance(given, type):
        if not callable(given):
            raise TypeError(f"optimizer must be a name, a class or a function, not {given!r}")
        return given(model)
    if not isinstance(model, torch.nn.Module):
        raise TypeError("optimizer works on the parameters of a module, and model is none")
    return given(model.parameters())


def _named(name: str) -> Any:
    import torch

    known = {
        key.lower(): kind
        for key, kind in vars(torch.optim).items()
        if isinstance(kind, type)
        and issubclass(kind, torch.optim.Optimizer)
        and kind is not torch.optim.Optimizer
    }
    if name.lower() not in known:
        near = get_close_matches(name.lower(), known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(known))}"
        raise ValueError(f"torch.optim has no optimizer {name!r}; {hint}")
    return known[name.lower()]
