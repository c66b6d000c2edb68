"""Options of a tracker: names that are none, and the values as attributes."""

from pathlib import Path

import pytest
import torch
from torch import nn
from training_models import Flat

from flops_tracker import FlopsTracker, TorchAutoEstimator


@pytest.mark.parametrize(
    "given, meant",
    [
        ("max_flop", "max_flops"),
        ("conventoin", "convention"),
        ("peakflops", "peak_flops"),
        ("keep_batch_log", "keep_batch_logs"),
        ("on_bugdet", "on_budget"),
    ],
)
def test_a_misspelled_option_has_a_hint(given, meant):
    with pytest.raises(TypeError) as error:
        FlopsTracker(Flat(), **{given: None})
    assert str(error.value) == f"FlopsTracker has no option {given!r}; did you mean {meant!r}?"


def test_an_option_like_none_has_the_list():
    with pytest.raises(TypeError, match=r"no option 'zzz'; it has estimator, run_name, .*"):
        FlopsTracker(Flat(), zzz=1)


def test_options_of_a_loop():
    ft = FlopsTracker(Flat())
    with pytest.raises(TypeError, match=r"no option 'print_levle'; did you mean 'print_level'\?"):
        ft(1, print_levle="none")
    with pytest.raises(TypeError, match=r"no option 'exports'; did you mean 'export'\?"):
        ft.run(1, exports="both")


def test_options_are_attributes(tmp_path):
    def on_budget(tracker):
        return True

    ft = FlopsTracker(
        nn.Linear(2, 2),
        run_name="mine",
        log_wall_time=False,
        keep_batch_logs=False,
        keep_epoch_logs=False,
        convention="matmul",
        trace="first",
        verify_every=7,
        max_flops="1 kFLOP",
        on_budget=on_budget,
        peak_flops={"bf16": "2 TFLOP/s"},
        project="digits",
        runs_csv=tmp_path / "runs.csv",
    )
    assert (ft.run_name, ft.convention, ft.trace, ft.verify_every) == ("mine", "matmul", "first", 7)
    assert (ft.log_wall_time, ft.keep_batch_logs, ft.keep_epoch_logs) == (False, False, False)
    assert (ft.max_flops, ft.on_budget) == (1000, on_budget)
    assert ft.peak_flops == {"bfloat16": 2e12}
    assert (ft.project, ft.runs_csv) == ("digits", Path(tmp_path / "runs.csv"))


def test_attributes_of_the_defaults():
    ft = FlopsTracker(Flat())
    assert (ft.run_name, ft.convention, ft.trace, ft.verify_every) == ("run", None, "auto", 500)
    assert (ft.log_wall_time, ft.keep_batch_logs, ft.keep_epoch_logs) == (True, True, True)
    assert (ft.max_flops, ft.on_budget, ft.peak_flops) == (None, "stop", None)
    assert (ft.project, ft.runs_csv) == (None, None)
    assert FlopsTracker(nn.Linear(2, 2)).convention == "standard"
    layers = TorchAutoEstimator(nn.Linear(2, 2), input_example=(1, 2))
    assert FlopsTracker(layers).convention == layers.convention == "layerwise × 3.0"


def test_attributes_can_not_be_changed_behind_the_checks():
    ft = FlopsTracker(nn.Linear(2, 2), peak_flops={"float32": 1e12}, trace="always")
    ft.peak_flops["float32"] = -1.0
    assert ft.peak_flops == {"float32": 1e12}
    for name in ("trace", "verify_every", "peak_flops", "on_budget", "project", "keep_batch_logs"):
        with pytest.raises(AttributeError):
            setattr(ft, name, None)
    assert ft.trace == "always"
    ft.steps([torch.ones(1, 2)])
