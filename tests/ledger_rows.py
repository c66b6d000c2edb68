"""Rows of a ledger of runs, for tests and the processes that they start."""

from typing import Any

from flops_tracker._run_ledger import COLUMNS


def row_of(number: int) -> dict[str, Any]:
    """Make the row of a run; rows differ in their lengths."""
    return {
        **dict.fromkeys(COLUMNS),
        "run_id": f"{number:016x}",
        "project": "p" * (number % 50),
        "flops_total": 2**70 + number,
        "flops_train": 2**70 + number,
    }
