"""Results into files: whole or not at all, and in the form that the file's name says."""

import os
import shutil
import threading
from os import PathLike
from pathlib import Path
from typing import Any

from . import _ranks

_FORMS = {".json": "to_json", ".csv": "to_csv", ".html": "to_html", ".md": "to_markdown"}
_NAMES = ".json, .csv, .html or .md"


def check(output: str | PathLike[str]) -> Path:
    """Give the path to write to; an error where that can't work, before anything runs.

    Ranks above 0 have files of their own.
    """
    try:
        path = Path(output)
    except TypeError:
        raise TypeError(f"output must be the path of a file, not {output!r}") from None
    if path.suffix.lower() not in _FORMS:
        raise ValueError(f"output must end in {_NAMES}, unlike {str(path)!r}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(path.parent)!r} for {path.name!r}")
    if path.is_dir():
        raise IsADirectoryError(f"output is a folder: {str(path)!r}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f"no permission to write {str(path)!r}")
    rank = _ranks.rank()
    # The script may go to another folder meanwhile.
    return (path.with_stem(f"{path.stem}.rank{rank}") if rank else path).absolute()


def write(result: Any, path: Path) -> None:
    """Write what was counted; a file of that name is replaced."""
    getattr(result, _FORMS[path.suffix.lower()])(path)


def write_text(path: str | PathLike[str], text: str) -> None:
    """Put the text in the place of a file, which is the old one until the new one is whole."""
    target = Path(os.path.realpath(Path(path)))  # of a link, what it leads to
    if target.exists() and not target.is_file():  # a pipe or a device
        target.write_text(text, encoding="utf-8", newline="")
        return
    part = target.with_name(f".{os.getpid()}-{threading.get_ident()}.part")
    try:
        with open(part, "x", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, part)
        os.replace(part, target)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, PermissionError) and os.access(target, os.W_OK):
            target.write_text(text, encoding="utf-8", newline="")  # the folder takes no new file
            return
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
