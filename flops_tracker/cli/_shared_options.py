"""Options that several commands have, each in one place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from .. import _options, _output

F = TypeVar("F", bound=Callable[..., Any])


def with_options(command: F, *options: Callable[[F], F]) -> F:
    """Add options to a command, the first of them at the top of its help."""
    for option in reversed(options):
        command = option(command)
    return command


convention = click.option(
    "--convention",
    type=click.Choice(_options.operation_conventions()),
    default="standard",
    show_default=True,
    help="How counts are read.",
)
causal = click.option(
    "--causal",
    type=click.Choice(["full", "exact"]),
    default="full",
    show_default=True,
    help="exact: causal attention counts the pairs that its mask leaves.",
)
depth = click.option(
    "--depth", type=click.IntRange(0), metavar="N", help="Modules down to N levels below the model."
)
as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print exact numbers as JSON, and nothing else."
)


def top(what: str, default: int | None = 10) -> Callable[[F], F]:
    """The option --top, of so many of something."""
    return click.option(
        "--top",
        type=click.IntRange(0 if default is not None else 1),
        metavar="N",
        default=default,
        show_default=default is not None,
        help=what,
    )


def output(what: str, kinds: str = ".json, .csv, .html or .md") -> Callable[[F], F]:
    """The option --output, checked before anything runs."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        callback=_checked,
        metavar="FILE",
        help=f"Write {what} to FILE ({kinds}), and replace it.",
    )


def _checked(_: Any, __: Any, value: Path | None) -> Path | None:
    try:
        return None if value is None else _output.check(value)
    except (OSError, ValueError) as error:
        raise click.BadParameter(str(error)) from None
