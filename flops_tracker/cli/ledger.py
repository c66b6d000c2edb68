"""`flops-tracker ledger`: training compute by project, over runs and resumptions."""

import json
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import click

from .._core import _add_counts, format_flops
from .._run_ledger import COUNTS, Row, newest, read


class _Error(click.ClickException):
    """One line, and the exit code of wrong input."""

    exit_code = 2


class _Count(click.ParamType):
    """An exact integer, also as 1e23 or 2.5e25."""

    name = "FLOPs"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        try:
            number = Decimal(str(value).replace("_", "").replace(",", ""))
        except InvalidOperation:
            number = Decimal(0)
        if not number.is_finite() or number <= 0 or number >= 2**128 or number != int(number):
            raise _Error(
                f"--threshold must be a number of FLOPs such as 1e23, below 2**128, not {value!r}"
            )
        return int(number)


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]...")
@click.option("--project", help="Only this one; the default is each of them.")
@click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    type=_Count(),
    metavar="FLOPS",
    help="Set training compute against this, such as 1e25; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print exact numbers as JSON.")
def command(
    paths: tuple[Path, ...], project: str | None, thresholds: tuple[int, ...], as_json: bool
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
        except (OSError, ValueError) as error:
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


def _sum(rows: list[Row], thresholds: tuple[int, ...]) -> dict[str, Any]:
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
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
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
                Text(f"  {_percent(limit['share'])} of {Decimal(limit['flops']):.4g}: {word}"),
                soft_wrap=True,
            )


def _percent(share: float) -> str:
    """Never 100 % of a threshold that is not reached."""
    percent = 100 * share
    if share < 1:
        return "99.99 %" if percent >= 99.995 else f"{percent:.3g} %"
    return f"{percent:.4g} %"
