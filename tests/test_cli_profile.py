"""`flops-tracker profile`: FLOPs beside times, files, and what is refused before anything runs."""

import json

import pytest
from click.testing import CliRunner

from flops_tracker.cli import main

NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))

def broken():
    raise ValueError("no net today")
"""
# Of 2 rows: 2·2·4·8 + 16 biases; 2·2·8·3 + 6 biases; relu compares, which is none.
A, B = 144, 102


@pytest.fixture
def run(tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)

    def command(*args):
        steps = [] if "--help" in args else ["--steps", "2", "--warm-up", "0"]
        return CliRunner().invoke(main, ["profile", *args, *steps])

    return command


def test_the_tree_of_a_model(run):
    result = run("nets.py:Net", "--input", "2,4")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "Net("
    assert lines[2].startswith("  (a): Linear(40 params, 59.7 % · 144 FLOP, 58.5 % · ")
    assert lines[2].endswith(" · in_features=4, out_features=8, bias=True)")
    assert "most flops at depth 1: Linear 246 FLOP" in result.stdout
    assert "246 FLOPs · standard" in result.stdout
    assert " a step (median " in result.stdout


def test_by_operation_and_backward(run):
    result = run("nets.py:Net", "--input", "2,4", "--backward", "--by", "op", "--top", "2")
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[0][:4] == ["module", "operation", "phase", "FLOPs"]
    # Of the weights' gradients that of a is 2·2·4·8, the larger of the two.
    assert rows[1][:4] == ["Net.a", "aten.addmm.default", "forward", "144"]
    assert rows[2][1:4] == ["aten.mm.default", "backward", "128"]


def test_exact_numbers_as_json_and_nothing_beside_them(run):
    result = run("nets.py:Net", "--input", "2,4", "--json", "--memory", "--peak", "1e12")
    data = json.loads(result.stdout)
    by_module = {record["module"]: record["flops"] for record in data["records"]}
    assert by_module == {"Net": A + B, "Net.a": A, "Net.b": B}
    assert data["time"] > 0
    assert data["memory"] > 0
    # Products alone: 2·2·4·8 + 2·2·8·3.
    assert data["mfu"] == pytest.approx(224 / data["time"] / 1e12)


def test_without_times(run):
    result = run("nets.py:Net", "--input", "2,4", "--no-time", "--ignore", "aten.relu")
    assert " a step" not in result.stdout
    assert "ignored in the table: aten.relu" in result.stdout


def test_files(run, tmp_path):
    result = run("nets.py:Net", "--input", "2,4", "--trace", "step.json", "-o", "net.json")
    assert result.exit_code == 0
    trace = json.loads((tmp_path / "step.json").read_text())
    flops = [e["args"]["flops"] for e in trace["traceEvents"] if e["ph"] == "X"]
    assert sum(flops) == A + B
    assert json.loads((tmp_path / "net.json").read_text())["total"] == A + B


@pytest.mark.parametrize(
    "args, text",
    [
        (("nets.py:Nte",), "nets.py has no 'Nte'; did you mean 'Net'?"),
        (("nets.py:Net",), "give its inputs, as --input 1,3,224,224"),
        (("nets.py:broken",), "nets.py:broken() raised ValueError: no net today (nets.py, line"),
        (("nets.py:Net", "--input", "2;4"), "'2;4' is no shape"),
        (("nets.py:Net", "--peak", "-1"), "it is below 0"),
        (("nets.py:Net", "--no-time", "--trace", "t.json"), "leave --no-time out"),
        (("nets.py:Net", "--trace", "no/t.json"), "there is no folder 'no'"),
        (("nets.py:Net", "-o", "net.png"), "net.png"),
    ],
)
def test_what_is_refused(run, args, text):
    result = run(*args)
    assert result.exit_code == 2
    assert text in result.stderr
    assert result.stdout == ""


def test_help_has_examples(run):
    result = run("--help")
    assert "flops-tracker profile nets.py:Net --input 8,128:int64 --backward --memory" in (
        result.stdout
    )


def test_a_peak_with_its_unit(run):
    result = run("nets.py:Net", "--input", "2,4", "--json", "--peak", "5 GFLOP/s")
    data = json.loads(result.stdout)
    assert data["mfu"] == pytest.approx(224 / data["time"] / 5e9)
