"""`flops-tracker ledger`: training compute by project, over runs and resumptions."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from .. import _terminal
from .._core import _add_counts, _to_amount, format_flops
from .._run_ledger import COUNTS, Row, newest, read


class _Error(click.ClickException):
    """One line, and the exit code of wrong input."""

    exit_code = 2


def _thresholds(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> list[int]:
    """Read exact integers, as budgets are: 1e23, "100 ZFLOP"; a float would be another number."""
    limits = []
    for text in texts:
        try:
            limits.append(_to_amount(text, "--threshold"))
        except (ValueError, OverflowError) as error:
            raise _Error(str(error)) from None
        if limits[-1] == 0:
            raise _Error(f"--threshold={text!r}: it must be above 0, such as 1e23 or '100 ZFLOP'")
    return limits


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]...")
@click.option("--project", help="Only this one; the default is each of them.")
@click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    callback=_thresholds,
    metavar="FLOPS",
    help="Set training compute against this, such as 1e25 or '10 YFLOP'; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print exact numbers as JSON.")
def command(
    paths: tuple[Path, ...], project: str | None, thresholds: list[int], as_json: bool
) -> None:
    """Sum up the runs in ledgers that FlopsTracker(..., runs_csv=PATH) wrote.

    PATH is runs.csv if none is given. Each row holds what its run computed itself, so that a run
    and those that resumed it add up. Counts of different conventions are never added to each
    other.
    """
    rows = _all_rows(paths or (Path("runs.csv"),))
    names = sorted({row["project"] for row in rows})
    if project is not None and project not in names:
        known = ", ".join(map(repr, names)) or "no run at all"
        raise _Error(f"there is no run of the project {project!r}; the ledger has {known}")
    chosen = [row for row in rows if project is None or row["project"] == project]
    try:
        sums = [_sum(group, thresholds) for group in _groups(chosen)]
    except OverflowError as error:
        raise _Error(str(error)) from None
    if as_json:
        click.echo(json.dumps(sums, indent=2))
    else:
        _print(sums)


def _all_rows(paths: tuple[Path, ...]) -> list[Row]:
    rows: list[Row] = []
    for path in paths:
        try:
            found, torn = read(path)
        except OSError as error:
            raise _Error(f"{path}: {error.strerror}") from None
        except ValueError as error:
            raise _Error(str(error)) from None
        rows += found
        if torn:
            lines = ", ".join(map(str, torn))
            click.echo(f"{path}: torn and left out: line {lines}", err=True)
    return newest(rows)


def _groups(rows: list[Row]) -> list[list[Row]]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["project"], row["convention"]), []).append(row)
    return [groups[key] for key in sorted(groups)]


def _sum(rows: list[Row], thresholds: list[int]) -> dict[str, Any]:
    """Sum up one project under one convention; a count that no row knows is None."""
    counts: dict[str, Any] = {}
    for name in COUNTS:
        known = [row[name] for row in rows if row[name] is not None]
        counts[name] = _add_counts(known) if known else None
    train = counts["flops_train"]
    return {
        "project": rows[0]["project"],
        "convention": rows[0]["convention"],
        "runs": len(rows),
        "resumed": sum(bool(row["resumed_from"]) for row in rows),
        "broken_off": sum(row["complete"] != "1" for row in rows),
        "first_started": min(row["started"] for row in rows),
        **counts,
        "thresholds": [
            {"flops": limit, "share": train / limit, "reached": train >= limit}
            for limit in thresholds
        ],
    }


def _print(sums: list[dict[str, Any]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    console = _terminal.console(sys.stdout)
    table = Table(box=SIMPLE_HEAD)
    for title in ("project", "convention"):
        table.add_column(title, overflow="fold")
    for title in ("runs", "resumed", "broken off", "training", "other phases"):
        table.add_column(title, justify="right", overflow="fold")
    for group in sums:
        known = [group[f"flops_{phase}"] for phase in ("validate", "test", "generate", "other")]
        others = [count for count in known if count is not None]
        table.add_row(
            Text(group["project"] or "(none)"),
            Text(group["convention"] or "(own)"),
            *(str(group[name]) for name in ("runs", "resumed", "broken_off")),
            format_flops(group["flops_train"]),
            format_flops(_add_counts(others)) if others else "",
        )
    console.print(table)
    for group in sums:
        name = group["project"] or "(none)"
        console.print(
            Text(f"{name}: {group['flops_train']:,} FLOPs of training ({group['convention']})"),
            soft_wrap=True,
        )
        for limit in group["thresholds"]:
            word = "reached" if limit["reached"] else "not reached"
            console.print(
                Text(f"  {_percent(limit)} of {float(limit['flops']):.4g}: {word}"),
                soft_wrap=True,
            )


def _percent(limit: dict[str, Any]) -> str:
    """Never 100 % of a threshold that is not reached."""
    percent = f"{100 * limit['share']:.4g} %"
    return "99.99 %" if percent == "100 %" and not limit["reached"] else percent
