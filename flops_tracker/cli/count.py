"""`flops-tracker count`: the FLOPs of a model by name, on fake copies; a gate for CI."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import _output
from .._core import _count_difference, _to_amount
from . import _shared_options
from ._targets import Problem, count_target, counting_options

if TYPE_CHECKING:
    from .._counts import FlopCount

_WITHOUT_UNIT = re.compile(r"[-+]?[\d.,]+ *[kKMGTPEZYRQ]")


def _amount(_: Any, __: Any, text: str | None) -> int | None:
    """Read an exact number as budgets are read; FLOP after a prefix may be left out: 8.2G."""
    if text is None:
        return None
    try:
        return _to_amount(f"{text}FLOP" if _WITHOUT_UNIT.fullmatch(text) else text, "--max")
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(str(error).partition(": ")[2] or str(error)) from None


@click.command(context_settings={"max_content_width": 100})
@click.argument("target")
@counting_options
@click.option(
    "--max",
    "limit",
    callback=_amount,
    metavar="FLOPS",
    help="Exit with 1 if it is more than this, such as 8.2G, '8.2 GFLOP' or 8.2e9.",
)
@_shared_options.depth
@_shared_options.top("Modules and operations in the tables: the N largest.")
@_shared_options.as_json
@_shared_options.output("all counts")
def command(
    target: str,
    limit: int | None,
    depth: int | None,
    top: int,
    as_json: bool,
    output: Path | None,
    **counting: Any,
) -> None:
    """Count the FLOPs of a model, on fake copies: no memory for activations, no arithmetic.

    TARGET is MODULE:FACTORY or FILE.py:FACTORY: a class of torch.nn.Module or a function, called
    without arguments, or a model. A function may give a model, or a tuple of a model and its
    inputs.

    \b
    Examples:
      flops-tracker count torchvision.models:resnet50 --input 1,3,224,224
      flops-tracker count nets.py:Net --input 8,128:int64 --backward --optimizer adamw
      flops-tracker count nets.py:Net --input ids=8,128:int64 --input mask=8,128:bool
      flops-tracker count nets:make_model --max 8.2G
      flops-tracker count nets:make_model --json > before.json

    Exit codes: 0, counted; 1, more than --max; 2, what was given can't be counted.
    """  # noqa: D301 - where lines stay lines
    counts = count_target(target, **counting)
    click.echo(counts.to_json() if as_json else counts.table(depth, top))
    if output is not None:
        try:
            _output.write(counts, output)
        except OSError as error:
            raise Problem(f"{output} was not written: {error.strerror}") from None
    if limit is not None:
        _judge(counts, limit)


def _judge(counts: "FlopCount", limit: int) -> None:
    """Say whether it is within the limit; exit with 1 where not."""
    over = _count_difference(counts.total, limit)
    said = f"--max of {limit:,} FLOPs ({counts.convention})"
    if over > 0:
        click.echo(f"{counts.total:,} FLOPs are {over:,} over the {said}", err=True)
        click.get_current_context().exit(1)
    click.echo(f"within the {said}", err=True)
