"""What is seen of the machine around each call while a model runs: memory, and a GPU's clock."""

import contextlib
import weakref
from collections.abc import Iterable
from typing import Any


class LiveBytes:
    """Bytes of the tensors that are alive, of those it is shown; views have none of their own."""

    def __init__(self, tensors: Iterable[Any]) -> None:
        self.bytes = self.peak = 0
        self._known: dict[int, Any] = {}
        for tensor in tensors:
            self.see(tensor)

    def see(self, tensor: Any) -> None:
        """Count a tensor's storage from now on until it is freed."""
        with contextlib.suppress(NotImplementedError, RuntimeError):  # a sparse one has none
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self._known:
                self._known[key] = weakref.ref(storage, lambda _: self._freed(key, size))
                self.bytes += size
                self.peak = max(self.peak, self.bytes)

    def _freed(self, key: int, size: int) -> None:
        if self._known.pop(key, None) is not None:
            self.bytes -= size

    def allocated(self) -> int:
        """Bytes that are alive now."""
        return self.bytes


class CudaBytes:
    """Bytes in use, as CUDA's caching allocator says."""

    peak = 0

    def see(self, tensor: Any) -> None:
        """The allocator knows it already."""

    def allocated(self) -> int:
        """Bytes in use now."""
        import torch

        now = int(torch.cuda.memory_allocated())
        self.peak = max(self.peak, now)
        return now


class Watch:
    """The observer of a FlopCounter that records calls: what was there before and after each."""

    def __init__(self, tensors: Iterable[Any], *, memory: bool, cuda_time: bool) -> None:
        tensors = list(tensors)
        cuda = any(tensor.is_cuda for tensor in tensors)
        self.live: LiveBytes | CudaBytes | None = None
        if memory:
            self.live = CudaBytes() if cuda else LiveBytes(tensors)
        self.memory: dict[int, tuple[int, int]] = {}
        self._cuda_time = cuda_time
        self._events: dict[int, tuple[Any, Any]] = {}

    def before(self) -> tuple[int, Any]:
        """Note bytes in use, and an event on the GPU's stream."""
        return (0 if self.live is None else self.live.allocated()), self._event()

    def after(self, call: int, before: tuple[int, Any], result: Any) -> None:
        """Note the same after the call with this number."""
        from torch import Tensor
        from torch.utils._pytree import tree_leaves

        if self._cuda_time:
            self._events[call] = (before[1], self._event())
        if self.live is not None:
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor):
                    self.live.see(leaf)
            self.memory[call] = (before[0], self.live.allocated())

    def _event(self) -> Any:
        if not self._cuda_time:
            return None
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def cuda_times(self) -> dict[int, tuple[float, float]]:
        """Start and length of each call in seconds, from the first one's start on."""
        import torch

        if not self._events:
            return {}
        torch.cuda.synchronize()
        first = next(iter(self._events.values()))[0]
        return {
            call: (first.elapsed_time(start) / 1000, start.elapsed_time(end) / 1000)
            for call, (start, end) in self._events.items()
        }
