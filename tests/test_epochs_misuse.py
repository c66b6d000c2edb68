"""Wrong use of ft(epochs): options, and the same tracker inside of its own loop."""

from pathlib import Path

import pytest
from training_models import (
    OneAfterTheOther,
    column,
    files_in,
    same_state,
    state_of,
    toy,
    toy_batches,
)

from flops_tracker import FlopsTracker

QUIET = {"print_level": "none"}


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# ---- one clear error before any training starts ----


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"print_level": "all"}, ValueError, "print_level must be 'none', 'epoch', 'batch' or"),
        ({"print_level": ""}, ValueError, "print_level"),
        ({"print_level": "Epoch"}, ValueError, "print_level"),
        ({"print_level": None}, TypeError, "print_level must be 'none'.*not None"),
        ({"print_level": 1}, TypeError, "print_level must be 'none'.*not 1"),
        ({"export": "csv"}, ValueError, "export must be 'none', 'epoch', 'batch' or 'both'"),
        (
            {"export": True},
            TypeError,
            "export must be 'none', 'epoch', 'batch' or 'both', not True",
        ),
        ({"progress": "no"}, TypeError, "progress must be True or False, not 'no'"),
        ({"wandb": None}, TypeError, "wandb must be True or False, not None"),
        ({"export_prefix": 3}, TypeError, "str"),
        ({"export_prefix": "a\0b"}, ValueError, "null"),
        ({"overwrite": "yes"}, ValueError, "overwrite must be 'rename', 'append', 'replace' or"),
        ({"overwrite": None}, TypeError, "overwrite must be 'rename'.*not None"),
        ({"on_epoch_end": 3}, TypeError, "on_epoch_end must be callable"),
        ({"wandb_log": "steps"}, ValueError, "wandb_log"),
        ({"colour": "red"}, TypeError, "colour"),
        ({"epochs": 1}, TypeError, "argument"),
    ],
)
@pytest.mark.parametrize("use", ["run", "loop"])
def test_unknown_option_values(use, options, error, words):
    bound = toy()
    before = state_of(bound.model)
    start = bound.tracker.run if use == "run" else bound.tracker
    with pytest.raises(error, match=words):
        start(1, **{"export": "both", **options})
    assert same_state(state_of(bound.model), before)
    assert bound.tracker.total_flops == 0
    assert bound.tracker.epoch_logs == []
    assert files_in(Path.cwd()) == []


@pytest.mark.parametrize(
    ("epochs", "error"),
    [
        (-1, ValueError),
        (-(2**70), ValueError),
        (2.0, TypeError),
        (True, TypeError),
        (None, TypeError),
        ("3", TypeError),
        (object(), TypeError),
        (2**64, OverflowError),
    ],
)
def test_what_is_no_number_of_epochs(epochs, error):
    bound = toy()
    before = state_of(bound.model)
    with pytest.raises(error, match=r"epochs|too (large|big)"):
        bound.tracker.run(epochs, export="both")
    assert same_state(state_of(bound.model), before)
    assert files_in(Path.cwd()) == []


def test_no_epochs_at_all():
    with pytest.raises(TypeError, match=r"epochs|argument"):
        toy().tracker()


def test_options_are_given_by_name():
    with pytest.raises(TypeError):
        toy().tracker(1, "none")


def test_an_error_in_the_options_leaves_a_running_loop_alone():
    ft = toy().tracker
    for _ in ft(2, **QUIET):
        with pytest.raises(ValueError, match="print_level"):
            ft.run(1, print_level="all")
    assert ft.total_flops == 1440


# ---- the same tracker inside of its own loop ----


@pytest.mark.parametrize(
    "inner",
    [
        lambda ft: ft.run(1),
        lambda ft: list(ft(range(1), **QUIET)),
    ],
    ids=["run", "loop"],
)
def test_training_again_in_the_body_ends_the_outer_loop_with_an_error(inner):
    ft = toy().tracker
    with pytest.raises(RuntimeError, match="another use of its tracker"):
        for _ in ft(range(9), export="both", **QUIET):
            inner(ft)
    # One epoch of the outer loop and one of the inner, each counted once.
    assert ft.total_flops == 1440
    assert [(e.epoch, e.flops_epoch, e.complete) for e in ft.epoch_logs] == [
        (1, 720, True),
        (2, 720, True),
    ]
    assert column("run_epoch.csv", "epoch") == [1]
    assert ft.run(1) == 2160


def count_by_hand(ft):
    ft.on_epoch_start()
    ft.update_batch(10)
    ft.on_epoch_end()


def enter_and_leave(ft):
    with ft:
        pass


@pytest.mark.parametrize(
    "inner",
    [count_by_hand, enter_and_leave, lambda ft: ft.update_batch(10), lambda ft: ft.on_epoch_end()],
    ids=["epoch", "with", "update_batch", "on_epoch_end"],
)
def test_counting_by_hand_in_the_body_is_an_error_and_not_a_shorter_training(inner):
    ft = toy().tracker
    with pytest.raises(RuntimeError):
        for _ in ft(range(9), **QUIET):
            inner(ft)
    assert sum(e.flops_epoch for e in ft.epoch_logs) == ft.total_flops
    assert ft.total_flops in (720, 1440)  # 1440: an epoch by hand, of 10 * 72 = 720
    before = ft.total_flops
    assert ft.run(1) == before + 720


USES = [
    lambda ft: ft.update_batch(1),
    lambda ft: ft.on_epoch_start(),
    lambda ft: ft.on_epoch_end(),
    lambda ft: ft.run(1),
    lambda ft: list(ft(1)),
    lambda ft: ft.__exit__(None, None, None),
]
NAMES = ["update_batch", "on_epoch_start", "on_epoch_end", "run", "loop", "exit"]


@pytest.mark.parametrize("use", USES, ids=NAMES)
def test_use_in_step_fn_is_an_error_and_counts_nothing(use):
    errors = []

    def step(model, batch):
        with pytest.raises(RuntimeError, match="training") as caught:
            use(ft)
        errors.append(caught.value)
        return model(batch[0]).square().mean()

    ft = toy(step_fn=step).tracker
    assert ft.run(1, export="both") == 720
    assert len(errors) == 3
    assert column("run_batch.csv", "flops_total_cum") == [288, 576, 720]
    assert [(e.flops_epoch, e.complete) for e in ft.epoch_logs] == [(720, True)]


@pytest.mark.parametrize("use", USES, ids=NAMES)
def test_use_in_the_callback_is_an_error_and_counts_nothing(use):
    errors = []

    def at_end(tracker, epoch):
        with pytest.raises(RuntimeError, match="training") as caught:
            use(tracker)
        errors.append(caught.value)

    ft = toy().tracker
    assert ft.run(2, on_epoch_end=at_end) == 1440
    assert len(errors) == 2


class CallingLoader:
    """Uses the tracker while it makes the second batch."""

    def __init__(self, use):
        self.use = use
        self.tracker = None

    def __iter__(self):
        for number, batch in enumerate(toy_batches()):
            if number == 1 and self.use is not None:
                use, self.use = self.use, None
                use(self.tracker)
            yield batch


@pytest.mark.parametrize("use", USES, ids=NAMES)
def test_use_in_the_loader_is_an_error_and_counts_nothing(use):
    loader = CallingLoader(use)
    loader.tracker = ft = toy(loader=loader).tracker
    with pytest.raises(RuntimeError, match="training"):
        ft.run(1, export="both")
    assert ft.total_flops == 288  # the batch before
    assert column("run_batch.csv", "flops_total_cum") == [288]
    assert [(e.flops_epoch, e.complete) for e in ft.epoch_logs] == [(288, False)]
    assert ft.run(1) == 288 + 720 == 1008


def test_binding_in_step_fn_is_an_error():
    def step(model, batch):
        ft.torch_bind(bound.model, bound.optimizer, train_loader=[])

    bound = toy(step_fn=step)
    ft = bound.tracker
    with pytest.raises(RuntimeError, match="training"):
        ft.run(1)


def test_a_loop_that_is_not_finished_gives_way_to_the_next():
    ft = toy().tracker
    left = ft(range(9), export="both", **QUIET)
    next(left)
    assert ft.run(2, export="both") == 3 * 720
    assert column("run_epoch.csv", "epoch") == [1, 2, 3]
    with pytest.raises(RuntimeError, match="another use of its tracker"):
        next(left)
    assert ft.total_flops == 3 * 720


@pytest.mark.parametrize("inner", [count_by_hand, lambda ft: ft.run(1)], ids=["by hand", "run"])
def test_epochs_that_use_the_tracker_end_their_loop(inner):
    def epochs():
        yield "first"
        inner(ft)
        yield "second"

    ft = toy().tracker
    items = []
    with pytest.raises(RuntimeError, match="another use of its tracker"):
        items.extend(item for item in ft(epochs(), export="epoch", **QUIET))
    # One epoch of the loop and one of inner, whose ten samples cost 720; no third is trained.
    assert ft.total_flops == 1440
    assert [(e.epoch, e.flops_epoch) for e in ft.epoch_logs] == [(1, 720), (2, 720)]
    assert column("run_epoch.csv", "epoch") == [1]


# ---- StopIteration is an error of the user's code and no end of training ----


def run_out(*_):
    return next(iter([]))


@pytest.mark.parametrize("place", ["step_fn", "loss_fn", "on_epoch_end"])
@pytest.mark.parametrize("use", ["run", "loop"])
def test_an_iterator_that_runs_out_in_the_users_code_is_an_error(place, use):
    ft = toy(**({place: run_out} if place != "on_epoch_end" else {})).tracker
    options = {"on_epoch_end": run_out} if place == "on_epoch_end" else {}
    with pytest.raises(RuntimeError, match="StopIteration") as caught:
        ft.run(3, **options) if use == "run" else list(ft(3, **QUIET, **options))
    assert isinstance(caught.value.__cause__, StopIteration)
    # The callback comes after a whole epoch of 720, the others before the first batch is counted.
    assert ft.total_flops == (720 if place == "on_epoch_end" else 0)
    assert len(ft.epoch_logs) == 1


def test_an_estimator_that_runs_out_is_an_error():
    bound = toy()
    ft = FlopsTracker(OneAfterTheOther([5, 7]))
    ft.torch_bind(bound.model, bound.optimizer, train_loader=toy_batches())
    with pytest.raises(RuntimeError, match="StopIteration"):
        ft.run(9)
    assert ft.total_flops == 5 + 7
