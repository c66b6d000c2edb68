"""Ranks of a training by several processes: which one this is, and what all of them counted."""

import os
import sys
import warnings
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any
from zlib import crc32

from . import _core

if TYPE_CHECKING:
    from ._counts import FlopCount


def _distributed() -> Any:
    """torch.distributed where its process group is there; None else. Imports nothing."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_available() and dist.is_initialized() else None


def _from_environment(name: str) -> int | None:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else None


def rank() -> int:
    """Rank of this process, of its process group or as torchrun says; 0 where it is alone."""
    dist = _distributed()
    return dist.get_rank() if dist else _from_environment("RANK") or 0


def size_of_group() -> int:
    """How many ranks wait for each other; 1 without a process group."""
    dist = _distributed()
    return dist.get_world_size() if dist else 1


def label() -> str:
    """``rank 1 of 4``, for numbers that are this process's; empty where it is alone."""
    dist = _distributed()
    if dist:
        size = dist.get_world_size()
    else:
        size = _from_environment("WORLD_SIZE") or 0
        if size == 0 and rank() > 0:
            return f"rank {rank()}"
    return f"rank {rank()} of {size}" if size > 1 else ""


def global_flops(tracker: Any) -> int:
    """Sum of total_flops over all ranks."""
    # Ranks that are elsewhere in the program, or count otherwise, have another tag.
    convention = getattr(tracker.estimator, "convention", "")
    tag = crc32(f"global_flops {convention}".encode())
    limbs, size = tracker._limbs(tag), 1
    dist = _distributed()
    if not dist:
        _warn_if_not_alone("global_flops")
    else:
        group, size = dist.group.WORLD, dist.get_world_size()
        limbs = _collective("global_flops", group, lambda: _all_reduce(limbs, group))
    try:
        return _core._join_limbs(limbs, tag, size)
    except ValueError:
        under = f" under the same convention ({convention!r} here)" if convention else ""
        backend = dist.get_backend() if dist else ""
        raise RuntimeError(
            f"global_flops: what came back is not the sum over {size} ranks: each of them must "
            f"read global_flops at the same place, counted{under}, and the backend ({backend}) "
            "must add up"
        ) from None


def global_counts(tracker: Any) -> Any:
    """All phases of all ranks together."""
    return gather("global_counts", {"": tracker.counts}, None)[""]


def global_phase_counts(tracker: Any) -> dict[str, Any]:
    """Each phase that any rank had, of all ranks."""
    return gather("global_phase_counts", tracker.phase_counts, None)


def gather(what: str, parts: dict[str, "FlopCount"], group: Any) -> dict[str, "FlopCount"]:
    """Add up the counts of each name over the ranks of the group; a rank may lack some."""
    from ._counts import FlopCount

    dist = _distributed()
    if not dist:
        _warn_if_not_alone(what)
        return parts
    group = dist.group.WORLD if group is None else group
    if dist.get_rank(group) < 0:
        raise ValueError(f"{what}: this rank is not in that group: only its ranks call it")
    mine = next((part._of for part in parts.values() if part._of), (dist.get_rank(),))
    states, error = None, ""
    try:
        states = {name: part._state() for name, part in parts.items()}
    except OverflowError as overflow:
        error = f"the counts of rank {dist.get_rank()}: {overflow}"
    # The error goes to the others, as these wait for this rank.
    answers: list[Any] = [None] * dist.get_world_size(group)
    message = (what, mine, states, error)
    _collective(what, group, lambda: dist.all_gather_object(answers, message, group=group))
    of = _ranks_of(what, answers)
    world = dist.get_world_size()
    sums = {}
    for name in dict.fromkeys(name for *_, states, _ in answers for name in states):
        counts = FlopCount._from_states([s[name] for *_, s, _ in answers if name in s])
        if world > 1:
            counts.ranks = (
                f"all {world} ranks" if len(of) == world else f"{len(of)} of {world} ranks"
            )
        counts._of = of
        if name in parts:
            counts.params, counts.on = parts[name].params, parts[name].on
        sums[name] = counts
    return sums


def _ranks_of(what: str, answers: list[Any]) -> tuple[int, ...]:
    """All ranks whose counts these are; an error, on each of them, where they don't add up."""
    of: list[int] = []
    for theirs, ranks, _, error in answers:
        if theirs != what:
            raise RuntimeError(f"{what}: rank {ranks[0]} was at {theirs}: all must call the same")
        if error:
            raise OverflowError(f"{what}: {error}")
        if twice := set(of) & set(ranks):
            raise ValueError(
                f"{what}: the work of rank {min(twice)} would be in the sum twice, since these are "
                "sums over ranks already: add up each rank's own counts"
            )
        of.extend(ranks)
    return tuple(sorted(of))


def _warn_if_not_alone(what: str) -> None:
    if place := label():
        warnings.warn(
            f"{what}: this is {place}'s own count, since there is no process group: read it after "
            "init_process_group and before destroy_process_group",
            stacklevel=3,
        )


def _collective(what: str, group: Any, run: Any) -> Any:
    """Run what all ranks of the group must run; one error says that not all of them did."""
    from torch.utils._python_dispatch import _disable_current_modes

    dist = _distributed()
    try:
        with _disable_current_modes():  # it is no work of the model's
            if _sends_by_cpu(group):
                _meet(what, group)
            return run()
    except RuntimeError as error:
        raise RuntimeError(
            f"{what}: not all {dist.get_world_size(group)} ranks took part (this is rank "
            f"{dist.get_rank()}): one died, or did not come here before the group's timeout. What "
            "this rank counted is as it was: read total_flops, counts, or its files. "
            f"{dist.get_backend(group)}: {str(error).splitlines()[0]}"
        ) from error


def _sends_by_cpu(group: Any) -> bool:
    kinds = [device.type for device in group._device_types]
    return "cpu" in kinds or not kinds


def _meet(what: str, group: Any) -> None:
    """Wait until all ranks are here.

    Where one rank's all_reduce meets another collective, of DDP say, gloo ends the process. What is
    sent under a tag of its own meets nothing else.
    """
    import torch
    from torch import distributed as dist

    first, *others = dist.get_process_group_ranks(group)
    here = crc32(what.encode())
    message = torch.tensor([here])
    if dist.get_rank() != first:
        dist.send(message, first, group, tag=_TAG)
        dist.recv(message, first, group, tag=_TAG)
        if (late := int(message)) >= 0:
            raise RuntimeError(f"rank {late} did not come")
        return
    late, came, cause = -1, [], None
    for rank in others:
        try:
            dist.recv(message, rank, group, tag=_TAG)
        except RuntimeError as error:
            late, cause = rank, error
            break
        came.append(rank)
        if int(message) != here:  # at another total
            late = rank
    for rank in came:
        with nullcontext() if cause is None else suppress(RuntimeError):
            dist.send(torch.tensor([late]), rank, group, tag=_TAG)
    if late >= 0:
        raise RuntimeError(f"rank {late} did not come" + (f": {cause}" if cause else "")) from cause


_TAG = 0x0F1095


def _all_reduce(values: list[int], group: Any) -> list[int]:
    import torch
    from torch import distributed as dist

    device = "cpu" if _sends_by_cpu(group) else group._device_types[0].type
    tensor = torch.tensor(values, dtype=torch.int64, device=device)
    dist.all_reduce(tensor, group=group)
    return list(tensor.tolist())
