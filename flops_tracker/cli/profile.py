"""`flops-tracker profile`: what each module of a model costs and how long it takes here."""

from pathlib import Path
from typing import Any

import click

from .. import _output
from .._core import _to_rate
from . import _shared_options
from ._targets import Problem, loaded, model_options


def _peak(_: Any, __: Any, text: str | None) -> float | None:
    """Read a rate as FlopsTracker reads peak_flops: 5e10, 50 GFLOP/s."""
    if text is None:
        return None
    try:
        peak = _to_rate(text, "--peak")
    except (TypeError, ValueError, OverflowError) as error:
        raise click.BadParameter(str(error).partition(": ")[2] or str(error)) from None
    if peak <= 0:
        raise click.BadParameter(f"it must be above 0, not {text}")
    return peak


@click.command(context_settings={"max_content_width": 100})
@click.argument("target")
@model_options
@click.option(
    "--by",
    type=click.Choice(["module", "op"]),
    default="module",
    show_default=True,
    help="module: the model as a tree; op: a line for each call of an operation.",
)
@click.option("--memory", is_flag=True, help="Bytes in use before and after as well.")
@click.option("--no-time", is_flag=True, help="Run once, and measure no time.")
@click.option(
    "--warm-up", type=click.IntRange(0), default=5, show_default=True, help="Runs before those."
)
@click.option(
    "--steps", type=click.IntRange(1), default=10, show_default=True, help="Runs that are measured."
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="NAME",
    help="Leave an operation, a class of modules or a path out of the table; as often as wanted.",
)
@click.option(
    "--peak",
    callback=_peak,
    metavar="FLOP/S",
    help="This machine's peak, for the share of it that is reached (see `flops-tracker peak`).",
)
@_shared_options.depth
@_shared_options.top(
    "The N largest classes of modules, by default 3; by op, the N largest calls.", default=None
)
@_shared_options.as_json
@click.option(
    "--trace",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the last run as a Chrome trace, for chrome://tracing and Perfetto.",
)
@_shared_options.output("all of it")
def command(
    target: str,
    inputs: tuple[Any, ...],
    in_eval: bool,
    by: str,
    no_time: bool,
    ignore: tuple[str, ...],
    peak: float | None,
    depth: int | None,
    top: int | None,
    as_json: bool,
    trace: Path | None,
    output: Path | None,
    **options: Any,
) -> None:
    """Run a model on this machine, and show what each module costs: FLOPs, time, FLOP/s.

    TARGET is as for `flops-tracker count`; inputs of a --input are zeros. The runs are on copies,
    so that the model stays as it is.

    \b
    Examples:
      flops-tracker profile torchvision.models:resnet50 --input 8,3,224,224 --eval --depth 2
      flops-tracker profile nets.py:Net --input 8,128:int64 --backward --memory
      flops-tracker profile nets.py:Net --input 8,64 --by op --top 20 --trace step.json

    Exit codes: 0, measured; 2, what was given can't be run.
    """  # noqa: D301 - where lines stay lines
    if trace is not None and no_time:
        raise click.UsageError("--trace needs times: leave --no-time out")
    if trace is not None and not trace.parent.is_dir():
        raise click.BadParameter(f"there is no folder {str(trace.parent)!r}", param_hint="--trace")
    with loaded(target, inputs, in_eval, "profiling") as (model, args, kwargs):
        from .._profile import profile

        result = profile(
            model,
            *args,
            kwargs=kwargs,
            by=by,  # type: ignore[arg-type]
            time=not no_time,
            ignore=ignore,
            peak_flops=peak,
            **options,
        )
    if as_json:
        click.echo(result.to_json())
    elif by == "op":
        click.echo(result.table(depth, top))
    else:
        click.echo(result.tree(depth, top or 3))
    try:
        if trace is not None:
            result.to_trace(trace)
        if output is not None:
            _output.write(result, output)
    except OSError as error:
        raise Problem(f"{error.filename} was not written: {error.strerror}") from None
