"""`flops-tracker report`: what the CSV files of runs, and saved counts, say."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import click

from .. import _core, _run_files, _terminal
from .._rates import per_second

_TITLES = (
    *("run", "epochs", "batches", "samples", "FLOPs", "in short"),
    *("seconds", "rate", "loss"),
)
_EPOCH_TITLES = ("epoch", "FLOPs", "share", "batches", "samples", "loss", "seconds", "rate")


class _Error(click.ClickException):
    """One line, and the exit code of wrong input."""

    exit_code = 2


def _page(_: Any, __: Any, value: Path | None) -> Path | None:
    """Refuse a page that can't be written, before anything is read."""
    if value is None:
        return None
    if value.suffix.lower() not in (".html", ".htm"):
        raise click.BadParameter(f"it must end in .html, unlike {str(value)!r}")
    if not value.parent.is_dir():
        raise click.BadParameter(f"there is no folder {str(value.parent)!r} for {value.name!r}")
    return value


@click.command(context_settings={"max_content_width": 100})
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_page,
    metavar="PAGE",
    help="Write a page with the plots to PAGE (.html), and replace it.",
)
@click.option(
    "--epochs",
    "most",
    type=click.IntRange(0),
    metavar="N",
    help="Show the last N epochs of each run; the default is 10, and 0 for several runs.",
)
@click.option("--json", "as_json", is_flag=True, help="Print exact numbers as JSON.")
def command(files: tuple[Path, ...], html: Path | None, most: int | None, as_json: bool) -> None:
    """Report on runs from the CSV files that they wrote.

    FILE is PREFIX_batch.csv or PREFIX_epoch.csv of a FlopsTracker (export=, save_batch_csv), or a
    count that to_json wrote. Both files of one PREFIX are one run: times and steps are those
    of its batches, losses those of its epochs. Files of several runs stand beside each other.

    A row that a killed process left torn is said and not counted.

    \b
    Examples:
      flops-tracker report run1_epoch.csv
      flops-tracker report run1_batch.csv run1_epoch.csv --html run1.html
      flops-tracker report small_epoch.csv large_epoch.csv
      flops-tracker report counts.json --html counts.html

    Exit codes: 0, all was read; 2, a file is missing, damaged, or none of these.
    """  # noqa: D301 - where lines stay lines
    runs, counts = _read(files)
    if html is not None and len(counts) > 1:
        raise _Error("--html: a page has the modules of one count: give one JSON file")
    try:
        summaries = [_summary(run) for run in runs]
    except OverflowError as error:
        raise _Error(str(error)) from None
    if html is not None:
        _write(runs, summaries, counts, html)
    if as_json:
        data = [
            {**summary, "by_epoch": _plain(run)}
            for run, summary in zip(runs, summaries, strict=True)
        ]
        data += [{"count": name, **count.to_dict()} for name, count in counts.items()]
        click.echo(json.dumps(data, indent=2))
        return
    if runs:
        _print(runs, summaries, most)
    for name, count in counts.items():
        click.echo(f"{name}\n{count.table(top=10)}")


def _read(paths: tuple[Path, ...]) -> tuple[list[_run_files.RunRecord], dict[str, Any]]:
    files, counts = [], {}
    for path in paths:
        try:
            if path.suffix.lower() == ".json":
                from .._counts import FlopCount

                counts[path.name] = FlopCount.from_json(path)
                continue
            files.append(_run_files.read(path))
        except OSError as error:
            raise _Error(f"{path}: {error.strerror}{_hint(path)}") from None
        except OverflowError as error:
            raise _Error(f"{path}: {error}") from None
        except ValueError as error:
            raise _Error(f"{error}{_hint(path)}") from None
        if files[-1].torn is not None:
            click.echo(f"{path}: line {files[-1].torn} is torn, and not counted", err=True)
    try:
        return _run_files.together(files), counts
    except ValueError as error:
        raise _Error(str(error)) from None


def _hint(path: Path) -> str:
    """What may be meant: the prefix of a run, or a ledger."""
    if path.suffix.lower() not in (".csv", ".json"):
        found = [
            f"{path}{end}" for end in ("_epoch.csv", "_batch.csv") if Path(f"{path}{end}").is_file()
        ]
        if found:
            return f"; did you mean {' '.join(found)}?"
    try:
        with open(path, encoding="utf-8") as file:
            if file.readline().startswith("run_id,"):
                return f"; it is a ledger of runs: flops-tracker ledger {path}"
    except (OSError, UnicodeDecodeError):
        pass
    return ""


# ---- what is said ----


def _summary(run: _run_files.RunRecord) -> dict[str, Any]:
    losses = run.losses
    flops = run.flops
    return {
        "run": run.name,
        "epochs": len(run.epochs),
        "batches": _core._add_counts([epoch.batches for epoch in run.epochs]),
        "samples": _core._add_counts([epoch.samples for epoch in run.epochs]),
        "flops": flops,
        "flops_total_cum": run.epochs[-1].total if run.epochs else 0,
        "seconds": run.seconds,
        "flops_per_second": _core._rate(flops, run.seconds),
        "loss": _finite(losses[-1].loss) if losses else None,
    }


def _plain(run: _run_files.RunRecord) -> list[dict[str, Any]]:
    shares = _core._shares([epoch.flops for epoch in run.epochs])
    return [
        {**epoch._asdict(), "share": share} for epoch, share in zip(run.epochs, shares, strict=True)
    ]


def _finite(loss: float | None) -> float | None:
    """JSON has no word for what is not a number."""
    return loss if loss is not None and math.isfinite(loss) else None


def _notes(run: _run_files.RunRecord, summary: dict[str, Any]) -> list[str]:
    """What the numbers do not say by themselves."""
    notes = []
    broken = [str(epoch.epoch) for epoch in run.epochs if epoch.complete is False]
    if not run.epochs:
        notes.append("no row so far")
    if broken:
        notes.append(f"broken off: epoch {', '.join(broken)}")
    if run.only_batches:
        notes.append(
            f"{run.only_batches} of its epochs have no row in the file of epochs: what their "
            "batches say is counted"
        )
    if run.runs > 1:
        notes.append(f"{run.runs} runs one after the other in its file")
    elif summary["flops_total_cum"] != summary["flops"]:
        notes.append(f"it goes on from before: {summary['flops_total_cum']:,} FLOPs in all")
    return [f"{run.name}: {note}" for note in notes]


def _row(summary: dict[str, Any]) -> list[str]:
    return [
        summary["run"],
        *(f"{summary[name]:,}" for name in ("epochs", "batches", "samples", "flops")),
        _core.format_flops(summary["flops"]),
        *_measured(summary["seconds"], summary["flops_per_second"]),
        "" if summary["loss"] is None else f"{summary['loss']:.4g}",
    ]


def _measured(seconds: float, rate: float | None) -> tuple[str, str]:
    return f"{seconds:.2f}" if seconds else "", "" if rate is None else per_second(rate)


def _epoch_rows(run: _run_files.RunRecord) -> list[list[str]]:
    shares = _core._shares([epoch.flops for epoch in run.epochs])
    rows = []
    for epoch, share in zip(run.epochs, shares, strict=True):
        seconds, rate = _measured(epoch.seconds, _core._rate(epoch.flops, epoch.seconds))
        rows.append(
            [
                f"{epoch.epoch}",
                f"{epoch.flops:,}",
                f"{100 * share:.1f} %",
                f"{epoch.batches:,}",
                f"{epoch.samples:,}",
                "" if epoch.loss is None else f"{epoch.loss:.4g}",
                seconds,
                rate,
            ]
        )
    return rows


def _print(
    runs: list[_run_files.RunRecord], summaries: list[dict[str, Any]], most: int | None
) -> None:
    def show(titles: tuple[str, ...], rows: list[list[str]]) -> None:
        used = [at for at in range(len(titles)) if any(row[at] for row in rows)]
        names = [titles[at] for at in used]
        cells = [[row[at] for at in used] for row in rows]
        click.echo(_terminal.text_table(names, cells, names[1:], sys.stdout))

    show(_TITLES, [_row(summary) for summary in summaries])
    most = most if most is not None else 10 * (len(runs) == 1)
    for run, summary in zip(runs, summaries, strict=True):
        rows = _epoch_rows(run)[-most:] if most else []
        if rows:
            click.echo(f"\n{run.name}" if len(runs) > 1 else "")
            show(_EPOCH_TITLES, rows)
            if len(rows) < len(run.epochs):
                click.echo(f"the last {len(rows)} of {len(run.epochs):,} epochs (--epochs)")
        for note in _notes(run, summary):
            click.echo(note)


def _write(
    runs: list[_run_files.RunRecord],
    summaries: list[dict[str, Any]],
    counts: dict[str, Any],
    path: Path,
) -> None:
    from .._html import files, page

    tables = [
        files.RunTable(run, _notes(run, summary), _EPOCH_TITLES, _epoch_rows(run))
        for run, summary in zip(runs, summaries, strict=True)
    ]
    text = files.page_of(_TITLES, [_row(summary) for summary in summaries], tables, counts)
    try:
        page.write(text, path)
    except OSError as error:
        raise _Error(f"{path}: {error.strerror}") from None
    click.echo(f"{path} was written", err=True)
