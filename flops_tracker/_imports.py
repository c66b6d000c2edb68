"""Imports: those that others do, noticed when they happen, and ours, which change no generator."""

import importlib.abc
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


@contextmanager
def same_random() -> Iterator[None]:
    """Put Python's generator back afterwards: rich and matplotlib draw from it at their import."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


class AfterImport(importlib.abc.MetaPathFinder):
    """Finds one module as it would be found without it, and notices when it has been run."""

    def __init__(self, name: str, then: Callable[[Any], None]) -> None:
        self._name = name
        self._then = then

    def begin(self) -> None:
        """Call the function: now where the module is there, or else after its import."""
        if self._name in sys.modules:
            self._then(sys.modules[self._name])
        else:
            sys.meta_path.insert(0, self)

    def end(self) -> None:
        """Wait no longer."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Ask the other finders, for this module only."""
        if name != self._name:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = None if find is None else find(name, path, target)
            if spec is not None:
                return self._noticed(spec)
        return None

    def _noticed(self, spec: ModuleSpec) -> ModuleSpec:
        loader: Any = spec.loader
        if not hasattr(loader, "exec_module"):
            return spec  # a folder without code
        run = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            del loader.exec_module
            if self in sys.meta_path:
                self._then(module)

        loader.exec_module = exec_module
        return spec
