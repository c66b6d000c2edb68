"""runs.csv has one row for each run, whole, whoever writes beside it and however the run ends."""

import csv
import gc
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ledger_rows import row_of
from torch import nn
from training_models import PerSample, linear, read_csv, run_python, toy, toy_batches

from flops_tracker import FlopsTracker, __version__
from flops_tracker._run_ledger import COLUMNS, HEADER, append, newest, read


def tracker(path, cost=10, **options):
    return FlopsTracker(PerSample(cost), runs_csv=path, **options)


def epoch(ft, *sizes):
    ft.on_epoch_start()
    for size in sizes:
        ft.update_batch(size)
    ft.on_epoch_end()


# Without PyTorch, whose import takes a second.
LIGHT = """
from flops_tracker import FlopsEstimator, FlopsTracker

class PerSample(FlopsEstimator):
    def __init__(self, cost):
        self.cost = cost

    def flops_for_batch(self, batch_size):
        return self.cost * batch_size
"""


def counts(path, name="flops_train"):
    return [int(row[name]) for row in read_csv(path)]


# ---- when a run ends, and what its row says ----


def test_no_file_is_written_unless_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy().tracker.run(1)
    with FlopsTracker(PerSample(1)) as ft:
        epoch(ft, 1)
    ft.close()
    assert list(tmp_path.iterdir()) == []


def test_a_row_says_what_ran(tmp_path, monkeypatch):
    """Linear(4, 3) has 15 parameters; an epoch of 10 samples costs 720, two of them 1440."""
    monkeypatch.setenv("RANK", "3")
    path = tmp_path / "runs.csv"
    bound = toy()
    ft = FlopsTracker(bound.tracker.estimator, "a name", project="digits, small", runs_csv=path)
    ft.torch_bind(bound.model, bound.optimizer, train_loader=toy_batches())
    run_id = ft.run_id
    ft.run(2)
    [row] = read_csv(path)
    assert tuple(row) == COLUMNS
    assert re.fullmatch("[0-9a-f]{16}", run_id)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row["started"])
    assert float(row["duration_s"]) > 0
    known = {
        "run_id": run_id,
        "project": "digits, small",
        "run_name": "a name",
        "flops_total": "1440",
        "flops_train": "1440",
        "convention": "layerwise × 3.0",
        "estimator": "TorchAutoEstimator",
        "trained_parameters": "15",
        "devices": "cpu",
        "rank": "3",
        "epochs": "2",
        "torch": torch.__version__,
        "flops_tracker": __version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "complete": "1",
    }
    assert {name: row[name] for name in known} == known
    assert not any(row[name] for name in COLUMNS if name not in known and name not in (
        "started", "duration_s"))  # fmt: skip


def test_phases_and_kinds_of_work(tmp_path):
    """Under `matmul` a row forward is 24; a step on 4 rows 192, half of it backward."""
    path, model = tmp_path / "runs.csv", linear()
    with FlopsTracker(model, convention="matmul", runs_csv=path) as ft:
        for _ in ft.epochs(2):
            for x, y in ft.steps(toy_batches(8)):
                nn.functional.cross_entropy(model(x), y).backward()
            for name, rows in (("validate", 5), ("test", 7), ("probe", 1), ("other", 2)):
                with ft.phase(name), torch.no_grad():
                    model(torch.ones(rows, 4))
    [row] = read_csv(path)
    train, validate, test, rest = 4 * 192, 2 * 5 * 24, 2 * 7 * 24, 2 * 3 * 24
    expected = {
        "flops_train": train,
        "flops_validate": validate,
        "flops_test": test,
        "flops_generate": 0,
        "flops_other": rest,
        "flops_total": train + validate + test + rest,
        "flops_forward": train // 2 + validate + test + rest,
        "flops_backward": train // 2,
        "flops_recompute": 0,
        "flops_optimizer": 0,
    }
    assert {name: int(row[name]) for name in expected} == expected
    assert row["trained_parameters"] == "15"


def test_frozen_parameters_are_not_trained(tmp_path):
    model = linear()
    model.weight.requires_grad_(False)  # which leaves the 3 biases
    with FlopsTracker(model, runs_csv=tmp_path / "runs.csv") as ft, ft.phase("test"):
        model(torch.ones(1, 4))
    assert read_csv(tmp_path / "runs.csv")[0]["trained_parameters"] == "3"


def test_counts_beyond_64_bits_are_exact(tmp_path):
    path = tmp_path / "runs.csv"
    with tracker(path, 2**100) as ft:
        epoch(ft, 7)
    assert counts(path) == counts(path, "flops_total") == [7 * 2**100]
    assert read(path)[0][0]["flops_train"] == 7 * 2**100


def test_what_comes_after_the_row_is_a_run_of_its_own(tmp_path):
    path = tmp_path / "runs.csv"
    ft = tracker(path)
    first = ft.run_id
    epoch(ft, 1)
    ft.close()
    ft.close()  # nothing has been counted since
    epoch(ft, 2)
    ft.close()
    rows = read_csv(path)
    assert counts(path) == [10, 20]
    assert [row["resumed_from"] for row in rows] == ["", first]
    assert len({row["run_id"] for row in rows}) == 2
    assert ft.total_flops == 30


def test_a_loop_that_trains_by_itself_ends_its_run(tmp_path):
    path = tmp_path / "runs.csv"
    bound = toy()
    ft = FlopsTracker(bound.tracker.estimator, runs_csv=path)
    ft.torch_bind(bound.model, bound.optimizer, train_loader=toy_batches())
    ft.run(1)
    for _ in ft(range(2), print_level="none"):
        pass
    for _ in ft(range(9), print_level="none"):
        break  # after an epoch: nothing was broken off
    with pytest.raises(KeyError):
        for _ in ft(range(9), print_level="none"):
            raise KeyError
    assert counts(path) == [720, 1440, 720, 720]
    assert counts(path, "complete") == [1, 1, 1, 0]
    with ft:  # the block is the run
        ft.run(1)
        ft.run(1)
        assert len(counts(path)) == 4
    assert counts(path)[4:] == [1440]


def test_a_training_that_fails_has_its_row(tmp_path):
    path = tmp_path / "runs.csv"
    calls = []

    def step(model, batch):
        calls.append(batch)
        if len(calls) == 2:
            raise ValueError("no more")
        return model(batch[0]).square().mean()

    bound = toy()
    ft = FlopsTracker(bound.tracker.estimator, runs_csv=path)
    ft.torch_bind(bound.model, bound.optimizer, train_loader=toy_batches(), step_fn=step)
    with pytest.raises(ValueError, match="no more"):
        ft.run(1)
    assert (counts(path), counts(path, "complete")) == ([288], [0])  # 4 samples of 72


@pytest.mark.parametrize("fails", [False, True])
def test_a_block_ends_a_run(fails, tmp_path):
    path = tmp_path / "runs.csv"
    try:
        with tracker(path) as ft:
            epoch(ft, 1, 2)
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert (counts(path), counts(path, "complete")) == ([30], [not fails])


def test_an_epoch_that_is_open_is_broken_off(tmp_path):
    path = tmp_path / "runs.csv"
    ft = tracker(path)
    ft.on_epoch_start()
    ft.update_batch(3)
    ft.close()
    assert (counts(path), counts(path, "complete"), counts(path, "epochs")) == ([30], [0], [1])
    assert [e.complete for e in ft.epoch_logs] == [False]


def test_a_tracker_that_is_dropped_has_ended_its_run(tmp_path):
    path = tmp_path / "runs.csv"

    class Own(FlopsTracker):
        pass

    for kind in (FlopsTracker, Own):
        ft = kind(PerSample(10), runs_csv=path)
        epoch(ft, 4)
        if kind is Own:
            ft.own = ft  # a cycle
        del ft
        gc.collect()
    assert counts(path) == [40, 40]


def test_at_the_end_of_the_program_what_is_left_has_its_row(tmp_path):
    code = (
        LIGHT
        + """
ft = FlopsTracker(PerSample(2**80), runs_csv="runs.csv")
ft.on_epoch_start()
ft.update_batch(3)
{}
"""
    )
    for ending in ("ft.on_epoch_end()", "raise KeyError", "import os; os._exit(0)"):
        run_python(code.format(ending), tmp_path)
    path = tmp_path / "runs.csv"
    assert (counts(path), counts(path, "complete")) == ([3 * 2**80] * 2, [1, 0])


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_fork_does_not_enter_its_parents_run(tmp_path):
    code = (
        LIGHT
        + """
import os, sys
ft = FlopsTracker(PerSample(10), runs_csv="runs.csv")
ft.on_epoch_start()
ft.update_batch(3)
ft.on_epoch_end()
if os.fork():
    os.wait()
elif {goes_on}:
    ft.on_epoch_start()
    ft.update_batch(4)
    ft.on_epoch_end()
sys.exit()
"""
    )
    run_python(code.replace("{goes_on}", "False"), tmp_path)
    assert counts(tmp_path / "runs.csv") == [30]
    run_python(code.replace("{goes_on}", "True"), tmp_path)
    rows = read_csv(tmp_path / "runs.csv")[1:]
    assert [(row["flops_train"], row["epochs"]) for row in rows] == [("40", "1"), ("30", "1")]
    assert rows[0]["resumed_from"] == rows[1]["run_id"]


# ---- resumed runs add up ----


def test_a_resumed_run_enters_its_own_share_and_the_killed_one_up_to_its_checkpoint(tmp_path):
    """Killed after its checkpoint of 30: rows of 30 and 40 are the 70 of the resumed run."""
    path = tmp_path / "runs.csv"
    code = (
        LIGHT
        + """
import json, os, signal
ft = FlopsTracker(PerSample(10), runs_csv="runs.csv", project="p")
ft.on_epoch_start()
ft.update_batch(3)
ft.on_epoch_end()
json.dump(ft.state_dict(), open("state", "w"))
print(ft.run_id, flush=True)
ft.on_epoch_start()
ft.update_batch(9)
os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    killed = run_python(code, tmp_path).stdout.strip()
    assert not path.exists()
    state = json.loads((tmp_path / "state").read_text())
    for _ in range(2):  # the second one finds the row of the killed run there
        ft = tracker(path, project="p")
        ft.load_state_dict(state)
        epoch(ft, 4)
        assert ft.total_flops == 70
        ft.close()
    rows = read_csv(path)
    assert counts(path) == [30, 40, 40]
    assert [row["run_id"] == killed for row in rows] == [True, False, False]
    assert [row["resumed_from"] for row in rows] == ["", killed, killed]
    assert counts(path, "complete") == [0, 1, 1]
    assert counts(path, "epochs") == [1, 1, 1]


def test_a_checkpoint_after_the_end_names_the_run_that_has_ended(tmp_path):
    path = tmp_path / "runs.csv"
    ft = tracker(path, run_name="two\nlines\0")
    epoch(ft, 3)
    ft.close()
    assert ft.run_id == read_csv(path)[0]["run_id"]
    second = tracker(path)
    second.load_state_dict(ft.state_dict())
    epoch(second, 4)
    second.close()
    rows = read_csv(path)
    assert counts(path) == [30, 40]
    assert rows[1]["resumed_from"] == rows[0]["run_id"]
    assert rows[0]["run_name"] == "two?lines?"


def test_a_phase_after_the_end_is_a_run_of_its_own(tmp_path):
    path, model = tmp_path / "runs.csv", linear()
    ft = FlopsTracker(model, convention="matmul", runs_csv=path)
    for rows in (5, 7):
        with ft.phase("test"), torch.no_grad():
            model(torch.ones(rows, 4))
        ft.close()
    assert counts(path, "flops_test") == [120, 168]
    first, second = read_csv(path)
    assert second["resumed_from"] == first["run_id"] != second["run_id"]


def test_phases_of_a_resumed_run_are_its_own_share(tmp_path):
    path, model = tmp_path / "runs.csv", linear()

    def train(ft):
        for x, y in ft.steps(toy_batches(4)):
            nn.functional.cross_entropy(model(x), y).backward()
        with ft.phase("validate"), torch.no_grad():
            model(torch.ones(5, 4))

    def new(**options):
        return FlopsTracker(model, convention="matmul", **options)

    first = new()
    train(first)
    ft = new(runs_csv=path)
    ft.load_state_dict(first.state_dict())
    train(ft)
    ft.close()
    assert counts(path) == [192, 192]
    assert counts(path, "flops_validate") == [120, 120]
    assert counts(path, "flops_backward") == [96, 96]
    assert ft.phase_counts["validate"].total == 240


def test_a_run_that_was_not_killed_after_all_is_counted_once(tmp_path):
    path = tmp_path / "runs.csv"
    first = tracker(path)
    epoch(first, 3)
    state = first.state_dict()
    second = tracker(path)
    second.load_state_dict(state)
    epoch(first, 5)
    first.close()
    epoch(second, 1)
    second.close()
    assert counts(path) == [30, 80, 10]
    assert [row["flops_train"] for row in newest(read(path)[0])] == [80, 10]


# ---- what is refused before anything runs ----


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"project": "p"}, ValueError, r"project='p' names runs in a ledger: pass runs_csv="),
        ({"runs_csv": 5}, TypeError, "runs_csv must be a path, such as 'runs.csv', not 5"),
        ({"runs_csv": "r", "project": 5}, TypeError, "project must be a str, not 5"),
        ({"runs_csv": "r", "project": " "}, ValueError, "a name on one line, not ' '"),
        ({"runs_csv": "r", "project": "a\nb"}, ValueError, r"a name on one line, not 'a\\nb'"),
        ({"runs_csv": "."}, IsADirectoryError, "runs_csv names a folder"),
        ({"runs_csv": "no/r"}, FileNotFoundError, "runs_csv: there is no such folder"),
        ({"runs_csv": "other.csv"}, ValueError, "by its columns 'a,b': choose another runs_csv"),
    ],
)
def test_wrong_options(options, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(error, match=message):
        FlopsTracker(PerSample(1), **options)
    assert [p.name for p in tmp_path.iterdir()] == ["other.csv"]
    assert Path("other.csv").read_text() == "a,b\n1,2\n"


def test_a_ledger_that_became_another_table_is_left_alone(tmp_path):
    path = tmp_path / "runs.csv"
    ft = tracker(path)
    epoch(ft, 1)
    path.write_text("a,b\n1,2\n")
    with pytest.warns(RuntimeWarning, match=r"another table: the run was entered in .*runs\.1\.c"):
        ft.close()
    assert path.read_text() == "a,b\n1,2\n"
    assert counts(tmp_path / "runs.1.csv") == [10]


def test_a_row_that_can_not_be_written_is_said_and_tried_again(tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    path = folder / "runs.csv"
    ft = tracker(path)
    folder.rename(tmp_path / "gone")
    with pytest.warns(RuntimeWarning, match=r"could not be entered in .*'flops_train': 30"), ft:
        epoch(ft, 3)
    with pytest.raises(FileNotFoundError):
        ft.close()
    (tmp_path / "gone").rename(folder)
    ft.close()
    assert counts(path) == [30]


# ---- torn rows, and several processes ----


def test_a_torn_last_line_is_cut_off(tmp_path):
    path = tmp_path / "runs.csv"
    append(path, row_of(1))
    whole = path.read_bytes()
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        append(path, row_of(2))
        rows, torn = read(path)
        assert torn == []
        assert [row["flops_train"] - 2**70 for row in rows] == [2]
        assert path.read_bytes().count(HEADER) == 1


def test_a_torn_line_is_left_out_where_it_is_read(tmp_path):
    path = tmp_path / "runs.csv"
    append(path, row_of(1))
    append(path, {**row_of(2), "project": 'a "quoted", one'})
    whole = path.read_bytes()
    for length in range(len(whole) - 40, len(whole)):
        path.write_bytes(whole[:length])
        rows, torn = read(path)
        assert (len(rows), torn) == (1, [3])
    path.write_bytes(whole)
    assert read(path)[0][1]["project"] == 'a "quoted", one'


def test_a_value_that_is_no_count_is_said_with_its_line(tmp_path):
    path = tmp_path / "runs.csv"
    append(path, {**row_of(1), "flops_train": "12x"})
    with pytest.raises(ValueError, match=r"runs\.csv, line 2: flops_train is '12x', which is no"):
        read(path)
    path.write_bytes(HEADER)
    append(path, {**row_of(1), "run_id": ""})
    with pytest.raises(ValueError, match="line 2: a row needs run_id"):
        read(path)


WRITER = """
import sys
from pathlib import Path
from flops_tracker._run_ledger import append
from ledger_rows import row_of

start = int(sys.argv[1])
sys.stdin.readline()
for number in range(start, start + 1000):
    append(Path("runs.csv"), row_of(number))
"""


def test_four_processes_tear_no_row(tmp_path):
    """They wait for each other, and write 1000 rows each, of different lengths."""
    (tmp_path / "writer.py").write_text(WRITER)
    (tmp_path / "runs.csv").write_bytes(HEADER + b"torn by a killed process")
    processes = [
        subprocess.Popen(
            [sys.executable, "writer.py", str(1000 * number)],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            env={"PYTHONPATH": str(Path(__file__).parent)},
        )
        for number in range(4)
    ]
    for process in processes:
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in processes:
        process.stdin.close()
        assert process.wait(120) == 0
    rows, torn = read(tmp_path / "runs.csv")
    assert torn == []
    assert sorted(row["flops_train"] - 2**70 for row in rows) == list(range(4000))
    assert all(row["run_id"] == f"{row['flops_train'] - 2**70:016x}" for row in rows)
    with open(tmp_path / "runs.csv", newline="") as file:
        assert {len(fields) for fields in csv.reader(file)} == {len(COLUMNS)}
    assert [p.name for p in tmp_path.glob("runs*")] == ["runs.csv"]  # and no lock beside it


def test_without_locks_rows_are_whole_too(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def none(*_):
        raise OSError(95, "not supported")

    monkeypatch.setattr(fcntl, "flock", none)
    path = tmp_path / "runs.csv"
    append(path, row_of(1))
    with open(path, "ab") as file:
        file.write(b"0000000000000002,torn")
    append(path, row_of(3))
    rows, torn = read(path)
    assert [row["run_id"][-1] for row in rows] == ["1", "3"]
    assert torn == [3]


def train_own(ft, epochs=2):
    for _ in ft.epochs(epochs):
        for x in ft.steps([torch.ones(2, 4)] * 2):
            ft.estimator.model(x)


def test_a_run_that_had_ended_is_entered_as_complete_by_the_one_that_resumes_it(tmp_path):
    """It had no ledger of its own: in its last epoch it would be broken off, after it it is not."""
    for name, inside in (("in.csv", True), ("after.csv", False)):
        ft, states = FlopsTracker(linear()), []
        for _ in ft.epochs(2):
            for x in ft.steps([torch.ones(2, 4)] * 2):
                ft.estimator.model(x)
            states.append(ft.state_dict())
        states.append(ft.state_dict())
        resumed = FlopsTracker(linear(), runs_csv=tmp_path / name)
        resumed.load_state_dict(states[1 if inside else 2])
        resumed.close()
        assert counts(tmp_path / name, "complete") == [0 if inside else 1]
        assert counts(tmp_path / name, "epochs") == [2]


def test_a_run_that_did_nothing_is_no_link_of_the_chain(tmp_path):
    """It has no row: what resumes it comes after the one that it had resumed."""
    path = tmp_path / "runs.csv"
    first = tracker(path)
    epoch(first, 3)
    first.close()
    idle = tracker(path)
    idle.load_state_dict(first.state_dict())
    state = idle.state_dict()
    idle.close()
    last = tracker(path)
    last.load_state_dict(state)
    epoch(last, 4)
    last.close()
    rows = read_csv(path)
    assert counts(path) == [30, 40]
    assert rows[1]["resumed_from"] == rows[0]["run_id"]


def test_a_loop_that_trains_by_itself_says_so_too(tmp_path):
    ft = toy().tracker
    states = []
    for _ in ft(range(2), print_level="none"):
        states.append(ft.state_dict())
    states.append(ft.state_dict())
    for i, state in enumerate(states):
        path = tmp_path / f"{i}.csv"
        resumed = FlopsTracker(ft.estimator, runs_csv=path)
        resumed.load_state_dict(state)
        resumed.close()
    assert [counts(tmp_path / f"{i}.csv", "complete") for i in range(3)] == [[0], [0], [1]]


def test_close_inside_of_a_step_or_phase_is_refused(tmp_path):
    path = tmp_path / "runs.csv"
    ft = FlopsTracker(linear(), convention="matmul", runs_csv=path)
    for x in ft.steps([torch.ones(2, 4)] * 2):
        with pytest.raises(RuntimeError, match="close: a step is open: call it after the loop"):
            ft.close()
        ft.estimator.model(x)
    with ft.phase("test"), pytest.raises(RuntimeError, match="close: a phase is open"):
        ft.close()
    assert not path.exists()
    ft.close()
    assert counts(path) == [2 * 2 * 2 * 4 * 3]  # both steps, of 2 rows each
    assert counts(path, "complete") == [1]
