"""Tables and trees by rich: plain text for pipes and files, folded and in colours in a terminal."""

import io
import os
import sys
from collections.abc import Container, Iterable, Sequence
from typing import Any

from ._imports import same_random

_UNLIMITED = 100_000  # columns where no terminal sets a limit: a pipe is read by other programs
_LEAST = 12  # columns that each column of text keeps before numbers are folded too
_STYLES = {"class": "dim", "calls": "dim", "share": "cyan"}


def is_terminal(stream: Any) -> bool:
    """Whether a person reads the stream; False for one that is closed."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


def console(stream: Any, styled: bool = True) -> Any:
    """Give a console of rich for a stream, that neither cuts what goes into a pipe nor colours it.

    NO_COLOR takes all styles away, those without colour too.
    """
    with same_random():  # importing rich draws a random number
        from rich.console import Console

    read = is_terminal(stream)
    options: dict[str, Any] = {"force_jupyter": False, "highlight": False}
    if not read:
        options |= {"width": _UNLIMITED, "force_terminal": False}
    if not (styled and read) or os.environ.get("NO_COLOR"):
        options |= {"color_system": None, "no_color": True}
    return Console(file=io.StringIO() if stream is None else stream, **options)


def render(renderable: Any, stream: Any = None) -> str:
    """Give something of rich as text for a stream.

    Without one it is plain, and no wider than the terminal that standard output may be.
    """
    return _text(_console_for(stream), renderable)


def lines(text: str, stream: Any = None) -> str:
    """Give lines as text for a stream, the first one as what is most important."""
    from rich.text import Text as Cell

    first, *others = text.split("\n")
    return render(Cell("\n").join([Cell(first, "bold"), *map(Cell, others)]), stream)


def text_table(
    titles: Sequence[str],
    rows: Iterable[Iterable[str]],
    right: Container[str],
    stream: Any = None,
) -> str:
    """Give a table as text; columns in ``right`` hold numbers, which fold after all others."""
    shown = _console_for(stream)
    from rich.table import Table
    from rich.text import Text as Cell

    cells = [[Cell(cell) for cell in row] for row in rows]  # a name may look like markup
    widths = [
        max([len(title), *(row[at].cell_len for row in cells)]) for at, title in enumerate(titles)
    ]
    left = shown.width - sum(
        w + 1 for w, title in zip(widths, titles, strict=True) if title in right
    )
    whole = left >= _LEAST * sum(title not in right for title in titles)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        number = title in right
        table.add_column(
            title,
            justify="right" if number else "left",
            overflow="fold",
            no_wrap=whole and number,
            style=_STYLES.get(title, ""),
        )
    for row in cells:
        table.add_row(*row)
    return _text(shown, table)


def _console_for(stream: Any) -> Any:
    return console(sys.stdout if stream is None else stream, styled=stream is not None)


def _text(shown: Any, renderable: Any) -> str:
    with shown.capture() as captured:
        shown.print(renderable)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
