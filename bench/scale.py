"""Long runs: millions of steps recorded, a CSV of a million rows, and kill -9 in the middle of it.

Every time is a ratio to a bare loop of the same run too; what is counted is checked.
"""

import itertools
import json
import mmap
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from flops_tracker import FlopsTracker, SklearnSGDEstimator

BATCHES = 1000  # of an epoch


class Nothing:
    """Trains nothing, so that time goes into the rows."""

    def partial_fit(self, X: Any, y: Any) -> None:
        """Take a batch."""


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * mmap.PAGESIZE / 2**20


def show(what: str, ns: float, bare: float, unit: str) -> None:
    """Nanoseconds of one, and how many times the bare loop's."""
    print(f"{what}: {ns:,.0f} ns a {unit}, {ns / bare:,.1f} x a bare loop's ({bare:,.0f} ns)")


# ---- steps recorded ----


def updates(count: int) -> None:
    """ft.update_batch(n) for each of count batches, against the loop without it."""
    ft = FlopsTracker(SklearnSGDEstimator(64, 10))
    before = resident_mib()

    def bare() -> None:
        for _ in itertools.repeat(None, count):
            pass

    def counted() -> None:
        update = ft.update_batch
        ft.on_epoch_start()
        for _ in itertools.repeat(None, count):
            update(128)
        ft.on_epoch_end()

    plain = seconds(bare) / count * 1e9
    show(f"update_batch, {count:,} steps", seconds(counted) / count * 1e9, plain, "step")
    assert ft.total_flops == count * 4 * 128 * 64 * 10
    assert len(ft.history) == count
    print(f"  {(resident_mib() - before) * 2**20 / count:.1f} bytes of memory a step")


def steps(count: int) -> None:
    """For batch in ft.steps(...), with one small operation as its body, against the same loop.

    Few of the steps are counted, the others replayed.
    """
    import torch

    weight, batch = torch.ones(8, 8), torch.ones(8, 8)
    ft = FlopsTracker(torch.nn.Linear(8, 8), convention="matmul", keep_batch_logs=False)

    def loop(batches: Any) -> None:
        for x in batches:
            x @ weight

    loop(ft.steps(itertools.repeat(batch, 1000)))
    before = resident_mib()
    plain = seconds(lambda: loop(itertools.repeat(batch, count))) / count * 1e9
    spent = seconds(lambda: loop(ft.steps(itertools.repeat(batch, count)))) / count * 1e9
    show(f"ft.steps, {count:,} steps", spent, plain, "step")
    grown = resident_mib() - before
    print(
        f"  {ft.traced_steps:,} of them counted, {ft.replayed_steps:,} replayed, {grown:+.1f} MiB"
    )
    assert ft.total_flops == (count + 1000) * 2 * 8 * 8 * 8
    assert ft.unattributed_steps == 0


# ---- rows ----


def tracker() -> FlopsTracker:
    import numpy as np

    X = np.zeros((BATCHES, 1))
    with warnings.catch_warnings(action="ignore"):  # it is no SGD
        return FlopsTracker(SklearnSGDEstimator(1, 1)).sklearn_bind(
            Nothing(), X, np.zeros(BATCHES), batch_size=1
        )


@contextmanager
def no_classifier() -> Iterator[None]:
    """Leave scikit-learn's own question, asked for each batch, out of the figures."""
    import sklearn.base

    real = sklearn.base.is_classifier
    sklearn.base.is_classifier = lambda _: False
    try:
        yield
    finally:
        sklearn.base.is_classifier = real


def csv_rows(count: int, folder: Path) -> None:
    """A CSV of count rows, against the same training without it; then resumed in its middle."""
    epochs = -(-count // BATCHES)
    rows = epochs * BATCHES

    def bare() -> None:
        clf, X = Nothing(), [[0]] * BATCHES
        for _ in range(epochs):
            for start in range(BATCHES):
                clf.partial_fit(X[start : start + 1], X[start : start + 1])

    with no_classifier():
        plain = seconds(bare) / rows * 1e9
        silent = seconds(lambda: tracker().run(epochs)) / rows * 1e9
        ft = tracker()
        options: dict[str, Any] = {"export": "both", "export_prefix": folder / "run"}
        spent = seconds(lambda: ft.run(epochs, **options)) / rows * 1e9
        show(f"tracker, {rows:,} batches", silent, plain, "batch")
        show("  with a CSV row each", spent, plain, "batch")
        path = folder / "run_batch.csv"
        print(f"  a row is {spent - silent:,.0f} ns and {path.stat().st_size / rows:.1f} bytes")

        first = tracker()
        first.run(epochs // 2)
        saving = seconds(first.state_dict)
        state = first.state_dict()
        resumed = tracker()
        loading = seconds(lambda: resumed.load_state_dict(state))
        going_on = seconds(lambda: resumed.run(0, **options))
        resumed.run(epochs - epochs // 2, **options)
    steps_saved = len(first.step_logs)
    print(
        f"  a checkpoint of {steps_saved:,} steps: state_dict {saving:.2f} s, load_state_dict "
        f"{loading:.2f} s, {len(json.dumps(state)) / steps_saved:.0f} bytes a step as JSON; "
        f"finding its place in the file {going_on:.2f} s"
    )
    assert resumed.total_flops == ft.total_flops == 4 * rows
    check_rows(path, rows, rows)


# ---- kill -9 ----

CHILD = """
import mmap, sys
sys.path.insert(0, {bench!r})
from scale import BATCHES, Nothing, no_classifier, tracker

file = open("begun", "r+b")
begun = mmap.mmap(file.fileno(), 8)
number = 0

def note(self, X, y):
    global number
    number += 1
    begun[:] = number.to_bytes(8, "little")

Nothing.partial_fit = note
print("ready", flush=True)
with no_classifier():
    tracker().run(10**9, export="both")
"""


def check_rows(path: Path, least: int, most: int) -> int:
    """Every row is the next one, whole and right; returns their number."""
    text = path.read_bytes()
    lines = text[: text.rfind(b"\n") + 1].decode().splitlines()[1:]
    for number, line in enumerate(lines):
        epoch, step = divmod(number, BATCHES)
        assert line.startswith(
            f"{epoch + 1},{step + 1},1,4,{4 * (step + 1)},{4 * (number + 1)},"
        ), line
        assert line.count(",") == 6, line
    assert least <= len(lines) <= most, (least, len(lines), most)
    return len(lines)


def kill(folder: Path, times: int) -> None:
    """Kill a process while it writes: what it had begun to train is there, but for the last row."""
    chance = random.Random(0)
    written = []
    code = CHILD.format(bench=str(Path(__file__).parent))
    for number in range(times):
        place = folder / str(number)
        place.mkdir()
        (place / "begun").write_bytes(bytes(8))
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", code], cwd=place, stdout=subprocess.PIPE
        )
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        while not (place / "run_batch.csv").exists():
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        begun = int.from_bytes((place / "begun").read_bytes(), "little")
        # When a batch is begun, the rows of all before it are on disk.
        written.append(check_rows(place / "run_batch.csv", max(0, begun - 1), begun))
    print(f"kill -9, {times} times: {sum(written):,} rows, each whole, none lost but the last")


@click.command()
@click.option("--updates", "update_count", default=10_000_000, show_default=True)
@click.option("--steps", "step_count", default=10_000_000, show_default=True)
@click.option("--rows", default=1_000_000, show_default=True)
@click.option("--kills", default=5, show_default=True)
def main(update_count: int, step_count: int, rows: int, kills: int) -> None:
    """Print what long runs cost; 0 leaves a part out."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if update_count:
            updates(update_count)
        if step_count:
            steps(step_count)
        if rows:
            csv_rows(rows, folder)
        if kills:
            kill(folder, kills)


if __name__ == "__main__":
    main()
