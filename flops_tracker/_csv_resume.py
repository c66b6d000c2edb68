"""A CSV file of a run that goes on from a checkpoint: each row once, and none lost."""

import io
import os
from pathlib import Path
from typing import Any, NamedTuple

from ._csv_files import CsvFile, free_name, heal_tail

_Place = tuple[int, ...]  # epoch, or epoch and step


class Part(NamedTuple):
    """What a checkpoint has of a file: its rows up to `end`, and rows that are missing."""

    path: Path
    end: int
    missing: bytes

    def cut(self, prints: bool) -> None:
        """Move the rows that were written after the checkpoint into a file of their own."""
        moved = free_name(self.path)
        count = 0
        with open(self.path, "r+b") as file:
            header = file.readline()
            file.seek(self.end)
            if not file.readline().endswith(b"\n"):
                return  # there is none, or a torn one, which the caller heals
            file.seek(self.end)
            with open(moved, "xb") as later:
                later.write(header)
                while part := file.read(1 << 20):
                    later.write(part)
                    count += part.count(b"\n")
                later.flush()
                os.fsync(later.fileno())
            heal_tail(moved)
            file.truncate(self.end)
        if prints:
            rows = f"{count} row that was" if count == 1 else f"{count} rows that were"
            print(f"{self.path.name}: {rows} written after the checkpoint moved to {moved.name}")

    def add(self, file: CsvFile) -> None:
        """Append what is missing, such as the row of the epoch in which it was saved."""
        if self.missing:
            file.write(self.missing)


def find_part(path: Path, steps: bool, tracker: Any) -> Part | None:
    """Find what the checkpoint that a tracker has loaded has of a file; None: it is another run's.

    It is this run's where the last row up to the checkpoint is a record of the checkpoint.
    """
    saved = tracker._run.saved
    end, last = _last_row(path, steps, saved)
    if last is None:
        return None
    place, total = _place(last, steps)
    if not (tracker._keeps_steps if steps else tracker._keeps_epochs):
        same = (*place, total) == (saved.epoch, *[saved.step] * steps, saved.total)
        return Part(path, end, b"") if same else None
    rows = io.BytesIO()
    tracker._write_rows(rows, place[0], place[1] if steps else None)
    known, newline, missing = rows.getvalue().partition(b"\n")
    if _counts_of(known + newline, steps) != _counts_of(last, steps):
        return None
    return Part(path, end, missing)


def _place(row: bytes, steps: bool) -> tuple[_Place, int]:
    """Epoch and step of a row, and the total with it."""
    fields = row.split(b",")
    if steps:
        return (int(fields[0]), int(fields[1])), int(fields[5])
    return (int(fields[0]),), int(fields[2])


def _counts_of(row: bytes, steps: bool) -> list[bytes]:
    """All but times and losses."""
    return row.split(b",")[: 6 if steps else 5]


def _last_row(path: Path, steps: bool, saved: Any) -> tuple[int, bytes | None]:
    """Find the last row up to the checkpoint, and where it ends.

    A file that was appended to may have other runs before, in which epochs go back.
    """
    limit = (saved.epoch, saved.step) if steps else (saved.epoch,)
    found: tuple[int, bytes | None] = (0, None)
    before: _Place = ()
    with open(path, "rb") as file:
        end = len(file.readline())
        for line in file:
            try:
                place, total = _place(line, steps)
            except (ValueError, IndexError):
                break  # torn
            end += len(line)
            if place <= before:
                found = (0, None)
            before = place
            if place <= limit and total <= saved.total and line.endswith(b"\n"):
                found = (end, line)
    return found
