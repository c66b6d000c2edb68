"""Keeps torch.compile from compiling while operations are counted, and sees when it compiles."""

import sys
import weakref
from typing import Any

from ._imports import AfterImport

_NAME = "torch._dynamo.decorators"  # has set_stance, and is imported after what it sets


class Eager:
    """The stance "force_eager"; a stance that the user sets meanwhile holds from the end on."""

    calls = 0  # of compiled code, in any thread, that ran uncompiled

    def __init__(self) -> None:
        self._theirs: Any = None
        self._decorators: Any = None
        self._set_stance: Any = None
        self._read_stance: Any = None
        self._import = AfterImport(_NAME, self.hold)

    def begin(self) -> None:
        """Hold it from now on, or from the import of torch._dynamo on."""
        self._import.begin()

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
        self._import.end()
        if self._decorators is not None:
            self._decorators._set_stance = self._set_stance
            frames: Any = sys.modules["torch._dynamo.eval_frame"]
            frames._stance = self._theirs
            if self._read_stance is not None:
                frames._callback_from_stance = self._read_stance
            self._decorators = None


class _Compiling:
    """Compiling makes autograd nodes, by which loops would take a step for another kind."""

    def __init__(self) -> None:
        self._loops: weakref.WeakSet[Any] = weakref.WeakSet()
        self._sequence: Any = None
        self._before = 0

    def watch(self, loops: Any) -> None:
        """Tell these loops from now on how many nodes that were."""
        self._loops.add(loops)
        module = sys.modules.get("torch._dynamo.callback")
        handler = getattr(module, "callback_handler", None)  # torch._dynamo.reset() clears it
        if handler is not None and self._begin not in handler.start_callbacks:
            from torch._C._autograd import _get_sequence_nr

            self._sequence = _get_sequence_nr
            handler.register_start_callback(self._begin)
            handler.register_end_callback(self._end)

    def _begin(self, _: Any) -> None:
        self._before = self._sequence()

    def _end(self, _: Any) -> None:
        nodes = max(0, self._sequence() - self._before)
        for loops in list(self._loops):
            loops._exclude(nodes)


_compiling = _Compiling()


def compiled_calls(loops: Any) -> int:
    """How often compiled code was called while something was counted, and ran uncompiled."""
    _compiling.watch(loops)
    return Eager.calls
