"""A FlopCount into a file whose name says in which form: JSON, CSV or HTML."""

import os
from os import PathLike
from pathlib import Path
from typing import Any

from . import _ranks

_FORMS = {".json": "to_json", ".csv": "to_csv", ".html": "to_html"}


def check(output: str | PathLike[str]) -> Path:
    """Give the path to write to; an error where that can't work, before anything runs.

    Ranks above 0 have files of their own.
    """
    try:
        path = Path(output)
    except TypeError:
        raise TypeError(f"output must be the path of a file, not {output!r}") from None
    if path.suffix.lower() not in _FORMS:
        raise ValueError(f"output must end in .json, .csv or .html, unlike {str(path)!r}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(path.parent)!r} for {path.name!r}")
    if path.is_dir():
        raise IsADirectoryError(f"output is a folder: {str(path)!r}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f"no permission to write {str(path)!r}")
    rank = _ranks.rank()
    # The script may go to another folder meanwhile.
    return (path.with_stem(f"{path.stem}.rank{rank}") if rank else path).absolute()


def write(counts: Any, path: Path) -> None:
    """Write what was counted; a file of that name is replaced."""
    getattr(counts, _FORMS[path.suffix.lower()])(path)
