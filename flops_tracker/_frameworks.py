"""Frameworks are extras: one that is missing is named together with what installs it."""

import importlib
from typing import Any


def need(module: str, extra: str) -> Any:
    """Import a framework; ModuleNotFoundError with the install line where it is not there."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise  # it is there, but something that it needs is not
        raise ModuleNotFoundError(
            f"{module} is not installed: pip install flops-tracker[{extra}]", name=module
        ) from None
