"""CSV files when the disk is full and when the process is killed: whole rows only."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from training_models import STEP_COLUMNS, column, run_python, toy

resource = pytest.importorskip("resource")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and signals of Linux")

# From the fourth batch on no file may grow past size_of's size + more; then all may again.
FULL_DISK = """
import os, resource
from training_models import toy

def train(prefix, size_of, more, export):
    calls = []

    def step(model, batch):
        calls.append(batch)
        if len(calls) == 4:
            size = os.path.getsize(size_of) + more
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        return model(batch[0]).square().mean()

    ft = toy(step_fn=step).tracker
    try:
        ft.run(2, export=export, export_prefix=prefix)
    except OSError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        print(error.errno in (27, 28), os.path.basename(error.filename), end=" ")
        print(ft.total_flops, len(ft.step_logs), [e.complete for e in ft.epoch_logs], end=" ")
        print(ft.run(1, export=export, export_prefix=prefix))

"""


def test_a_full_disk_leaves_no_half_row_and_gives_one_error(tmp_path):
    # A row such as "2,1,4,288,288,1008,0.000123" is 28 bytes with its end, or more.
    cases = [("a", 0), ("b", 1), ("c", 10), ("d", 25)]
    calls = [f"train({p!r}, '{p}_batch.csv', {more}, 'batch')" for p, more in cases]
    result = run_python(FULL_DISK + "\n".join(calls), tmp_path)
    assert result.stderr == ""
    # The fourth batch was trained, and is counted: 720 + 288. One more epoch makes it 1728.
    assert result.stdout.splitlines() == [
        f"True {prefix}_batch.csv 1008 4 [True, False] 1728" for prefix, _ in cases
    ]
    for prefix, _ in cases:
        path = tmp_path / f"{prefix}_batch.csv"
        assert path.read_text().endswith("\n")
        assert all(len(line.split(",")) == 7 for line in path.read_text().splitlines())
        # The row of the fourth batch (288) is not there; the epoch after is.
        assert column(path, "flops_total_cum") == [288, 576, 720, 1296, 1584, 1728]


def test_a_full_disk_under_both_files_gives_one_error(tmp_path):
    # No file may grow past 1 byte, so neither the row of the batch nor that of the epoch fits.
    result = run_python(FULL_DISK + "train('run', '/dev/null', 1, 'both')", tmp_path)
    assert result.stdout == "True run_batch.csv 1008 4 [True, False] 1728\n"
    assert result.stderr == ""
    assert column(tmp_path / "run_epoch.csv", "epoch") == [1, 3]


def test_a_full_disk_from_the_start_is_an_error_before_training(tmp_path):
    code = """
import resource
from training_models import same_state, state_of, toy

for limit in (0, 1, 30):
    bound = toy()
    before = state_of(bound.model)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        bound.tracker.run(1, export="batch", export_prefix=str(limit))
    except OSError as error:
        print("OSError", same_state(state_of(bound.model), before), bound.tracker.total_flops)
"""
    result = run_python(code, tmp_path)
    assert (result.stdout, result.stderr) == ("OSError True 0\n" * 3, "")
    for limit in (0, 1, 30):
        assert (tmp_path / f"{limit}_batch.csv").read_bytes() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_device_that_takes_nothing(tmp_path):
    (tmp_path / "run_batch.csv").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left.*run_batch\.csv"):
        toy().tracker.run(1, export="batch", export_prefix=tmp_path / "run")


# Trains nothing, so that most of the time goes into rows; imports neither torch nor scikit-learn.
ENDLESS = """
import sys, types

for name in ("sklearn", "sklearn.base"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["sklearn.base"].is_classifier = lambda clf: False

from flops_tracker import FlopsTracker, SklearnSGDEstimator

class Nothing:
    def partial_fit(self, X, y):
        pass

ft = FlopsTracker(SklearnSGDEstimator(1, 1))
ft.sklearn_bind(Nothing(), [[0]] * 100, [0] * 100, batch_size=1)
print("ready", flush=True)
ft.run(10**9, export="both")
"""


def kill_at_a_random_moment(folder, seconds):
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", ENDLESS], cwd=folder, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout.readline() == b"ready\n"
        while not (folder / "run_batch.csv").exists():
            time.sleep(0.001)
        time.sleep(seconds)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()


def expected_row(number):
    """One sample a batch is 4*1*1*1 = 4 FLOPs; 100 batches an epoch."""
    epoch, step = divmod(number, 100)
    return f"{epoch + 1},{step + 1},1,4,{4 * (step + 1)},{4 * (number + 1)},"


def test_kill_9_loses_at_most_the_row_being_written(tmp_path):
    chance = random.Random(0)
    rows = []
    for number in range(16):
        folder = tmp_path / str(number)
        folder.mkdir()
        kill_at_a_random_moment(folder, chance.uniform(0, 0.1) if number > 1 else 0)
        path = folder / "run_batch.csv"
        whole, _, torn = path.read_text().rpartition("\n")
        lines = whole.splitlines()
        rows.append(len(lines))
        assert not lines or lines[0] == STEP_COLUMNS
        for index, line in enumerate(lines[1:]):
            assert line.startswith(expected_row(index))
            assert line.count(",") == 6
        begun = expected_row(len(lines) - 1) if lines else STEP_COLUMNS
        assert begun.startswith(torn) or torn.startswith(begun)

        toy().tracker.run(1, export="batch", overwrite="append", export_prefix=folder / "run")
        healed = path.read_text()
        assert healed.startswith(whole)
        assert len(healed.splitlines()) == max(len(lines), 1) + 3
        assert healed.endswith("\n")
    assert max(rows) > 100
