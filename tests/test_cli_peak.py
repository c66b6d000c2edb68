"""`flops-tracker peak`: what it measures, prints and refuses; no time is judged."""

import json
import sys

import pytest
import torch
from click.testing import CliRunner

from flops_tracker import FlopsTracker, _core
from flops_tracker.cli import main
from flops_tracker.cli import peak as peak_module


def peak(*options):
    return CliRunner().invoke(main, ["peak", *options])


QUICK = ("--size", "16", "--seconds", "0.001")


def test_json_says_what_was_measured():
    result = peak(*QUICK, "--dtype", "fp32", "--dtype", "float64", "--dtype", "float32", "--json")
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["device"] == "cpu"
    assert data["threads"] == torch.get_num_threads()
    assert [row["dtype"] for row in data["results"]] == ["float32", "float64"]  # each once
    for row in data["results"]:
        assert row["flops"] == 2 * 16**3
        assert row["repeats"] >= 3
        assert 0 < row["median_flops_per_second"] <= row["best_flops_per_second"]
        assert row["stated_flops_per_second"] is None
        assert data["peak_flops"][row["dtype"]] == row["best_flops_per_second"]


def test_the_line_it_prints_can_be_used():
    result = peak(*QUICK, "--dtype", "float32", "--dtype", "bf16")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == f"cpu, {torch.get_num_threads()} threads"
    (titles,) = [line.split() for line in lines if "median" in line]
    assert titles == ["dtype", "size", "repeats", "median", "best"]
    call = lines[-1]
    model = torch.nn.Linear(2, 2)
    ft = eval(call, {"FlopsTracker": FlopsTracker, "model": model})
    assert set(ft._peak_flops) == {"float32", "bfloat16"}


def test_the_table_as_json_is_the_table():
    result = peak("--list", "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert rows == [
        {"device": device, "peak_flops": peaks, "source": source}
        for device, peaks, source in _core._peaks()
    ]
    by_device = {row["device"]: row["peak_flops"] for row in rows}
    assert by_device["NVIDIA H100 SXM"]["bfloat16"] == 989.4e12
    assert set(by_device["NVIDIA T4"]) == {"float32", "float16"}  # what is not known is left out
    ft = FlopsTracker(torch.nn.Linear(2, 2), peak_flops=by_device["NVIDIA L4"])
    assert ft.peak_flops == by_device["NVIDIA L4"]


def test_median_and_best_of_repeats(monkeypatch):
    """Repeats of 4, 2 and 8 s for a product of 2*16**3 FLOPs."""
    monkeypatch.setattr(peak_module, "time_repeats", lambda product, wait, seconds: [4.0, 2.0, 8.0])
    data = json.loads(peak(*QUICK, "--dtype", "float32", "--json").stdout)
    (row,) = data["results"]
    assert row["median_flops_per_second"] == 8192 / 4
    assert row["best_flops_per_second"] == 8192 / 2
    assert row["repeats"] == 3


def test_repeats_on_a_clock_that_stands_still(monkeypatch):
    """A product takes 0.005 s: 4 are a repeat of 0.02 s; 0.1 s are over after 5 repeats."""
    now, calls = [100.0], []

    def product():
        calls.append(1)
        now[0] += 0.005

    monkeypatch.setattr(peak_module.time, "perf_counter", lambda: now[0])
    found = peak_module.time_repeats(product, lambda: None, 0.0999)
    assert len(calls) == 2 + 5 * 4
    assert found == [pytest.approx(0.005)] * 5
    assert len(peak_module.time_repeats(product, lambda: None, 1e-9)) == 3


def test_a_known_device_is_shown_with_its_data_sheet(monkeypatch):
    monkeypatch.setattr(peak_module, "device_name", lambda device: "NVIDIA A100-SXM4-80GB")
    result = peak(*QUICK, "--dtype", "float32", "--dtype", "float64")
    assert result.exit_code == 0, result.output
    assert "data sheet" in result.stdout
    assert result.stdout.count("19.5 TFLOP/s") == 2
    assert "The data sheet's is used where peak_flops is not given." in result.stdout


@pytest.mark.parametrize(
    "options, text",
    [
        (["--size", "0"], "0 is not in the range x>=1"),
        (["--size", "big"], "'big' is not a valid integer"),
        (["--seconds", "0"], "0.0 is not in the range 0<x<=3600"),
        (["--seconds", "nan"], "nan is no time"),
        (["--dtype", "int8"], "'int8' is not one of"),
        (["--dtype", "tf32"], "tf32 is of CUDA devices, and this is cpu"),
        (["--device", "banana"], "'banana' can't be used here"),
        (["--device", "meta"], "'meta' computes nothing, or does not say when it is done"),
        (["--dtype", "float64", "--size", "4000000"], "float64 of size 4000000 can't be measured"),
        (["now"], "unexpected extra argument"),
    ],
)
def test_wrong_options(options, text):
    result = peak(*options)
    assert result.exit_code == 2
    assert text in result.stderr
    assert result.stdout == ""
    assert len([line for line in result.stderr.splitlines() if line.startswith("Error: ")]) == 1


def test_what_can_not_be_measured_is_left_out(monkeypatch):
    real = peak_module._measure

    def measure(torch, dtype, *rest):
        if dtype == "bfloat16":
            raise RuntimeError("no kernel\nand more")
        return real(torch, dtype, *rest)

    monkeypatch.setattr(peak_module, "_measure", measure)
    result = peak(*QUICK, "--json")
    assert result.exit_code == 0
    assert "skipped: bfloat16 of size 16 can't be measured: no kernel\n" in result.stderr
    assert list(json.loads(result.stdout)["peak_flops"]) == ["float64", "float32"]
    monkeypatch.setattr(peak_module, "_usual_dtypes", lambda device: ["bfloat16"])
    monkeypatch.setattr(peak_module, "_measure", measure)
    result = peak(*QUICK)
    assert result.exit_code == 2
    assert "nothing could be measured" in result.stderr


def test_without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    result = peak(*QUICK)
    assert result.exit_code == 1
    assert result.stderr == "Error: torch is not installed: pip install flops-tracker[torch]\n"
    result = peak("--list")
    assert result.exit_code == 0


def test_the_flags_stay_as_they_were():
    before = torch.backends.cuda.matmul.allow_tf32
    for dtype, within in (("tf32", True), ("float32", False)):
        with pytest.raises(KeyError), peak_module._float32_products(torch, dtype):
            assert torch.backends.cuda.matmul.allow_tf32 is within
            raise KeyError
        assert torch.backends.cuda.matmul.allow_tf32 is before


def test_the_list_has_every_device_with_its_source():
    result = peak("--list")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    for device, peaks, source in _core._peaks():
        (line,) = [line for line in lines if line.strip().startswith(f"{device}  ")]
        assert line.rstrip().endswith(source)
        for rate in peaks.values():
            assert f"{rate / 1e12:g}" in line.split()
