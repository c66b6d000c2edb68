"""A table of names and numbers in its forms: plain text, Markdown, HTML."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from . import _terminal, _views


class Table(NamedTuple):
    """Titles, rows of cells, and how many columns from the left are names: the others are numbers.

    A ``heading`` stands above it where there are several.
    """

    titles: tuple[str, ...]
    rows: list[list[str]]
    names: int = 1
    heading: str = ""

    def text(self) -> str:
        """Columns of plain text."""
        return _terminal.text_table(self.titles, self.rows, self.titles[self.names :])

    def markdown(self) -> str:
        """As GitHub reads it; names in the first column are code."""
        lines = [[_words(title) for title in self.titles]]
        lines.append(["---" if n < self.names else "---:" for n in range(len(self.titles))])
        for first, *rest in self.rows:
            lines.append([(_code if self.names else _words)(first), *map(_words, rest)])
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"**{_words(self.heading)}**\n\n{table}" if self.heading else table


_MARKS = re.compile(r"[\\`*\[\]<>|#~]|(?<![^\W_])_|_(?![^\W_])")  # an underscore in a word is none


def _words(text: str) -> str:
    return _MARKS.sub(r"\\\g<0>", text)


def _code(text: str) -> str:
    """Text as code: no mark in it counts but the bar of the table, and its own."""
    bare = text.replace("|", "\\|")
    return f"`{bare}`" if text.strip() and "`" not in text else _words(text)


def texts(tables: Iterable[Table], summary: str) -> str:
    """Tables under each other and the summary below, as text that notebooks show line by line."""
    parts = [f"{table.heading}\n{table.text()}".lstrip("\n") for table in tables]
    return _views.Text("\n\n".join([*parts, summary]))


def markdowns(tables: Iterable[Table], summary: str) -> str:
    """The same as Markdown; lines of the summary stay lines."""
    lines = "  \n".join(map(_words, summary.splitlines()))
    return "\n\n".join([*(table.markdown() for table in tables), lines]) + "\n"


def htmls(tables: Iterable[Table], summary: str) -> str:
    """The same as HTML, for a cell of a notebook."""
    from ._html import cells

    return cells.tables_cell([(*table[:3], table.heading) for table in tables], summary)
