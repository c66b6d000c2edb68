"""Progress over the batches of a run with the FLOPs so far: a tqdm bar, or a cell of a notebook."""

import importlib
import operator
import sys
import time
from typing import Any

from . import _ranks
from ._core import format_flops

_BETWEEN = 0.2  # seconds from one state of a notebook's cell to the next


class Progress:
    """One bar for the whole run; its total is unknown where the batches can't be told before."""

    def __init__(self, batches: int | None) -> None:
        if in_notebook():
            self._bar: Any = _Cell(batches)
        else:
            from tqdm import tqdm

            self._bar = tqdm(total=batches, unit="batch", dynamic_ncols=True)
        self._started = time.monotonic()
        self._first_total: int | None = None
        self._place = f"{place} · " if (place := _ranks.label()) else ""

    def update(self, epoch: int, total: int) -> None:
        """Move on by one batch; total is the FLOPs of the run so far."""
        if self._first_total is None:
            self._first_total = total
        elapsed = time.monotonic() - self._started
        rate = int((total - self._first_total) / elapsed) if elapsed > 0 else 0
        self._bar.set_description(f"{self._place}epoch {epoch}", refresh=False)
        self._bar.set_postfix_str(f"{format_flops(total)}, {format_flops(rate)}/s", refresh=False)
        self._bar.update()

    def write(self, text: str) -> None:
        """Print a line without tearing the bar."""
        self._bar.write(text)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, whose cells show HTML."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


class _Cell:
    """What of tqdm is used here, as one output of a cell that changes in place.

    The widget of tqdm is blank where the notebook is read without its kernel.
    """

    def __init__(self, batches: int | None) -> None:
        display: Any = importlib.import_module("IPython.display").display
        self._batches = batches
        self._done = 0
        self._description = self._postfix = ""
        self._started = self._shown = time.monotonic()
        self._seconds: float | None = None  # once it is closed
        self._handle = display(self, display_id=True)

    def set_description(self, text: str, refresh: bool) -> None:
        self._description = text

    def set_postfix_str(self, text: str, refresh: bool) -> None:
        self._postfix = text

    def update(self) -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._shown >= _BETWEEN:
            self._shown = now
            self._handle.update(self)

    def write(self, text: str) -> None:
        print(text)

    def close(self) -> None:
        if self._seconds is None:
            self._seconds = time.monotonic() - self._started
            self._handle.update(self)

    def __repr__(self) -> str:
        known = f" of {self._batches:,}" if self._batches is not None else ""
        seconds = time.monotonic() - self._started if self._seconds is None else self._seconds
        parts = (
            self._description,
            f"{self._done:,}{known} batches",
            self._postfix,
            f"{seconds:.1f} s",
        )
        return " · ".join(filter(None, parts))

    def _repr_html_(self) -> str:
        from html import escape

        bar = ""
        if self._batches:
            bar = f'<progress value="{self._done}" max="{self._batches}"></progress> '
        return f"<div>{bar}{escape(repr(self))}</div>"


def open_progress(training: Any, epochs: Any) -> Progress:
    """Make a bar for that many epochs (or an iterable of them) of a training."""
    try:
        count = operator.index(epochs) if hasattr(epochs, "__index__") else len(epochs)
        batches = count * training.batch_count()
    except (TypeError, ValueError):
        batches = None
    return Progress(batches)
