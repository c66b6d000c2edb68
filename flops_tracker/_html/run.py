"""to_html() of a tracker: its run over steps and epochs, and where its compute went."""

import itertools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from .. import _core, _rates, _roofline
from .._ranks import label
from . import icicle, page, plots
from .cells import in_cell
from .markup import escape, folded, section, stacked_bar, table

_EPOCHS = 200  # rows of the table of epochs in a page
_IN_CELL = 10  # and in a cell of a notebook

TITLES = ("epoch", "FLOPs", "total", "batches", "samples", "loss", "seconds", "FLOP/s", "MFU")


def to_html(tracker: Any, path: Any = None, *, bandwidth: float | None = None) -> str:
    """Make the page of a run."""
    speed = None if bandwidth is None else _roofline.bandwidth_of(bandwidth)
    parts = [f"<h1>{escape(tracker.run_name)}</h1>", page.total_line(tracker.total_flops)]
    parts += [f'<p class="soft">{escape(line)}</p>' for line in _lines(tracker)]
    parts.append(stacked_bar(_phases(tracker)))
    drawn = plots.figures(_plots(tracker))
    epochs = epoch_rows(tracker)
    if drawn or epochs:
        parts.append(section("Training", drawn, _table(epochs, _EPOCHS)))
    if tracker._loops is not None:
        counts = tracker.counts
        peaks = _rates._device_of(tracker).peaks
        parts.append(section("Work of all phases", stacked_bar(counts.by_phase())))
        parts += page.sections(counts, page.peak_of(counts, peaks), speed)
    elif hasattr(tracker.estimator, "layers"):
        parts.append(_layers(tracker.estimator))
    title = f"{tracker.run_name} · {_core.format_flops(tracker.total_flops)}"
    return page.write(page.document(title, "".join(parts)), path)


def fragment(tracker: Any) -> str:
    """Give what a cell of a notebook shows of a run."""
    lines = [f"{tracker.run_name}: total {tracker.total_flops:,} FLOPs", *_lines(tracker)]
    parts = [f"<p>{escape(line)}</p>" for line in lines]
    parts[0] = f"<p><strong>{escape(lines[0])}</strong></p>"
    return in_cell(*parts, _table(epoch_rows(tracker), _IN_CELL))


def _lines(tracker: Any) -> list[str]:
    """Say how it was counted, and how fast it was."""
    source = tracker.estimator if tracker._loops is None else tracker._loops
    told = " · ".join(filter(None, [label(), source.trust_line]))
    return [told, *filter(None, _rates.line(tracker).split("\n"))]


def _phases(tracker: Any) -> dict[str, int]:
    """FLOPs by phase, where there are others than training."""
    phases = {} if tracker._loops is None else tracker.phase_counts
    flops = {"train": tracker.total_flops}
    flops |= {name: counts.total for name, counts in phases.items() if name != "train"}
    return flops if len(flops) > 1 else {}


# ---- epochs ----


def epoch_rows(tracker: Any) -> list[list[str]]:
    """Give the epochs that have ended, as text under TITLES."""
    if not tracker.keep_epoch_logs:
        return []
    rows = []
    for log, rates in zip(tracker.epoch_logs, tracker.epoch_rates, strict=True):
        rate, loss = log.flops_per_second, log.loss
        rows.append(
            [
                f"{log.epoch}" if log.complete else f"{log.epoch} (broken off)",
                f"{log.flops_epoch:,}",
                f"{log.flops_total_cum:,}",
                f"{log.batches:,}",
                f"{log.samples:,}",
                "" if loss is None else f"{loss:.4g}",
                f"{log.wall_time_s:.2f}" if log.wall_time_s else "",
                "" if rate is None else _rates.per_second(rate),
                "" if rates.mfu is None else f"{100 * rates.mfu:.1f} %",
            ]
        )
    return rows


def _table(rows: list[list[str]], most: int) -> str:
    """Give the last epochs, without columns that nothing is in."""
    if not rows:
        return ""
    used = [at for at in range(len(TITLES)) if any(row[at] for row in rows)]
    kept = [[row[at] for at in used] for row in rows[-most:]]
    text = table([TITLES[at] for at in used], kept, left=1)
    if len(rows) > most:
        text += f"<p>The last {most} of {len(rows):,} epochs.</p>"
    return text


# ---- plots ----


def _plots(tracker: Any) -> list[plots.Plot]:
    logs = tracker.epoch_logs if tracker.keep_epoch_logs else []
    losses = [log for log in logs if log.loss is not None]
    timed = [log for log in logs if log.flops_per_second is not None]
    return run_plots(
        [plots.Line("", *_steps(tracker, logs))],
        [plots.Line("", *_columns((log.flops_total_cum, log.loss) for log in losses))],
        [plots.Line("", *_columns((log.epoch, log.flops_per_second) for log in timed))],
    )


def run_plots(
    steps: list[plots.Line], losses: list[plots.Line], rates: list[plots.Line]
) -> list[plots.Plot]:
    """Name the plots of a run or of several."""
    return [
        plots.Plot("Training FLOPs over steps", "step", "FLOPs", steps),
        plots.Plot("Loss over training FLOPs", "FLOPs", "loss, mean of an epoch", losses),
        plots.Plot("FLOP/s by epoch", "epoch", "FLOP/s", rates),
    ]


def _columns(rows: Any) -> tuple[list[float], list[float]]:
    pairs = [(float(x), float(y)) for x, y in rows]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _steps(tracker: Any, logs: list[Any]) -> tuple[Sequence[float], Sequence[float]]:
    """Steps so far and the FLOPs up to each; of epochs where steps are not kept."""
    if tracker.keep_batch_logs:
        records = tracker.history
        low, high = (records[f"flops_total_cum{end}"].astype(float) for end in ("", "_hi"))
        return range(1, len(records) + 1), low + high * 2.0**64
    ends = itertools.accumulate(log.batches for log in logs)
    return _columns(zip(ends, (log.flops_total_cum for log in logs), strict=True))


# ---- estimators of layers ----


def _as_counts(layers: Any) -> Any:
    """Forward FLOPs of layers, with what the icicle reads of a count."""
    numbers = {layer.path: number for number, layer in enumerate(layers, 1)}
    modules: list[Any] = [("", "", 0, 0, ())]
    parts = [[0], *([layer.flops] for layer in layers)]
    for layer in layers:
        above = layer.path
        while above and (above := above.rpartition(".")[0]) not in numbers:
            pass
        parent = numbers.get(above, 0) if layer.path else 0
        name = f"{layers[0].module_class}.{layer.path}" if layer.path else layer.module_class
        modules.append((name, layer.module_class, parent, layer.calls, ()))
    for number in range(len(layers), 0, -1):  # what is inside comes after it
        parts[modules[number][2]].append(_core._add_counts(parts[number]))
    sums = [(own[0], _core._add_counts(own)) for own in parts]
    return SimpleNamespace(total=sums[0][1], outside=0, _modules=modules, _module_sums=lambda: sums)


def _layers(estimator: Any) -> str:
    known = _as_counts(estimator.layers)
    listed = icicle.nodes(known)
    controls = page.CONTROLS if known.total else ""
    batch = f"Forward FLOPs of a batch of {estimator.example_batch:,}, by layer."
    return section(
        "Modules",
        f'<p class="soft">{escape(batch)}</p>',
        controls,
        icicle.icicle(listed),
        icicle.tree(listed),
        folded("as a table", f"<pre>{escape(estimator.report())}</pre>"),
    )
