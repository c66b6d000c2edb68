"""`flops-tracker report` reads what runs wrote: sums, torn rows, pages, errors."""

import json
import subprocess
import sys

import pytest
import torch
from browser import needs_browser, shown
from click.testing import CliRunner
from torch import nn
from training_models import PerSample

from flops_tracker import FlopsTracker, count
from flops_tracker._core import EPOCH_CSV_HEADER, STEP_CSV_HEADER
from flops_tracker.cli import main

BIG = 2**100


def run(*arguments):
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


def as_json(*arguments):
    result = run(*arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def one_line(result):
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    return result.stderr


def track(prefix, epochs=(2, 1), size=3, cost=BIG, estimator=None):
    """Write the files of a run with so many batches of 3 samples in each epoch."""
    ft = FlopsTracker(estimator or PerSample(cost))
    for batches in epochs:
        ft.on_epoch_start()
        for _ in range(batches):
            ft.update_batch(size)
        ft.on_epoch_end()
    ft.save_batch_csv(f"{prefix}_batch.csv")
    ft.save_epoch_csv(f"{prefix}_epoch.csv")
    return ft


@pytest.fixture
def prefix(tmp_path):
    """Two epochs, of 2 and 1 batches of 3 samples, which cost 2**100 each."""
    track(tmp_path / "run1")
    return tmp_path / "run1"


def test_sums_are_exact(prefix):
    for end in ("batch", "epoch"):
        [found] = as_json(f"{prefix}_{end}.csv")
        assert found["run"] == "run1"
        assert (found["epochs"], found["batches"], found["samples"]) == (2, 3, 9)
        assert found["flops"] == found["flops_total_cum"] == 9 * BIG
        assert [epoch["flops"] for epoch in found["by_epoch"]] == [6 * BIG, 3 * BIG]
        assert [epoch["share"] for epoch in found["by_epoch"]] == pytest.approx([2 / 3, 1 / 3])
        assert found["flops_per_second"] == pytest.approx(9 * BIG / found["seconds"])


def test_what_is_printed(prefix):
    lines = run(f"{prefix}_epoch.csv").stdout.splitlines()
    assert lines[0].split()[:5] == ["run", "epochs", "batches", "samples", "FLOPs"]
    assert lines[1].split()[:5] == ["run1", "2", "3", "9", f"{9 * BIG:,}"]
    assert ["1", f"{6 * BIG:,}", "66.7", "%", "2", "6"] in [line.split()[:6] for line in lines]
    assert len(lines) == 6
    only = run(f"{prefix}_epoch.csv", "--epochs", "1").stdout
    assert "the last 1 of 2 epochs (--epochs)" in only and "66.7 %" not in only


def test_both_files_of_a_prefix_are_one_run(tmp_path):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    ft = FlopsTracker(PerSample(5), run_name="both").torch_bind(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        train_loader=[(torch.ones(4, 3), torch.zeros(4, dtype=torch.long))] * 2,
    )
    ft.run(2, export="both", export_prefix=tmp_path / "both")
    files = [tmp_path / f"both_{end}.csv" for end in ("epoch", "batch")]
    [found] = as_json(*files)
    assert (found["epochs"], found["batches"], found["flops"]) == (2, 4, 2 * 2 * 4 * 5)
    assert found["loss"] == pytest.approx(ft.epoch_logs[-1].loss, rel=1e-6)
    steps = sum(step.wall_time_s for step in ft.step_logs)
    assert found["seconds"] == pytest.approx(steps, abs=1e-5)
    assert one_line(run(files[0], files[0])).endswith("both_epoch.csv was given twice\n")


def test_an_epoch_that_has_batches_only_is_counted(prefix):
    """As after a kill: the second epoch has no row of its own."""
    epochs = prefix.with_name("run1_epoch.csv")
    epochs.write_text("".join(epochs.read_text().splitlines(keepends=True)[:2]))
    [found] = as_json(epochs, f"{prefix}_batch.csv")
    assert (found["epochs"], found["flops"]) == (2, 9 * BIG)
    text = run(epochs, f"{prefix}_batch.csv").stdout
    assert "run1: 1 of its epochs have no row in the file of epochs" in text
    assert as_json(epochs)[0]["flops"] == 6 * BIG


def test_a_torn_row_is_said_and_not_counted(prefix):
    for end, torn, left in (("batch", "2,1,3,11", 6), ("epoch", "2,11", 6)):
        path = prefix.with_name(f"run1_{end}.csv")
        whole = path.read_text().splitlines(keepends=True)
        path.write_text("".join(whole[:-1]) + torn)
        result = run(path, "--json")
        assert result.exit_code == 0
        assert result.stderr == f"{path}: line {len(whole)} is torn, and not counted\n"
        assert json.loads(result.stdout)[0]["flops"] == left * BIG
    # A row whose last column is torn looks whole, but for the end of the line.
    path.write_text("".join(whole)[:-1])
    assert "is torn" in run(path).stderr


def test_runs_stand_beside_each_other(prefix, tmp_path):
    track(tmp_path / "large", epochs=(1,), cost=7)
    result = run(f"{prefix}_epoch.csv", tmp_path / "large_batch.csv")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[0] for line in lines] == ["run", "run1", "large"]  # no epochs of several
    assert lines[2][4] == "21"
    both = run(f"{prefix}_epoch.csv", tmp_path / "large_batch.csv", "--epochs", "5").stdout
    assert "\nlarge\n" in both and "100.0 %" in both


def test_a_file_with_several_runs(prefix, tmp_path):
    first = (tmp_path / "run1_batch.csv").read_text()
    again = first.removeprefix(STEP_CSV_HEADER)
    (tmp_path / "run1_batch.csv").write_text(first + again)  # as overwrite="append" does
    [found] = as_json(tmp_path / "run1_batch.csv")
    assert (found["epochs"], found["flops"]) == (4, 18 * BIG)
    assert "2 runs one after the other in its file" in run(tmp_path / "run1_batch.csv").stdout


def test_a_run_that_goes_on_from_before_says_its_total(tmp_path):
    path = tmp_path / "after_epoch.csv"
    path.write_text(f"{EPOCH_CSV_HEADER}2,15,25,1,3,,0.5,0\n")
    text = run(path).stdout
    assert "after: it goes on from before: 25 FLOPs in all" in text
    assert "after: broken off: epoch 2" in text
    assert "30 FLOP/s" in text  # 15 in half a second


def test_a_loss_that_is_no_number_is_null(tmp_path):
    path = tmp_path / "nan_epoch.csv"
    path.write_text(f"{EPOCH_CSV_HEADER}1,15,15,1,3,nan,0,1\n")
    [found] = as_json(path)
    assert (found["loss"], found["flops_per_second"]) == (None, None)
    assert "nan" in run(path).stdout


def test_an_empty_file_is_no_error(tmp_path):
    path = tmp_path / "none_epoch.csv"
    path.write_text(EPOCH_CSV_HEADER)
    assert as_json(path)[0]["flops"] == 0
    path.write_text(EPOCH_CSV_HEADER.strip())
    assert "line 1 is torn" in run(path).stderr
    assert "none: no row so far" in run(path, "--html", tmp_path / "none.html").stdout


def test_a_saved_count(tmp_path):
    # 8·3 results of 4 products and a bias: 2·96 + 24 = 216.
    count(nn.Linear(4, 3), torch.ones(8, 4)).to_json(tmp_path / "counts.json")
    text = run(tmp_path / "counts.json").stdout
    assert text.startswith("counts.json\n") and "216 FLOPs · standard" in text
    [found] = as_json(tmp_path / "counts.json")
    assert (found["count"], found["total"]) == ("counts.json", 216)
    run(tmp_path / "counts.json", "--html", tmp_path / "counts.html")
    page = (tmp_path / "counts.html").read_text()
    assert "216 FLOP<" in page and 'class="icicle"' in page


@pytest.mark.parametrize(
    "name, text, problem",
    [
        ("x_batch.csv", "a,b\n1,2\n", "is no CSV file of a run: its first line is not"),
        ("x_batch.csv", "", "is no CSV file of a run"),
        ("x_batch.csv", "run_id,project\n", "it is a ledger of runs: flops-tracker ledger"),
        (
            "x_epoch.csv",
            f"{EPOCH_CSV_HEADER}1,x,3,1,3,,0,1\n",
            "line 2: '1,x,3,1,3,,0,1' is no row",
        ),
        ("x_epoch.csv", f"{EPOCH_CSV_HEADER}1,-3,3,1,3,,0,1\n", "is no row of a run"),
        ("x_batch.csv", f"{STEP_CSV_HEADER}1,1\n1,2,3,4,4,4,0\n", "line 2: '1,1' is no row"),
        ("x_batch.csv", f"{STEP_CSV_HEADER}\n1,1,3,4,4,4,0\n", "line 2: '' is no row"),
        ("x.json", "{}", "schema"),
        ("x.json", "[", "x.json"),
        ("x_epoch.csv", f"{EPOCH_CSV_HEADER}1,{10**39},3,1,3,,0,1\n", "128 bits"),
    ],
)
def test_what_is_no_file_of_a_run_is_one_line(name, text, problem, tmp_path):
    (tmp_path / name).write_text(text)
    assert problem in one_line(run(tmp_path / name))


def test_a_file_that_is_missing_is_one_line(prefix, tmp_path):
    assert "No such file" in one_line(run(tmp_path / "no.csv"))
    assert f"did you mean {prefix}_epoch.csv {prefix}_batch.csv?" in one_line(run(prefix))
    assert "Is a directory" in one_line(run(tmp_path))
    assert run().exit_code == 2


def test_pages_that_can_not_be_written(prefix, tmp_path):
    file = f"{prefix}_epoch.csv"
    result = run(file, "--html", tmp_path / "page.txt")
    assert result.exit_code == 2 and "it must end in .html" in result.stderr
    result = run(file, "--html", tmp_path / "no" / "page.html")
    assert result.exit_code == 2 and "there is no folder" in result.stderr
    one = count(nn.Linear(4, 3), torch.ones(8, 4))
    for name in "ab":
        one.to_json(tmp_path / f"{name}.json")
    result = run(tmp_path / "a.json", tmp_path / "b.json", "--html", tmp_path / "page.html")
    assert "a page has the modules of one count" in one_line(result)


def test_help_has_examples():
    text = run("--help").stdout
    assert "flops-tracker report run1_batch.csv run1_epoch.csv --html run1.html" in text


@needs_browser
def test_the_page_of_two_runs(prefix, tmp_path):
    track(tmp_path / "<b>other", epochs=(1, 1), cost=BIG)
    files = [f"{prefix}_batch.csv", tmp_path / "<b>other_batch.csv"]
    result = run(*files, "--html", tmp_path / "page.html")
    assert result.stderr == f"{tmp_path / 'page.html'} was written\n"
    document = shown(tmp_path / "page.html")
    assert document.one("h1").text == "run1, <b>other"
    table = [[cell.text for cell in row.children] for row in document.all("tbody")[0].all("tr")]
    assert [row[:5] for row in table] == [
        ["run1", "2", "3", "9", f"{9 * BIG:,}"],
        ["<b>other", "2", "2", "6", f"{6 * BIG:,}"],
    ]
    labels = [svg.attributes.get("aria-label") for svg in document.all("svg")]
    assert "Training FLOPs over steps" in labels
    folded = [summary.text for summary in document.all("summary")]
    assert folded == ["epochs of run1", "epochs of <b>other"]
    plotted = document.one("plots").text
    assert "run1" in plotted and "<b>other" in plotted  # its legend


def test_the_command_is_installed(prefix):
    done = subprocess.run(
        [sys.executable, "-P", "-X", "importtime", "-m", "flops_tracker", "report",
         f"{prefix}_epoch.csv", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)[0]["flops"] == 9 * BIG
    assert "torch" not in done.stderr.replace("_torch", "") and "matplotlib" not in done.stderr
