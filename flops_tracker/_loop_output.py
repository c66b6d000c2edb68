"""What ft.epochs prints and writes of a loop of the user's, as ft(...) does of its own."""

from collections.abc import Iterator
from typing import Any

from . import _csv_files, _options
from ._ranks import rank

_LEVELS: dict[str, tuple[str, ...]] = {
    "none": (),
    "epoch": ("epoch",),
    "batch": ("batch",),
    "both": ("epoch", "batch"),
}
_OPTIONS = ("print_level", "export", "export_prefix", "overwrite", "export_only_rank0")


def _level(name: str, options: dict[str, Any]) -> tuple[str, ...]:
    return _LEVELS[_options.choice(name, options.get(name, "none"), _LEVELS)]


class Output:
    """Lines and CSV rows of the epochs of one loop: each row once, when its record is there."""

    def __init__(self, options: dict[str, Any], tracker: Any) -> None:
        for name in options:
            if name not in _OPTIONS:
                _options.refuse_unknown("ft.epochs", name, ["epochs", *_OPTIONS])
        self._prints = _level("print_level", options)
        self._exports = _level("export", options)
        self._overwrite = _csv_files.check_overwrite(options.get("overwrite", "rename"))
        only_first = _options.switch("export_only_rank0", options.get("export_only_rank0", True))
        prefix = options.get("export_prefix")
        self._prefix = tracker.run_name if prefix is None else prefix
        for name, levels in (("print_level", self._prints), ("export", self._exports)):
            if "batch" in levels and not tracker.keep_batch_logs:
                raise ValueError(
                    f"{name}={options[name]!r} reads the records of steps, which this tracker does "
                    f"not keep: leave keep_batch_logs=False away, or choose {name}='epoch'"
                )
        if rank() > 0:
            self._prints = ()
            self._exports = () if only_first else self._exports
        self.by_step = "batch" in (*self._prints, *self._exports)
        self._epoch_file: _csv_files.CsvFile | None = None
        self._batch_file: _csv_files.CsvFile | None = None
        self._failed = False
        self._next = (0, 1)  # epoch and step of the first record that was not shown yet

    def open(self, tracker: Any) -> None:
        """Open the files, before the first epoch."""
        if self._exports:
            self._batch_file, self._epoch_file = _csv_files.open_run(
                self._prefix,
                "batch" in self._exports,
                "epoch" in self._exports,
                tracker._written,
                self._overwrite,
                bool(self._prints),
                tracker,
            )

    def close(self) -> None:
        """Close the files; the same again does nothing."""
        for file in (self._batch_file, self._epoch_file):
            if file is not None:
                file.close()

    def begin_epoch(self, tracker: Any) -> None:
        """Show the steps of this epoch from here on."""
        self._next = (tracker._epochs_begun, 1)

    def show_steps(self, tracker: Any) -> None:
        """Show the steps that were recorded since the last call."""
        if not self.by_step or tracker._epochs_begun != self._next[0]:
            return
        epoch, step = self._next
        if tracker._batches < step:
            return
        self._next = (epoch, tracker._batches + 1)
        if self._batch_file is not None:
            self._failed = True  # unless it goes well: then the loop ends by that error
            tracker._write_rows(self._batch_file, epoch, step)
            self._failed = False
        if "batch" in self._prints:
            for line in tracker._step_lines(epoch, step):
                print(line)

    def end_epoch(self, tracker: Any) -> None:
        """Show what is left of an epoch that has ended, and the epoch."""
        if tracker._epoch_is_open or self._failed:
            return
        self.show_steps(tracker)
        if self._epoch_file is not None:
            tracker._write_epoch(self._epoch_file)
        if "epoch" in self._prints:
            print(tracker._epoch_line())

    def end(self, tracker: Any) -> None:
        """Show the total, after the last epoch."""
        if self._prints:
            tracker.print_total_flops()

    def follow(self, steps: Iterator[Any], tracker: Any) -> Iterator[Any]:
        """Give the batches of a loop over steps, each after the rows of the steps before it."""
        try:
            for batch in steps:
                self.show_steps(tracker)
                yield batch
            self.show_steps(tracker)  # one that is dropped is shown at the end of its epoch
        finally:
            del steps  # its step ends now, though a traceback may keep this frame
