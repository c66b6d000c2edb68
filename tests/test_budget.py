"""A budget of FLOPs: how it is read, where loops end, and what is recorded and said of it."""

import gc
import math
import sys
import warnings
import weakref
from fractions import Fraction

import numpy as np
import pytest
import torch
from replayed import STEP, batches, mlp
from torch.nn import functional as F
from training_models import Flat

from flops_tracker import FlopsTracker


def bound(batch_count=10, **options):
    """Each batch is STEP; an epoch is of that many."""
    model = mlp()
    ft = FlopsTracker(model, convention="matmul", **options)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return ft.torch_bind(model, optimizer, train_loader=batches(batch_count))


def places(ft):
    return [(log.epoch, log.batches, log.complete) for log in ft.epoch_logs]


# ---- reading it ----


@pytest.mark.parametrize(
    "given, flops",
    [
        (12, 12),
        (1e15, 10**15),
        (2.25, 3),  # a part of a FLOP is rounded up
        ("1 PFLOP", 10**15),
        ("2.5 EFLOPs", 2_500_000_000_000_000_000),
        ("500 GFLOP", 500_000_000_000),
        ("1,234 kFLOP", 1_234_000),
        ("1e15", 10**15),
        ("1000000000000000001", 10**18 + 1),  # which no float is
        (2**127 + 1, 2**127 + 1),
        (np.int64(7), 7),
        (np.float32(0.5), 1),
        (Fraction(3, 2), 2),
        (None, None),
    ],
)
def test_budgets_are_read_exactly(given, flops):
    ft = FlopsTracker(Flat(), max_flops=given)
    assert ft.max_flops == flops
    assert not ft.over_budget


@pytest.mark.parametrize(
    "given, error, text",
    [
        (0, ValueError, r"max_flops must be above 0, not 0; None is no limit"),
        ("0 PFLOP", ValueError, r"above 0, not '0 PFLOP'"),
        (-5, ValueError, r"max_flops must be 0 or more, not -5"),
        (-1e15, ValueError, r"from 0 to below 2\*\*128, not -1000000000000000"),
        (math.nan, ValueError, r"from 0 to below 2\*\*128, not nan"),
        (math.inf, ValueError, r"from 0 to below 2\*\*128, not inf"),
        ("-1 PFLOP", ValueError, r"max_flops='-1 PFLOP': it is below 0"),
        ("nan", ValueError, r"max_flops='nan': it must begin with a number such as 2\.5"),
        ("1 P", ValueError, r"max_flops='1 P': after the number comes FLOP"),
        ("1 PMAC", ValueError, r"max_flops='1 PMAC': after the number comes FLOP"),
        ("2,5 PFLOP", ValueError, r"max_flops='2,5 PFLOP'"),
        ("1 PFLOPS", ValueError, r"FLOPs per second, and this is an amount: write FLOP"),
        ("1e39", OverflowError, r"max_flops='1e39': it does not fit in 128 bits"),
        (2**128, OverflowError, r"max_flops does not fit in 128 bits"),
        (True, TypeError, r"a number or a text such as '2\.5 PFLOP', not True"),
        ([1], TypeError, r"a number or a text such as '2\.5 PFLOP', not \[1\]"),
        (1j, TypeError, r"not 1j"),
    ],
)
def test_what_is_no_budget(given, error, text):
    with pytest.raises(error, match=text):
        FlopsTracker(Flat(), max_flops=given)
    ft = FlopsTracker(Flat(), max_flops=50)
    with pytest.raises(error, match=text):
        ft.max_flops = given
    assert ft.max_flops == 50


def test_what_is_no_answer_to_it():
    with pytest.raises(ValueError, match=r"on_budget must be 'stop', 'warn' or a func.*'halt'"):
        FlopsTracker(Flat(), max_flops=1, on_budget="halt")
    with pytest.raises(TypeError, match=r"on_budget must be 'stop', 'warn' or a function.*not 3"):
        FlopsTracker(Flat(), max_flops=1, on_budget=3)


# ---- loops of ours ----


def test_the_loop_ends_after_the_step_that_comes_to_it(capsys):
    ft = bound(max_flops=25 * STEP - 1)
    turns = list(ft(range(5)))
    assert turns == [0, 1, 2]  # the epoch that was cut has its turn too
    assert ft.total_flops == 25 * STEP
    assert places(ft) == [(1, 10, True), (2, 10, True), (3, 5, False)]
    assert ft.epoch_logs[-1].loss is not None
    assert ft.over_budget
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" · ")[0] for line in lines] == [
        "epoch 1",
        "epoch 2",
        "epoch 3",
        "budget of 16,999 FLOPs (17.0 kFLOP) reached in epoch 3 step 5",
        "total 17,000 FLOPs (17.0 kFLOP)",
        "recomputation 0.0 % of training",
    ]
    assert lines[3].endswith("total 17,000 FLOPs (17.0 kFLOP)")


def test_a_budget_that_the_last_step_of_an_epoch_comes_to():
    """All of its batches were trained: the epoch is complete."""
    ft = bound(max_flops=20 * STEP)
    assert ft.run(5) == 20 * STEP
    assert places(ft) == [(1, 10, True), (2, 10, True)]


def test_a_loader_that_does_not_know_its_length():
    model = mlp()
    ft = FlopsTracker(model, convention="matmul", max_flops=2 * STEP)

    class Stream:
        def __iter__(self):
            return iter(batches(2))

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ft.torch_bind(model, optimizer, train_loader=Stream())
    assert ft.run(5) == 2 * STEP
    assert places(ft) == [(1, 2, False)]


def test_nothing_more_is_drawn_from_the_loader_nor_from_the_epochs():
    drawn, epochs = [], iter(range(9))
    model = mlp()

    class Loader:
        def __iter__(self):
            for batch in batches(10):
                drawn.append(batch)
                yield batch

    ft = FlopsTracker(model, convention="matmul", max_flops=3 * STEP)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ft.torch_bind(model, optimizer, train_loader=Loader())
    ft.run(epochs)
    assert len(drawn) == 3
    assert next(epochs) == 1


def test_run_says_nothing_and_rows_are_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ft = bound(max_flops=3 * STEP)
    assert ft.run(2, export="both") == 3 * STEP
    assert capsys.readouterr().out == ""
    assert len((tmp_path / "run_batch.csv").read_text().splitlines()) == 1 + 3
    rows = (tmp_path / "run_epoch.csv").read_text().splitlines()
    assert [(row.split(",")[3], row.split(",")[-1]) for row in rows[1:]] == [("3", "0")]


def test_a_loop_that_begins_over_it_trains_nothing(capsys):
    ft = bound(max_flops=STEP)
    ft.run(1)
    assert list(ft(range(3))) == []
    assert ft.total_flops == STEP
    assert "budget of 680 FLOPs reached in epoch 1 step 1" in capsys.readouterr().out
    assert ft.run(3) == STEP


def test_a_new_budget_lets_it_go_on():
    ft = bound(max_flops=15 * STEP)
    ft.run(5)
    ft.max_flops = f"{25 * STEP} FLOP"
    assert not ft.over_budget
    assert ft.run(5) == 25 * STEP
    assert places(ft) == [(1, 10, True), (2, 5, False), (3, 10, True)]
    ft.max_flops = None
    assert ft.max_flops is None
    assert ft.run(1) == 35 * STEP
    del ft.max_flops
    assert not ft.over_budget


def test_on_epoch_end_is_called_for_the_epoch_that_was_cut():
    seen = []
    ft = bound(max_flops=12 * STEP)
    ft.run(5, on_epoch_end=lambda tracker, epoch: seen.append((epoch, tracker.over_budget)))
    assert seen == [(1, False), (2, True)]


def test_an_exception_at_the_step_that_comes_to_it():
    """It is the exception's epoch, and not the budget's."""
    model, steps = mlp(), []

    def step(model, batch):
        steps.append(1)
        if len(steps) == 3:
            raise KeyError("body")
        return model(batch[0]).sum()

    ft = FlopsTracker(Flat(), max_flops=300)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ft.torch_bind(model, optimizer, train_loader=batches(5), step_fn=step)
    with pytest.raises(KeyError):
        ft.run(1)
    assert places(ft) == [(1, 2, False)]
    assert not ft.over_budget


# ---- warn, and functions ----


def test_warn_is_said_once_and_training_goes_on():
    ft = bound(max_flops=5 * STEP, on_budget="warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert ft.run(2) == 20 * STEP
    assert [str(w.message) for w in caught] == [
        "budget of 3,400 FLOPs (3.40 kFLOP) reached in epoch 1 step 5 · "
        "total 3,400 FLOPs (3.40 kFLOP); training goes on, as on_budget='warn' says"
    ]
    assert caught[0].category is UserWarning
    assert ft.over_budget
    assert places(ft) == [(1, 10, True), (2, 10, True)]


def test_a_warning_that_is_an_error_is_raised_where_the_step_is_recorded():
    ft = bound(max_flops=5 * STEP, on_budget="warn")
    with pytest.raises(UserWarning, match="training goes on"):
        ft.run(1)
    assert ft.total_flops == 5 * STEP
    assert places(ft) == [(1, 5, False)]


@pytest.mark.parametrize("answer, steps", [(True, 5), (1, 5), (False, 20), (None, 20)])
def test_a_function_is_called_once_and_its_answer_decides(answer, steps):
    seen = []

    def on_budget(tracker):
        seen.append(tracker.total_flops)
        return answer

    ft = bound(max_flops=5 * STEP, on_budget=on_budget)
    assert ft.run(2) == steps * STEP
    assert seen == [5 * STEP]


def test_a_function_that_raises():
    def on_budget(tracker):
        raise KeyError("mine")

    ft = bound(max_flops=5 * STEP, on_budget=on_budget)
    with pytest.raises(KeyError, match="mine"):
        ft.run(1)
    assert places(ft) == [(1, 5, False)]
    assert ft.run(1) == 15 * STEP  # it was asked


def test_a_function_that_gives_more():
    """Each budget is asked for once: at 5, 10 and 15 steps; then it is enough."""

    def on_budget(tracker):
        if tracker.max_flops == 15 * STEP:
            return True
        tracker.max_flops += 5 * STEP
        return False

    ft = bound(max_flops=5 * STEP, on_budget=on_budget)
    assert ft.run(4) == 15 * STEP


def test_a_function_that_trains():
    def on_budget(tracker):
        tracker.run(1)

    ft = bound(max_flops=5 * STEP, on_budget=on_budget)
    with pytest.raises(RuntimeError, match="is training an epoch already"):
        ft.run(1)


def test_a_function_that_knows_its_tracker_is_no_leak():
    def tracker_that_its_function_knows():
        known = []
        known.append(FlopsTracker(Flat(), max_flops=1, on_budget=lambda tracker: known))
        return weakref.ref(known[0])

    gone = tracker_that_its_function_knows()
    gc.collect()
    assert gone() is None


# ---- loops of the user's ----


def body(model, batch):
    x, y = batch
    F.cross_entropy(model(x), y).backward()


def test_steps_and_epochs_end_after_the_step(capsys):
    model, turns, validated = mlp(), [], []
    ft = FlopsTracker(model, convention="matmul", max_flops=12 * STEP)
    for epoch in ft.epochs(9):
        for batch in ft.steps(batches(10)):
            body(model, batch)
            turns.append(epoch)
        with ft.phase("validate"), torch.no_grad():
            for x, _ in ft.steps(batches(2)):
                model(x)
                validated.append(epoch)
    assert turns == [0] * 10 + [1] * 2
    assert validated == [0, 0, 1, 1]  # what is no training goes on
    assert ft.total_flops == 12 * STEP
    assert places(ft) == [(1, 10, True), (2, 2, False)]
    out = capsys.readouterr().out.splitlines()
    assert out == [
        "budget of 8,160 FLOPs (8.16 kFLOP) reached in epoch 2 step 2 · "
        "total 8,160 FLOPs (8.16 kFLOP)"
    ]


def test_steps_without_epochs(capsys):
    model, drawn = mlp(), []

    def loader():
        for batch in batches(10):
            drawn.append(1)
            yield batch

    ft = FlopsTracker(model, convention="matmul", max_flops=3 * STEP)
    for batch in ft.steps(loader()):
        body(model, batch)
    assert len(drawn) == 3
    assert places(ft) == [(1, 3, False)]
    for _ in ft.steps(batches(10)):
        raise AssertionError("over its budget")
    for _ in ft.epochs(3):
        raise AssertionError("over its budget")
    assert capsys.readouterr().out.count("reached in epoch 1 step 3") == 3


def test_the_last_of_steps_that_have_a_length():
    model = mlp()
    ft = FlopsTracker(model, convention="matmul", max_flops=3 * STEP)
    for batch in ft.steps(batches(3)):
        body(model, batch)
    assert places(ft) == [(1, 3, True)]


def test_a_phase_inside_of_a_step_is_not_the_budgets():
    """What counts is total_flops: training, and no validation."""
    model = mlp()
    ft = FlopsTracker(model, convention="matmul", max_flops=2 * STEP)
    steps = 0
    for batch in ft.steps(batches(10)):
        body(model, batch)
        with ft.phase("validate"):
            for x, _ in ft.steps(batches(5)):
                model(x)
        steps += 1
    assert steps == 2
    assert ft.phase_counts["validate"].total == 2 * 5 * 280


def test_single_steps_have_no_loop_to_end(capsys):
    model = mlp()
    ft = FlopsTracker(model, convention="matmul", max_flops=2 * STEP)
    (batch,) = batches(1)
    seen = []
    for _ in ft.epochs(3):
        for _ in range(4):
            with ft.step(batch):
                body(model, batch)
            seen.append(ft.over_budget)
            if ft.over_budget:
                break
    assert seen == [False, True]
    assert places(ft) == [(1, 2, True)]  # its body ran to its end
    assert "reached in epoch 1 step 2" in capsys.readouterr().out


def test_warn_and_functions_in_loops_of_ones_own():
    model, seen = mlp(), []
    ft = FlopsTracker(model, convention="matmul", max_flops=2 * STEP, on_budget=seen.append)
    for batch in ft.steps(batches(4)):
        body(model, batch)
    assert seen == [ft]
    assert places(ft) == [(1, 4, True)]
    ft = FlopsTracker(mlp(), max_flops=1, on_budget="warn")
    with pytest.warns(UserWarning, match="reached in epoch 1 step 1"), ft.step(batches(1)[0]):
        ft.estimator.model(torch.ones(1, 4))


def test_a_break_is_a_break():
    model = mlp()
    ft = FlopsTracker(model, convention="matmul", max_flops=2 * STEP)
    for _ in ft.epochs(2):
        for batch in ft.steps(batches(4)):
            body(model, batch)
            break
    assert places(ft) == [(1, 1, True), (2, 1, True)]


def test_by_hand():
    ft = FlopsTracker(Flat(), max_flops=250)
    with ft:
        ft.on_epoch_start()
        over = []
        for _ in range(4):
            ft.update_batch(1)
            over.append(ft.over_budget)
        ft.on_epoch_end()
    assert over == [False, False, True, True]
    assert places(ft) == [(1, 4, True)]
    seen = []
    ft = FlopsTracker(Flat(), max_flops=100, on_budget=seen.append)
    ft.on_epoch_start()
    ft.update_batch(1)
    ft.update_batch(1)
    assert seen == [ft]


def test_later_ranks_say_nothing(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    model = mlp()
    ft = FlopsTracker(model, max_flops=1)
    for batch in ft.steps(batches(4)):
        body(model, batch)
    assert len(ft.step_logs) == 1
    assert capsys.readouterr().out == ""


def test_a_printer_that_fails(monkeypatch):
    class Closed:
        def write(self, text):
            raise BrokenPipeError

        def flush(self):
            pass

    model = mlp()
    ft = FlopsTracker(model, convention="matmul", max_flops=STEP)
    monkeypatch.setattr(sys, "stdout", Closed())
    with pytest.raises(BrokenPipeError):
        for batch in ft.steps(batches(4)):
            body(model, batch)
    assert ft.total_flops == STEP
    assert places(ft) == [(1, 1, False)]


# ---- the line names the step that came to it ----


def told(out):
    return [line.split(" · ")[0] for line in out.splitlines() if line.startswith("budget")]


def test_a_smaller_budget_set_between_epochs_was_reached_before(capsys):
    """5 * STEP came with step 5 of epoch 1; the epoch that is open then has no step yet."""
    model = mlp()
    ft = FlopsTracker(model, convention="matmul")
    for epoch in ft.epochs(3):
        if epoch == 1:
            ft.max_flops = 5 * STEP
        for batch in ft.steps(batches(10)):
            body(model, batch)
    assert ft.total_flops == 10 * STEP
    assert told(capsys.readouterr().out)[0] == (
        "budget of 3,400 FLOPs (3.40 kFLOP) reached in epoch 1 step 5"
    )


@pytest.mark.parametrize(
    "kept, place",
    [
        ({}, " in epoch 1 step 5"),
        ({"keep_batch_logs": False}, " in epoch 1"),
        ({"keep_batch_logs": False, "keep_epoch_logs": False}, ""),
    ],
)
def test_it_says_what_the_records_say(capsys, kept, place):
    ft = bound(**kept)
    ft.run(2)
    ft.max_flops = 5 * STEP
    assert list(ft(range(1))) == []
    assert told(capsys.readouterr().out) == [
        f"budget of 3,400 FLOPs (3.40 kFLOP) reached{place}",
    ]


def test_without_logs_the_step_is_known_where_the_budget_was_there_before(capsys):
    ft = bound(max_flops=15 * STEP, keep_batch_logs=False, keep_epoch_logs=False)
    ft.run(3)
    list(ft(range(1)))
    assert told(capsys.readouterr().out) == [
        "budget of 10,200 FLOPs (10.2 kFLOP) reached in epoch 2 step 5"
    ]


def test_a_function_that_stops_and_sets_another_budget(capsys):
    """The line is about the budget that was reached, not the one that is there now."""

    def on_budget(tracker):
        tracker.max_flops = 100 * STEP
        return True

    model = mlp()
    ft = FlopsTracker(model, convention="matmul", max_flops=3 * STEP, on_budget=on_budget)
    for batch in ft.steps(batches(10)):
        body(model, batch)
    assert ft.total_flops == 3 * STEP
    assert told(capsys.readouterr().out) == [
        "budget of 2,040 FLOPs (2.04 kFLOP) reached in epoch 1 step 3"
    ]


def test_a_state_that_is_over_the_budget_it_is_loaded_into(capsys):
    before = bound()
    before.run(2)
    ft = bound(max_flops=13 * STEP)
    ft.load_state_dict(before.state_dict())
    assert list(ft(range(1))) == []
    assert told(capsys.readouterr().out) == [
        "budget of 8,840 FLOPs (8.84 kFLOP) reached in epoch 2 step 3"
    ]
