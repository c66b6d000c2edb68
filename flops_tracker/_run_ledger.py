"""The ledger of runs on disk, runs.csv: one row a run, appended by any number of processes."""

import contextlib
import csv
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ._csv_files import free_name

# New columns go to the end. Counts are exact integers, empty where they are not known.
COLUMNS = (
    *("run_id", "project", "run_name", "started", "duration_s"),
    *("flops_total", "flops_train", "flops_validate", "flops_test", "flops_generate"),
    *("flops_other", "flops_forward", "flops_backward", "flops_recompute", "flops_optimizer"),
    *("convention", "estimator", "trained_parameters", "devices", "rank", "epochs"),
    *("torch", "flops_tracker", "python", "resumed_from", "complete"),
)
COUNTS = tuple(name for name in COLUMNS if name.startswith("flops_") and name != "flops_tracker")

Row = dict[str, Any]


def _line(values: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode("utf-8", "backslashreplace")


HEADER = _line(COLUMNS)


def check_path(path: Any) -> Path:
    """Return where the ledger is to be; an error where it can't be, or is another table."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"runs_csv must be a path, such as 'runs.csv', not {path!r}")
    place = Path(os.path.abspath(os.fsdecode(path)))
    if place.is_dir():
        raise IsADirectoryError(21, "runs_csv names a folder", str(place))
    if not place.parent.is_dir():
        raise FileNotFoundError(2, "runs_csv: there is no such folder", str(place.parent))
    if not os.access(place if place.exists() else place.parent, os.W_OK):
        raise PermissionError(13, "runs_csv: may not be written", str(place))
    if place.is_file():
        with open(place, "rb") as file:
            _check_header(place, file.readline())
    return place


def _check_header(path: Path, found: bytes) -> None:
    torn = not found.endswith(b"\n") and HEADER.startswith(found)
    if found.replace(b"\r\n", b"\n") != HEADER and not torn:
        raise ValueError(
            f"{path} is no ledger of runs of this version, by its columns "
            f"{found.decode('utf-8', 'replace').strip()!r}: choose another runs_csv"
        )


def append(path: Path, row: Row) -> Path:
    """Append a row in one write, after a torn last line is cut off; returns the file's path.

    A file that has become another table meanwhile is left alone: the row goes into ``runs.1.csv``.
    """
    line = _line(["" if row[name] is None else row[name] for name in COLUMNS])
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        with _alone(file) as alone:
            try:
                _check_header(path, _head(file))
            except ValueError:
                return append(free_name(path), row)
            before = _heal(file, alone)
            end = os.fstat(file).st_size
            written = os.write(file, before + line)
            if written != len(before + line):
                if alone:
                    os.ftruncate(file, end)
                raise OSError(28, "no room for the row of a run", str(path))
        with contextlib.suppress(OSError):  # a pipe or a device: nothing to sync
            os.fsync(file)
    finally:
        os.close(file)
    return path


@contextlib.contextmanager
def _alone(file: int) -> Iterator[bool]:
    """Hold the file's lock, which the system drops with the process; False where it has none.

    Rows are whole without it, each being one write at the file's end. Only who cuts off a torn
    line must know that it is not a row that another process is writing.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield False
        return
    locked = False
    until = time.monotonic() + 5  # whoever holds it longer is stopped
    while not locked and time.monotonic() < until:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = True
        except BlockingIOError:
            time.sleep(0.001)
        except OSError:  # this file system has none
            break
    try:
        yield locked
    finally:
        if locked:
            fcntl.flock(file, fcntl.LOCK_UN)


def _head(file: int) -> bytes:
    os.lseek(file, 0, os.SEEK_SET)
    first, newline, _ = os.read(file, len(HEADER) + 2).partition(b"\n")
    return first + newline or HEADER


def _heal(file: int, alone: bool) -> bytes:
    """Cut off a torn last line; returns what has to come before the row."""
    end = os.fstat(file).st_size
    start = max(0, end - 65536)
    os.lseek(file, start, os.SEEK_SET)
    tail = os.read(file, end - start)
    if tail.endswith(b"\n"):
        return b""
    if alone:
        end = start + tail.rfind(b"\n") + 1
        os.ftruncate(file, end)
        return b"" if end > 0 else HEADER
    return b"\n" if tail else HEADER


def read(path: Path) -> tuple[list[Row], list[int]]:
    """Rows by column, counts as ints or None, and the numbers of lines that are torn.

    ValueError names the line and column of a value that can't be.
    """
    rows, torn = [], []
    with open(path, "rb") as file:
        if file.readline().replace(b"\r\n", b"\n") != HEADER:
            raise ValueError(f"{path} is no ledger of runs, by its first line")
        for number, line in enumerate(file, 2):
            try:
                fields = next(csv.reader([line.decode()], strict=True))
            except (csv.Error, UnicodeDecodeError):
                fields = []
            if line.endswith(b"\n") and len(fields) == len(COLUMNS):
                rows.append(_row(fields, f"{path}, line {number}"))
            elif line.strip():
                torn.append(number)
    return rows, torn


def _row(fields: list[str], where: str) -> Row:
    row: Row = dict(zip(COLUMNS, fields, strict=True))
    for name in COUNTS:
        text = row[name]
        if text and not (text.isascii() and text.isdigit() and len(text) <= 39):
            raise ValueError(f"{where}: {name} is {text!r}, which is no count")
        row[name] = int(text) if text else None
    if row["flops_total"] is None or row["flops_train"] is None or not row["run_id"]:
        raise ValueError(f"{where}: a row needs run_id, flops_total and flops_train")
    return row


def newest(rows: list[Row]) -> list[Row]:
    """One row for each run: the one that says most.

    A run that was killed is entered by the one that goes on from its checkpoint; if it was not
    killed after all, it enters itself later.
    """
    best: dict[str, Row] = {}
    for row in rows:
        known = best.get(row["run_id"])
        if known is None or row["flops_total"] >= known["flops_total"]:
            best[row["run_id"]] = row
    return list(best.values())
