"""ft.epochs prints and writes what ft(...) does, where its options ask for it."""

import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training_models import column, read_csv

from flops_tracker import FlopsTracker
from flops_tracker._csv_files import CsvFile

STEP = 2 * 2 * (2 * 4 * 3)  # Linear(4, 3) on 2 rows: forward and the weights' gradient


def make(**options):
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    ft = FlopsTracker(model, convention="matmul", log_wall_time=False, **options)
    return ft, model


def batches(count):
    return [(torch.ones(2, 4), torch.zeros(2, dtype=torch.int64)) for _ in range(count)]


def train(ft, model, epochs=2, steps=3, **options):
    for _ in ft.epochs(epochs, **options):
        for x, y in ft.steps(batches(steps)):
            F.cross_entropy(model(x), y).backward()


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_nothing_is_printed_nor_written_unless_asked_for(tmp_path, capsys):
    train(*make())
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_lines_and_rows_are_those_of_a_loop_that_trains_by_itself(tmp_path, capsys):
    """But for the loss, which only a loop of ours knows."""
    train(*make(run_name="own"), print_level="both", export="both")
    own = capsys.readouterr().out.splitlines()
    ft, model = make(run_name="ours")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    ft.torch_bind(model, optimizer, train_loader=batches(3))
    for _ in ft(range(2), print_level="both", export="both"):
        pass
    ours = capsys.readouterr().out.splitlines()
    assert own[:-2] == [line.split(" · loss")[0] for line in ours[: len(own) - 2]]
    assert len([line for line in own if "step" in line and "batch of 2" in line]) == 6
    assert own[-2].startswith("total 576 FLOPs · matmul")
    assert 6 * STEP == 576
    assert (tmp_path / "own_batch.csv").read_text() == (tmp_path / "ours_batch.csv").read_text()
    own_rows, our_rows = read_csv(tmp_path / "own_epoch.csv"), read_csv(tmp_path / "ours_epoch.csv")
    assert [row | {"loss": ""} for row in our_rows] == own_rows


def test_a_row_is_there_before_the_next_batch(tmp_path):
    ft, model = make()
    seen = []
    for _ in ft.epochs(1, export="both"):
        for x, _ in ft.steps(batches(3)):
            model(x)
            seen.append(len((tmp_path / "run_batch.csv").read_text().splitlines()) - 1)
    assert seen == [0, 1, 2]
    assert column(tmp_path / "run_batch.csv", "step") == [1, 2, 3]


def test_rows_of_killed_training_are_whole(tmp_path):
    script = """
import os, signal, torch
from torch import nn
from flops_tracker import FlopsTracker
model = nn.Linear(4, 3)
ft = FlopsTracker(model, convention="matmul")
for _ in ft.epochs(2, export="both"):
    for i, x in enumerate(ft.steps([torch.ones(2, 4)] * 3)):
        model(x)
        if i == 2:
            os.kill(os.getpid(), signal.SIGKILL)
"""
    run = subprocess.run([sys.executable, "-P", "-c", script], cwd=tmp_path, check=False)
    assert run.returncode == -9
    assert column(tmp_path / "run_batch.csv", "flops_batch") == [48, 48]
    assert 2 * 2 * 4 * 3 == 48


def test_an_epoch_that_is_broken_off_has_its_rows(tmp_path, capsys):
    ft, model = make()
    for _ in ft.epochs(2, export="both", print_level="epoch"):
        for i, (x, _) in enumerate(ft.steps(batches(5))):
            model(x)
            if i == 1:
                break
        break
    assert column(tmp_path / "run_batch.csv", "step") == [1, 2]
    (row,) = read_csv(tmp_path / "run_epoch.csv")
    assert (row["batches"], row["complete"]) == ("2", "0")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("broken off")


def test_an_epoch_whose_end_warns_has_its_row_where_warnings_are_errors(tmp_path):
    """The forgotten ft.steps, and a budget that warns, come after the row or with it."""
    ft, model = make(max_flops=1, on_budget="warn")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="reached in epoch 1 step 1"):
            train(ft, model, export="both")
    assert column(tmp_path / "run_batch.csv", "step") == [1]
    (row,) = read_csv(tmp_path / "run_epoch.csv")
    assert (row["batches"], row["complete"]) == ("1", "0")


def test_a_disk_that_is_full_is_an_error_of_the_loop(tmp_path, monkeypatch):
    ft, model = make()
    rows = []

    def write(file, row):
        if len(rows) == 2:  # the headers
            raise OSError(28, "no room", str(file.path))
        rows.append(row)

    monkeypatch.setattr(CsvFile, "write", write)
    with pytest.raises(OSError, match="no room"):
        train(ft, model, export="both")
    assert not ft._epoch_is_open
    assert ft.total_flops > 0


def test_a_second_loop_and_single_steps_go_on_in_the_same_file(tmp_path):
    ft, model = make()
    train(ft, model, export="both")
    for _ in ft.epochs(1, export="both"):
        for x, _ in batches(2):
            with ft.step(x):
                model(x)
    assert column(tmp_path / "run_epoch.csv", "batches") == [3, 3, 2]
    places = [(row["epoch"], row["step"]) for row in read_csv(tmp_path / "run_batch.csv")]
    assert places == [(e, s) for e, n in (("1", 3), ("2", 3), ("3", 2)) for s in "123"[:n]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run_batch.csv", "run_epoch.csv"]


def test_steps_of_phases_have_no_rows(tmp_path):
    ft, model = make()
    for _ in ft.epochs(1, export="batch"):
        for x, _ in ft.steps(batches(1)):
            model(x)
        with ft.phase("validate"):
            for x, _ in ft.steps(batches(4)):
                model(x)
    assert len(read_csv(tmp_path / "run_batch.csv")) == 1


def test_a_run_that_is_resumed_goes_on_in_its_file(tmp_path):
    ft, model = make()
    states = []
    for epoch in ft.epochs(3, export="both"):
        for x, _ in ft.steps(batches(2)):
            model(x)
        if epoch == 1:
            states.append(ft.state_dict())
    ft, model = make()
    ft.load_state_dict(states[0])
    for _ in ft.epochs(range(2, 4), export="both"):
        for x, _ in ft.steps(batches(2)):
            model(x)
    assert column(tmp_path / "run_epoch.csv", "epoch") == [1, 2, 3, 4]
    totals = column(tmp_path / "run_batch.csv", "flops_total_cum")
    assert totals == [48 * number for number in range(1, 9)]


def test_another_runs_file_is_renamed_and_prefixes_count(tmp_path, capsys):
    train(*make(), export="epoch", export_prefix="mine")
    train(*make(), export="epoch", export_prefix="mine", print_level="epoch")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["mine_epoch.1.csv", "mine_epoch.csv"]
    assert "renamed to mine_epoch.1.csv" in capsys.readouterr().out
    with pytest.raises(FileExistsError):
        train(*make(), export="epoch", export_prefix="mine", overwrite="error")


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"print_level": "all"}, ValueError, "print_level must be 'none', .* not 'all'"),
        ({"export": True}, TypeError, "export must be 'none', .* not True"),
        ({"overwrite": "yes"}, ValueError, "overwrite must be 'rename', .* not 'yes'"),
        ({"print_levle": "none"}, TypeError, r"ft\.epochs has no option 'print_levle'; did you"),
        ({"progress": True}, TypeError, r"ft\.epochs has no option 'progress'"),
        ({"export_only_rank0": "no"}, TypeError, "export_only_rank0 must be True or False"),
    ],
)
def test_options_are_checked_before_the_loop(options, error, message):
    ft, _ = make()
    with pytest.raises(error, match=message):
        ft.epochs(1, **options)


def test_rows_of_steps_need_their_records():
    ft, _ = make(keep_batch_logs=False)
    with pytest.raises(ValueError, match="export='both' reads the records of steps"):
        ft.epochs(1, export="both")
    train(*make(keep_batch_logs=False, keep_epoch_logs=False), export="epoch")
    assert column("run_epoch.csv", "flops_epoch") == [3 * STEP] * 2


def test_of_several_ranks_the_first_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    train(*make(), export="both", print_level="both")
    assert list(tmp_path.iterdir()) == []
    train(*make(), export="epoch", print_level="both", export_only_rank0=False)
    assert [path.name for path in tmp_path.iterdir()] == ["run.rank1_epoch.csv"]
    assert capsys.readouterr().out == ""
