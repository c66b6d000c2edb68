"""FLOP/s, MFU and HFU of a run and its epochs, from its counts, its clock and a device's peak."""

import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from . import _core
from ._core import TorchLayerwiseEstimator, format_flops
from ._ranks import label, rank

_TRAIN = "train"
DTYPES = {  # what people call them: the name in by_dtype(), or tf32, a way to compute in float32
    **{name: name for name in ("float64", "float32", "tf32", "bfloat16", "float16")},
    **{"fp64": "float64", "fp32": "float32", "bf16": "bfloat16", "fp16": "float16"},
    **{"double": "float64", "float": "float32", "half": "float16"},
}
_REAL = {"complex128": "float64", "complex64": "float32"}  # what their products are made of

Peak = float | dict[str, float]  # FLOP/s, for all dtypes or by dtype
Row = tuple[str, str, bool, int]  # dtype, class, whether it was recomputed, FLOPs under "matmul"


class Rates(NamedTuple):
    """How fast a run trains.

    ``seconds`` are those of its epochs, without other phases than training; ``flops_per_second``
    is ``total_flops`` over them. ``mfu`` (model FLOPs utilization) is the share of the device's
    peak that the contractions of training reach in this process, recomputation left out; ``hfu``
    (hardware FLOPs utilization) has it. ``peak_flops`` is that peak in FLOP/s, over all dtypes
    that they ran in, which are ``dtypes``; ``device`` is what it is of. ``phase_shares`` are shares
    of all FLOPs by phase, ``recompute_share`` is one of training. None: not known, or no time was
    taken.
    """

    seconds: float
    flops_per_second: float | None
    mfu: float | None
    hfu: float | None
    peak_flops: float | None
    device: str | None
    dtypes: tuple[str, ...]
    phase_shares: dict[str, float] | None
    recompute_share: float | None

    def _repr_html_(self) -> str:
        from ._html import cells

        return cells.rates_cell(self)


class EpochRates(NamedTuple):
    """The same of one epoch: ``seconds`` is its ``train_time_s``."""

    epoch: int
    seconds: float
    flops_per_second: float | None
    mfu: float | None
    hfu: float | None


# ---- peaks ----


def check_peak(given: Any) -> Peak:
    """Read peak_flops: a number of FLOP/s, a text such as "312 TFLOP/s", or a dict by dtype."""
    if not isinstance(given, Mapping):
        return _core._to_rate(given, "peak_flops")
    if not given:
        raise ValueError("peak_flops={}: give FLOP/s by dtype, as {'bfloat16': 312e12}")
    peaks = {}
    for key, rate in given.items():
        name = DTYPES.get(str(key).removeprefix("torch."))
        if name is None:
            known = ", ".join(dict.fromkeys(DTYPES.values()))
            raise ValueError(f"peak_flops has {key!r}, which is none of the dtypes {known}")
        peaks[name] = _core._to_rate(rate, f"peak_flops[{key!r}]")
    return peaks


class _Device(NamedTuple):
    name: str | None
    peaks: Peak | None

    def peak(self, dtype: str, op_class: str) -> float | None:
        """FLOP/s at most of contractions of that class in that dtype."""
        return peak_for(self.peaks, dtype, op_class)


def peak_for(peaks: Peak | None, dtype: str, op_class: str) -> float | None:
    """FLOP/s at most, of these, of contractions of that class in that dtype."""
    if not isinstance(peaks, dict):
        return peaks
    name = _REAL.get(dtype, dtype)
    if name == "float32" and "tf32" in peaks and _computes_in_tf32(op_class):
        name = "tf32"
    return peaks.get(name)


def _computes_in_tf32(op_class: str) -> bool:
    """Whether PyTorch may round float32 to TF32 there: cuDNN's flag or that of matrix products."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    cudnn = {"conv": "conv", "recurrent": "rnn"}.get(op_class)
    flags = torch.backends.cudnn if cudnn else torch.backends.cuda.matmul
    newer = getattr(flags, cudnn, None) if cudnn else flags
    precision = getattr(newer, "fp32_precision", "none")  # from torch 2.9 on; "none": not set
    if precision != "none":
        return bool(precision == "tf32")
    try:
        return bool(flags.allow_tf32)
    except RuntimeError:  # torch 2.9 refuses to say where both ways to set it were used
        return False


def _device_of(tracker: Any) -> _Device:
    given = tracker._peak_flops
    name = _device_name(_model_of(tracker.estimator))
    if given is not None:
        return _Device(name, given)
    known = None if name is None else _core._peak_of(name)
    return _Device(name, None if known is None else known[1])


def _model_of(estimator: Any) -> Any:
    """The model of an estimator of this package; None for all others."""
    if "torch" not in sys.modules:
        return None
    from ._op_estimator import TorchOpEstimator

    own = isinstance(estimator, TorchLayerwiseEstimator | TorchOpEstimator)
    return estimator.model if own else None


def _torch_device(model: Any) -> Any:
    """Where a model is; None for one without parameters, and for one on several devices."""
    devices = {parameter.device for parameter in model.parameters()} if model is not None else set()
    return devices.pop() if len(devices) == 1 else None


def _device_name(model: Any) -> str | None:
    device = _torch_device(model)
    if device is None:
        return None
    return device_name(device)


def device_name(device: Any) -> str:
    """What the driver calls a torch.device; its type where there is no driver."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device.type)


def synchronise(estimator: Any) -> None:
    """Wait for the GPU that the estimator's model is on, so that the clock has all of its work."""
    device = _torch_device(_model_of(estimator))
    if device is not None and device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


# ---- work ----


def _work_of(tracker: Any) -> Any:
    """The work of training so far, a WorkSum; None where operations are not counted."""
    loops = tracker._loops
    counts = None if loops is None else loops.own_counts(_TRAIN)  # not those before a resumption
    if counts is None:
        return None
    work = _core.WorkSum()
    work.add(counts)
    return work


class _Noted:
    """What is kept of epochs that ended in order: two shares each, and the work up to the last."""

    def __init__(self) -> None:
        self.shares: dict[int, tuple[float | None, float | None]] = {}  # MFU and HFU
        self.work: Any = None
        self.epoch = 0


def note_epoch(tracker: Any, epoch: int, seconds: float) -> None:
    """Keep the utilization of an epoch that has just ended, where operations are counted."""
    if not tracker._keeps_epochs:
        return
    work = _work_of(tracker)
    if work is None:
        return
    noted = tracker._noted or _Noted()
    if noted.epoch == epoch - 1:  # else its work can't be told from that of the one before
        rows = work.contractions(noted.work)
        mfu, hfu, _ = _utilizations(rows, _device_of(tracker), seconds)
        if mfu is not None:
            noted.shares[epoch] = mfu, hfu
    noted.work, noted.epoch = work, epoch
    tracker._noted = noted


def _utilizations(
    rows: list[Row], device: _Device, seconds: float
) -> tuple[float | None, float | None, float | None]:
    """MFU, HFU and the peak of it all; None where one is not known."""
    peaks = [device.peak(dtype, op_class) for dtype, op_class, _, _ in rows]
    hardware = [(row[3], peak) for row, peak in zip(rows, peaks, strict=True) if peak is not None]
    if len(hardware) < len(rows) or not rows:
        return None, None, None
    model = [part for row, part in zip(rows, hardware, strict=True) if not row[2]]
    return (
        _core._utilization(model, seconds),
        _core._utilization(hardware, seconds),
        _core._joint_peak(hardware),
    )


# ---- what users read ----


def rates(tracker: Any) -> Rates:
    """Of the run so far."""
    seconds, total = tracker._train_time_s, tracker.total_flops
    own_seconds = seconds - tracker._resumed_time_s
    device, work = _device_of(tracker), _work_of(tracker)
    shares = recomputed = None
    if work is None:
        hfu, peak = None, _number(device.peaks)
        counts_operations = hasattr(tracker.estimator, "counts_for_batch")  # but none so far
        mfu = None if counts_operations else _stated_utilization(device, total, seconds)
        dtypes: tuple[str, ...] = ()
    else:
        rows = work.contractions(None)
        mfu, hfu, peak = _utilizations(rows, device, own_seconds)
        dtypes = tuple(dict.fromkeys(dtype for dtype, *_ in rows))
        recomputed = _core._shares(list(work.recomputed(tracker.estimator.convention)))[0]
        shares = _phase_shares(tracker, total)
    return Rates(
        seconds,
        _core._rate(total, seconds),
        mfu,
        hfu,
        peak,
        device.name,
        dtypes,
        shares,
        recomputed,
    )


def _number(peaks: Peak | None) -> float | None:
    return None if isinstance(peaks, dict) else peaks


def _stated_utilization(device: _Device, flops: int, seconds: float) -> float | None:
    """Without counts of operations: the estimator's FLOPs over the one peak that was given."""
    peak = _number(device.peaks)
    return None if peak is None else _core._utilization([(flops, peak)], seconds)


def _phase_shares(tracker: Any, total: int) -> dict[str, float]:
    flops = {_TRAIN: total}
    if tracker._loops is not None:
        for name, counts in tracker._loops.phase_counts.items():
            if name != _TRAIN:
                flops[name] = counts.total
    return dict(zip(flops, _core._shares(list(flops.values())), strict=True))


def epoch_rates(tracker: Any) -> list[EpochRates]:
    """Of each epoch that has ended."""
    device, noted = _device_of(tracker), tracker._noted
    counted = noted is not None or _work_of(tracker) is not None
    result = []
    for log in tracker.epoch_logs:
        mfu, hfu = (None, None) if noted is None else noted.shares.get(log.epoch, (None, None))
        if not counted:
            mfu = _stated_utilization(device, log.flops_epoch, log.train_time_s)
        result.append(EpochRates(log.epoch, log.train_time_s, log.flops_per_second, mfu, hfu))
    return result


def line(tracker: Any) -> str:
    """Say it below the total, where operations are counted or a peak was given; "" elsewhere."""
    if tracker._loops is None and tracker._training is None and tracker._peak_flops is None:
        return ""
    found = rates(tracker)
    parts = []
    if found.phase_shares is not None:
        if len(found.phase_shares) > 1:
            shares = ", ".join(f"{name} {_percent(x)}" for name, x in found.phase_shares.items())
            parts.append(f"of all FLOPs {shares}")
        parts.append(f"recomputation {_percent(found.recompute_share or 0.0)} of training")
    if found.flops_per_second is not None and (parts or found.mfu is not None):
        parts.append(f"{per_second(found.flops_per_second)}")
    if found.mfu is not None and found.peak_flops is not None:
        text = f"MFU {_percent(found.mfu)}"
        if found.hfu is not None and found.hfu != found.mfu:
            text += f", HFU {_percent(found.hfu)}"
        parts.append(f"{text} of {per_second(found.peak_flops)}")
    own = label()
    return "".join(("\n", " · ".join([own] * bool(own) + parts))) if parts else ""


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def per_second(rate: float) -> str:
    """1.5e9 as "1.50 GFLOP/s"."""
    return f"{format_flops(round(rate))}/s"


def say_on_rank_0(text: str) -> None:
    """Print a line, on the first of several processes only."""
    if rank() == 0:
        print(text)
