"""A page of runs that were read from their files, and of a saved count."""

from typing import Any, NamedTuple

from .. import _core
from .._run_files import RunRecord
from . import page, plots
from .markup import escape, folded, section, table
from .run import run_plots

_EPOCHS = 200  # rows of a table of epochs


class RunTable(NamedTuple):
    """A run, what is said of it, and its epochs as text."""

    run: RunRecord
    notes: list[str]
    titles: tuple[str, ...]
    rows: list[list[str]]


def page_of(
    titles: tuple[str, ...], rows: list[list[str]], runs: list[RunTable], counts: dict[str, Any]
) -> str:
    """Give the page: a summary, plots with a line for each run, epochs, modules of the count."""
    names = [entry.run.name for entry in runs] + list(counts)
    title = ", ".join(names)
    parts = [f"<h1>{escape(title)}</h1>"]
    if len(names) == 1:
        total = runs[0].run.flops if runs else counts[names[0]].total
        parts.append(page.total_line(total))
        title += f" · {_core.format_flops(total)}"
    if runs:
        notes = [f'<p class="warn">{escape(note)}</p>' for entry in runs for note in entry.notes]
        parts.append(section("Runs", table(titles, rows, left=1), *notes))
        parts.append(section("Training", plots.figures(_plots([entry.run for entry in runs]))))
        parts += [_epochs(entry, len(runs) == 1) for entry in runs if entry.rows]
    for name, count in counts.items():
        told = page.facts(count)
        if runs:
            told = [page.total_line(count.total), *told]
        parts += [section(name, *told), *page.sections(count, page.peak_of(count, None), None)]
    return page.document(title, "".join(parts))


def _epochs(entry: RunTable, alone: bool) -> str:
    shown = table(entry.titles, entry.rows[-_EPOCHS:], left=1)
    if len(entry.rows) > _EPOCHS:
        shown += f"<p>The last {_EPOCHS} of {len(entry.rows):,} epochs.</p>"
    return shown if alone else folded(f"epochs of {entry.run.name}", shown)


def _plots(runs: list[RunRecord]) -> list[plots.Plot]:
    steps, losses, rates = [], [], []
    for run in runs:
        total = [float(count) for count in run.totals]
        steps.append(plots.Line(run.name, range(1, len(total) + 1), total))
        known = run.losses
        x, y = [float(e.total) for e in known], [float(e.loss or 0.0) for e in known]
        losses.append(plots.Line(run.name, x, y))
        timed = [(e.epoch, _core._rate(e.flops, e.seconds)) for e in run.epochs]
        shown = [(float(at), rate) for at, rate in timed if rate is not None]
        rates.append(plots.Line(run.name, [at for at, _ in shown], [rate for _, rate in shown]))
    named = run_plots(steps, losses, rates)
    if all(run.by_epoch for run in runs):
        named[0] = named[0]._replace(title="Training FLOPs over epochs", x_label="epoch")
    return named
