"""Keeps torch.compile from compiling for a while, also where it is imported only meanwhile."""

import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_NAME = "torch._dynamo.decorators"  # has set_stance, and is imported after what it sets


class Eager:
    """The stance "force_eager"; a stance that the user sets meanwhile holds from the end on."""

    calls = 0  # of compiled code, in any thread, that ran uncompiled

    def __init__(self) -> None:
        self._theirs: Any = None
        self._decorators: Any = None
        self._set_stance: Any = None
        self._read_stance: Any = None
        self._finder = _Finder(self)

    def begin(self) -> None:
        """Hold it from now on, or from the import of torch._dynamo on."""
        if _NAME in sys.modules:
            self.hold(sys.modules[_NAME])
        else:
            sys.meta_path.insert(0, self._finder)

    def hold(self, decorators: Any) -> None:
        """Set the stance, and keep what others set from being it."""
        frames = sys.modules.get("torch._dynamo.eval_frame")
        if not hasattr(frames, "_stance") or not hasattr(decorators, "_set_stance"):
            return  # a PyTorch that has no stances yet
        self._theirs, self._set_stance = frames._stance, decorators._set_stance  # type: ignore[union-attr]
        self._decorators = decorators
        decorators._set_stance = self._keep
        frames._stance = frames.DynamoStance("force_eager")  # type: ignore[union-attr]
        self._read_stance = getattr(frames, "_callback_from_stance", None)
        if self._read_stance is not None:
            frames._callback_from_stance = self._note  # type: ignore[union-attr]

    def _note(self, callback: Any) -> Any:
        Eager.calls += callable(callback)  # of compiled code; to run uncompiled code it is False
        return self._read_stance(callback)

    def _keep(self, stance: Any) -> Any:
        before, self._theirs = self._theirs, stance
        return before

    def end(self) -> None:
        """Let the user's stance hold."""
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        if self._decorators is not None:
            self._decorators._set_stance = self._set_stance
            frames: Any = sys.modules["torch._dynamo.eval_frame"]
            frames._stance = self._theirs
            if self._read_stance is not None:
                frames._callback_from_stance = self._read_stance
            self._decorators = None


class _Finder(importlib.abc.MetaPathFinder):
    """Finds one module as it would be found without it, and notices when it has been run."""

    def __init__(self, eager: Eager) -> None:
        self.eager = eager

    def find_spec(
        self, name: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _NAME:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = None if find is None else find(name, path, target)
            if spec is not None:
                return self._noticed(spec)
        return None

    def _noticed(self, spec: ModuleSpec) -> ModuleSpec:
        loader: Any = spec.loader
        run = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            del loader.exec_module
            if self in sys.meta_path:
                self.eager.hold(module)

        loader.exec_module = exec_module
        return spec
