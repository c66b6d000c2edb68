"""The run of a tracker as a ledger of runs has it: its id, when, what it computed, on what."""

import atexit
import os
import sys
import time
import warnings
import weakref
from typing import Any, NamedTuple

from ._core import _add_counts, _subtract_counts

_PHASES = ("validate", "test", "generate")  # others are summed up
_KINDS = ("forward", "backward", "recompute", "optimizer")

_with_ledger: "weakref.WeakValueDictionary[int, Any]" = weakref.WeakValueDictionary()


class Position(NamedTuple):
    """Where in its records a run stood: the last epoch, the last step in it, the total."""

    epoch: int
    step: int
    total: int


class Run:
    """From the first epoch of a tracker to the end of its loop, its block, or itself.

    What a tracker does after its row was written is a run of its own, resumed from the one
    before, so that rows add up.
    """

    def __init__(self, tracker: Any, project: Any, runs_csv: Any, clock: bool) -> None:
        if project is not None and runs_csv is None:
            raise ValueError(
                f"project={project!r} names runs in a ledger: pass runs_csv='runs.csv' as well"
            )
        self.project = _project(project)
        self.path = None
        self._clock = clock or runs_csv is not None
        if runs_csv is not None:
            from ._run_ledger import check_path

            self.path = check_path(runs_csv)
            _with_ledger[id(tracker)] = tracker
        self.saved: Position | None = None  # what was loaded
        self._blocks = 0
        self._told_of_ranks = False
        self._start(resumed_from="")
        self._base = {"total": 0}  # what the tracker had counted when the run began
        self._base_epochs = 0

    def _start(self, resumed_from: str) -> None:
        self.run_id = os.urandom(8).hex()
        self.resumed_from = resumed_from
        self._begun = self._ended = False
        self.loop_is_over = False  # whole: what a checkpoint of after it says
        self._stamp()

    def _stamp(self) -> None:
        self._pid = os.getpid()
        self._started = time.time() if self._clock else None
        self._started_at = time.monotonic() if self._clock else 0.0

    # ---- what the tracker tells ----

    def begin(self, tracker: Any) -> None:
        """Say that an epoch begins."""
        if self._pid != os.getpid():  # a fork goes on with a run of its own
            self._base, self._base_epochs = _sums_now(tracker), tracker._epochs_begun
            self._start(resumed_from=self.run_id)
        if self._ended:
            self._start(resumed_from=self.run_id)
        if not self._begun:
            self._stamp()
            self._begun = True
        self.loop_is_over = False
        if not self._told_of_ranks and tracker.max_flops is not None:
            self._told_of_ranks = self._mind_ranks(tracker)

    def _mind_ranks(self, tracker: Any) -> bool:
        from ._ranks import rank, size_of_group

        size = size_of_group()
        if size < 2 or tracker.on_budget != "stop":
            return False
        if rank() == 0:
            from ._tell import tell_of_budgets_of_ranks

            tell_of_budgets_of_ranks(size)
        return True

    def enter(self, _: Any) -> None:
        """Say that a block begins, which is the run."""
        self._blocks += 1

    def leave(self, tracker: Any, failed: bool) -> None:
        """Say that the block has ended, by an exception or not."""
        self._blocks = max(0, self._blocks - 1)
        self.loop_ended(tracker, failed)

    def loop_ended(self, tracker: Any, failed: bool) -> None:
        """Say that a loop has ended that trains by itself."""
        if not failed:
            self.loop_over(tracker)
        if self.path is None or self._blocks > 0:
            return
        try:
            self._end(tracker, failed)
        except OSError as error:  # what was trained is not to be lost by an exception here
            warnings.warn(
                f"the run could not be entered in {self.path} ({error}); ft.close() tries again. "
                f"Its row: {self._row_now(tracker, failed)}",
                RuntimeWarning,
                stacklevel=2,
            )

    def loop_over(self, tracker: Any) -> None:
        """Say that a loop has come to its end."""
        self.loop_is_over = bool(tracker._last_is_complete and not tracker._epoch_is_open)

    def close(self, tracker: Any) -> None:
        """End the run; OSError where its row can't be written."""
        if self.path is not None:
            self._end(tracker, failed=False)

    def dropped(self, tracker: Any) -> None:
        """Say that the tracker is gone, or the program ends."""
        if self._pid == os.getpid() and not sys.is_finalizing():  # the row is there then
            self._blocks = 0
            self.loop_ended(tracker, failed=False)

    # ---- rows ----

    def _end(self, tracker: Any, failed: bool) -> None:
        sums = _sums_now(tracker)
        if sums["total"] == self._base["total"] and tracker._epochs_begun == self._base_epochs:
            return
        from ._run_ledger import append

        assert self.path is not None
        place = append(self.path, self._row_now(tracker, failed))
        if place != self.path:
            warnings.warn(
                f"{self.path} has become another table: the run was entered in {place}",
                RuntimeWarning,
                stacklevel=3,
            )
        self._base, self._base_epochs = sums, tracker._epochs_begun
        self._ended = True  # its id stays until there is something new: a checkpoint may name it

    def _row_now(self, tracker: Any, failed: bool) -> dict[str, Any]:
        row = self.row(tracker, _sums_now(tracker), tracker._epochs_begun)
        whole = tracker._last_is_complete or row["epochs"] == 0
        row["complete"] = int(whole and not failed and not tracker._epoch_is_open)
        return row

    def row(self, tracker: Any, sums: dict[str, int], epochs: int) -> dict[str, Any]:
        """Give the row of a run that ends here; sums are the tracker's, also of runs before."""
        import platform
        import sys
        from datetime import UTC, datetime

        from ._ranks import rank

        share = {k: _subtract_counts(v, self._base.get(k, 0)) for k, v in sums.items()}
        if self._ended and share["total"] > 0:  # a phase, before any epoch
            self._start(resumed_from=self.run_id)
        started = self._started
        torch = sys.modules.get("torch")
        return {
            "run_id": self.run_id,
            "project": self.project,
            "run_name": "".join(c if c.isprintable() else "?" for c in tracker.run_name),
            "started": None
            if started is None
            else datetime.fromtimestamp(started, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "duration_s": round(time.monotonic() - self._started_at, 3) if self._clock else 0.0,
            **{
                f"flops_{name}": share.get(name)
                for name in ("total", "train", *_PHASES, "other", *_KINDS)
            },
            **_on_what(tracker),
            "rank": rank(),
            "epochs": epochs - self._base_epochs,
            "torch": None if torch is None else str(torch.__version__),
            "flops_tracker": _version(),
            "python": platform.python_version(),
            "resumed_from": self.resumed_from,
            "complete": 0,
        }

    def checkpoint_row(self, tracker: Any, sums: dict[str, int], epochs: int) -> dict[str, Any]:
        """Give the row for a state: what resumes it enters it, and comes after its run."""
        row = self.row(tracker, sums, epochs)
        row["complete"] = int(self.loop_is_over)
        idle = row["flops_total"] == 0 and row["epochs"] == 0 and not self._ended
        if idle and self.resumed_from:  # it will have no row: the run before it has
            row |= {"run_id": self.resumed_from, "resumed_from": ""}
        return row

    def resume(self, sums: dict[str, int], epochs: int, resumed_from: str, at: Position) -> None:
        """Go on from another run's checkpoint; nothing has been counted so far."""
        self._base, self._base_epochs = sums, epochs
        self.resumed_from = resumed_from
        self.saved = at

    def enter_resumed(self, row: dict[str, Any]) -> None:
        """Enter the run that is resumed, up to its checkpoint, where it has not done so itself."""
        if self.path is None or (row["flops_total"] == 0 and row["epochs"] == 0):
            return
        from ._run_ledger import append, read

        rows = read(self.path)[0] if self.path.exists() and self.path.stat().st_size else []
        known = [r["flops_total"] for r in rows if r["run_id"] == row["run_id"]]
        if all(total < row["flops_total"] for total in known):
            append(self.path, {**row, "project": row["project"] or self.project})


def _at_exit() -> None:
    for tracker in list(_with_ledger.values()):
        tracker._run.dropped(tracker)


atexit.register(_at_exit)


def _project(project: Any) -> str:
    if project is None:
        return ""
    if not isinstance(project, str):
        raise TypeError(f"project must be a str, not {project!r}")
    if not project.strip() or not project.isprintable():
        raise ValueError(f"project must be a name on one line, not {project!r}")
    return project


def _version() -> str:
    from ._core import __version__

    return __version__


# ---- what a tracker has counted ----


def _sums_now(tracker: Any) -> dict[str, int]:
    loops = tracker._loops
    return sums_of(tracker.total_flops, loops.phase_counts if loops is not None else {})


def sums_of(train: int, phases: dict[str, Any]) -> dict[str, int]:
    """FLOPs by phase, in all, and by kind where operations were counted in phases."""
    sums = {"train": train}
    if phases:
        others = {name: c.total for name, c in phases.items() if name != "train"}
        sums |= {name: others.pop(name, 0) for name in _PHASES}
        sums["other"] = _add_counts(list(others.values()))
    sums["total"] = _add_counts(list(sums.values()))
    for kind in _KINDS if phases else ():
        sums[kind] = _add_counts([getattr(c, kind) for c in phases.values()])
    return sums


# ---- and on what ----


def counted_by(estimator: Any) -> tuple[str, str | None]:
    """Class of an estimator, and its convention; None for one that the user wrote."""
    from ._core import SklearnSGDEstimator, TorchLayerwiseEstimator
    from ._op_estimator import TorchOpEstimator

    convention = None
    if isinstance(estimator, TorchLayerwiseEstimator | TorchOpEstimator):
        convention = estimator.convention
    elif isinstance(estimator, SklearnSGDEstimator):
        convention = "layerwise"
    return type(estimator).__name__, convention


def _model_of(tracker: Any) -> Any:
    from ._core import SklearnSGDEstimator, TorchLayerwiseEstimator
    from ._op_estimator import TorchOpEstimator

    training, estimator = tracker._training, tracker.estimator
    for name in ("model", "clf"):
        if getattr(training, name, None) is not None:
            return getattr(training, name)
    own = SklearnSGDEstimator | TorchLayerwiseEstimator | TorchOpEstimator
    return estimator.model if isinstance(estimator, own) else None


def _on_what(tracker: Any) -> dict[str, Any]:
    """Convention, trained parameters, devices; what can't be told is None."""
    name, convention = counted_by(tracker.estimator)
    about: dict[str, Any] = {
        "convention": convention,
        "estimator": name,
        "trained_parameters": None,
        "devices": None,
    }
    model = _model_of(tracker)
    if hasattr(model, "parameters"):
        from torch.nn.parameter import is_lazy

        parameters = [p for p in model.parameters() if not is_lazy(p)]
        about["trained_parameters"] = sum(p.numel() for p in parameters if p.requires_grad)
        about["devices"] = " + ".join(sorted({_device(p.device) for p in parameters}))
    elif hasattr(model, "coef_"):
        about["trained_parameters"] = int(model.coef_.size + getattr(model.intercept_, "size", 1))
        about["devices"] = "cpu"
    return about


def _device(device: Any) -> str:
    if device.type != "cuda":
        return str(device)
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})"
