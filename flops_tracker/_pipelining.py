"""Keeps the runs by which a pipeline learns the shapes that its stages send out of the counts."""

import functools
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from ._undo import replace

# In the first step, on one microbatch: forward, and the gradients of its inputs.
_RUNS = ("_forward_metadata_inference", "_backward_metadata_inference", "_shape_inference")


def leave_out_trial_runs(
    undo: ExitStack, unseen: Callable[[], AbstractContextManager[None]]
) -> None:
    """Do not count them: they are real in some versions of PyTorch and fake in others."""
    module = sys.modules.get("torch.distributed.pipelining.stage")
    stage = getattr(module, "PipelineStage", None)
    for name in _RUNS:
        if name in vars(stage or object):
            replace(undo, stage, name, _unseen(getattr(stage, name), unseen))


def _unseen(run: Any, unseen: Callable[[], AbstractContextManager[None]]) -> Any:
    @functools.wraps(run)
    def run_unseen(*args: Any, **kwargs: Any) -> Any:
        with unseen():
            return run(*args, **kwargs)

    return run_unseen
