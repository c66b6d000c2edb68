"""What is said of steps that stand for others, or do not; called by the core too."""

import sys
import warnings
from types import FrameType
from typing import Any

from ._batches import describe
from ._core import UncountedWarning


def _warn(text: str, category: type[Warning] = UncountedWarning) -> None:
    """Warn at the line of the user's that led here."""
    frame, level = sys._getframe(1), 1
    while frame.f_back and not is_theirs(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level + 1)


def is_theirs(frame: FrameType) -> bool:
    """Whether that is code of the user's."""
    package = frame.f_globals.get("__name__", "").split(".")[0]
    return package not in ("flops_tracker", "contextlib")


def tell_of_unknown_batch(batch: Any) -> None:
    """Say once why steps are counted each time."""
    _warn(
        f"{describe(batch)} does not say what it holds, so each step on such a batch is counted "
        "operation by operation, which takes longer: a step is known by its batch where that is "
        "tensors, numbers, text, and lists and dicts of them"
    )


def tell_of_budgets_of_ranks(size: int) -> None:
    """Say that ranks may stop at different steps."""
    _warn(
        f"max_flops is a budget of each of the {size} ranks: where their batches differ, they come "
        "to it at different steps, and one that stops leaves the others waiting for it, as "
        "DistributedDataParallel does, until the group's timeout. Give all ranks batches of the "
        "same sizes, or leave max_flops away and write `if ft.global_flops >= budget: break` at "
        "the end of an epoch, on all ranks",
        UserWarning,
    )


def tell_of_no_step(epoch: int, was_empty: bool) -> None:
    """Say once that an epoch ended without a step."""
    if was_empty:
        _warn(
            f"the loader gave no batch in epoch {epoch}, so no step was counted (a generator can "
            "be read only once: give ft.steps a DataLoader or a list)"
        )
    else:
        _warn(
            f"no step was counted in epoch {epoch}: wrap the loader in ft.steps(loader), as in "
            "`for batch in ft.steps(loader)`, or each step in `with ft.step(batch)`"
        )


def tell_of_difference(
    phase: str, flops: int, before: int, differs: bool, varies: bool, operation: str | None
) -> None:
    """Say that a step did other work than the one like it that stood for it, or may do so."""
    text = ""
    if differs:
        text = (
            f"a step of the phase {phase!r} that was counted again cost {flops:,} FLOPs and not "
            f"{before:,} as the one before it: what it does depends on more than can be seen "
            "of it, and steps since then may have been taken for what they were not (evaluation "
            "belongs in ft.phase; trace='always' counts every step)"
        )
    if varies:
        why = f"{operation} does as much as data decides" if operation else "their work differs"
        more = f"all steps like this one of the phase {phase!r} are counted from now on: {why}"
        text = f"{text}; {more}" if text else more
    _warn(text)


def tell_of_surprises(phase: str) -> None:
    """Say that knowing steps by those before them is given up."""
    _warn(
        f"many steps of the phase {phase!r} turned out to be like none before them, as where a "
        "model drops layers at random: all are counted from now on"
    )


def tell_of_lost_steps(steps: int) -> None:
    """Say what is in no total."""
    _warn(
        f"{steps} of the steps of this epoch did work that was never counted: they are in "
        "unattributed_steps and in no total; trace='always' counts every step"
    )
