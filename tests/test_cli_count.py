"""`flops-tracker count` and `compare`: factories by name, inputs by shape, gates and exit codes."""

import json
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner

from flops_tracker import FlopCount, FlopCounter
from flops_tracker.cli import main

NETS = '''
import torch
from torch import nn

print("made by nets")

class Small(nn.Module):
    """On B rows: 2·B·4·8 + 8·B, and 2·B·8·3 + 3·B."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))

class Tokens(nn.Module):
    """2·B·L·4·5 + 5·B·L; a product with the mask is 5·B·L more."""

    def __init__(self):
        super().__init__()
        self.table, self.out, self.drop = nn.Embedding(10, 4), nn.Linear(4, 5), nn.Dropout()

    def forward(self, ids, mask=None):
        y = self.out(self.table(ids))
        return y if mask is None else y * mask.unsqueeze(-1)

class Reader(nn.Module):
    def forward(self, x):
        return -x if x.sum().item() > 0 else x + 1

class Unknown(nn.Module):
    def forward(self, x):
        return torch.ops.flops_tracker_cli_test.op(x)

def large():
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))

model = large()

def with_inputs():
    return Small(), torch.zeros(2, 4)

def with_arguments():
    return Tokens(), (torch.zeros(2, 3, dtype=torch.int64),)

def with_keywords():
    return Tokens(), {"ids": torch.zeros(2, 3, dtype=torch.int64), "mask": torch.ones(2, 3)}

def broken():
    raise KeyError("no such config")

def leaves():
    raise SystemExit(3)

def number():
    return 3

class Holder:
    Inner = Small
'''


@torch.library.custom_op("flops_tracker_cli_test::op", mutates_args=())
def nobody_knows(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


SMALL = 2 * (2 * 4 * 8 + 8) + 2 * (2 * 8 * 3 + 3)  # on 2 rows
LARGE = 2 * (2 * 4 * 16 + 16) + 2 * (2 * 16 * 3 + 3)


@pytest.fixture(autouse=True)
def nets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "ft_nets.py").write_text(NETS)
    yield tmp_path / "ft_nets.py"
    sys.modules.pop("ft_nets", None)
    sys.modules.pop("ft_nets.py", None)


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def count(*arguments):
    """Count with --json; the data, and what went to stderr."""
    result = run("count", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout), result.stderr


def problem(*arguments):
    """Fail with the exit code of wrong input, and nothing on stdout."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr.replace("made by nets\n", "")


# ---- what is counted ----


def test_tables_on_stdout_and_the_rest_on_stderr():
    result = run("count", "ft_nets:Small", "--input", "2,4")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["Small.a", "Linear", "1", "144", "144", "58.5", "%"] in lines
    assert lines[-2][0] == str(SMALL) == "246"
    assert result.stderr == "made by nets\n"


@pytest.mark.parametrize(
    ("target", "inputs", "total"),
    [
        ("ft_nets:Small", ["2,4"], SMALL),
        ("ft_nets.py:Small", ["2, 4"], SMALL),
        ("ft_nets:Holder.Inner", ["x=2,4"], SMALL),
        ("ft_nets:large", ["2,4:float64"], LARGE),
        ("ft_nets:model", ["2,4"], LARGE),
        ("ft_nets:with_inputs", [], SMALL),
        ("ft_nets:with_inputs", ["4,4"], 2 * SMALL),
        ("ft_nets:with_arguments", [], 6 * 45),
        ("ft_nets:with_keywords", [], 6 * 50),
        ("ft_nets:Tokens", ["2,3:int64", "2,3"], 6 * 50),
        ("ft_nets:Tokens", ["mask=2,3:float32", "ids=2,3:int64"], 6 * 50),
    ],
)
def test_targets_and_inputs(target, inputs, total):
    options = [part for value in inputs for part in ("--input", value)]
    assert count(target, *options)[0]["total"] == total


def test_training_and_conventions():
    # The sum of the output is 5 additions; backward: weights as much as forward, 96 for what is
    # between the layers, and biases 8 + 3. AdamW: 14 for each of 67 parameters, 1 for each tensor.
    data, _ = count("ft_nets:with_inputs", "--backward", "--optimizer", "AdamW")
    assert data["forward"] == SMALL + 5
    assert data["backward"] == (128 + 96) + 96 + 11
    assert data["optimizer"] == 14 * 67 + 4
    data, _ = count("ft_nets:with_inputs", "--convention", "macs")
    assert data["total"] == 2 * 4 * 8 + 2 * 8 * 3


def test_the_mode_of_the_model():
    # Dropout in train mode multiplies and draws; in eval mode it does nothing.
    source = "ft_nets:Tokens"
    sys.path.insert(0, "")
    import ft_nets

    ft_nets.Tokens.forward = lambda self, ids: self.drop(self.out(self.table(ids)))
    train, _ = count(source, "--input", "2,3:int64")
    evaluated, _ = count(source, "--input", "2,3:int64", "--eval")
    assert evaluated["total"] == 6 * 45 < train["total"]


@pytest.mark.filterwarnings("default:counted on real tensors")
def test_data_is_read_on_real_tensors_and_said():
    data, stderr = count("ft_nets:Reader", "--input", "7")
    assert data["total"] == 6 + 7  # the sum of seven zeros, then seven additions
    assert data["on"].startswith("real")
    assert "\nwarning: counted on real tensors, since the model reads data" in f"\n{stderr}"
    assert ".py:" not in stderr
    assert (
        count("ft_nets:Reader", "--input", "7", "--on", "real")[1] == ""
    )  # it is imported already


@pytest.mark.parametrize("suffix", ["json", "csv", "html", "md"])
def test_files(suffix, tmp_path):
    path = tmp_path / f"c.{suffix}"
    result = run("count", "ft_nets:with_inputs", "-o", path)
    assert result.exit_code == 0
    assert "246" in path.read_text() or suffix == "csv"
    if suffix == "json":
        assert FlopCount.from_json(path).total == SMALL


# ---- the gate ----


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ("246", 0),
        ("245", 1),
        ("0.246k", 0),
        ("0.245 kFLOP", 1),
        ("8.2G", 0),
        ("8.2 GFLOPs", 0),
        ("2.45e2", 1),
        ("0", 1),
    ],
)
def test_the_gate(limit, code):
    result = run("count", "ft_nets:with_inputs", "--max", limit, "--json")
    assert result.exit_code == code
    assert json.loads(result.stdout)["total"] == SMALL
    said = "246 FLOPs are " if code else "within the --max of "
    assert said in result.stderr


def test_how_far_over():
    result = run("count", "ft_nets:with_inputs", "--max", "100")
    assert "246 FLOPs are 146 over the --max of 100 FLOPs (standard)\n" in result.stderr


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("lots", "it must begin with a number"),
        ("", "it must begin with a number"),
        ("-1G", "it is below 0"),
        ("8 GFLOPS", "this is an amount: write FLOP"),
        ("8 horses", "after the number comes FLOP"),
        ("1e39", "does not fit in 128 bits"),
    ],
)
def test_limits_that_are_none(limit, words):
    said = problem("count", "ft_nets:with_inputs", f"--max={limit}")
    assert "Invalid value for '--max'" in said and words in said


# ---- what is wrong ----


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ft_nets"], "'ft_nets' must be MODULE:FACTORY or FILE.py:FACTORY"),
        (["ft_nets:"], "must be MODULE:FACTORY"),
        (["ft_nets:Smaal"], "ft_nets has no 'Smaal'; did you mean 'Small'?"),
        (["ft_nets:xyz"], "ft_nets has no 'xyz'; it has Small, Tokens, Reader"),
        (["ft_net:Small"], "there is no module 'ft_net'; did you mean 'ft_nets'?"),
        (["qqqqqq:Small"], "there is no module 'qqqqqq' on the path, nor in "),
        (["folder/nets:Small"], "for a file write folder/nets.py:FACTORY"),
        (["ft_net.py:Small"], "there is no file 'ft_net.py'; did you mean 'ft_nets.py'?"),
        (["ft_bad:x"], "importing ft_bad raised ModuleNotFoundError: No module named 'no_such_lib"),
        (["ft_bad.py:x"], "ft_bad.py raised ModuleNotFoundError: No module named 'no_such_lib' "
         "(ft_bad.py, line 2)"),
        (["ft_nets:broken"], "ft_nets:broken() raised KeyError: 'no such config' (ft_nets.py, "),
        (["ft_nets:leaves"], "ft_nets:leaves() raised SystemExit(3)"),
        (["ft_nets:number"], "must give a torch.nn.Module, or one and its inputs, and gave int"),
        (["ft_nets:torch"], "and no class, function or module"),
        (["torch.nn:Linear"], "torch.nn:Linear() raised TypeError: Linear.__init__() missing 2"),
        (["ft_nets:Small"], "missing 1 required positional argument: 'x'; give its inputs, as --"),
        (["ft_nets:Small", "--input", "2,5"], "counting Small raised RuntimeError: mat1 and mat2 "
         "shapes cannot be multiplied (2x5 and 4x8) (ft_nets.py, line "),
        (["ft_nets:Small", "--input", "2,5"], "  Small was called with (float32 tensor (2, 5))\n"),
        (["ft_nets:Small", "--input", "2x4"], "'2x4' is no shape such as 1,3,224,224"),
        (["ft_nets:Small", "--input", ""], "'' is no shape"),
        (["ft_nets:Small", "--input", "2,-4"], "'2,-4' is no shape"),
        (["ft_nets:Small", "--input", "2,4:int46"], "no dtype 'int46'; did you mean 'int64'?"),
        (["ft_nets:Small", "--input", "x=2,4", "--input", "x=3,4"], "it has a name twice"),
        (["ft_nets:Small", "--input", f"{10**20},4"], "an input of (100000000000000000000, 4) ra"),
        (["ft_nets:Small", "--input", "y=2,4"], "unexpected keyword argument 'y'"),
        (["ft_nets:with_inputs", "--optimizer", "sgd"], "--optimizer sgd needs gradients: add --"),
        (["ft_nets:with_inputs", "--backward", "--optimizer", "adamm"], "did you mean 'adam'?"),
        (["ft_nets:with_inputs", "-o", "c.txt"], "must end in .json, .csv, .html or .md"),
        (["ft_nets:with_inputs", "-o", "none/c.json"], "there is no folder 'none'"),
        (["ft_nets:Unknown", "--input", "3", "--strict"], "flops_tracker_cli_test.op"),
    ],
)  # fmt: skip
def test_wrong_input_is_said_briefly(arguments, words, tmp_path):
    (tmp_path / "ft_bad.py").write_text("\nimport no_such_lib\n")
    assert words in problem("count", *arguments)


# ---- compare ----


def test_saved_counts_and_factories(tmp_path):
    before = tmp_path / "before.json"
    before.write_text(run("count", "ft_nets:with_inputs", "--json").stdout)
    result = run("compare", before, "ft_nets:large", "--input", "2,4")
    assert result.exit_code == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["before", "large", "ratio", "difference"]
    assert ["total", "246", "486", "1.98", "×", f"+{LARGE - SMALL}"] in lines
    assert ["a", "Linear", "144", "-", "gone", "-144"] in lines


def test_comparison_as_data(tmp_path):
    options = ("--input", "2,4", "--convention", "matmul", "--json", "-o", tmp_path / "c.md")
    result = run("compare", "ft_nets:Small", "ft_nets.py:large", "ft_nets:large", *options)
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    # Without biases: 2·2·(4·8 + 8·3) and 2·2·(4·16 + 16·3)
    assert data["total"]["flops"] == [224, 448, 448]
    assert data["names"] == ["1: ft_nets:Small", "2: ft_nets.py:large", "3: ft_nets:large"]
    assert "| `total` | 224 | 448 | 448 | 2.00 × | 2.00 × |" in (tmp_path / "c.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["one.json"], "two targets or more, not 1"),
        (["no.json", "ft_nets:model"], "no.json: No such file or directory"),
        (["text.json", "text.json"], "'text.json': Expecting value"),
        (["ft_nets:Smaal", "ft_nets:model", "--input", "2,4"], "did you mean 'Small'?"),
        (["ft_nets:Small", "ft_nets:model", "-o", "c.html"], "a comparison has no page"),
        (["other.json", "ft_nets:with_inputs"], "can't be read under 'flops_profiler'"),
    ],
)
def test_what_can_not_be_compared(arguments, words, tmp_path):
    (tmp_path / "text.json").write_text("text")
    with FlopCounter(convention="flops_profiler") as counter:
        torch.ones(3).neg()
    counter.to_json(tmp_path / "other.json")
    assert words in problem("compare", *arguments)


# ---- the command itself ----


def test_the_command_is_installed():
    done = subprocess.run(
        [sys.executable, "-P", "-m", "flops_tracker", "count", "ft_nets:with_inputs", "--max", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "246 FLOPs are 245 over" in done.stderr


@pytest.mark.parametrize("command", ["count", "compare", "rules"])
def test_help_has_examples_and_exit_codes(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"\n    flops-tracker {command} " in result.stdout
    assert "Exit codes: 0" in result.stdout
    assert f"  {command} " in run("--help").stdout


def test_compare_uses_each_option_or_refuses_it(tmp_path):
    (tmp_path / "a.json").write_text(
        run("count", "ft_nets.py:Small", "--input", "2,4", "--json").stdout
    )
    refused = run("compare", "a.json", "a.json", "--backward")
    assert refused.exit_code == 2
    assert "--backward is for what is counted, and all of these are files" in refused.stderr
    # Products of 2 rows: 2·4·8 + 2·8·3 multiply-accumulates.
    read = json.loads(run("compare", "a.json", "a.json", "--convention", "macs", "--json").stdout)
    assert (read["convention"], read["total"]["flops"]) == ("macs", [112, 112])
    mixed = run("compare", "a.json", "ft_nets.py:Small", "--input", "2,4", "--backward")
    assert "a: without a backward pass, which others have" in mixed.stdout
