"""`flops-tracker ledger` adds up runs and resumptions exactly, and sets them against thresholds."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from training_models import PerSample

from flops_tracker import FlopsTracker
from flops_tracker._run_ledger import COLUMNS, append
from flops_tracker.cli import main

BIG = 10**23


def run(*arguments):
    return CliRunner().invoke(main, ["ledger", *map(str, arguments)])


def as_json(*arguments):
    result = run(*arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def add(path, run_id, train, **others):
    row = {
        **dict.fromkeys(COLUMNS),
        "run_id": run_id,
        "project": "p",
        "convention": "matmul",
        "started": f"2026-11-2{run_id[-1]}T00:00:00Z",
        "flops_total": train,
        "flops_train": train,
        "complete": 1,
    }
    append(path, {**row, **others})


@pytest.fixture
def path(tmp_path):
    """Of p: a run that was killed, and the one that resumed it; a run of q under another name."""
    path = tmp_path / "runs.csv"
    add(path, "1", 6 * BIG // 10, complete=0)
    add(path, "2", 4 * BIG // 10 + 1, resumed_from="1", flops_validate=7, flops_test=5,
        flops_total=4 * BIG // 10 + 13)  # fmt: skip
    add(path, "3", 5, project="q")
    return path


def test_a_project_is_the_sum_of_its_runs(path):
    [p] = as_json(path, "--project", "p", "--threshold", "1e23", "--threshold", "1e25")
    assert p["flops_train"] == BIG + 1
    assert p["flops_total"] == BIG + 13
    assert (p["flops_validate"], p["flops_test"], p["flops_generate"]) == (7, 5, None)
    assert (p["runs"], p["resumed"], p["broken_off"]) == (2, 1, 1)
    assert p["first_started"] == "2026-11-21T00:00:00Z"
    assert [t["flops"] for t in p["thresholds"]] == [BIG, 100 * BIG]
    assert [t["reached"] for t in p["thresholds"]] == [True, False]
    assert p["thresholds"][1]["share"] == pytest.approx(0.01)


def test_a_threshold_is_an_exact_number(tmp_path):
    """As a float 1e23 is 99999999999999991611392."""
    path = tmp_path / "runs.csv"
    add(path, "1", BIG - 1)
    [p] = as_json(path, "--threshold", "1e23", "--threshold", f"{BIG - 1:,}")
    assert [t["reached"] for t in p["thresholds"]] == [False, True]
    printed = run(path, "--threshold", "1e23").stdout
    assert "99.99 % of 1e+23: not reached" in printed
    assert "100 %" not in printed


def test_all_projects_as_a_table(path):
    result = run(path)
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["p", "matmul", "2", "1", "1", "100", "ZFLOP", "12", "FLOP"] in lines
    assert ["q", "matmul", "1", "0", "0", "5", "FLOP"] in lines
    assert f"p: {BIG + 1:,} FLOPs of training (matmul)" in result.stdout


def test_conventions_are_not_added_to_each_other(path):
    add(path, "4", 11, convention="standard")
    sums = as_json(path, "--project", "p")
    assert [(s["convention"], s["flops_train"]) for s in sums] == [
        ("matmul", BIG + 1),
        ("standard", 11),
    ]


def test_one_run_in_several_rows_or_files_is_counted_once(path, tmp_path):
    add(path, "2", 5 * BIG // 10, resumed_from="1")  # the same run, later
    add(path, "1", 1)  # and one that says less
    copy = tmp_path / "copy.csv"
    copy.write_bytes(path.read_bytes())
    [p] = as_json(path, copy, "--project", "p")
    assert (p["runs"], p["flops_train"]) == (2, 11 * BIG // 10)


def test_what_a_tracker_writes_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run().exit_code == 2
    state = None
    for _ in range(3):
        ft = FlopsTracker(PerSample(2**80), runs_csv="runs.csv", project="p")
        if state:
            ft.load_state_dict(state)
        with ft:
            ft.on_epoch_start()
            ft.update_batch(5)
            ft.on_epoch_end()
            state = ft.state_dict()
    [p] = as_json()
    assert p["flops_train"] == 3 * 5 * 2**80 == ft.total_flops
    assert (p["runs"], p["resumed"], p["convention"]) == (3, 2, "")
    assert "(own)" in run().stdout


def test_a_torn_line_is_said(path):
    with open(path, "a") as file:
        file.write("4,p,torn")
    result = run(path, "--json")
    assert result.stderr == f"{path}: torn and left out: line 5\n"
    assert json.loads(result.stdout)[0]["flops_train"] == BIG + 1


def one_line(result):
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    return result.stderr


@pytest.mark.parametrize(
    "text, problem",
    [
        ("0", "it must be above 0, such as 1e23 or '100 ZFLOP'"),
        ("0 ZFLOP", "it must be above 0"),
        ("-1e23", "it is below 0"),
        ("many", "it must begin with a number such as 2.5"),
        ("nan", "it must begin with a number"),
        ("inf", "it must begin with a number"),
        ("", "it must begin with a number"),
        ("1e39", "it does not fit in 128 bits"),
        ("1,5e23", "after the number comes FLOP"),  # no 15e23 by a comma that was a point
        ("10^25", "after the number comes FLOP"),
        ("1 ZFLOP/s", "FLOPS and FLOP/s are FLOPs per second, and this is an amount"),
        ("1_000", "after the number comes FLOP"),
    ],
)
def test_a_wrong_threshold_is_one_line(text, problem, path):
    assert f"--threshold={text!r}: {problem}" in one_line(run(path, f"--threshold={text}"))


@pytest.mark.parametrize(
    "text, flops",
    [("100 ZFLOP", 10**23), ("1e23", 10**23), ("1,000 EFLOPs", 10**21), ("1.5", 2)],
)
def test_thresholds_are_read_as_budgets_are(text, flops, path):
    [p, _] = as_json(path, "--threshold", text)
    assert [t["flops"] for t in p["thresholds"]] == [flops]


def test_wrong_files_and_projects_are_one_line(path, tmp_path):
    assert "no.csv: No such file" in one_line(run(tmp_path / "no.csv"))
    assert "Is a directory" in one_line(run(tmp_path))
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    assert "other.csv is no ledger of runs" in one_line(run(other))
    assert "no run of the project 'r'; the ledger has 'p', 'q'" in one_line(
        run(path, "--project", "r")
    )
    add(path, "5", "x")
    assert "line 5: flops_total is 'x', which is no count" in one_line(run(path))


def test_a_sum_beyond_128_bits_is_one_line(tmp_path):
    for number in "12":
        add(tmp_path / "runs.csv", number, 2**127)
    assert "128 bits" in one_line(run(tmp_path / "runs.csv"))
    add(tmp_path / "large.csv", "1", 10**39 - 1)
    assert "128 bits" in one_line(run(tmp_path / "large.csv"))


def test_the_command_is_installed(path):
    done = subprocess.run(
        [sys.executable, "-P", "-m", "flops_tracker", "ledger", path, "--threshold", "1e23"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "100 % of 1e+23: reached" in done.stdout
    names = subprocess.run(
        [sys.executable, "-P", "-X", "importtime", "-m", "flops_tracker", "ledger", path, "--json"],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert "rich" not in names and "torch" not in names
