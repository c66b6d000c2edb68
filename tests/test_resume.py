"""A run that goes on from a checkpoint in another process ends as one that was never stopped."""

import copy
import io
import json
import random
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training_models import (
    TOY_EPOCH,
    OneAfterTheOther,
    PerSample,
    column,
    files_in,
    read_csv,
    run_python,
    toy,
    toy_batches,
)

from flops_tracker import FlopsTracker, SklearnSGDEstimator, TorchAutoEstimator

# Each of them: make() gives a tracker, train(tracker, epochs) trains so many.
LOOPS = {
    "layerwise": """
def make():
    return toy().tracker

def train(ft, epochs):
    ft.run(epochs)
""",
    "sklearn": """
import numpy as np
from sklearn.linear_model import SGDClassifier
from flops_tracker import SklearnSGDEstimator

def make():
    X, y = np.arange(40.0).reshape(10, 4), np.arange(10) % 3
    ft = FlopsTracker(SklearnSGDEstimator(4, 3))
    return ft.sklearn_bind(SGDClassifier(random_state=0), X, y, batch_size=4)

def train(ft, epochs):
    for _ in ft(range(epochs), print_level="none"):
        pass
""",
    "operations": """
def make():
    model = linear()
    return FlopsTracker(model).torch_bind(model, sgd(model), train_loader=toy_batches())

def train(ft, epochs):
    ft.run(epochs)
""",
    "own loop": """
def make():
    return FlopsTracker(linear())

def train(ft, epochs):
    model = ft.estimator.model
    optimizer = sgd(model)
    for _ in ft.epochs(epochs):
        for x, y in ft.steps(toy_batches()):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        with ft.phase("validate"), torch.no_grad():
            model(torch.ones(7, 4))
""",
    "by hand": """
from training_models import PerSample

def make():
    return FlopsTracker(PerSample(2**70))

def train(ft, epochs):
    for _ in range(epochs):
        ft.on_epoch_start()
        for size in (4, 4, 2):
            ft.update_batch(size)
        ft.on_epoch_end()
""",
}

START = """
import json
import torch
from torch import nn
from training_models import *

def show(kind, ft):
    phases = ft.phase_counts.items() if ft._loops else ()
    epochs, steps = [e[:5] + e[7:] for e in ft.epoch_logs], [s[:6] for s in ft.step_logs]
    counts = [(name, sorted(map(str, c.rows)), c.operations, c.by_module()) for name, c in phases]
    print(kind, [ft.total_flops, epochs, steps, counts])
"""
AT_ONCE = """
torch.manual_seed(0)
ft = make()
train(ft, 4)
show({kind!r}, ft)
"""
FIRST = """
ft = make()
train(ft, 2)
json.dump(ft.state_dict(), open({kind!r}, "w"))
torch.save(ft.state_dict(), {kind!r} + ".pt")
"""
THEN = """
one, other = json.load(open({kind!r})), torch.load({kind!r} + ".pt", weights_only=True)
del one["run"], other["run"]["duration_s"]
assert one["steps"] == other["steps"] and one["phases"] == other["phases"]
ft = make()
ft.load_state_dict({state})
train(ft, 2)
show({kind!r}, ft)
"""


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What runs show that are done at once, and in two processes."""
    folder = tmp_path_factory.mktemp("resume")
    loads = "json.load(open({kind!r}))", "torch.load({kind!r} + '.pt', weights_only=True)"
    first = second = START
    for number, (kind, code) in enumerate(LOOPS.items()):
        first += code + AT_ONCE.format(kind=kind) + FIRST.format(kind=kind)
        second += code + THEN.format(kind=kind, state=loads[number % 2].format(kind=kind))
    runs = [run_python(code, folder) for code in (first, second)]
    assert [run.returncode for run in runs] == [0, 0], runs
    return [run.stdout.splitlines() for run in runs]


@pytest.mark.parametrize("kind", LOOPS)
def test_two_epochs_and_two_more_in_another_process_are_four(kind, printed):
    """All but times and losses: here the second process starts with a new model."""
    at_once, then = ([line for line in lines if line.startswith(kind)] for lines in printed)
    assert len(at_once) == 1 and "[" in at_once[0]
    assert then == at_once


def test_totals_of_a_resumed_run_are_right():
    """720 FLOPs an epoch: twice, and twice more."""
    first = toy().tracker
    first.run(2)
    ft = toy().tracker
    ft.load_state_dict(first.state_dict())
    assert ft.total_flops == 2 * TOY_EPOCH
    assert ft.run(2) == 4 * TOY_EPOCH
    assert [e.epoch for e in ft.epoch_logs] == [1, 2, 3, 4]
    assert [e.loss for e in ft.epoch_logs][:2] == [e.loss for e in first.epoch_logs]
    assert len(ft.history) == 12


def test_a_state_is_plain_data_and_of_its_moment():
    ft = FlopsTracker(PerSample(2**90))
    ft.on_epoch_start()
    ft.update_batch(3)
    ft.on_epoch_end()
    state = ft.state_dict()
    kept = copy.deepcopy(state)
    ft.on_epoch_start()
    ft.update_batch(3)
    assert state == kept
    assert json.loads(json.dumps(state)) == state
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    assert torch.load(file, weights_only=True) == state
    assert state["total_flops"] == 3 * 2**90
    assert state["estimator"] == "PerSample"


def linear():
    torch.manual_seed(0)
    return nn.Linear(4, 3)


# Linear(4, 3) on 4 rows under `matmul`: 2*4*4*3 = 96 forward, and 96 for the weights' gradient.
STEP = 192


def steps(ft, model, count, save_in=None, save_after=None):
    """Train; gives the states that were asked for, inside of a step and after the loop."""
    states = []
    for i, (x, y) in enumerate(ft.steps(toy_batches(4 * count))):
        F.cross_entropy(model(x), y).backward()
        if i == save_in:
            states.append(ft.state_dict())
    if save_after:
        states.append(ft.state_dict())
    return states


def test_saved_inside_of_a_step_its_work_so_far_is_in_the_state():
    model = linear()
    ft = FlopsTracker(model, convention="matmul")
    for _ in ft.epochs(1):
        [state] = steps(ft, model, 5, save_in=2)
    assert (ft.total_flops, len(ft.step_logs)) == (5 * STEP, 5)  # it changed nothing
    assert state["total_flops"] == 3 * STEP
    resumed = FlopsTracker(model, convention="matmul")
    resumed.load_state_dict(state)
    assert [s.flops_batch for s in resumed.step_logs] == [STEP] * 3
    assert [(e.batches, e.samples, e.complete) for e in resumed.epoch_logs] == [(3, 12, False)]
    assert resumed.counts.total == 3 * STEP
    for _ in resumed.epochs(1):
        steps(resumed, model, 2)
    assert resumed.total_flops == resumed.counts.total == 5 * STEP
    assert [e.epoch for e in resumed.epoch_logs] == [1, 2]


def test_saved_in_a_phase_inside_of_a_step_each_has_its_own():
    """The step's forward is 96 before the phase, in which 7 rows are 7*24 = 168."""
    model = linear()
    ft = FlopsTracker(model, convention="matmul")
    with ft.step(torch.ones(4, 4)):
        model(torch.ones(4, 4))
        with ft.phase("validate"):
            model(torch.ones(7, 4))
            state = ft.state_dict()
    assert state["total_flops"] == 96
    resumed = FlopsTracker(model, convention="matmul")
    resumed.load_state_dict(state)
    assert {n: c.total for n, c in resumed.phase_counts.items()} == {"train": 96, "validate": 168}
    assert resumed.counts.total == 96 + 168
    assert resumed.total_flops == 96


def test_an_epoch_is_whole_where_its_loop_over_steps_had_ended():
    model = linear()
    ft = FlopsTracker(model, convention="matmul")
    states = [state for _ in ft.epochs(2) for state in steps(ft, model, 2, 1, save_after=True)]
    complete = [[e["complete"] for e in state["epochs"]] for state in states]
    assert complete == [[False], [True], [True, False], [True, True]]
    ft.on_epoch_start()
    assert [e["complete"] for e in ft.state_dict()["epochs"]] == [True, True, False]


def test_a_state_of_nothing_and_one_without_logs():
    ft = toy().tracker
    ft.load_state_dict(toy().tracker.state_dict())
    assert ft.run(1) == TOY_EPOCH

    def small():
        return FlopsTracker(PerSample(5), keep_batch_logs=False, keep_epoch_logs=False)

    ft = small()
    ft.on_epoch_start()
    ft.update_batch(3)
    ft.on_epoch_end()
    state = ft.state_dict()
    assert (state["epochs"], state["steps"], state["epoch"], state["step"]) == (None, None, 1, 1)
    ft = small()
    ft.load_state_dict(state)
    ft.on_epoch_start()
    ft.update_batch(2)
    assert ft.total_flops == 25
    assert "2 epochs" in repr(ft)
    with pytest.raises(ValueError, match=r"no record of each epoch, as .*keep_epoch_logs=F"):
        FlopsTracker(PerSample(5)).load_state_dict(state)
    with pytest.raises(ValueError, match=r"no record of each step.*keep_batch_logs=F") as error:
        FlopsTracker(PerSample(5), keep_epoch_logs=False).load_state_dict(state)
    assert "damaged" not in str(error.value)
    # The other way round, what is not wanted is left out.
    ft = FlopsTracker(PerSample(5))
    ft.on_epoch_start()
    ft.update_batch(3)
    resumed = small()
    resumed.load_state_dict(ft.state_dict())
    assert resumed.total_flops == 15


# ---- what is refused, with nothing changed ----


def saved():
    ft = FlopsTracker(PerSample(10))
    for _ in range(2):
        ft.on_epoch_start()
        ft.update_batch(3)
        ft.update_batch(1)
        ft.on_epoch_end()
    return ft.state_dict()


def refuse(state, message, error=ValueError, tracker=None):
    ft = tracker or FlopsTracker(PerSample(10))
    before = ft.total_flops, ft.epoch_logs, ft.step_logs, ft._run.__dict__.copy()
    with pytest.raises(error, match=message):
        ft.load_state_dict(state)
    assert (ft.total_flops, ft.epoch_logs, ft.step_logs, ft._run.__dict__) == before
    if tracker is None:
        ft.load_state_dict(saved())
        assert ft.total_flops == 80


def test_a_tracker_that_has_counted_is_refused():
    ft = toy().tracker
    ft.run(1)
    refuse(ft.state_dict(), r"has counted already \(<FlopsTracker 'run': 720 FLOPs", tracker=ft)
    ft = FlopsTracker(linear())
    state = ft.state_dict()
    with ft.phase("test"):
        ft.estimator.model(torch.ones(1, 4))
    refuse(state, "has counted already", tracker=ft)


def test_another_convention_or_estimator_is_refused():
    by_matmul = FlopsTracker(linear(), convention="matmul").state_dict()
    refuse(by_matmul, r"convention 'matmul'\), this tracker.*'exact'",
           tracker=FlopsTracker(linear(), convention="exact"))  # fmt: skip
    refuse(by_matmul, "counted by TorchOpEstimator .* counts by PerSample")
    half = FlopsTracker(TorchAutoEstimator(linear(), (1, 4), 1.0)).state_dict()
    refuse(half, "'layerwise × 1.0'.*'layerwise × 3.0'", tracker=toy().tracker)
    refuse(saved(), "counts by SklearnSGDEst", tracker=FlopsTracker(SklearnSGDEstimator(2)))


def changed(path, value):
    state = saved()
    *way, last = path
    at = state
    for key in way:
        at = at[key]
    if value is KeyError:
        del at[last]
    else:
        at[last] = value
    return state


DAMAGED = [
    (("format",), "another", "no state of a FlopsTracker.*'another'"),
    (("version",), 2, "version 2, saved by flops_tracker '0.1.0'.*reads version 1"),
    (("version",), True, "version True"),
    (("total_flops",), 81, "do not add up to its total"),
    (("total_flops",), -1, "total_flops must be 0 or more, not -1"),
    (("total_flops",), 2**128, "total_flops does not fit in 128 bits"),
    (("total_flops",), "80", "total_flops must be an integer, not '80'"),
    (("epoch",), 3, "do not add up"),
    (("step",), 1, "do not add up"),
    (("epochs",), KeyError, "'epochs' is missing"),
    (("epochs",), {}, "in its records: a list was expected, not dict"),
    (("epochs", 1), 5, "a dict was expected, not int"),
    (("epochs", 1, "flops_epoch"), 41, "do not add up to what was saved as their sums"),
    (("epochs", 1, "samples"), 2**64, r"samples must be below 2\*\*64"),
    (("epochs", 1, "complete"), 1, "complete must be a bool"),
    (("epochs", 1, "loss"), "0.5", "loss a float or None"),
    (("epochs", 1, "wall_time_s"), float("nan"), "a time must be a number of seconds"),
    (("steps", "batch_size"), [3, 1, 3], "differ in their lengths"),
    (("steps", "batch_size", 0), 3.0, "batch_size must be an integer"),
    (("steps", "steps_of_epochs"), [4, 0], "add up"),
    (("steps", "steps_of_epochs"), [2, 3], "less steps"),
    (("steps", "steps_of_epochs"), [2], "not the steps of each epoch"),
    (("steps", "flops_batch"), KeyError, "'flops_batch' is missing"),
    (("phases",), [], "in its phases: a dict was expected, not list"),
    (("phases",), {"train": 1}, "in its phases: a dict was expected, not int"),
    (("run",), None, "in its run: a dict was expected"),
    (("run", "run_id"), "", "needs run_id"),
    (("run", "project"), "a\nb", "project is"),
    (("run", "flops_train"), 1.5, "flops_train is 1.5"),
]


@pytest.mark.parametrize(("path", "value", "message"), DAMAGED)
def test_damaged_states_are_refused(path, value, message):
    refuse(changed(path, value), message)


@pytest.mark.parametrize("other", [None, [], "state", 5, object()])
def test_what_is_no_dict_is_refused(other):
    refuse(other, "takes what state_dict", TypeError)
    refuse({}, "no state of a FlopsTracker")


def damage(values, chance):
    """Put something else in a random place."""
    at, key = values, chance.choice(sorted(values))
    while isinstance(at[key], list | dict) and at[key] and chance.random() < 0.9:
        at = at[key]
        key = chance.choice(list(range(len(at)) if isinstance(at, list) else at))
    other = [None, -1, 2**200, "x", [], {}, 1.5, [[]], [None], b"", 2**40, True, float("inf")]
    at[key] = chance.choice([*other, KeyError])
    if at[key] is KeyError:
        del at[key]


def test_whatever_is_damaged_it_is_refused_or_adds_up():
    model = linear()
    ft = FlopsTracker(model, convention="matmul")
    for _ in ft.epochs(2):
        steps(ft, model, 2)
    good = ft.state_dict()
    chance = random.Random(1)
    refused = 0
    for _ in range(400):
        state = copy.deepcopy(good)
        damage(state, chance)
        tracker = FlopsTracker(model, convention="matmul")
        try:
            tracker.load_state_dict(state)
        except ValueError as error:
            refused += 1
            assert str(error).startswith("load_state_dict: ")
            assert (tracker.total_flops, tracker.epoch_logs, tracker.step_logs) == (0, [], [])
            assert (tracker.phase_counts, tracker._run.resumed_from) == ({}, "")
        else:
            assert tracker.total_flops == 4 * STEP
            assert sum(s.flops_batch for s in tracker.step_logs) == 4 * STEP
            assert tracker.state_dict()["total_flops"] == 4 * STEP
    assert refused > 200


def test_damaged_counts_of_phases_are_refused():
    model = linear()
    ft = FlopsTracker(model, convention="matmul")
    steps(ft, model, 1)
    good = ft.state_dict()
    chance = random.Random(0)
    refused = 0
    for _ in range(300):
        state = copy.deepcopy(good)
        damage(state["phases"]["train"], chance)
        tracker = FlopsTracker(model, convention="matmul")
        try:
            tracker.load_state_dict(state)
        except ValueError as error:
            refused += 1
            assert re.search("damaged, in its (phases|run|contents)", str(error))
            assert tracker.total_flops == 0 and tracker.phase_counts == {}
        else:
            assert state == good
    assert refused > 280


def test_a_loop_that_trains_can_not_be_loaded_into():
    def load(tracker, epoch):
        tracker.load_state_dict(toy().tracker.state_dict())

    with pytest.raises(ValueError, match="has counted already"):
        toy().tracker.run(1, on_epoch_end=load)


def test_a_loop_that_was_made_is_not_loaded_into():
    ft = toy().tracker
    loop = ft(range(1), print_level="none")
    with pytest.raises(ValueError, match=r"ft\(...\) was called already: load before it"):
        ft.load_state_dict(toy().tracker.state_dict())
    assert list(loop) == [0]
    assert ft.total_flops == TOY_EPOCH


# ---- CSV files go on ----


def resumed(state, **options):
    ft = toy().tracker
    ft.load_state_dict(state)
    ft.run(**options)
    return ft


def counts_in(path):
    names = ("epoch", "step", "flops_batch", "flops_epoch", "flops_total_cum", "batches")
    return [[row[name] for name in names if name in row] for row in read_csv(path)]


@pytest.mark.parametrize("overwrite", ["rename", "append", "replace", "error"])
def test_rows_after_the_checkpoint_are_moved_and_each_row_is_there_once(
    overwrite, tmp_path, capsys
):
    whole, prefix = tmp_path / "whole", tmp_path / "run"
    toy().tracker.run(4, export="both", export_prefix=whole)
    ft = toy().tracker
    states = []
    ft.run(3, export="both", export_prefix=prefix,
           on_epoch_end=lambda t, _: states.append(t.state_dict()))  # fmt: skip
    with open(f"{prefix}_batch.csv", "a") as file:
        file.write("4,1,4,28")  # torn by the kill
    ft = resumed(states[1], epochs=2, export="both", export_prefix=prefix, overwrite=overwrite,
                 print_level="epoch")  # fmt: skip
    for kind in ("epoch", "batch"):
        path = tmp_path / f"run_{kind}.csv"
        assert counts_in(path) == counts_in(tmp_path / f"whole_{kind}.csv")
        assert column(tmp_path / f"run_{kind}.1.csv", "epoch") == [3] * (
            3 if kind == "batch" else 1
        )
    assert ft.total_flops == 4 * TOY_EPOCH
    printed = capsys.readouterr().out
    after = "written after the checkpoint moved to"
    assert f"run_epoch.csv: 1 row that was {after} run_epoch.1.csv" in printed
    assert f"run_batch.csv: 3 rows that were {after} run_batch.1.csv" in printed


def test_a_torn_last_line_is_healed_and_nothing_is_moved(tmp_path):
    ft = toy().tracker
    ft.run(2, export="both", export_prefix=tmp_path / "run")
    with open(tmp_path / "run_batch.csv", "a") as file:
        file.write("3,1,4,28")
    resumed(ft.state_dict(), epochs=1, export="both", export_prefix=tmp_path / "run")
    assert column(tmp_path / "run_batch.csv", "epoch") == [1] * 3 + [2] * 3 + [3] * 3
    assert files_in(tmp_path) == ["run_batch.csv", "run_epoch.csv"]


def test_saved_in_the_middle_the_row_of_the_broken_off_epoch_is_added(tmp_path):
    """The batches of 4, 4 and 2 cost 288, 288 and 144; saved when the second is trained."""
    states = []

    def step(model, batch):
        states.append(ft.state_dict())
        return model(batch[0]).square().mean()

    bound = toy(step_fn=step)
    ft = bound.tracker
    ft.run(2, export="both", export_prefix=tmp_path / "run")
    assert states[5]["total_flops"] == TOY_EPOCH + 2 * 288
    ft = resumed(states[5], epochs=1, export="both", export_prefix=tmp_path / "run")
    assert counts_in(tmp_path / "run_epoch.csv") == [
        ["1", "720", "720", "3"], ["2", "576", "1296", "2"], ["3", "720", "2016", "3"]
    ]  # fmt: skip
    assert column(tmp_path / "run_epoch.csv", "complete") == [1, 0, 1]
    assert column(tmp_path / "run_batch.csv", "step") == [1, 2, 3, 1, 2, 1, 2, 3]
    assert column(tmp_path / "run_epoch.1.csv", "flops_total_cum") == [1440]
    assert column(tmp_path / "run_batch.1.csv", "flops_total_cum") == [1440]


def test_a_file_of_another_run_is_no_continuation(tmp_path):
    """Batches of 5 cost 360 each, so the epoch's row is of 2 batches and not of 3."""
    toy(toy_batches(batch_size=5)).tracker.run(2, export="epoch", export_prefix=tmp_path / "run")
    ft = toy().tracker
    ft.run(2)
    resumed(ft.state_dict(), epochs=1, export="epoch", export_prefix=tmp_path / "run")
    assert column(tmp_path / "run_epoch.1.csv", "batches") == [2, 2]
    assert column(tmp_path / "run_epoch.csv", "epoch") == [3]


def test_a_file_with_other_runs_before_goes_on_in_its_last(tmp_path):
    for _ in range(2):
        ft = toy().tracker
        ft.run(3, export="both", export_prefix=tmp_path / "run", overwrite="append")
    two = toy().tracker
    two.run(2)
    resumed(two.state_dict(), epochs=2, export="both", export_prefix=tmp_path / "run")
    assert column(tmp_path / "run_epoch.csv", "epoch") == [1, 2, 3, 1, 2, 3, 4]
    assert column(tmp_path / "run_epoch.1.csv", "epoch") == [3]


@pytest.mark.parametrize("more", [0, 1])
def test_without_logs_the_last_row_decides(more, tmp_path):
    def tracker():
        bound = toy()
        ft = FlopsTracker(TorchAutoEstimator(bound.model, (1, 4)), "run", True, False, False)
        return ft.torch_bind(bound.model, bound.optimizer, train_loader=toy_batches())

    ft = tracker()
    ft.run(2 + more, export="both", export_prefix=tmp_path / "run")
    two = tracker()
    two.run(2)
    ft = tracker()
    ft.load_state_dict(two.state_dict())
    ft.run(1, export="both", export_prefix=tmp_path / "run")
    assert column(tmp_path / "run_epoch.csv", "epoch") == [1, 2, 3]
    assert column(tmp_path / "run_batch.csv", "epoch") == [1] * 3 + [2] * 3 + [3] * 3
    assert len(files_in(tmp_path)) == 2 + 2 * more


def test_a_second_loop_of_a_resumed_run_goes_on(tmp_path):
    first = toy().tracker
    first.run(1, export="epoch", export_prefix=tmp_path / "run")
    ft = toy().tracker
    ft.load_state_dict(first.state_dict())
    for _ in range(2):
        ft.run(1, export="epoch", export_prefix=tmp_path / "run")
    assert column(tmp_path / "run_epoch.csv", "epoch") == [1, 2, 3]


def test_hostile_numbers_do_not_reach_a_list_that_is_read():
    state = saved()

    class Number:
        def __index__(self):
            state["steps"]["batch_size"].clear()
            state["epochs"].clear()
            return 3

    state["steps"]["batch_size"][0] = Number()
    ft = FlopsTracker(PerSample(10))
    ft.load_state_dict(state)
    assert ft.total_flops == 80


def test_an_overflow_leaves_the_tracker_as_it_was():
    ft = FlopsTracker(OneAfterTheOther([2**127, 2**127 - 2]))
    ft.on_epoch_start()
    ft.update_batch(1)
    ft.update_batch(1)
    state = ft.state_dict()
    assert state["total_flops"] == 2**128 - 2
    state["steps"]["flops_batch"][1] += 2
    other = FlopsTracker(OneAfterTheOther([]))
    with pytest.raises(ValueError, match="does not fit in 128 bits"):
        other.load_state_dict(state)
    assert other.total_flops == 0
