"""rules(), formulas.listing() and conventions(): the core's tables, printed one record a line."""

from collections.abc import Callable
from typing import Any

from . import _core


class Listing(list[Any]):
    """A list of records with a line for each where it is printed."""

    __slots__ = ("_line",)

    def __init__(self, records: list[Any], line: Callable[[Any], str]) -> None:
        super().__init__(records)
        self._line = line

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)

    def __str__(self) -> str:
        return "\n".join(map(self._line, self))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        from ._html import cells

        return cells.listing_cell(self)


def rules(pattern: str | None = None) -> Listing:
    """List the rules whose name, or whose formula's, has ``pattern`` in it; all without it.

    Each is a ``Rule``: name, formula, equation, op_class, source, examples, operands.
    """
    return Listing(
        _core.rules(pattern), lambda rule: f"{rule.name}: {rule.formula}, {rule.equation}"
    )


def listing() -> Listing:
    """List all formulas with equation and class, as rules that are named after them."""
    return Listing(_core.formulas(), lambda rule: f"{rule.name} ({rule.op_class}): {rule.equation}")


def conventions() -> Listing:
    """List the ways to read a count.

    Each is a ``Convention``: name, text, and FLOPs per kind of work, for contractions and others.
    """
    return Listing(_core.conventions(), _convention_line)


def _convention_line(convention: Any) -> str:
    def weights(kinds: dict[str, int]) -> str:
        return ", ".join(f"{kind} {weight}" for kind, weight in kinds.items() if weight)

    return (
        f"{convention.name}: {convention.text}\n"
        f"  contractions: {weights(convention.contractions)}\n"
        f"  others: {weights(convention.others) or 'nothing'}"
    )
