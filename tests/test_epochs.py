"""The loop over ft(epochs): what it may run over, what it says, and what it leaves when broken."""

import math
import os
import re
import warnings
from pathlib import Path

import pytest
import torch
from training_models import (
    TOY_EPOCH,
    column,
    files_in,
    read_csv,
    same_state,
    state_of,
    toy,
    toy_batches,
)

QUIET = {"print_level": "none"}


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# ---- what it runs over ----


class Iterable:
    """An iterable without a length."""

    def __iter__(self):
        return iter("xyz")


@pytest.mark.parametrize(
    ("epochs", "items"),
    [
        (range(3), [0, 1, 2]),
        (range(5, 7), [5, 6]),
        (3, [0, 1, 2]),
        (0, []),
        ([], []),
        ((n for n in "ab"), ["a", "b"]),
        (["warm-up", None, 3.5], ["warm-up", None, 3.5]),
        ({"x": 1, "y": 2}, ["x", "y"]),
        (Iterable(), ["x", "y", "z"]),
    ],
)
def test_each_item_is_an_epoch_and_goes_to_the_body(epochs, items):
    ft = toy().tracker
    totals = []
    seen = [totals.append(ft.total_flops) or item for item in ft(epochs, **QUIET)]
    assert seen == items
    # An epoch is trained before its body: the first body sees 720 already.
    assert totals == [TOY_EPOCH * (n + 1) for n in range(len(items))]
    assert ft.total_flops == TOY_EPOCH * len(items)
    assert [e.epoch for e in ft.epoch_logs] == list(range(1, len(items) + 1))


def test_a_numpy_integer_is_a_number_of_epochs():
    np = pytest.importorskip("numpy")
    assert toy().tracker.run(np.int64(2)) == 2 * TOY_EPOCH


def test_an_array_is_an_iterable():
    np = pytest.importorskip("numpy")
    ft = toy().tracker
    assert [int(item) for item in ft(np.arange(2), **QUIET)] == [0, 1]
    assert ft.total_flops == 2 * TOY_EPOCH


def test_run_returns_the_total_and_goes_on():
    ft = toy().tracker
    assert ft.run(2) == 2 * 720 == 1440
    assert ft.run(range(1)) == 3 * 720 == 2160
    assert ft.run(epochs=0) == 2160


def test_enumerate_and_zip():
    ft = toy().tracker
    assert list(enumerate(ft(["ab"], **QUIET))) == [(0, "ab")]
    # zip asks its first iterable again before it notices that the second is at its end.
    assert list(zip(ft(range(9), **QUIET), "xy", strict=False)) == [(0, "x"), (1, "y")]
    assert ft.total_flops == (1 + 3) * TOY_EPOCH


def test_a_named_iterator_goes_on_where_it_was():
    ft = toy().tracker
    epochs = ft(range(4), **QUIET)
    assert iter(epochs) is epochs
    for item in epochs:
        if item == 1:
            break
    assert ft.total_flops == 2 * TOY_EPOCH
    assert list(epochs) == [2, 3]
    assert list(epochs) == []
    assert ft.total_flops == 4 * TOY_EPOCH


def test_trains_the_model_in_train_mode():
    bound = toy()
    before = state_of(bound.model)
    bound.model.eval()
    bound.tracker.run(1)
    assert bound.model.training
    assert not same_state(state_of(bound.model), before)


# ---- on_epoch_end, print levels, progress ----


def test_on_epoch_end_is_called_with_tracker_and_epoch():
    ft = toy().tracker
    calls = []

    def at_end(tracker, epoch):
        calls.append((tracker is ft, epoch, tracker.total_flops, len(tracker.epoch_logs)))

    ft.run(2, on_epoch_end=at_end)
    ft.run(1, on_epoch_end=at_end)
    ft.run(1, on_epoch_end=None)
    assert calls == [(True, 1, 720, 1), (True, 2, 1440, 2), (True, 3, 2160, 3)]


EPOCH_LINE = r"epoch 1 · 720 FLOPs · total 720 FLOP · loss \d\S* · \d+\.\d\d s"
TOTAL_LINE = r"total 720 FLOPs · .*"
BATCH_LINES = [
    r"epoch 1 step 1 · batch of 4 · 288 FLOPs · epoch 288 FLOP · total 288 FLOP",
    r"epoch 1 step 2 · batch of 4 · 288 FLOPs · epoch 576 FLOP · total 576 FLOP",
    r"epoch 1 step 3 · batch of 2 · 144 FLOPs · epoch 720 FLOP · total 720 FLOP",
]


@pytest.mark.parametrize(
    ("level", "lines"),
    [
        ("none", []),
        ("epoch", [EPOCH_LINE, TOTAL_LINE]),
        ("batch", [*BATCH_LINES, TOTAL_LINE]),
        ("both", [*BATCH_LINES, EPOCH_LINE, TOTAL_LINE]),
    ],
)
def test_print_levels(level, lines, capsys):
    toy().tracker.run(1, print_level=level)
    printed = capsys.readouterr()
    assert printed.err == ""
    assert len(printed.out.splitlines()) == len(lines)
    for line, pattern in zip(printed.out.splitlines(), lines, strict=True):
        assert re.fullmatch(pattern, line)


def test_run_is_silent_and_a_loop_prints_epochs_by_default(capsys):
    ft = toy().tracker
    ft.run(1)
    assert capsys.readouterr().out == ""
    for _ in ft(1):
        print("body")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" ·")[0] for line in lines] == [
        "epoch 2",
        "body",
        "total 1,440 FLOPs (1.44 kFLOP)",
    ]


def test_progress_goes_to_stderr_and_leaves_the_printed_lines_whole(capsys):
    pytest.importorskip("tqdm")
    ft = toy().tracker
    for _ in ft(1, print_level="both", progress=True):
        print("body")
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    for line, pattern in zip(lines, [*BATCH_LINES, EPOCH_LINE, "body", TOTAL_LINE], strict=True):
        assert re.fullmatch(pattern, line)
    assert "3/3" in printed.err  # the loader's three batches
    assert "720 FLOP" in printed.err
    assert "FLOP/s" in printed.err


def test_progress_without_a_known_length(capsys):
    pytest.importorskip("tqdm")
    ft = toy(loader=(batch for batch in toy_batches())).tracker
    assert ft.run(iter("a"), progress=True) == TOY_EPOCH
    assert "3batch" in capsys.readouterr().err.replace(" ", "")


# ---- broken off ----


def raise_at(calls, error):
    """Do nothing for some calls, then raise."""

    def count(*_):
        calls[0] -= 1
        if calls[0] < 0:
            raise error

    return count


class Loader:
    """Batches, and an exception before the one with the given number."""

    def __init__(self, fail_at, error):
        self.check = raise_at([fail_at], error)

    def __iter__(self):
        for batch in toy_batches():
            self.check()
            yield batch


def failing_step(check):
    def step(model, batch):
        check()
        return model(batch[0]).square().mean()

    return step


def failing_loss(check):
    def loss(output, target):
        check()
        return output.square().mean()

    return loss


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("place", ["loader", "step_fn", "loss_fn"])
def test_an_epoch_that_an_exception_ends(place, error, recwarn):
    # Five batches go through: 4, 4, 2 | 4, 4, and the third of epoch 2 fails.
    check = raise_at([5], error)
    loader = Loader(5, error) if place == "loader" else toy_batches()
    options = {
        "step_fn": {"step_fn": failing_step(check)},
        "loss_fn": {"loss_fn": failing_loss(check)},
    }
    bound = toy(loader=loader, **options.get(place, {}))
    ft = bound.tracker
    with pytest.raises(error):
        for _ in ft(range(9), export="both", **QUIET):
            pass
    assert ft.total_flops == 720 + 576 == 1296
    assert [(e.epoch, e.flops_epoch, e.complete) for e in ft.epoch_logs] == [
        (1, 720, True),
        (2, 576, False),
    ]
    assert column("run_batch.csv", "flops_total_cum") == [288, 576, 720, 1008, 1296]
    assert column("run_epoch.csv", "flops_epoch") == [720, 576]
    assert column("run_epoch.csv", "complete") == [1, 0]
    assert open_files() == []

    # The tracker goes on with a training that works, and its numbers too.
    ft.torch_bind(bound.model, bound.optimizer, train_loader=toy_batches())
    assert ft.run(1, export="both") == 1296 + 720 == 2016
    assert column("run_batch.csv", "epoch") == [1, 1, 1, 2, 2, 3, 3, 3]
    assert column("run_batch.csv", "step") == [1, 2, 3, 1, 2, 1, 2, 3]
    assert column("run_epoch.csv", "flops_total_cum") == [720, 1296, 2016]
    assert len(recwarn) == 0


def open_files():
    """CSV files that this process holds open."""
    if not os.path.isdir("/proc/self/fd"):
        return []
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue  # the descriptor of listdir itself
    return [link for link in links if link.endswith(".csv")]


def test_the_exception_is_the_one_that_was_raised():
    error = ValueError("mine")
    ft = toy(loader=Loader(1, error)).tracker
    with pytest.raises(ValueError, match="mine") as caught:
        ft.run(1)
    assert caught.value is error
    assert error.__context__ is None


def test_a_broken_off_epoch_is_printed_as_such(capsys):
    ft = toy(loader=Loader(1, ZeroDivisionError)).tracker
    with pytest.raises(ZeroDivisionError):
        ft.run(1, print_level="epoch")
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith("epoch 1 · 288 FLOPs")
    assert line.endswith("broken off")


@pytest.mark.parametrize("leave", ["break", ZeroDivisionError, KeyboardInterrupt])
def test_leaving_from_the_body_keeps_the_epoch_that_was_trained(leave):
    ft = toy().tracker
    try:
        for item in ft(range(9), export="both", **QUIET):
            if item == 1:
                if leave == "break":
                    break
                raise leave
    except (ZeroDivisionError, KeyboardInterrupt):
        pass
    assert ft.total_flops == 1440
    assert [(e.epoch, e.flops_epoch, e.complete) for e in ft.epoch_logs] == [
        (1, 720, True),
        (2, 720, True),
    ]
    assert column("run_epoch.csv", "flops_total_cum") == [720, 1440]
    assert len(column("run_batch.csv", "step")) == 6
    assert open_files() == []
    assert ft.run(1, export="both") == 2160
    assert column("run_epoch.csv", "epoch") == [1, 2, 3]


def test_an_exception_in_the_callback_keeps_its_epoch_and_ends_the_loop():
    ft = toy().tracker
    with pytest.raises(ZeroDivisionError):
        ft.run(3, export="both", on_epoch_end=raise_at([1], ZeroDivisionError))
    assert [(e.epoch, e.complete) for e in ft.epoch_logs] == [(1, True), (2, True)]
    assert column("run_epoch.csv", "flops_total_cum") == [720, 1440]
    assert open_files() == []
    assert ft.run(1) == 2160


def test_an_exception_of_the_epochs_themselves():
    def epochs():
        yield 0
        raise ZeroDivisionError

    ft = toy().tracker
    with pytest.raises(ZeroDivisionError):
        ft.run(epochs(), export="both")
    assert ft.total_flops == 720
    assert [e.complete for e in ft.epoch_logs] == [True]
    assert open_files() == []


def test_an_exception_of_iter_comes_through_unchanged():
    class Broken:
        def __iter__(self):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        toy().tracker.run(Broken())


# ---- never looped over ----


def test_a_loop_that_never_ran_is_warned_of():
    bound = toy()
    before = state_of(bound.model)
    with pytest.warns(RuntimeWarning, match=r"never looped over.*run\("):
        bound.tracker(range(3))
    assert same_state(state_of(bound.model), before)
    assert bound.tracker.run(1) == 720


def test_a_loop_of_no_epochs_or_one_that_was_left_gives_none():
    ft = toy().tracker
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in ft(0, **QUIET):
            pass
        for _ in ft(3, **QUIET):
            break
    assert files_in(Path.cwd()) == []


# ---- a loss that is no number ----


def test_a_nan_loss_is_shown_everywhere(capsys):
    bound = toy([(torch.full((2, 4), math.nan), torch.tensor([0, 1]))])
    for _ in bound.tracker(1, export="epoch"):
        pass
    assert "loss nan" in capsys.readouterr().out
    assert math.isnan(bound.tracker.epoch_logs[0].loss)
    assert [row["loss"] for row in read_csv("run_epoch.csv")] == ["nan"]
