"""FlopsTracker by hand: counting, wrong use, what it says, the life of the object."""

import gc
import re
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from training_models import (
    TOY_FLOPS,
    OneAfterTheOther,
    PerSample,
    same_state,
    state_of,
    toy,
    toy_batches,
)

from flops_tracker import FlopsEstimator, FlopsTracker, SklearnSGDEstimator, TorchAutoEstimator


def state(tracker):
    return tracker.total_flops, list(tracker.step_logs), list(tracker.epoch_logs)


def test_a_loop_by_hand():
    # 4·B·f·C with f = 5 and C = 2 is 40 a sample: 3 samples 120, 4 samples 160, 1 sample 40.
    with FlopsTracker(SklearnSGDEstimator(5, 2)) as ft:
        ft.on_epoch_start()
        ft.update_batch(3)
        ft.update_batch(batch_size=4)
        ft.on_epoch_end()
        ft.on_epoch_start()
        ft.update_batch(batch_size=1)
        ft.on_epoch_end()
    assert ft.total_flops == 320
    assert [log.flops_epoch for log in ft.epoch_logs] == [280, 40]
    assert all(log.complete for log in ft.epoch_logs)


def test_the_context_manager_gives_the_tracker_and_is_not_needed():
    ft = FlopsTracker(PerSample(7))
    with ft as entered:
        assert entered is ft
    ft.on_epoch_start()
    ft.update_batch(3)
    assert ft.total_flops == 21  # also while the epoch is open
    assert ft.on_epoch_end() is None
    assert ft.total_flops == 21


def test_leaving_the_block_ends_an_open_epoch_as_broken_off():
    ft = FlopsTracker(PerSample(7))
    with pytest.raises(ZeroDivisionError), ft:
        ft.on_epoch_start()
        ft.update_batch(3)
        raise ZeroDivisionError
    assert [(log.epoch, log.flops_epoch, log.complete) for log in ft.epoch_logs] == [(1, 21, False)]
    ft.on_epoch_start()
    ft.update_batch(1)
    ft.on_epoch_end()
    assert [(log.epoch, log.flops_epoch, log.complete) for log in ft.epoch_logs] == [
        (1, 21, False),
        (2, 7, True),
    ]


def test_the_estimator_is_prepared_on_entering():
    class Prepared(TorchAutoEstimator):
        prepared = 0

        def prepare(self):
            self.prepared += 1

    estimator = Prepared(nn.Linear(2, 2), (1, 2))
    with FlopsTracker(estimator):
        assert estimator.prepared == 1


@pytest.mark.parametrize(
    "name", ["model", "input_example", "batch_dim", "n_classes", "n_features", "prepare"]
)
def test_an_own_estimator_may_call_its_attributes_what_it_likes(name):
    estimator = PerSample(7)
    setattr(estimator, name, "resnet50")
    bound = toy()
    ft = FlopsTracker(estimator)
    ft.torch_bind(bound.model, bound.optimizer, train_loader=toy_batches())
    assert ft.run(1) == 7 * 10


def test_every_integer_type_is_a_batch_size():
    np = pytest.importorskip("numpy")
    ft = FlopsTracker(PerSample(7))
    ft.on_epoch_start()
    for size in (np.int64(2), np.uint8(3), 0, 2**64 - 6):
        ft.update_batch(size)
    assert ft.total_flops == 7 * (2**64 - 1)
    ft.on_epoch_end()
    assert ft.epoch_logs[0].samples == 2**64 - 1


def test_more_samples_than_a_column_holds_are_an_error_and_change_nothing():
    ft = FlopsTracker(PerSample(7))
    ft.on_epoch_start()
    ft.update_batch(2**63)
    before = state(ft)
    with pytest.raises(OverflowError):
        ft.update_batch(2**63)
    assert state(ft) == before
    ft.update_batch(2**63 - 1)
    ft.on_epoch_end()
    assert ft.epoch_logs[0].samples == 2**64 - 1


# ---- wrong order, wrong arguments: one clear error, and nothing changes ----


def test_a_batch_before_an_epoch():
    ft = FlopsTracker(PerSample(7))
    with pytest.raises(RuntimeError, match=r"no epoch is open.*on_epoch_start"):
        ft.update_batch(3)
    assert state(ft) == (0, [], [])


def test_ending_an_epoch_that_is_not_open():
    ft = FlopsTracker(PerSample(7))
    with pytest.raises(RuntimeError, match=r"no epoch is open.*on_epoch_start"):
        ft.on_epoch_end()
    assert state(ft) == (0, [], [])


def test_starting_an_epoch_twice():
    ft = FlopsTracker(PerSample(7))
    ft.on_epoch_start()
    ft.update_batch(3)
    with pytest.raises(RuntimeError, match=r"an epoch is open.*on_epoch_end"):
        ft.on_epoch_start()
    ft.update_batch(1)
    ft.on_epoch_end()
    assert [(log.epoch, log.flops_epoch) for log in ft.epoch_logs] == [(1, 28)]


def test_training_by_itself_while_an_epoch_is_open_by_hand():
    ft = toy().tracker
    ft.on_epoch_start()
    with pytest.raises(RuntimeError, match="on_epoch_end"):
        ft.run(1)
    ft.on_epoch_end()
    assert ft.total_flops == 0


@pytest.mark.parametrize(
    ("arguments", "keywords", "error"),
    [
        ((), {}, TypeError),
        ((1, 2), {}, TypeError),
        ((1,), {"batch_size": 1}, TypeError),
        ((), {"size": 1}, TypeError),
        ((2.0,), {}, TypeError),
        (("2",), {}, TypeError),
        ((None,), {}, TypeError),
        ((True,), {}, TypeError),
        ((-1,), {}, ValueError),
        ((-(2**70),), {}, ValueError),
        ((2**64,), {}, OverflowError),
    ],
)
def test_wrong_batch_sizes(arguments, keywords, error):
    ft = FlopsTracker(PerSample(7))
    ft.on_epoch_start()
    ft.update_batch(3)
    before = state(ft)
    with pytest.raises(error, match=r"batch_size|too (large|big)"):
        ft.update_batch(*arguments, **keywords)
    assert state(ft) == before


@pytest.mark.parametrize(
    ("count", "error"),
    [(1.5, TypeError), ("7", TypeError), (None, TypeError), (-1, ValueError), (True, TypeError)],
)
def test_wrong_results_of_an_own_estimator(count, error):
    ft = FlopsTracker(OneAfterTheOther([5, count, 6]))
    ft.on_epoch_start()
    ft.update_batch(1)
    before = state(ft)
    with pytest.raises(error, match="flops_for_batch"):
        ft.update_batch(1)
    assert state(ft) == before
    ft.update_batch(1)
    assert ft.total_flops == 11


def test_the_exception_of_an_own_estimator_comes_through_unchanged():
    ft = FlopsTracker(OneAfterTheOther([5]))
    ft.on_epoch_start()
    ft.update_batch(1)
    with pytest.raises(StopIteration):
        ft.update_batch(1)
    assert ft.total_flops == 5


def test_the_base_class_asks_for_its_one_method():
    with pytest.raises(TypeError, match="FlopsEstimator does not define flops_for_batch"):
        FlopsTracker(FlopsEstimator())


@pytest.mark.parametrize("estimator", [None, 3, "TorchAutoEstimator", PerSample, object()])
def test_what_is_no_estimator(estimator):
    with pytest.raises(TypeError, match=r"TorchAutoEstimator.*SklearnSGDEstimator"):
        FlopsTracker(estimator)


def test_a_missing_estimator():
    with pytest.raises(TypeError, match=r"estimator|argument"):
        FlopsTracker()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"run_name": 3}, "run_name must be a str, not 3"),
        ({"run_name": None}, "run_name must be a str, not None"),
        ({"color": 1}, "color"),
        ({"log_wall_time": "no"}, "log_wall_time must be True or False, not 'no'"),
        ({"keep_batch_logs": 2}, "keep_batch_logs must be True or False, not 2"),
        ({"keep_epoch_logs": None}, "keep_epoch_logs must be True or False, not None"),
    ],
)
def test_wrong_options_of_the_constructor(options, words):
    with pytest.raises(TypeError, match=words):
        FlopsTracker(PerSample(1), **options)


@pytest.mark.parametrize(("on", "off"), [(True, False), (1, 0), (np.True_, np.False_)])
def test_what_is_on_or_off(on, off):
    assert FlopsTracker(PerSample(1), keep_batch_logs=on).step_logs == []
    with pytest.raises(RuntimeError, match="keep_batch_logs=False"):
        _ = FlopsTracker(PerSample(1), keep_batch_logs=off).step_logs


@pytest.mark.parametrize("batch", [torch.zeros(3, 4), np.zeros((3, 4))])
def test_a_batch_in_the_place_of_its_size(batch):
    ft = FlopsTracker(PerSample(7))
    ft.on_epoch_start()
    words = r"must be an integer, not a .* of shape \(3, 4\); did you mean batch_size=len\(x\)\?"
    with pytest.raises(TypeError, match=words):
        ft.update_batch(batch)
    assert ft.total_flops == 0


def test_nothing_bound_names_the_ways_to_bind():
    ft = FlopsTracker(PerSample(1))
    for use in (ft, ft.run, ft.estimate):
        with pytest.raises(RuntimeError, match=r"torch_bind\(.*sklearn_bind\("):
            use(1)
    assert ft.total_flops == 0


# ---- saying it ----


def test_print_total_flops_is_one_line(capsys):
    ft = FlopsTracker(SklearnSGDEstimator(64, 10))
    ft.on_epoch_start()
    ft.update_batch(1000)  # 4 * 1000 * 64 * 10 = 2,560,000
    assert ft.print_total_flops() is None
    out = capsys.readouterr().out
    assert out.startswith("total 2,560,000 FLOPs (2.56 MFLOP)")
    assert out.count("\n") == 1


def test_print_total_flops_of_an_own_estimator_names_it(capsys):
    FlopsTracker(PerSample(7)).print_total_flops()
    assert re.fullmatch(r"total 0 FLOPs · .*PerSample.*\n", capsys.readouterr().out)


def test_repr_names_run_total_and_epochs():
    ft = FlopsTracker(PerSample(1000), run_name="it's")
    ft.on_epoch_start()
    ft.update_batch(2)
    assert repr(ft) == """<FlopsTracker "it's": 2,000 FLOPs in 1 epochs>"""


def test_the_estimator_and_the_name_can_be_read_but_not_set():
    estimator = PerSample(7)
    ft = FlopsTracker(estimator, "night")
    assert ft.estimator is estimator
    assert ft.run_name == "night"
    assert FlopsTracker(estimator).run_name == "run"
    for name in ("estimator", "run_name", "total_flops", "step_logs", "epoch_logs", "history"):
        with pytest.raises(AttributeError):
            setattr(ft, name, None)


# ---- the life of the object ----


def test_two_trackers_are_independent():
    estimator = PerSample(7)
    one, other = FlopsTracker(estimator), FlopsTracker(estimator)
    one.on_epoch_start()
    other.on_epoch_start()
    one.update_batch(1)
    other.update_batch(10)
    one.update_batch(2)
    one.on_epoch_end()
    assert (one.total_flops, other.total_flops) == (21, 70)
    assert len(one.epoch_logs) == 1
    assert other.epoch_logs == []


def test_a_subclass_may_add_what_it_likes():
    class Budget(FlopsTracker):
        def __init__(self, estimator, most):
            super().__init__(estimator, run_name="budget")
            self.most = most

        def update_batch(self, batch_size):
            super().update_batch(batch_size)
            return self.total_flops <= self.most

    ft = Budget(PerSample(7), most=21)
    ft.on_epoch_start()
    assert [ft.update_batch(1), ft.update_batch(2), ft.update_batch(1)] == [True, True, False]
    assert repr(ft).startswith("<")


def test_cycles_are_collected():
    class Holder(PerSample):
        tracker = None

    estimator = Holder(7)
    ft = FlopsTracker(estimator)
    estimator.tracker = ft
    ft.on_epoch_start()
    ft.update_batch(1)
    dead = weakref.ref(ft)
    del ft, estimator
    gc.collect()
    assert dead() is None


def test_a_cycle_through_a_loop_is_collected():
    loops = []
    bound = toy(step_fn=lambda model, batch: (model(batch[0]).sum(), 4 + len(loops)))
    loops.append(bound.tracker(range(3), print_level="none"))
    next(loops[0])
    assert bound.tracker.total_flops == 3 * 5 * TOY_FLOPS
    dead = weakref.ref(bound.tracker)
    bound = loops = None
    gc.collect()
    assert dead() is None


def count_one(ft):
    ft.on_epoch_start()
    ft.update_batch(1)


def test_a_tracker_whose_init_was_not_called_gives_clear_errors():
    ft = FlopsTracker.__new__(FlopsTracker)
    assert ft.total_flops == 0
    assert "FlopsTracker" in repr(ft)
    for use in (ft.print_total_flops, lambda: count_one(ft)):
        with pytest.raises((RuntimeError, TypeError), match="__init__"):
            use()
    assert ft.total_flops == 0


def test_a_subclass_that_forgets_init_is_refused_before_any_training():
    class Forgetful(FlopsTracker):
        def __init__(self, estimator):
            self.own = estimator

    bound = toy()
    before = state_of(bound.model)
    ft = Forgetful(bound.tracker.estimator)
    with pytest.raises((RuntimeError, TypeError), match="__init__"):
        ft.torch_bind(bound.model, bound.optimizer, train_loader=toy_batches()).run(1)
    assert same_state(state_of(bound.model), before)


def test_init_called_twice_is_an_error_and_changes_nothing():
    estimator = PerSample(7)
    ft = FlopsTracker(estimator)
    ft.on_epoch_start()
    ft.update_batch(3)
    with pytest.raises(RuntimeError, match="twice"):
        ft.__init__(PerSample(1), "other", keep_batch_logs=False)
    assert (ft.estimator, ft.run_name, ft.total_flops) == (estimator, "run", 21)
    assert len(ft.step_logs) == 1


def test_cycles_through_the_arguments_are_collected():
    class Name(str):
        pass

    class Factor(float):
        pass

    class Device:
        pass

    name, factor, device = Name("run"), Factor(3), Device()
    name.tracker = FlopsTracker(PerSample(7), run_name=name)
    factor.estimator = TorchAutoEstimator(nn.Linear(2, 2), (1, 2), training_factor=factor)
    device.estimator = TorchAutoEstimator(nn.Linear(2, 2), (1, 2), device=device)
    assert type(name.tracker.run_name) is str
    dead = [weakref.ref(x) for x in (name.tracker, factor, device)]
    del name, factor, device
    gc.collect()
    assert [x() for x in dead] == [None] * 3
