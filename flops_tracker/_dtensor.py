"""Keeps what DTensor computes for its own information out of the counts."""

import functools
import sys
from contextlib import ExitStack
from typing import Any

from torch.utils._python_dispatch import _disable_current_modes

from ._undo import replace

_RUN = "_propagate_tensor_meta_non_cached"


def leave_out_global_shapes(undo: ExitStack) -> None:
    """Do not count the runs on fake tensors by which DTensor learns the shapes of results.

    They are of the global shape, once in a process for each new operation, and no rank's work.
    """
    module = sys.modules.get("torch.distributed.tensor._sharding_prop")
    propagator = getattr(module, "ShardingPropagator", None)
    run = getattr(propagator, _RUN, None)
    if run is None:
        return

    @functools.wraps(run)
    def uncounted(*args: Any, **kwargs: Any) -> Any:
        with _disable_current_modes():
            return run(*args, **kwargs)

    replace(undo, propagator, _RUN, uncounted)
