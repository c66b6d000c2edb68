"""What flops_tracker.plot draws: the numbers in its bars, points and lines; pictures as SVG."""

import subprocess
import sys

import matplotlib
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import flops_tracker
from flops_tracker import FlopCount, FlopCounter, FlopsTracker, SklearnSGDEstimator, plot, profile
from flops_tracker._core import EpochLog


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture
def counts():
    # On 8 rows under `standard`: Linear(5, 4) 2·8·4·5 + 8·4 = 352, Linear(4, 3) 2·8·3·4 + 8·3 = 216
    # forward. Backward: weights as much as forward without biases, 320 and 192, the input of the
    # second layer 192, biases 8·4 - 4 = 28 and 8·3 - 3 = 21 additions, and the ReLU none.
    model = nn.Sequential(nn.Linear(5, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 3)))
    with FlopCounter(model) as c:
        model(torch.ones(8, 5)).backward(torch.ones(8, 3))
    return c.counts


def bars(ax):
    """FLOPs by bar and phase."""
    names = [label.get_text() for label in ax.get_yticklabels()]
    widths = {group.get_label(): group.datavalues.tolist() for group in ax.containers}
    return {
        name: {phase: value[at] for phase, value in widths.items() if value[at]}
        for at, name in enumerate(names)
    }


def curves(ax):
    return {line.get_label(): line.get_xydata().tolist() for line in ax.get_lines()}


# ---- breakdown ----


def test_bars_of_modules_add_up(counts, ax):
    assert plot.breakdown(counts, depth=1, ax=ax) is ax
    first, second = {"forward": 352, "backward": 348}, {"forward": 216, "backward": 405}
    found = bars(ax)
    assert found["0 Linear"] == first
    assert found["1 Sequential"] == second
    assert sum(sum(phases.values()) for phases in found.values()) == counts.total
    assert "FLOPs (standard)" in ax.get_xlabel()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["forward", "backward"]


def test_without_a_depth_it_is_the_first_that_splits(counts, ax):
    assert {"0 Linear", "1 Sequential"} <= set(bars(plot.breakdown(counts, ax=ax)))
    alone = nn.Sequential(nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))))
    with FlopCounter(alone) as c:
        alone(torch.ones(1, 2))
    # 2·2·2 and 2 biases each
    assert bars(plot.breakdown(c, ax=Figure().subplots())) == {
        "0.0.0": {"forward": 10},
        "0.0.1": {"forward": 10},
    }


def test_what_is_beside_the_largest_is_one_bar(ax):
    with FlopCounter() as c:
        torch.ones(10).mul(2.0)  # 10
        torch.ones(7).add(2.0)  # 7
        torch.ones(3).div(2.0)  # 3
        torch.ones(2).neg()  # 2
    found = bars(plot.breakdown(c.counts, "op", top=2, ax=ax))
    assert found == {
        "mul.Tensor": {"forward": 10},
        "add.Tensor": {"forward": 7},
        "2 others": {"forward": 5},
    }
    shares = [text.get_text().strip() for text in ax.texts]
    assert shares == ["45.5 %", "31.8 %", "22.7 %"]


def test_what_is_next_to_nothing_is_with_the_others(ax):
    with FlopCounter() as c:
        torch.ones(5000).neg()
        torch.ones(4).mul(2.0)  # 0.08 %
    assert bars(plot.breakdown(c, "op", ax=ax)) == {
        "neg": {"forward": 5000},
        "1 other": {"forward": 4},
    }


@pytest.mark.parametrize("by", ["class", "phase", "dtype"])
def test_other_axes(by, counts, ax):
    found = bars(plot.breakdown(counts, by, ax=ax))
    sums = {name: sum(phases.values()) for name, phases in found.items()}
    assert sums == {k: v for k, v in getattr(counts, f"by_{by}")().items() if v}


def test_nothing_can_be_drawn(ax):
    with FlopCounter() as c:
        pass
    assert bars(plot.breakdown(c, ax=ax)) == {}


# ---- roofline ----


def test_points_stand_on_the_roof(ax):
    # (4, 5) @ (5, 6): 240 FLOPs; 20 + 30 read and 24 written, of 4 bytes: 296. Negation of 100:
    # 100 FLOPs, 800 bytes. At 1 GB/s these are at most 0.811 and 0.125 GFLOP/s.
    with FlopCounter() as c:
        torch.ones(4, 5).mm(torch.ones(5, 6))
        torch.ones(100).neg()
    plot.roofline(c.counts, 5e8, "1 GB/s", ax=ax)
    found = curves(ax)
    assert found["mm"] == [[pytest.approx(240 / 296), 5e8]]
    assert found["neg"] == [[pytest.approx(1 / 8), pytest.approx(1e8 * 10 / 8)]]
    assert {text.get_text() for text in ax.texts} == {"500 MFLOP/s", "1 GB/s"}
    assert ax.get_ylabel() == "FLOP/s, at most"


def test_a_roof_for_each_dtype(ax):
    with FlopCounter() as c:  # as above
        torch.ones(4, 5).mm(torch.ones(5, 6))
    plot.roofline(c, {"fp32": "100 MFLOP/s", "bf16": "900 MFLOP/s"}, 1e9, ax=ax)
    assert curves(ax)["mm"] == [[pytest.approx(240 / 296), 1e8]]
    assert {"100 MFLOP/s, float32", "900 MFLOP/s, bfloat16"} < {t.get_text() for t in ax.texts}


def test_a_profile_stands_where_it_was_measured(ax):
    p = profile(nn.Linear(20, 30), torch.ones(8, 20), peak_flops=1e15, steps=2, warm_up=1)
    plot.roofline(p, bandwidth="1 PB/s", by="module", ax=ax)
    [[intensity, rate]] = curves(ax)["(the model itself)"]
    # 2·8·20·30 + 8·30; read 8·20 + 20·30 + 30, written 8·30, of 4 bytes
    assert intensity == pytest.approx(9840 / (4 * 1030))
    assert rate == pytest.approx(p.modules[0].flops_per_second)
    assert ax.get_ylabel() == "FLOP/s"


@pytest.mark.parametrize(
    ("peak", "bandwidth", "words"),
    [
        (None, 1e9, "needs the device's peak: peak_flops="),
        (1e12, None, "needs the memory's bandwidth"),
        (1e12, "2 TB", "not '2 TB'"),
        (1e12, "fast", "not 'fast'"),
        (1e12, -1, "not -1"),
        (1e12, True, "not True"),
        (1e12, float("nan"), "not nan"),
    ],
)
def test_what_a_roofline_needs(peak, bandwidth, words, counts, ax):
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        plot.roofline(counts, peak, bandwidth, ax=ax)
    assert not ax.get_lines()


# ---- loss ----


def tracker(epochs=3, steps=2):
    # 4·B·f·C = 4·5·3·1 = 60 a step
    with FlopsTracker(SklearnSGDEstimator(3), run_name="mine") as ft:
        for _ in range(epochs):
            ft.on_epoch_start()
            for _ in range(steps):
                ft.update_batch(5)
            ft.on_epoch_end()
    return ft


def test_losses_of_epochs_and_of_steps(ax):
    ft = tracker()
    plot.loss(ft, [3.0, 2.0, 1.0], ax=ax)
    plot.loss(ft, [6, 5, 4, 3, 2, torch.tensor(1.0)], ax=ax, label="steps")
    assert curves(ax) == {
        "mine": [[120, 3], [240, 2], [360, 1]],
        "steps": [[60, 6], [120, 5], [180, 4], [240, 3], [300, 2], [360, 1]],
    }
    assert ax.get_xlabel() == "cumulative training FLOPs"
    colours = {line.get_color() for line in ax.get_lines()}
    assert len(colours) == 2


def test_losses_that_the_epochs_have(ax, tmp_path):
    def log(epoch, loss):
        return EpochLog((epoch, 10, 10 * epoch, 1, 1, loss, 0.0, True))

    plot.loss({"a": [log(1, 0.5), log(2, None), log(3, 0.25)]}, ax=ax)
    assert curves(ax) == {"a": [[10, 0.5], [30, 0.25]]}


def test_files_of_a_run(ax, tmp_path):
    ft = tracker()
    ft.save_batch_csv(tmp_path / "batch.csv")
    ft.save_epoch_csv(tmp_path / "epoch.csv")
    plot.loss(
        {"steps": tmp_path / "batch.csv", "epochs": str(tmp_path / "epoch.csv")},
        {"steps": range(6), "epochs": range(3)},
        ax=ax,
    )
    assert [x for x, _ in curves(ax)["steps"]] == [60, 120, 180, 240, 300, 360]
    assert [x for x, _ in curves(ax)["epochs"]] == [120, 240, 360]
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"other.csv is no CSV file of a run"):
        plot.loss(tmp_path / "other.csv", [1], ax=ax)


@pytest.mark.parametrize(
    ("run", "losses", "error", "words"),
    [
        (tracker(), [1, 2], ValueError, "losses has 2 values, and the run 3 epochs and 6 steps"),
        (tracker(), [], ValueError, "losses has 0 values, and the run 3 epochs and 6 steps"),
        (tracker(), None, ValueError, "3 epochs and 6 steps and no loss: pass losses"),
        (tracker().step_logs, [1], ValueError, "losses has 1 values, and the run 6 records"),
        (
            [1, 2],
            [1, 2],
            TypeError,
            r"epoch_logs or step_logs, or a CSV file of these .*, not \[1, 2",
        ),
        ({"a": tracker()}, {"b": [1]}, ValueError, r"a dict with the keys \['a'\]"),
    ],
)
def test_losses_that_do_not_fit(run, losses, error, words, ax):
    with pytest.raises(error, match=words):
        plot.loss(run, losses, ax=ax)
    assert not ax.get_lines()


# ---- all ----


def test_wrong_arguments(counts):
    with pytest.raises(ValueError, match=r"by must be 'module', 'op', .*, not 'modules'"):
        plot.breakdown(counts, "modules")
    with pytest.raises(ValueError, match="top must be 1 or more, not 0"):
        plot.breakdown(counts, top=0)
    with pytest.raises(TypeError, match="ax must be an Axes of matplotlib, not 3"):
        plot.breakdown(counts, ax=3)
    with pytest.raises(TypeError, match=r"a result is a FlopCount, .*, not 3"):
        plot.breakdown(3)


def test_a_new_figure_without_an_ax(counts):
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    before, settings = plt.get_fignums(), dict(plt.rcParams)
    first, second = flops_tracker.plot.breakdown(counts), plot.breakdown(counts, "op")
    assert first.figure is not second.figure
    assert len(plt.get_fignums()) == len(before) + 2
    assert dict(plt.rcParams) == settings
    plt.close(first.figure)
    plt.close(second.figure)


def test_with_an_ax_no_window_is_needed(counts, tmp_path):
    counts.to_json(tmp_path / "counts.json")
    script = (
        "import io, sys; from matplotlib.figure import Figure; from flops_tracker import plot;"
        "figure = Figure(); plot.breakdown('counts.json', ax=figure.subplots());"
        "text = io.StringIO(); figure.savefig(text, format='svg');"
        "print('<svg' in text.getvalue(), {'matplotlib.pyplot', 'torch'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "True set()\n"
    assert FlopCount.from_json(tmp_path / "counts.json").total == counts.total


def test_names_with_an_underscore_are_in_the_legend(ax):
    """Matplotlib leaves labels out that begin with one, as _softmax and many kernels do."""
    x = torch.ones(4, 4)
    with FlopCounter() as c:
        (x @ x).softmax(-1)
    plot.roofline(c, peak_flops=1e12, bandwidth=1e11, ax=ax)
    shown = [text.get_text().strip() for text in ax.get_legend().get_texts()]
    assert "_softmax" in shown
