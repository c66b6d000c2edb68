"""CSV files of a run on disk: whose file it is, how a torn tail heals, and whole rows only."""

import os
from pathlib import Path

OVERWRITE = ("rename", "append", "replace", "error")


def check_overwrite(overwrite: str) -> str:
    """Return overwrite if it is one of the choices; ValueError otherwise."""
    if overwrite not in OVERWRITE:
        raise ValueError(f"overwrite must be one of {', '.join(OVERWRITE)}, not {overwrite!r}")
    return overwrite


class CsvFile:
    """An open CSV file; each write puts one whole row on disk or none of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by close()

    def write(self, row: bytes) -> None:
        """Append a row. Where the disk takes only a part of it, that part is taken back."""
        end = self._file.seek(0, os.SEEK_END)
        try:
            written = self._file.write(row)
        except OSError as error:
            error.filename = str(self.path)
            raise
        if written != len(row):
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
                self._file.close()


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


def _first_line(path: Path) -> str:
    with open(path, "rb") as file:
        return file.readline().decode("utf-8", "replace")


def open_csv(prefix: str, suffix: str, header: str, written: set[str], overwrite: str) -> CsvFile:
    """Open ``prefix + suffix`` for rows under header.

    written holds the files that this tracker made: they go on. Any other file that is there is
    renamed (one line says so), appended to, replaced, or an error, as overwrite says.
    """
    path = Path(os.path.abspath(os.fspath(prefix) + suffix))
    if path.is_dir():
        raise IsADirectoryError(21, "export_prefix names a folder", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(2, "export_prefix: there is no such folder", str(path.parent))
    exists = path.exists() and path.stat().st_size > 0
    keep = exists and (str(path) in written or overwrite == "append")
    if keep:
        heal_tail(path)
        found = _first_line(path)
        if found and found != header:
            raise ValueError(
                f"{path} has the columns {found.strip()!r} and not {header.strip()!r}: "
                "choose another export_prefix, or overwrite='rename'"
            )
    elif exists and overwrite == "error":
        raise FileExistsError(17, "overwrite='error', and the file is there", str(path))
    elif exists and overwrite == "rename":
        moved = free_name(path)
        path.rename(moved)
        print(f"{path.name} was there: renamed to {moved.name}")
    elif exists:
        path.unlink()
    file = CsvFile(path)
    try:
        if path.stat().st_size == 0:
            file.write(header.encode())
    except BaseException:
        file.close()
        raise
    written.add(str(path))
    return file
