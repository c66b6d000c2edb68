"""What a state says beside its records: phases, its run, how steps were counted, of which model."""

import copy
import json
import warnings

import pytest
import torch
from torch import nn
from training_models import Flat

from flops_tracker import FlopsTracker, TorchAutoEstimator

STEP = 2 * 2 * 4 * 3  # Linear(4, 3) on 2 rows, forward


def linear():
    return nn.Linear(4, 3)


def make(model=None, **options):
    return FlopsTracker(linear() if model is None else model, convention="matmul", **options)


def train(ft, epochs=2, count=10):
    for _ in ft.epochs(epochs):
        for x in ft.steps([torch.ones(2, 4)] * count):
            ft.estimator.model(x)
        with ft.phase("validate"):
            ft.estimator.model(torch.ones(2, 4))
    return ft


def loaded(state, **options):
    ft = make(**options)
    ft.load_state_dict(state)
    return ft


def without(state, *names):
    return {name: value for name, value in state.items() if name not in names}


# ---- how steps were counted ----


def test_steps_of_the_run_before_are_in_the_trust_line():
    """Of 20 steps in each run, those that were counted, and those that stand for others."""
    before = train(make())
    traced, replayed = before.traced_steps, before.replayed_steps
    assert traced + replayed == 20 and 0 < traced < 20
    ft = loaded(json.loads(json.dumps(before.state_dict())))
    assert (ft.traced_steps, ft.replayed_steps, ft.unattributed_steps) == (traced, replayed, 0)
    assert ft._loops.trust_line == before._loops.trust_line
    assert f"{traced} of 20 steps counted, {replayed} like one of them" in ft._loops.trust_line
    train(ft)
    assert ft.traced_steps + ft.replayed_steps == 40
    assert f"{ft.traced_steps} of 40 steps counted" in ft._loops.trust_line
    again = loaded(ft.state_dict())
    assert (again.traced_steps, again.replayed_steps) == (ft.traced_steps, ft.replayed_steps)


def test_a_state_that_does_not_say_them():
    state = without(train(make()).state_dict(), "counted_steps", "checksum")
    ft = loaded(state)
    assert ft._loops.trust_line.endswith("· counts of the state that was loaded")
    assert " of 0 steps" not in ft._loops.trust_line
    train(ft, epochs=1, count=3)
    assert ft._loops.trust_line.endswith(
        "3 of 3 steps counted · steps before the state was loaded not among them"
    )


def test_phases_alone_have_no_steps_to_speak_of():
    ft = make()
    with ft.phase("test"):
        ft.estimator.model(torch.ones(2, 4))
    assert "steps" not in ft._loops.trust_line


@pytest.mark.parametrize("wrong", [-1, 1.5, "3", None, True, 2**64])
def test_wrong_numbers_of_steps(wrong):
    state = without(train(make()).state_dict(), "checksum")
    state["counted_steps"] = {**state["counted_steps"], "replayed": wrong}
    with pytest.raises(ValueError, match=r"in its counted_steps: replayed must be a number of st"):
        loaded(state)


# ---- phases and the run ----


def changed(state, path, value):
    state = copy.deepcopy(without(state, "checksum"))
    at = state
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return state


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("run", "flops_validate"), 10**9, "flops_total is .*, and its phases add up to another"),
        (("run", "flops_total"), 0, "flops_total is 0, and its phases add up to another"),
        (("run", "flops_forward"), 10**9, r"flops_forward is 1,000,000,000, and the state has 1,"),
        (("run", "epochs"), 3, "epochs is 3, of 2 in all"),
        (("run", "complete"), 7, "complete is 7"),
        (("run", "complete"), True, "complete is True"),
        (("run", "duration_s"), float("inf"), "duration_s is inf"),
        (("run", "started"), "yesterday", "started is 'yesterday'"),
        (("run", "trained_parameters"), 1.5, r"trained_parameters is 1\.5"),
        (("run", "run_name"), None, "run_name is None"),
        (("run", "estimator"), "Mine", "estimator is 'Mine' and not 'TorchOpEstimator'"),
        (("run", "convention"), "macs", "convention is 'macs' and not 'matmul'"),
        (("phases",), {}, "flops_total is 1,056, and the state has 960 in all"),
        (("phases", "validate", "rows"), [], "flops_total is 1,056, and the state has 960 in all"),
        (("phases", "validate", "unknown_operations"), 10**6, "1,000,000 operations of fewer"),
        (("phases", "validate", "modules", 1, 5), 1, "True or False was expected, not 1"),
        (("phases", "validate", "modules", 1, 4), "alias", "a list was expected, not str"),
        (("phases", "validate", "modules", 1), [], "in its phases"),
    ],
)
def test_damage_that_sums_show(path, value, message):
    assert (20 * STEP, 22 * STEP) == (960, 1056)  # training; and 2 of validation
    state = train(make()).state_dict()
    ft = make()
    with pytest.raises(ValueError, match=message):
        ft.load_state_dict(changed(state, path, value))
    assert (ft.total_flops, ft.phase_counts, ft.epoch_logs) == (0, {}, [])
    ft.load_state_dict(state)
    assert ft.total_flops == 20 * STEP


def test_counts_that_do_not_fit_are_found_when_they_are_loaded():
    state = train(make()).state_dict()
    rows = state["phases"]["validate"]["rows"]
    at = next(i for i, row in enumerate(rows) if row[5] == "matmul")
    with pytest.raises(ValueError, match=r"in its phases: .* does not fit in 128 bits"):
        loaded(changed(state, ("phases", "validate", "rows", at, 7, 0), 2**127))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("phases", "train", "rows", 0, 6), 999),
        (("phases", "train", "modules", 1, 0), "another"),
        (("phases", "train", "operations"), 10**6),
        (("run", "run_name"), "another"),
        (("run", "devices"), "tpu"),
        (("counted_steps", "traced"), 1),
        (("model", "shapes"), "0" * 16),
    ],
)
def test_damage_that_no_sum_shows(path, value):
    state = train(make()).state_dict()
    damaged = {**changed(state, path, value), "checksum": state["checksum"]}
    with pytest.raises(ValueError, match="its phases, run, model or counted_steps are not as they"):
        loaded(damaged)
    assert loaded(json.loads(json.dumps(state))).total_flops == 20 * STEP


def test_a_phase_with_an_odd_name_is_refused():
    state = without(train(make()).state_dict(), "checksum")
    state["phases"]["a\nb"] = state["phases"].pop("validate")
    with pytest.raises(ValueError, match=r"in its phases: a phase is named by a word.*'a\\nb'"):
        loaded(state)


# ---- the model ----


def warned(state, model):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ft = loaded(state, model=model)
    assert ft.total_flops == 20 * STEP
    assert all(w.filename == __file__ for w in caught)
    return [str(w.message) for w in caught]


def test_another_model_is_warned_of():
    state = train(make()).state_dict()
    assert warned(state, linear()) == []
    (message,) = warned(state, nn.Linear(4, 5))
    assert message.startswith(
        "load_state_dict: the state was counted for Linear with 2 parameters of 15 elements, and "
        "this tracker counts Linear with 2 parameters of 25 elements: the total goes on over both"
    )


def test_other_names_or_shapes_are_warned_of():
    state = train(make()).state_dict()
    (message,) = warned(state, nn.Sequential(linear()))
    assert "of other names or shapes: the total" in message


def test_wrappers_and_models_that_are_not_known_yet_are_no_other_model():
    model = linear()
    state = train(make(model)).state_dict()
    wrapped = nn.Module()
    wrapped.module = model
    wrapped.forward = model.forward
    assert warned(state, torch.compile(model)) == []
    assert warned(state, wrapped) == []
    assert FlopsTracker(nn.LazyLinear(3)).state_dict()["model"] is None
    assert warned(without(state, "model", "checksum"), nn.Linear(4, 5)) == []


def test_where_the_warning_is_an_error_nothing_is_loaded():
    state = train(make()).state_dict()
    ft = make(nn.Linear(4, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="the state was counted for Linear"):
            ft.load_state_dict(state)
    assert (ft.total_flops, ft.phase_counts) == (0, {})


def test_estimators_of_layers_have_a_model_and_those_of_ones_own_none():
    assert FlopsTracker(Flat()).state_dict()["model"] is None
    state = FlopsTracker(TorchAutoEstimator(linear(), (1, 4))).state_dict()
    assert (state["model"]["parameters"], state["model"]["elements"]) == (2, 15)
    with pytest.warns(UserWarning, match="with 2 parameters of 25 elements"):
        FlopsTracker(TorchAutoEstimator(nn.Linear(4, 5), (1, 4))).load_state_dict(state)
