"""A tqdm bar over the batches of a run, with the FLOPs so far and FLOP/s."""

import operator
import time
from typing import Any

from . import _ranks
from ._core import format_flops


class Progress:
    """One bar for the whole run; its total is unknown where the batches can't be told before."""

    def __init__(self, batches: int | None) -> None:
        from tqdm.auto import tqdm

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


def open_progress(training: Any, epochs: Any) -> Progress:
    """Make a bar for that many epochs (or an iterable of them) of a training."""
    try:
        count = operator.index(epochs) if hasattr(epochs, "__index__") else len(epochs)
        batches = count * training.batch_count()
    except (TypeError, ValueError):
        batches = None
    return Progress(batches)
