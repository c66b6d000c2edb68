"""CSV files of runs read back: epochs and steps, which rows are torn, which belong together."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ._core import EPOCH_CSV_HEADER, STEP_CSV_HEADER, _add_counts

_SUFFIXES = {"batch": "_batch.csv", "epoch": "_epoch.csv"}


class Epoch(NamedTuple):
    """An epoch: FLOPs, and those of its run up to its end; ``complete`` None where not known."""

    epoch: int
    flops: int
    total: int
    batches: int
    samples: int
    loss: float | None
    seconds: float
    complete: bool | None


class File(NamedTuple):
    """One file: its epochs by (run in the file, number), and of each batch the total after it."""

    path: Path
    kind: str
    epochs: dict[tuple[int, int], Epoch]
    totals: list[int]
    torn: int | None  # number of the line that a killed process left without its end


class RunRecord(NamedTuple):
    """What the files of one run say together."""

    name: str
    epochs: list[Epoch]
    totals: list[int]  # after each batch; of epochs where no file of batches was given
    by_epoch: bool  # whether these are of epochs
    only_batches: int  # epochs that a file of epochs was given for, and lacks
    runs: int  # in one file, one after the other

    @property
    def flops(self) -> int:
        """FLOPs of all rows."""
        return _add_counts([epoch.flops for epoch in self.epochs])

    @property
    def seconds(self) -> float:
        """Seconds of all rows."""
        return sum(epoch.seconds for epoch in self.epochs)

    @property
    def losses(self) -> list[Epoch]:
        """Epochs that have a loss."""
        return [epoch for epoch in self.epochs if epoch.loss is not None]


def read(path: Path) -> File:
    """Read a file; ValueError where it is none of a tracker's, or damaged before its last line."""
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        header, *lines = file.read().split("\n")
    kinds = {STEP_CSV_HEADER: "batch", EPOCH_CSV_HEADER: "epoch"}
    kind = kinds.get(f"{header}\n")
    if kind is None:
        known = " or ".join(f"{name.strip()!r}" for name in kinds)
        raise ValueError(f"{path} is no CSV file of a run: its first line is not {known}")
    torn = len(lines) + 1 if lines[-1:] != [""] else None
    lines = lines[:-1]
    parse = _batch if kind == "batch" else _epoch
    rows = []
    for number, line in enumerate(lines, 2):
        try:
            rows.append(parse(line.split(",")))
        except ValueError:
            raise ValueError(f"{path}, line {number}: {line!r} is no row of a run") from None
    return File(path, kind, _epochs(rows), [row[1].total for row in rows], torn)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text)


Row = tuple[int, Epoch]  # its place among the rows of its epoch, and what it has


def _batch(cells: list[str]) -> Row:
    epoch, step, samples, flops, _, total, seconds = cells
    row = Epoch(
        _count(epoch), _count(flops), _count(total), 1, _count(samples), None, float(seconds), None
    )
    return _count(step), row


def _epoch(cells: list[str]) -> Row:
    epoch, flops, total, batches, samples, loss, seconds, complete = cells
    return 1, Epoch(
        _count(epoch),
        _count(flops),
        _count(total),
        _count(batches),
        _count(samples),
        float(loss) if loss else None,
        float(seconds),
        bool(_count(complete)),
    )


def _epochs(rows: list[Row]) -> dict[tuple[int, int], Epoch]:
    """Put rows of one epoch together; where numbers begin anew, another run was appended."""
    grouped: dict[tuple[int, int], list[Epoch]] = {}
    run, before = 0, (0, 0)
    for place, row in rows:
        run += (row.epoch, place) <= before
        before = (row.epoch, place)
        grouped.setdefault((run, row.epoch), []).append(row)
    return {key: _joined(parts) for key, parts in grouped.items()}


def _joined(parts: list[Epoch]) -> Epoch:
    return parts[-1]._replace(
        flops=_add_counts([part.flops for part in parts]),
        batches=_add_counts([part.batches for part in parts]),
        samples=_add_counts([part.samples for part in parts]),
        seconds=sum(part.seconds for part in parts),
    )


def together(files: Iterable[File]) -> list[RunRecord]:
    """Put the files of batches and epochs of one prefix together, in the order they came in."""
    by_run: dict[str, dict[str, File]] = {}
    for file in files:
        prefix = str(file.path).removesuffix(_SUFFIXES[file.kind])
        kinds = by_run.setdefault(prefix, {})
        if file.kind in kinds:
            raise ValueError(f"{file.path} was given twice")
        kinds[file.kind] = file
    return [_record(Path(prefix).name, kinds) for prefix, kinds in by_run.items()]


def _record(name: str, kinds: dict[str, File]) -> RunRecord:
    batch, epoch = kinds.get("batch"), kinds.get("epoch")
    epochs = dict(epoch.epochs) if epoch is not None else {}
    lacking = 0
    if batch is not None:
        lacking = sum(key not in epochs for key in batch.epochs) if epoch is not None else 0
        for key, found in batch.epochs.items():
            # Times of batches are of training alone.
            epochs[key] = epochs[key]._replace(seconds=found.seconds) if key in epochs else found
    one = batch or epoch
    assert one is not None
    ordered = [epochs[key] for key in sorted(epochs)]
    runs = 1 + max((run for run, _ in epochs), default=0)
    return RunRecord(name, ordered, one.totals, batch is None, lacking, runs)
