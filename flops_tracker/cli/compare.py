"""`flops-tracker compare`: two models or saved counts beside each other."""

from pathlib import Path
from typing import Any

import click

from .. import _output
from . import _shared_options
from ._targets import Problem, count_target, counting_options


@click.command(context_settings={"max_content_width": 100})
@click.argument("targets", nargs=-1, metavar="A B...")
@counting_options
@_shared_options.depth
@_shared_options.top("The N largest differences of modules.")
@_shared_options.as_json
@_shared_options.output("the comparison", ".json, .csv or .md")
def command(
    targets: tuple[str, ...],
    depth: int | None,
    top: int,
    as_json: bool,
    output: Path | None,
    **counting: Any,
) -> None:
    """Show where two models, or two saved counts, differ in FLOPs.

    A and B are JSON files that `flops-tracker count --json` or to_json wrote, or TARGETs as for
    `flops-tracker count`, which are counted with the options below. There may be more than two:
    ratios are to the first. --convention holds for files too.

    \b
    Examples:
      flops-tracker compare before.json after.json
      flops-tracker compare nets:small nets:large --input 1,3,224,224 --backward
      flops-tracker compare before.json nets:large --input 1,3,224,224 --json

    Exit codes: 0, compared; 2, what was given can't be.
    """  # noqa: D301 - where lines stay lines
    from .._comparison import compare

    if len(targets) < 2:
        raise click.UsageError(f"compare takes two targets or more, not {len(targets)}")
    if output is not None and output.suffix.lower() == ".html":
        raise click.BadParameter("a comparison has no page: .json, .csv or .md", param_hint="-o")
    _refuse_idle_options(targets)
    counts = [_counts(target, counting) for target in targets]
    try:
        if _is_given("convention"):
            counts = [count.under(counting["convention"]) for count in counts]
        comparison = compare(*counts, names=_names(targets))
    except ValueError as error:  # conventions that can't be read under each other
        raise Problem(str(error)) from None
    click.echo(comparison.to_json() if as_json else comparison.table(depth, top))
    if output is not None:
        try:
            _output.write(comparison, output)
        except OSError as error:
            raise Problem(f"{output} was not written: {error.strerror}") from None


def _is_given(option: str) -> bool:
    source = click.get_current_context().get_parameter_source(option)
    return source is not click.core.ParameterSource.DEFAULT


def _refuse_idle_options(targets: tuple[str, ...]) -> None:
    """Saved counts are as they were counted: what says how to count is for other targets."""
    if not all(target.endswith(".json") for target in targets):
        return
    for option in ("inputs", "backward", "in_eval", "optimizer", "causal", "on", "strict"):
        if _is_given(option):
            name = {"inputs": "input", "in_eval": "eval"}.get(option, option)
            raise click.UsageError(f"--{name} is for what is counted, and all of these are files")


def _counts(target: str, counting: dict[str, Any]) -> Any:
    from .._counts import FlopCount

    if not target.endswith(".json"):
        return count_target(target, **counting)
    try:
        return FlopCount.from_json(target)
    except OSError as error:
        raise Problem(f"{target}: {error.strerror}") from None
    except ValueError as error:
        raise Problem(str(error)) from None


def _names(targets: tuple[str, ...]) -> list[str]:
    """As short as they can be told apart: the factory, the file's name, or all of it."""
    short = [Path(t).stem if t.endswith(".json") else t.rpartition(":")[2] for t in targets]
    if len(set(short)) == len(short):
        return short
    return [f"{number}: {target}" for number, target in enumerate(targets, 1)]
