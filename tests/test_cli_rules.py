"""`flops-tracker rules`: lists of rules, and one operation with the numbers of a call."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from flops_tracker import explain, rules
from flops_tracker.cli import main


def run(*arguments):
    return CliRunner().invoke(main, ["rules", *arguments])


def test_rules_by_pattern():
    result = run("aten.addmm")
    assert result.exit_code == 0
    assert result.stdout == f"{rules('aten.addmm')}\n"
    assert "aten.addmm: matmul, mac = " in result.stdout


def test_all_rules_as_data():
    data = json.loads(run("--json").stdout)
    assert len(data) == len(rules())
    [rule] = [rule for rule in data if rule["name"] == "aten.mm"]
    assert rule["formula"] == "matmul"
    assert list(rule) == [
        "name",
        "formula",
        "equation",
        "op_class",
        "source",
        "examples",
        "operands",
    ]


@pytest.mark.parametrize(
    ("texts", "arguments", "keywords", "flops"),
    [
        # (4, 5) @ (5, 6) is 120 multiply-accumulates; the bias is 24 additions
        (["aten.addmm", "6", "4,5", "5,6"], ((6,), (4, 5), (5, 6)), {}, 2 * 120 + 24),
        (["aten::mm", "4,5", "mat2=5,6"], ((4, 5),), {"mat2": (5, 6)}, 2 * 120),
        (["aten.sum.dim_IntList", "4,5", "dim=[1]"], ((4, 5),), {"dim": [1]}, 4 * 4),
        (["aten.mul.Tensor", "7", "7"], ((7,), (7,)), {}, 7),
        (["aten.cat", "[(4, 5), (4, 5)]", "1"], ([(4, 5), (4, 5)], 1), {}, 0),
        (["aten.gelu", "9", "approximate=tanh"], ((9,),), {"approximate": "tanh"}, None),
    ],
)
def test_a_call_with_its_numbers(texts, arguments, keywords, flops):
    result = run(*texts)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{explain(texts[0], *arguments, **keywords)}\n"
    assert flops is None or f"\nstandard {flops} · " in result.stdout


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["konv2d"], "no rule has 'konv2d' in its name; did you mean 'Conv2d'?"),
        (
            ["aten.mmm", "4,5", "5,6"],
            "there is no operation 'aten.mmm' in this PyTorch; did you mean",
        ),
        (["mm", "4,5", "5,6"], "did you mean 'aten.mm'?"),
        (["aten.mm", "4,5", "6,7"], "a and b must have same reduction dim"),
        (["aten.mm", "4,5"], "aten.mm.default needs 'mat2' (Tensor)"),
        (["aten.mm", "4,5", "5,6", "7"], "takes 2 arguments, not 3"),
        (["aten.mm", "4,5", "other=5,6"], "has no argument 'other'"),
        (["aten.mm", "4,5", "5,6", "--json"], "--json is for lists of rules"),
    ],
)
def test_wrong_arguments(texts, words):
    result = run(*texts)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert words in result.stderr and "Traceback" not in result.stderr


def test_a_list_needs_no_torch():
    script = (
        "import sys; sys.modules['torch'] = None; from flops_tracker.cli import main;"
        "main(['rules', 'aten.mm'])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
    )
    assert "aten.mm: matmul" in done.stdout
