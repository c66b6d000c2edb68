"""CSV files of a run on disk: whose file it is, how a torn tail heals, and whole rows only."""

import os
from pathlib import Path
from typing import Any

from . import _options
from ._core import EPOCH_CSV_HEADER, STEP_CSV_HEADER
from ._ranks import rank

OVERWRITE = ("rename", "append", "replace", "error")


def check_overwrite(overwrite: str) -> str:
    """Return overwrite if it is one of the choices; an error otherwise."""
    return _options.choice("overwrite", overwrite, OVERWRITE)


# The files of one tracker as (device, inode): another file may later bear the same name.
Written = dict[str, tuple[int, int]]
_last_writer: dict[str, int] = {}  # in this process: path, and the id of who wrote it last


class CsvFile:
    """An open CSV file; each write puts one whole row on disk or none of it."""

    def __init__(self, path: Path, written: Written) -> None:
        self.path = path
        self._written = written
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by close()

    def write(self, row: bytes) -> None:
        """Append a row. Where the disk takes only a part of it, that part is taken back."""
        end = self._file.seek(0, os.SEEK_END) if self._file.seekable() else None
        try:
            written = self._file.write(row)
        except OSError as error:
            error.filename = str(self.path)
            raise
        if written != len(row):
            if end is not None:
                self._file.truncate(end)
            raise OSError(28, f"no room for the row {row.decode().strip()}", str(self.path))

    def close(self) -> None:
        """Put the rows on the disk itself, so that they survive a power cut, and close."""
        if not self._file.closed:
            try:
                os.fsync(self._file.fileno())
            except OSError:
                pass  # a pipe or a device: nothing to sync
            finally:
                status = os.fstat(self._file.fileno())
                self._written[str(self.path)] = (status.st_dev, status.st_ino)
                _last_writer[str(self.path)] = id(self._written)
                self._file.close()


def _is_own(path: Path, written: Written) -> bool:
    """Whether this tracker wrote the file last, and nobody put another in its place."""
    status = path.stat()
    same_file = written.get(str(path)) == (status.st_dev, status.st_ino)
    return same_file and _last_writer.get(str(path)) == id(written)


def free_name(path: Path) -> Path:
    """``run1_epoch.1.csv``, or with the first number that is not taken."""
    number = 1
    while (candidate := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists():
        number += 1
    return candidate


def heal_tail(path: Path) -> None:
    """Cut off a last line that a killed process left without its end."""
    with open(path, "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        position = end
        while position > 0:
            start = max(0, position - 4096)
            file.seek(start)
            newline = file.read(position - start).rfind(b"\n")
            if newline >= 0:
                position = start + newline + 1
                break
            position = start
        if position != end:
            file.truncate(position)


def _check_header(path: Path, header: str) -> None:
    """Refuse a file with other columns; a header torn by a killed process will be healed."""
    with open(path, "rb") as file:
        found = file.readline().decode("utf-8", "replace")
    torn = not found.endswith("\n") and header.startswith(found)
    if found != header and not torn:
        raise ValueError(
            f"{path} has the columns {found.strip()!r} and not {header.strip()!r}: "
            "choose another export_prefix, or overwrite='rename'"
        )


def _plan(path: Path, header: str, written: Written, overwrite: str) -> str:
    """Say what is to be done with the path, without doing anything yet."""
    if path.is_dir():
        raise IsADirectoryError(21, "export_prefix names a folder", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(2, "export_prefix: there is no such folder", str(path.parent))
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(13, "export_prefix: may not be written", str(path))
    if not path.exists() or path.stat().st_size == 0:
        return "append"
    if overwrite == "append" or _is_own(path, written):
        _check_header(path, header)
        return "append"
    if overwrite == "error":
        raise FileExistsError(17, "overwrite='error', and the file is there", str(path))
    return overwrite


def _resumed_part(path: Path, header: str, written: Written, tracker: Any) -> Any:
    """Give what a checkpoint that was loaded has of this file; None where it is no file of it."""
    if tracker is None or tracker._run.saved is None or not path.is_file():
        return None
    with open(path, "rb") as file:
        if _is_own(path, written) or file.readline() != header.encode():
            return None
    from ._csv_resume import find_part

    return find_part(path, header == STEP_CSV_HEADER, tracker)


def _open(
    path: Path, header: str, written: Written, action: str, prints: bool, part: Any
) -> CsvFile:
    if part is not None:
        part.cut(prints)
    if action == "rename":
        moved = free_name(path)
        path.rename(moved)
        if prints:
            print(f"{path.name} was there: renamed to {moved.name}")
    elif action == "replace":
        path.unlink()
    elif path.is_file():
        heal_tail(path)
    file = CsvFile(path, written)
    try:
        if not path.is_file() or path.stat().st_size == 0:
            file.write(header.encode())
        if part is not None:
            part.add(file)
    except BaseException:
        file.close()
        raise
    return file


def open_run(
    prefix: str,
    batch: bool,
    epoch: bool,
    written: Written,
    overwrite: str,
    prints: bool,
    tracker: Any = None,
) -> tuple[CsvFile | None, CsvFile | None]:
    """Open ``PREFIX_batch.csv`` and ``PREFIX_epoch.csv``, those that are wanted: all or none.

    Ranks above 0 write ``PREFIX.rank1_batch.csv`` and so on, each its own files.
    written holds the files that this tracker made: they go on, if nobody else has taken their
    place, and so do those of the run whose checkpoint the tracker has loaded. Any other file that
    is there is renamed (prints: and one line says so), appended to, replaced, or an error, as
    overwrite says.
    """
    kinds = (("_batch.csv", STEP_CSV_HEADER, batch), ("_epoch.csv", EPOCH_CSV_HEADER, epoch))
    own = f".rank{rank()}" if rank() > 0 else ""
    wanted = [
        (Path(os.path.abspath(os.fspath(prefix) + own + suffix)), header) if on else None
        for suffix, header, on in kinds
    ]
    parts = [_resumed_part(*item, written, tracker) if item else None for item in wanted]
    actions = [
        _plan(*item, written, "append" if part else overwrite) if item else ""
        for item, part in zip(wanted, parts, strict=True)
    ]
    files: list[CsvFile | None] = []
    try:
        for item, action, part in zip(wanted, actions, parts, strict=True):
            files.append(_open(*item, written, action, prints, part) if item else None)
    except BaseException:
        for file in files:
            if file is not None:
                file.close()
        raise
    return files[0], files[1]
