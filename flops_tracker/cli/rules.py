"""`flops-tracker rules`: what each operation and layer counts, and one call with its numbers."""

import ast
import json
from difflib import get_close_matches
from typing import Any

import click

from .. import _core
from .._listing import rules
from ._targets import Problem


@click.command(context_settings={"max_content_width": 100})
@click.argument("pattern", required=False)
@click.argument("arguments", nargs=-1, metavar="[ARGUMENTS]...")
@click.option("--json", "as_json", is_flag=True, help="Print the rules as JSON.")
def command(pattern: str | None, arguments: tuple[str, ...], as_json: bool) -> None:
    """List the rules whose names have PATTERN in them; all of them without it.

    With ARGUMENTS, PATTERN is an operation, and its rule is shown with the numbers of one call:
    shapes in the place of tensors, in the order of the operation's schema; other arguments as in
    Python.

    \b
    Examples:
      flops-tracker rules conv
      flops-tracker rules aten.addmm 6 4,5 5,6
      flops-tracker rules aten.convolution 1,3,32,32 8,3,3,3 8 [1,1] [1,1] [1,1] False [0,0] 1
      flops-tracker rules aten.sum.dim_IntList 4,5 dim=[1]

    Exit codes: 0, shown; 2, there is no such rule or operation.
    """  # noqa: D301 - where lines stay lines
    if pattern is not None and arguments:
        if as_json:
            raise click.UsageError("--json is for lists of rules; leave the arguments out")
        click.echo(_explained(pattern, arguments))
        return
    found = rules(pattern)
    if not found:
        names = {rule.name.rpartition(".")[2] for rule in _core.rules()}
        near = get_close_matches(str(pattern), names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise Problem(f"no rule has {pattern!r} in its name{hint}")
    click.echo(json.dumps([_plain(rule) for rule in found], indent=2) if as_json else str(found))


def _plain(rule: Any) -> dict[str, Any]:
    fields = {field: getattr(rule, field) for field in rule._fields}
    return {**fields, "examples": list(rule.examples)}


def _explained(name: str, texts: tuple[str, ...]) -> str:
    from .._explain import _overload_of, explain

    try:
        overload = _overload_of(name)
        types = {argument.name: str(argument.type) for argument in overload._schema.arguments}
        given: list[Any] = []
        keywords: dict[str, Any] = {}
        for text in texts:
            key, equals, value = text.partition("=")
            if equals:
                keywords[key] = _value(value, types.get(key, ""))
            else:
                kind = list(types.values())[len(given)] if len(given) < len(types) else ""
                given.append(_value(text, kind))
        return explain(overload, *given, **keywords)
    except (ModuleNotFoundError, TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Problem(first) from None


def _value(text: str, kind: str) -> Any:
    """A value as Python writes it; a number where a tensor is expected is a shape of one size."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text  # a word, as reduction="mean" without its quotes
    return (
        (value,) if type(value) is int and kind.startswith(("Tensor", "Optional[Tensor")) else value
    )
